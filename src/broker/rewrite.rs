//! Rules that rename topics on their way in: what is published, subscribed and unsubscribed.
//!
//! The first rule whose source filter and regular expression both match decides. Nothing else of the broker sees the
//! topic that the client named.

use std::sync::Arc;

use regex_lite::Regex;
use serde::Deserialize;

use super::template::{Names, Template};
use super::topic_memo::{Remembered, TopicMemo};
use crate::topic::{Topic, TopicFilter};

/// One rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Fields")]
pub struct RewriteRule {
    action: Action,
    source: TopicFilter,
    regex: Regex,
    destination: Template,
}

/// What a rule renames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Publish,
    Subscribe,
    All,
}

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    action: Action,
    source: String,
    regex: String,
    destination: String,
}

/// All rules, by what they rename.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    publish: Vec<RewriteRule>,
    subscribe: Vec<RewriteRule>,
}

/// What became of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// No rule is about it.
    Same,
    /// A rule renames it. Whether that is a topic, or a filter, is not said.
    To(Arc<str>),
    /// A rule is about it that cannot be followed for this client; see [`Template::fill`].
    Unfit,
}

impl TryFrom<Fields> for RewriteRule {
    type Error = String;

    fn try_from(fields: Fields) -> Result<RewriteRule, String> {
        let source = TopicFilter::parse(&fields.source)
            .map_err(|error| format!("source {:?}: {error}", fields.source))?;
        let regex =
            Regex::new(&fields.regex).map_err(|error| format!("regex {:?}: {error}", fields.regex))?;
        let groups = regex.captures_len() - 1;
        let destination = Template::parse(&fields.destination, groups).map_err(|group| {
            format!("destination {:?} names group {group}, and regex has {groups}", fields.destination)
        })?;
        Ok(RewriteRule { action: fields.action, source, regex, destination })
    }
}

impl Rewrite {
    /// The rules in the order in which they are looked at.
    pub fn new(rules: Vec<RewriteRule>) -> Rewrite {
        let of = |other: Action| {
            let concerns = |rule: &&RewriteRule| rule.action == Action::All || rule.action == other;
            rules.iter().filter(concerns).cloned().collect()
        };
        Rewrite { publish: of(Action::Publish), subscribe: of(Action::Subscribe) }
    }

    /// Whether any rule is about publishes.
    #[inline]
    pub fn concerns_publishes(&self) -> bool {
        !self.publish.is_empty()
    }

    /// Whether any rule is about subscriptions.
    pub fn concerns_subscriptions(&self) -> bool {
        !self.subscribe.is_empty()
    }

    /// Renames the topic of a publish.
    pub fn topic(&self, topic: Topic<'_>, names: Names<'_>) -> Rewritten {
        follow(&self.publish, topic.as_str(), names, |source| source.matches(topic))
    }

    /// Renames the filter of a subscription.
    pub fn filter(&self, filter: &TopicFilter, names: Names<'_>) -> Rewritten {
        follow(&self.subscribe, filter.as_str(), names, |source| source.covers(filter))
    }
}

fn follow(
    rules: &[RewriteRule],
    text: &str,
    names: Names<'_>,
    is_source: impl Fn(&TopicFilter) -> bool,
) -> Rewritten {
    for rule in rules.iter().filter(|rule| is_source(&rule.source)) {
        if let Some(captures) = rule.regex.captures(text) {
            return match rule.destination.fill(names, Some(&captures)) {
                Some(filled) => Rewritten::To(filled.into()),
                None => Rewritten::Unfit,
            };
        }
    }
    Rewritten::Same
}

/// What became of the topics that a connection has published to lately.
pub type RewriteCache = TopicMemo<Rewritten, { 128 << 10 }>;

impl Remembered for Rewritten {
    fn heap_size(&self) -> usize {
        if let Rewritten::To(text) = self { text.len() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names { client_id: "c1", user_name: None };

    fn rule(action: Action, source: &str, regex: &str, destination: &str) -> Result<RewriteRule, String> {
        let (source, regex, destination) = (source.to_owned(), regex.to_owned(), destination.to_owned());
        RewriteRule::try_from(Fields { action, source, regex, destination })
    }

    fn rules() -> Rewrite {
        Rewrite::new(vec![
            rule(Action::All, "x/#", "^x/y/(.+)$", "z/y/$1").unwrap(),
            rule(Action::All, "x/#", "^x/z/(.+)$", "y/$1/%c").unwrap(),
            rule(Action::Publish, "p/#", "^p/(.*)$", "%u/$1").unwrap(),
            rule(Action::Subscribe, "s/+", "s", "t").unwrap(),
        ])
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = rules();
        let to = |text: &str| Rewritten::To(text.into());
        for (topic, expected) in [
            ("x/y/1/2", to("z/y/1/2")),
            ("x/z/1", to("y/1/c1")),
            ("x/1", Rewritten::Same),
            ("s/1", Rewritten::Same),
            ("p/1", Rewritten::Unfit),
        ] {
            assert_eq!(rules.topic(Topic::new(topic).unwrap(), NAMES), expected, "{topic}");
        }
        for (filter, expected) in [
            ("x/y/#", to("z/y/#")),
            ("x/z/+", to("y/+/c1")),
            ("x/#", Rewritten::Same),
            ("#", Rewritten::Same),
            ("s/+", to("t")),
            ("s/#", Rewritten::Same),
            ("p/1", Rewritten::Same),
        ] {
            assert_eq!(rules.filter(&TopicFilter::parse(filter).unwrap(), NAMES), expected, "{filter}");
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_blamed() {
        let why = |source, regex, destination| rule(Action::All, source, regex, destination).unwrap_err();
        assert!(why("a/#/b", "a", "b").starts_with("source \"a/#/b\": "));
        assert!(why("a", "(", "b").starts_with("regex \"(\": "));
        assert_eq!(why("a", "(a)", "$2"), "destination \"$2\" names group 2, and regex has 1");
    }
}
