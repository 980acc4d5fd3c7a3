//! Retained messages on their way to a new subscription [MQTT-3.3.1-9].
//!
//! They are in the store already, so nothing forces them into the subscriber's queue, or even to be looked for: what is
//! remembered is the filters. The subscriber's own connection looks for their messages, a piece at a time, and sends them
//! as fast as the client takes them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Broker;
use super::batch::Batch;
use super::client::{Client, ClientState};
use super::retained::{Search, value};
use crate::session::frames::Frames;
use crate::session::{Delivered, Delivery};
use crate::topic::TopicFilter;

/// What a client is still owed. A filter that is subscribed to again before its turn has come is owed once.
#[derive(Debug, Default)]
pub struct OwedRetained {
    /// Never more than the client has subscriptions.
    waiting: BTreeSet<TopicFilter>,
    /// The filter whose messages are being sent.
    current: Option<Box<(TopicFilter, Search)>>,
}

/// Filters without a wildcard, each of which finds one message at most, that are looked for in one go.
const FILTERS_A_TURN: usize = 64;

impl OwedRetained {
    /// The subscription is gone.
    pub fn forget(&mut self, filter: &TopicFilter) {
        self.waiting.remove(filter);
        if self.current.as_ref().is_some_and(|current| current.0 == *filter) {
            self.current = None;
        }
    }

    /// All of them.
    pub(super) fn filters(&self) -> Vec<TopicFilter> {
        let current = self.current.as_ref().map(|current| current.0.clone());
        self.waiting.iter().cloned().chain(current).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.current.is_none()
    }
}

impl ClientState {
    /// Owes the client what these filters match, and wakes the connection to look for it.
    pub fn owe_retained(&mut self, filters: Vec<TopicFilter>) {
        if filters.is_empty() {
            return;
        }
        self.record.owed_retained.waiting.extend(filters);
        self.owes_retained = true;
        self.wake_connection();
    }

    fn wake_connection(&self) {
        if let Some(attachment) = &self.attachment {
            attachment.signal.waker.wake();
        }
    }
}

impl Broker {
    /// Sends a piece of what the client is owed, as far as its connection takes it now. The connection is woken to go on:
    /// at once where it could take more, else when its outbox has drained. An acknowledgement it reads itself.
    pub fn send_retained(&self, client: &Arc<Client>, epoch: u64, batch: &mut Batch) {
        for _ in 0..FILTERS_A_TURN {
            let mut state = client.lock();
            if state.epoch != epoch || !state.session.is_idle() {
                return;
            }
            let owed = &mut state.record.owed_retained;
            let (current, next) = match owed.current.take() {
                Some(current) => (Some(current), None),
                None => (None, owed.waiting.pop_first()),
            };
            drop(state);
            let mut current = match (current, next) {
                (Some(current), _) => current,
                (None, Some(filter)) => Box::new((filter, self.retained.search())),
                (None, None) => break,
            };
            let (filter, search) = &mut *current;
            let last = filter.has_wildcards();
            self.retained.search_on(filter, search);
            self.send_found(client, epoch, filter, search, batch);
            if !put_back(client, epoch, current) || last {
                break;
            }
        }
        let mut state = client.lock();
        if state.epoch != epoch {
            return;
        }
        if state.record.owed_retained.is_empty() {
            state.record.owed_retained = OwedRetained::default();
            state.owes_retained = false;
        } else if state.session.is_idle() {
            state.wake_connection();
        }
    }

    /// Sends what a search has found.
    fn send_found(
        &self,
        client: &Arc<Client>,
        epoch: u64,
        filter: &TopicFilter,
        search: &mut Search,
        batch: &mut Batch,
    ) {
        loop {
            let mut state = client.lock();
            if state.epoch != epoch || !state.session.is_idle() {
                return;
            }
            let Some(subscription) = state.record.subscriptions.get(&filter.clone().into()).copied() else {
                return;
            };
            // Seen under the lock under which it is sent: what replaces the message is in the store before it is delivered,
            // so it comes behind.
            let Some(found) = self.retained.take_found(search, batch.now) else { return };
            let mut scratch = std::mem::take(&mut batch.scratch);
            let delivered = value::with_application(&found.entry, found.expires_at, |application| {
                let mut frames = Frames::new(application, &mut scratch, batch.now);
                let delivery = Delivery {
                    qos: subscription.qos,
                    retain: true, // [MQTT-3.3.1-8] of 3.1.1
                    identifiers: subscription.identifier.as_slice(),
                    ticket: None,
                };
                let qos = application.qos.min(subscription.qos);
                (state.session.deliver(&mut frames, delivery), qos)
            });
            batch.scratch = scratch;
            let Some((delivered, qos)) = delivered else { continue };
            let touch = delivered == Delivered::Sent && state.touch();
            drop(state);
            batch.count_delivered(delivered, qos);
            if touch {
                batch.touched.push(client.clone());
            }
        }
    }
}

/// Gives an unfinished search back to its client; false where it is another connection's now, which begins anew.
fn put_back(client: &Client, epoch: u64, current: Box<(TopicFilter, Search)>) -> bool {
    let mut state = client.lock();
    let here = state.epoch == epoch;
    let subscribed = state.record.subscriptions.contains_key(&current.0.clone().into());
    if !current.1.is_over() && subscribed && !state.record.ended {
        match here {
            true => state.record.owed_retained.current = Some(current),
            false => {
                state.owe_retained(vec![current.0]);
            }
        }
    }
    here
}
