//! Retained messages on their way to a new subscription [MQTT-3.3.1-9].
//!
//! They are in the store already, so nothing forces them into the subscriber's queue: they are sent as fast as the client
//! takes them, and until then only remembered.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Broker;
use super::batch::Batch;
use super::client::{Client, Subscriber};
use crate::message::Message;
use crate::router::Subscription;
use crate::session::frames::Frames;
use crate::session::{Delivered, Delivery, DropReason};
use crate::topic::TopicFilter;

/// What a client is still owed, oldest subscription first.
#[derive(Debug, Default)]
pub struct OwedRetained {
    messages: VecDeque<(Arc<RetainedFor>, Arc<Message>)>,
}

/// A subscription that retained messages are owed to.
#[derive(Debug)]
pub struct RetainedFor {
    /// Its filter.
    pub filter: TopicFilter,
    /// What it asked for.
    pub subscription: Subscription,
}

impl Broker {
    /// Owes the client what the subscription's filter matches now. A client is owed no more messages than the store may
    /// hold, however often it subscribes.
    pub(super) fn owe_retained(&self, client: &Client, to: RetainedFor, batch: &mut Batch) {
        let found = self.retained.matching(&to.filter, batch.now);
        if found.is_empty() {
            return;
        }
        let to = Arc::new(to);
        let mut state = client.lock();
        let owed = &mut state.record.owed_retained.messages;
        for message in found {
            if owed.len() < self.limits.max_retained_messages {
                owed.push_back((to.clone(), message));
            } else {
                batch.count_delivered(Delivered::Dropped(DropReason::QueueFull), to.subscription.qos);
            }
        }
        state.owes_retained = true;
    }

    /// Sends what the client is owed, as far as its connection takes it now. Goes on when its outbox has drained or an
    /// acknowledgement has come, for both of which its connection is woken.
    pub fn send_retained(&self, client: &Arc<Client>, epoch: u64, batch: &mut Batch) {
        while let Some((to, message)) = self.next_retained(client, epoch) {
            let mut scratch = std::mem::take(&mut batch.scratch);
            message.with_application(|application| {
                let mut frames = Frames::new(application, &mut scratch, batch.now);
                let delivery = Delivery {
                    qos: to.subscription.qos,
                    retain: true, // [MQTT-3.3.1-8] of 3.1.1
                    identifiers: to.subscription.identifier.as_slice(),
                };
                Subscriber(client.clone()).deliver(&mut frames, delivery, batch);
            });
            batch.scratch = scratch;
        }
    }

    fn next_retained(&self, client: &Client, epoch: u64) -> Option<(Arc<RetainedFor>, Arc<Message>)> {
        let mut state = client.lock();
        if state.epoch != epoch {
            return None;
        }
        loop {
            if !state.session.is_idle() {
                return None;
            }
            let record = &mut state.record;
            let Some((to, message)) = record.owed_retained.messages.pop_front() else {
                record.owed_retained = OwedRetained::default();
                state.owes_retained = false;
                return None;
            };
            // What has been replaced since came as a message of its own, and must not be followed by an older one.
            let wanted = record.subscriptions.contains_key(&to.filter);
            if wanted && self.retained.is_current(&message) {
                return Some((to, message));
            }
        }
    }
}
