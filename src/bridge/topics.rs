//! Which topic of one side is which of the other.

use super::config::BridgeTopic;
use crate::topic::{Topic, TopicFilter};

/// The topics that go one way.
pub struct Topics(Vec<Rule>);

struct Rule {
    filter: TopicFilter,
    from_prefix: String,
    to_prefix: String,
}

impl Topics {
    /// Those that go from this side to the other.
    pub fn outward(topics: &[BridgeTopic]) -> Topics {
        let rule = |topic: &BridgeTopic| Rule {
            filter: topic.filter.clone(),
            from_prefix: topic.local_prefix.clone(),
            to_prefix: topic.remote_prefix.clone(),
        };
        Topics(topics.iter().filter(|topic| topic.out).map(rule).collect())
    }

    /// Those that come from the other side to this.
    pub fn inward(topics: &[BridgeTopic]) -> Topics {
        let rule = |topic: &BridgeTopic| Rule {
            filter: topic.filter.clone(),
            from_prefix: topic.remote_prefix.clone(),
            to_prefix: topic.local_prefix.clone(),
        };
        Topics(topics.iter().filter(|topic| topic.into).map(rule).collect())
    }

    /// The topic's name on the side it goes to; the first rule that matches gives it.
    pub fn rename(&self, topic: Topic<'_>) -> Option<String> {
        self.0.iter().find_map(|rule| {
            let rest = topic.as_str().strip_prefix(&*rule.from_prefix)?;
            let matches = Topic::new(rest).is_ok_and(|rest| rule.filter.matches(rest));
            matches.then(|| format!("{}{rest}", rule.to_prefix))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::QoS;

    fn topic(filter: &str, out: bool, into: bool, local: &str, remote: &str) -> BridgeTopic {
        BridgeTopic {
            filter: TopicFilter::parse(filter).unwrap(),
            out,
            into,
            qos: QoS::AtLeastOnce,
            local_prefix: local.to_owned(),
            remote_prefix: remote.to_owned(),
        }
    }

    #[test]
    fn prefixes_are_exchanged() {
        let topics = [
            topic("t/#", true, true, "", "site1/"),
            topic("c/+", false, true, "from/", ""),
            topic("#", true, false, "all/", "x/"),
        ];
        let (outward, inward) = (Topics::outward(&topics), Topics::inward(&topics));
        let name = |topics: &Topics, topic: &str| topics.rename(Topic::new(topic).unwrap());
        for (topic, renamed) in [
            ("t/1", Some("site1/t/1")),
            ("t", Some("site1/t")),
            ("all/y", Some("x/y")),
            ("from/c/1", None),
            ("all/", None),
        ] {
            assert_eq!(name(&outward, topic).as_deref(), renamed, "{topic}");
        }
        for (topic, renamed) in [
            ("site1/t/1", Some("t/1")),
            ("t/1", None),
            ("c/1", Some("from/c/1")),
            ("c/1/2", None),
            ("x/y", None),
        ] {
            assert_eq!(name(&inward, topic).as_deref(), renamed, "{topic}");
        }
    }
}
