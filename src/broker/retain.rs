//! What publishes do to retained messages.

use std::time::Instant;

use rumormq_gossip::{Entry, Stamp};

use super::Broker;
use super::retained::value::{self, Summary};
use crate::cluster::Retained;
use crate::cluster::host::{Arrival, HybridTime};
use crate::message::Application;
use crate::topic::{Topic, TopicFilter};

impl Broker {
    /// Makes the message its topic's retained one, if it is to be retained, or clears that, if it is empty [MQTT-3.3.1-5,
    /// MQTT-3.3.1-6]. To be called before its subscribers are looked up: whoever subscribes in between then gets it one way
    /// or the other.
    #[inline]
    pub(super) fn retain(&self, application: &Application<'_>, now: Instant) -> Option<Retained> {
        if application.retain { self.set_retained(application, now) } else { None }
    }

    #[cold]
    fn set_retained(&self, application: &Application<'_>, now: Instant) -> Option<Retained> {
        let topic = application.topic;
        let value = (!application.payload.is_empty()).then(|| value::write(application, now));
        let fits = value.as_ref().is_none_or(|value| {
            let has_room = || self.retained.has_room(topic, value.len(), &self.limits());
            has_room() || {
                // What has expired makes room.
                self.tidy_retained(now);
                has_room()
            }
        });
        if !fits {
            // Who is subscribed gets it all the same.
            self.metrics.messages_dropped.with_label_values(&["retained_full"]).inc();
            if !self.retained.contains(topic) {
                return None;
            }
        }
        // Where there is no room, the topic has no message from now on: the one it had is not the last one any more.
        let value = value.as_deref().filter(|_| fits);
        let Some(cluster) = self.cluster.get() else {
            self.retained.show(
                &Entry::new(topic.as_str().as_bytes(), value, Stamp::default()),
                Arrival::Published,
                HybridTime { now, stamp_ms: 0 },
            );
            return None;
        };
        Some(cluster.retain(topic.as_str(), value, self.retained.stamp(topic), now))
    }

    /// A forward has brought a message that was retained on another node with this stamp.
    #[cold]
    pub(super) fn retain_ahead(&self, application: &Application<'_>, stamp: Stamp, now: Instant) {
        let value = (!application.payload.is_empty()).then(|| value::write(application, now));
        let entry = Entry::new(application.topic.as_str().as_bytes(), value.as_deref(), stamp);
        self.retained.show_ahead(&entry, HybridTime::with_stamp(stamp, now));
    }

    /// Calls `visit` with every retained message that the filter matches, all without one, in no order and piece by piece,
    /// and with when it expires.
    pub fn for_each_retained(
        &self,
        filter: Option<&TopicFilter>,
        now: Instant,
        mut visit: impl FnMut(&Summary<'_>, Option<Instant>),
    ) {
        self.retained.for_each(filter, now, &mut visit);
    }

    /// Clears a topic's retained message, on all nodes. False if there is none. Who is subscribed is told nothing.
    pub fn clear_retained(&self, topic: Topic<'_>, now: Instant) -> bool {
        let there = self.retained.contains(topic);
        if there {
            match self.cluster.get() {
                Some(cluster) => drop(cluster.retain(topic.as_str(), None, self.retained.stamp(topic), now)),
                None => self.retained.hide(topic.as_str().as_bytes(), None),
            }
        }
        there
    }

    /// Does what is due with retained messages.
    pub(super) fn tidy_retained(&self, now: Instant) {
        if self.retained.has_outgrown(&self.limits()) {
            let (messages, bytes) = (self.retained.len(), self.retained.bytes());
            tracing::warn!(
                messages,
                bytes,
                "the nodes have taken more retained messages than one may; they are kept: raise max_retained_messages and max_retained_bytes, or \
                 clear some"
            );
        }
        let expired = self.retained.sweep(now);
        let overdue = self.retained.take_overdue(now);
        match self.cluster.get() {
            Some(cluster) => {
                if !expired.is_empty() {
                    cluster.expire_retained(&expired, now);
                }
                if !overdue.is_empty() {
                    cluster.show_retained_anew(&overdue, now);
                }
            }
            None => expired.iter().for_each(|entry| self.retained.hide(entry.key(), None)),
        }
    }
}
