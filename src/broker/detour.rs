//! Publishes that are not simply delivered to the topic they name: a rule renames it, it is to wait, or it is the
//! broker's own.

use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use super::client::Client;
use super::delayed;
use super::rewrite::{RewriteCache, Rewritten};
use super::system;
use super::template::Names;
use crate::codec::packet::ReasonCode;
use crate::topic::Topic;

/// Where and when a publish is to be delivered.
#[derive(Debug)]
pub(super) struct Detour {
    topic: Arc<str>,
    /// How long it is to wait.
    pub delay: Option<Duration>,
}

impl Detour {
    /// The topic to deliver to.
    pub fn topic(&self) -> Option<Topic<'_>> {
        Topic::new(&self.topic).ok()
    }
}

impl Broker {
    /// Whether a publish to this topic may take a [`Broker::detour`].
    #[inline]
    pub(super) fn may_detour(&self, topic: Topic<'_>) -> bool {
        topic.is_system() | self.rewrite.concerns_publishes()
    }

    /// Where a publish goes; none if it goes to the topic it names. The error is its acknowledgement's reason code, and
    /// is counted.
    #[cold]
    pub(super) fn detour(
        &self,
        client: &Client,
        topic: Topic<'_>,
        cache: &mut RewriteCache,
    ) -> Result<Option<Detour>, ReasonCode> {
        let refuse = |label: &str, reason: ReasonCode| {
            self.metrics.messages_dropped.with_label_values(&[label]).inc();
            reason
        };
        let invalid = || refuse("topic_invalid", ReasonCode::TopicNameInvalid);
        let (delay, named) = match self.delayed.is_on() {
            true => delayed::split(topic).map_err(|_| invalid())?,
            false => (None, topic),
        };
        let renamed = match self.rewrite.concerns_publishes() {
            true => cache.look_up(named, || {
                let identity = client.lock().record.identity.clone();
                self.rewrite.topic(named, Names { client_id: client.id(), user_name: identity.username() })
            }),
            false => Rewritten::Same,
        };
        let detour = match (renamed, delay) {
            (Rewritten::Same, None) => None,
            (Rewritten::Same, delay) => Some(Detour { topic: named.as_str().into(), delay }),
            (Rewritten::To(topic), delay) => Some(Detour { topic, delay }),
            (Rewritten::Unfit, _) => return Err(invalid()),
        };
        let destination = detour.as_ref().map_or(Some(topic), Detour::topic).ok_or_else(invalid)?;
        if destination.levels().next() == Some(system::ROOT) {
            return Err(refuse("system_topic", ReasonCode::NotAuthorized));
        }
        Ok(detour)
    }
}
