//! Topic patterns of rules: filters in which the client's own names may stand.

use std::borrow::Cow;

use crate::topic::{FilterError, Level, Topic, TopicFilter};

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The user name that was proved.
    pub username: Option<&'a str>,
    /// The client identifier.
    pub client_id: &'a str,
}

/// A topic filter in which `%c` stands for the client identifier and `%u` for the user name. What stands for them is text,
/// whatever it contains: a client that calls itself `#` gets no wildcard by it, and one whose name contains a `/` nothing.
#[derive(Clone, Debug)]
pub struct Pattern {
    filter: TopicFilter,
    has_names: bool,
}

impl Pattern {
    /// A pattern without names: `%` is a character like any other.
    pub fn literal(filter: &str) -> Result<Pattern, FilterError> {
        Ok(Pattern { filter: TopicFilter::parse(filter)?, has_names: false })
    }

    /// A pattern where `%c` and `%u` are names.
    pub fn parse(pattern: &str) -> Result<Pattern, FilterError> {
        let has_names = has_names(pattern);
        Ok(Pattern { filter: TopicFilter::parse(pattern)?, has_names })
    }

    /// Whether the pattern says anything about this client: not where it wants a user name and there is none.
    pub fn concerns(&self, subject: Subject<'_>) -> bool {
        !self.has_names || subject.username.is_some() || !self.filter.as_str().contains("%u")
    }

