//! What a client may do, by the rules of the ACL.

use std::sync::Arc;

use super::Broker;
use super::client::Client;
use super::delayed;
use super::rewrite::Rewritten;
use super::template::Names;
use super::topic_memo::TopicMemo;
use crate::access::Identity;
use crate::access::acl::Acl;
use crate::access::pattern::Subject;
use crate::topic::{Topic, TopicFilter};

/// The rules as they are for one connection's publishes, and what they said about its recent topics: a repeated topic costs
/// a string comparison. They are those of one generation of rules: with the next one there are new ones.
pub(super) struct Permits {
    acl: Arc<Acl>,
    identity: Identity,
    /// The topic of the last publish.
    last: Option<(Box<str>, bool)>,
    decisions: TopicMemo<bool, { 64 << 10 }>,
}

impl Permits {
    /// Whether the client with this identifier may publish to the topic.
    pub fn may_publish(&mut self, client_id: &str, topic: Topic<'_>) -> bool {
        if let Some((last, decision)) = &self.last
            && **last == *topic.as_str()
        {
            return *decision;
        }
        let decision = self.decisions.look_up(topic, || {
            let subject = Subject { username: self.identity.username(), client_id };
            self.acl.may_publish(subject, topic)
        });
        self.last = Some((topic.as_str().into(), decision));
        decision
    }

    /// Gives back what is remembered.
    pub fn clear(&mut self) {
        self.last = None;
        self.decisions.clear();
    }
}

impl Broker {
    /// The rules for a connection of this client; none where everything is allowed.
    pub(super) fn permits(&self, client: &Client) -> Option<Box<Permits>> {
        let acl = self.access().acl()?.clone();
        let identity = client.lock().record.identity.clone();
        if identity.is_node() {
            return None;
        }
        Some(Box::new(Permits { acl, identity, last: None, decisions: TopicMemo::default() }))
    }

    /// Whether the client may subscribe to the filter.
    pub(super) fn may_subscribe(&self, client: &Client, filter: &TopicFilter) -> bool {
        let access = self.access();
        let Some(acl) = access.acl() else { return true };
        let identity = client.lock().record.identity.clone();
        identity.is_node()
            || acl.may_subscribe(Subject { username: identity.username(), client_id: client.id() }, filter)
    }

    /// Whether a client may have a will on this topic, which is asked when it connects. What counts is the topic that the will
    /// is going to be published to.
    pub(super) fn may_will(&self, identity: &Identity, client_id: &str, topic: Topic<'_>) -> bool {
        let access = self.access();
        let Some(acl) = access.acl() else { return true };
        let subject = Subject { username: identity.username(), client_id };
        let names = Names { client_id, user_name: identity.username() };
        let topic = match self.delayed.is_on() {
            true => delayed::split(topic).map_or(topic, |(_, named)| named),
            false => topic,
        };
        match self.rewrite.topic(topic, names) {
            Rewritten::Same => acl.may_publish(subject, topic),
            Rewritten::To(text) => Topic::new(&text).is_ok_and(|topic| acl.may_publish(subject, topic)),
            Rewritten::Unfit => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Access, AccessConfig};
    use crate::broker::{Extras, Limits};

    #[test]
    fn a_will_is_judged_by_the_topic_it_goes_to() {
        let rule = "action = 'publish'\nsource = 'old/#'\nregex = '^old/(.+)$'\ndestination = 'new/$1'\n";
        let rewrite = vec![toml::from_str(rule).expect("a rule")];
        let extras = Extras { rewrite, max_delayed_messages: 1, ..Extras::default() };
        let acl = Some(Arc::new(Acl::parse("pattern write new/#\npattern deny new/shut").expect("rules")));
        let access = Access::new(AccessConfig { acl, ..AccessConfig::default() });
        let broker = Broker::with_extras(Limits::default(), extras).with_access(access);
        for (topic, expected) in [
            ("new/a", true),
            ("old/a", true),
            ("old/shut", false),
            ("$delayed/5/old/a", true),
            ("$delayed/5/new/shut", false),
            ("other", false),
        ] {
            let topic = Topic::new(topic).expect("a topic");
            assert_eq!(broker.may_will(&Identity::ANONYMOUS, "c", topic), expected, "{topic:?}");
        }
    }

    #[test]
    fn decisions_are_right_and_stay_so() {
        let acl = Arc::new(Acl::parse("pattern write a/%c/+\npattern deny a/c/7").expect("rules"));
        let identity = Identity::ANONYMOUS;
        let mut permits = Permits { acl, identity, last: None, decisions: TopicMemo::default() };
        for round in 0..2 {
            for number in 0..2000 {
                let (own, other) = (format!("a/c/{number}"), format!("a/d/{number}"));
                for _ in 0..2 {
                    let topic = Topic::new(&own).expect("a topic");
                    assert_eq!(permits.may_publish("c", topic), number != 7, "{round} {own}");
                }
                assert!(!permits.may_publish("c", Topic::new(&other).expect("a topic")));
            }
        }
    }
}
