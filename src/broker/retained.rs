//! Retained messages of this node, bounded in number and bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::Limits;
use crate::message::{Application, Message};
use crate::router::Retained;
use crate::topic::{Topic, TopicFilter};

/// The retained message of each topic.
pub struct RetainedMessages {
    messages: Retained<Arc<Message>>,
    bytes: AtomicUsize,
}

/// One more would exceed the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedFull;

impl RetainedMessages {
    /// None.
    pub fn new() -> RetainedMessages {
        RetainedMessages { messages: Retained::new(), bytes: AtomicUsize::new(0) }
    }

    /// Replaces the topic's message, or clears it where the payload is empty [MQTT-3.3.1-5, MQTT-3.3.1-6].
    pub fn retain(&self, application: &Application<'_>, limits: &Limits) -> Result<(), RetainedFull> {
        let topic = application.topic;
        if application.payload.is_empty() {
            self.remove(topic);
            return Ok(());
        }
        let message = Arc::new(application.to_message());
        // Publishes at the same moment may exceed the limits by as many messages.
        let known = self.messages.message(topic).map_or(0, |known| known.size());
        let bytes = (self.bytes.load(Ordering::Relaxed) + message.size()).saturating_sub(known);
        if bytes > limits.max_retained_bytes
            || (known == 0 && self.messages.len() >= limits.max_retained_messages)
        {
            return Err(RetainedFull);
        }
        self.bytes.fetch_add(message.size(), Ordering::Relaxed);
        self.forget(self.messages.insert(topic, message));
        Ok(())
    }

    /// Those whose topic matches and whose expiry has not passed. The others are removed.
    pub fn matching(&self, filter: &TopicFilter, now: Instant) -> Vec<Arc<Message>> {
        let found = self.messages.matching(filter, usize::MAX);
        let (expired, live): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(_, message)| message.is_expired(now));
        for (topic, _) in expired {
            if let Ok(topic) = Topic::new(&topic) {
                self.remove(topic);
            }
        }
        live.into_iter().map(|(_, message)| message).collect()
    }

    /// Whether this is still its topic's message.
    pub fn is_current(&self, message: &Arc<Message>) -> bool {
        let current = Topic::new(message.topic()).ok().and_then(|topic| self.messages.message(topic));
        current.is_some_and(|current| Arc::ptr_eq(&current, message))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Bytes of them.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn remove(&self, topic: Topic<'_>) {
        self.forget(self.messages.remove(topic));
    }

    fn forget(&self, former: Option<Arc<Message>>) {
        if let Some(former) = former {
            self.bytes.fetch_sub(former.size(), Ordering::Relaxed);
        }
    }
}
