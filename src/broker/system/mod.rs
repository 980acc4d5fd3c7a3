//! What the broker itself says, below `$SYS`.
//!
//! `$SYS/broker/...` are Mosquitto's names, with values of this node: only subscribers of this node get them.
//! `$SYS/brokers/NODE/...` are EMQX's, and bear the node's name: they are published like any other message, so that
//! subscribers get those of every node. None of them is a retained message: what a new subscriber gets is looked up when
//! it subscribes.

mod counts;
mod events;
mod load;
mod values;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Broker;
use super::batch::Batch;
use super::client::Client;
use crate::codec::packet::{PropertySet, QoS};
use crate::message::Application;
use crate::session::frames::Frames;
use crate::session::{Delivered, Delivery};
use crate::topic::{SubscriptionFilter, Topic, TopicFilter};
use load::Loads;
use values::Values;

/// The first level of the broker's own topics.
pub const ROOT: &str = "$SYS";

/// The values below `$SYS`, and when they were looked up.
pub struct SystemTopics {
    /// Time between two looks; zero for never.
    interval: Duration,
    started: Instant,
    /// Taken under no other lock, and held while values are looked up: who subscribes in between waits for them.
    state: Mutex<State>,
}

struct State {
    /// When the values are to be published next.
    next: Instant,
    loads: Loads,
    clients_maximum: usize,
    /// The latest values, with the time of the look.
    values: Option<(Instant, Arc<Values>)>,
}

impl SystemTopics {
    /// Values that are published every `interval`; for zero, there are none.
    pub fn new(interval: Duration) -> SystemTopics {
        let started = Instant::now();
        let state =
            State { next: started + interval, loads: Loads::default(), clients_maximum: 0, values: None };
        SystemTopics { interval, started, state: Mutex::new(state) }
    }
}

/// Whether a filter asks for topics of the broker's own, and for no others.
pub fn is_system(filter: &TopicFilter) -> bool {
    filter.literal_prefix().next() == Some(ROOT)
}

impl Broker {
    /// Publishes the values when their time has come.
    pub(super) fn publish_system(&self, batch: &mut Batch) {
        let system = &self.system;
        let mut state = system.state.lock();
        if system.interval.is_zero() || state.next > batch.now {
            return;
        }
        state.next = batch.now + system.interval;
        let counts = self.counts();
        state.loads.handle_counts(&counts, batch.now);
        state.clients_maximum = state.clients_maximum.max(counts.clients);
        if !self.router.has_system_filters() {
            return;
        }
        let values = self.look_up_values(&mut state, counts, batch.now);
        drop(state);
        for (topic, value) in values.of_node() {
            self.say(topic, value, batch, |application, batch| {
                let matches = self.router.matches(application.topic, None);
                self.deliver(application, None, &matches, batch);
            });
        }
        for (topic, value) in values.of_cluster() {
            self.say(topic, value, batch, |application, batch| {
                let matches = self.router.matches(application.topic, None);
                self.publish(application, &matches, None, None, None, batch);
            });
        }
    }

    /// Sends a new subscription the values that it matches, as retained messages would be [MQTT-3.3.1-9].
    pub(super) fn send_system(
        &self,
        client: &Arc<Client>,
        epoch: u64,
        filter: &TopicFilter,
        batch: &mut Batch,
    ) {
        if self.system.interval.is_zero() {
            return;
        }
        let mut state = self.system.state.lock();
        let fresh = |at: Instant| batch.now.saturating_duration_since(at) < self.system.interval;
        let values = match &state.values {
            Some((at, values)) if fresh(*at) => values.clone(),
            _ => {
                let counts = self.counts();
                self.look_up_values(&mut state, counts, batch.now)
            }
        };
        drop(state);
        let key = SubscriptionFilter { share: None, filter: filter.clone() };
        for (topic, value) in values.of_node().chain(values.of_cluster()) {
            if !Topic::new(topic).is_ok_and(|topic| filter.matches(topic)) {
                continue;
            }
            self.say(topic, value, batch, |application, batch| {
                let mut state = client.lock();
                let Some(subscription) =
                    state.record.subscriptions.get(&key).copied().filter(|_| state.epoch == epoch)
                else {
                    return;
                };
                let mut scratch = std::mem::take(&mut batch.scratch);
                let mut frames = Frames::new(application, &mut scratch, batch.now);
                let identifiers = subscription.identifier.as_slice();
                let delivery = Delivery { qos: subscription.qos, retain: true, identifiers, ticket: None };
                let delivered = state.session.deliver(&mut frames, delivery);
                batch.scratch = scratch;
                let touch = delivered == Delivered::Sent && state.touch();
                drop(state);
                batch.count_delivered(delivered, QoS::AtMostOnce);
                if touch {
                    batch.touched.push(client.clone());
                }
            });
        }
    }

    fn look_up_values(&self, state: &mut State, counts: counts::Counts, now: Instant) -> Arc<Values> {
        state.clients_maximum = state.clients_maximum.max(counts.clients);
        let uptime = now.saturating_duration_since(self.system.started);
        let values = Arc::new(self.values(&counts, state.clients_maximum, &state.loads, uptime));
        state.values = Some((now, values.clone()));
        values
    }

    /// Calls `deliver` with a message of the broker's own.
    fn say(
        &self,
        topic: &str,
        payload: &str,
        batch: &mut Batch,
        deliver: impl FnOnce(&Application<'_>, &mut Batch),
    ) {
        let Ok(topic) = Topic::new(topic) else { return };
        let application = Application {
            topic,
            payload: payload.as_bytes(),
            backing: None,
            qos: QoS::AtMostOnce,
            retain: false,
            properties: &PropertySet::EMPTY,
            expires_at: None,
        };
        deliver(&application, batch);
    }
}
