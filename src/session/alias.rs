//! Topic aliases that a client has set on its connection (3.3.2.3.4).

use std::num::NonZeroU16;

/// Alias to topic, for one direction of one connection [MQTT-3.3.2-7].
#[derive(Debug, Default)]
pub struct TopicAliases {
    topics: Vec<Option<Box<str>>>,
}

impl TopicAliases {
    /// Sets `alias`, whose range the caller has checked: there is room for as many as the highest one set.
    pub fn set(&mut self, alias: NonZeroU16, topic: &str) {
        let at = usize::from(alias.get()) - 1;
        if self.topics.len() <= at {
            self.topics.resize(at + 1, None);
        }
        self.topics[at] = Some(topic.into());
    }

    /// The topic that `alias` stands for, if it was set.
    pub fn topic(&self, alias: NonZeroU16) -> Option<&str> {
        self.topics.get(usize::from(alias.get()) - 1)?.as_deref()
    }
}