    /// Whether the topic is one of the pattern's.
    pub fn matches(&self, topic: Topic<'_>, subject: Subject<'_>) -> bool {
        if !self.has_names {
            return self.filter.matches(topic);
        }
        let mut names = topic.levels();
        for (index, level) in self.filter.levels().enumerate() {
            match (level, names.next()) {
                // [MQTT-4.7.2-1]
                (Level::MultiLevel | Level::SingleLevel, _) if index == 0 && topic.is_system() => {
                    return false;
                }
                (Level::MultiLevel, _) => return true,
                (Level::SingleLevel, Some(_)) => {}
                (Level::Literal(text), Some(name)) if self.text(text, subject) == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether every topic of the filter is one of the pattern's.
    pub fn covers(&self, filter: &TopicFilter, subject: Subject<'_>) -> bool {
        if is_everything(filter) {
            return is_everything(&self.filter);
        }
        let (mut own, mut asked) = (self.filter.levels(), filter.levels());
        let mut first = true;
        loop {
            match (own.next(), asked.next()) {
                (Some(Level::MultiLevel | Level::SingleLevel), Some(Level::Literal(text)))
                    if first && text.starts_with('$') =>
                {
                    return false; // [MQTT-4.7.2-1]
                }
                (Some(Level::MultiLevel), _) | (None, None) => return true,
                (Some(Level::SingleLevel), Some(Level::SingleLevel | Level::Literal(_))) => {}
                (Some(Level::Literal(text)), Some(Level::Literal(asked)))
                    if self.text(text, subject) == asked => {}
                _ => return false,
            }
            first = false;
        }
    }

    /// Whether any topic of the filter is one of the pattern's.
    pub fn overlaps(&self, filter: &TopicFilter, subject: Subject<'_>) -> bool {
        let (mut own, mut asked) = (self.filter.levels(), filter.levels());
        let mut first = true;
        loop {
            match (own.next(), asked.next()) {
                (Some(Level::MultiLevel | Level::SingleLevel), Some(Level::Literal(text)))
                | (Some(Level::Literal(text)), Some(Level::MultiLevel | Level::SingleLevel))
                    if first && text.starts_with('$') =>
                {
                    return false; // [MQTT-4.7.2-1]
                }
                (Some(Level::MultiLevel), _) | (_, Some(Level::MultiLevel)) | (None, None) => return true,
                (Some(Level::SingleLevel), Some(_)) | (Some(_), Some(Level::SingleLevel)) => {}
                (Some(Level::Literal(text)), Some(Level::Literal(asked)))
                    if self.text(text, subject) == asked => {}
                _ => return false,
            }
            first = false;
        }
    }

    /// A level with the names in it.
    fn text<'a>(&self, level: &'a str, subject: Subject<'_>) -> Cow<'a, str> {
        if !self.has_names || !has_names(level) {
            return level.into();
        }
        let mut text = String::new();
        let mut rest = level;
        while let Some(at) = rest.find('%') {
            let (before, name) = rest.split_at(at);
            text.push_str(before);
            let (name, len) = match name.as_bytes().get(1) {
                Some(b'c') => (subject.client_id, 2),
                Some(b'u') => (subject.username.unwrap_or_default(), 2),
                _ => ("%", 1),
            };
            text.push_str(name);
            rest = &rest[at + len..];
        }
        text.push_str(rest);
        text.into()
    }
}

/// Whether a text has a place for a name.
pub fn has_names(text: &str) -> bool {
    text.contains("%c") || text.contains("%u")
}

/// `+/#` matches what `#` does: a topic has a first level.
fn is_everything(filter: &TopicFilter) -> bool {
    matches!(filter.as_str(), "#" | "+/#")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All sequences of one to `longest` of these levels.
    fn paths(levels: &[&str], longest: usize) -> Vec<String> {
        let mut all: Vec<String> = levels.iter().map(ToString::to_string).collect();
        let mut last = all.clone();
        for _ in 1..longest {
            last = last
                .iter()
                .flat_map(|path| levels.iter().map(move |level| format!("{path}/{level}")))
                .collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    /// Against every topic there is: `x` stands for all texts that no filter has.
    #[test]
    fn cover_and_overlap_are_what_trying_all_topics_says() {
        let topics = paths(&["a", "$s", "x"], 4);
        let topics: Vec<Topic<'_>> = topics.iter().filter_map(|text| Topic::new(text).ok()).collect();
        let filters: Vec<TopicFilter> = paths(&["a", "$s", "+", "#"], 3)
            .iter()
            .filter_map(|text| TopicFilter::parse(text).ok())
            .collect();
        let subject = Subject { username: None, client_id: "a" };
        let (mut covered, mut overlapping) = (0, 0);
        for own in &filters {
            let written = own.as_str().replace('a', "%c");
            for pattern in [Pattern::literal(own.as_str()), Pattern::parse(&written)] {
                let pattern = pattern.expect("a filter");
                for &topic in &topics {
                    assert_eq!(pattern.matches(topic, subject), own.matches(topic), "{own} {topic:?}");
                }
                for asked in &filters {
                    let both = topics.iter().any(|&topic| own.matches(topic) && asked.matches(topic));
                    let all = topics.iter().all(|&topic| own.matches(topic) || !asked.matches(topic));
                    assert_eq!(pattern.overlaps(asked, subject), both, "{own} {asked}");
                    assert_eq!(pattern.covers(asked, subject), all, "{own} {asked}");
                    covered += usize::from(all);
                    overlapping += usize::from(both);
                }
            }
        }
        assert!(covered > 200 && overlapping > covered, "{covered} {overlapping}");
    }

    /// Names are chosen by clients.
    #[test]
    fn a_name_is_never_a_wildcard_nor_several_levels() {
        let pattern = Pattern::parse("d/%c/%u").expect("a pattern");
        let filter = |text| TopicFilter::parse(text).expect("a filter");
        let topic = |text| Topic::new(text).expect("a topic");
        let bad = Subject { username: Some("#"), client_id: "+" };
        assert!(!pattern.covers(&filter("d/+/#"), bad) && !pattern.covers(&filter("d/x/y"), bad));
        assert!(!pattern.matches(topic("d/x/y"), bad));
        let long = Subject { username: Some("u"), client_id: "x/y" };
        assert!(!pattern.matches(topic("d/x/y/u"), long) && !pattern.covers(&filter("d/x/y/u"), long));
        let good = Subject { username: Some("u"), client_id: "c" };
        assert!(pattern.matches(topic("d/c/u"), good) && pattern.covers(&filter("d/c/u"), good));
        assert!(!pattern.concerns(Subject { username: None, client_id: "c" }));
        let within = Pattern::parse("%c-%u%%c").expect("a pattern");
        assert!(within.matches(topic("c-u%c"), good), "%% is no escape, and %c behind it a name");
    }
}
