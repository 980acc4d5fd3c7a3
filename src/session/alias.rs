//! Topic aliases that a client has set on its connection (3.3.2.3.4).

use std::num::NonZeroU16;

/// Alias to topic, for one direction of one connection [MQTT-3.3.2-7].
#[derive(Debug, Default)]
pub struct TopicAliases {
    topics: Vec<Option<Box<str>>>,
}

/// The alias is above the maximum, or stands for nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidAlias;

impl TopicAliases {
    /// Sets `alias`, which must not exceed `maximum` [MQTT-3.3.2-9].
    pub fn set(&mut self, alias: NonZeroU16, topic: &str, maximum: u16) -> Result<(), InvalidAlias> {
        if alias.get() > maximum {
            return Err(InvalidAlias);
        }
        let at = usize::from(alias.get()) - 1;
        if self.topics.len() <= at {
            self.topics.resize(at + 1, None);
        }
        self.topics[at] = Some(topic.into());
        Ok(())
    }

    /// The topic that `alias` stands for.
    pub fn topic(&self, alias: NonZeroU16) -> Result<&str, InvalidAlias> {
        self.topics.get(usize::from(alias.get()) - 1).and_then(|topic| topic.as_deref()).ok_or(InvalidAlias)
    }
}
