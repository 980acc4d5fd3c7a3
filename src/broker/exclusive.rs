//! Subscriptions that one client at a time may have, in the whole cluster: `$exclusive/FILTER`.
//!
//! Who has one is a claim in a replicated set, by filter. Where two clients were granted one on two nodes, at once or on
//! the two sides of a partition, the later claim stays. The other client loses the subscription, and its connection is
//! closed with 0x97, for there is no other way to tell it: what it gets when it subscribes again tells it the rest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::Broker;
use super::client::{Client, Close, Subscriber};
use crate::topic::{SubscriptionFilter, TopicFilter};

const PREFIX: &str = "$exclusive/";

/// What clients of this node have claimed.
#[derive(Debug, Default)]
pub struct Exclusive {
    /// Whether there is such a thing.
    on: bool,
    /// The holder of each filter. Held for one look-up, and no other lock is taken under it.
    holders: Mutex<HashMap<TopicFilter, Arc<Client>>>,
    /// Claims of clients of this node that others have overtaken, and that a tick has to end.
    lost: Mutex<Vec<TopicFilter>>,
}

/// Another client has the subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held;

impl Exclusive {
    /// Nobody has claimed anything.
    pub fn new(on: bool) -> Exclusive {
        Exclusive { on, ..Exclusive::default() }
    }

    /// The filter that a text asks for, and whether it is to be exclusive.
    pub fn split<'a>(&self, text: &'a str) -> (&'a str, bool) {
        match text.strip_prefix(PREFIX).filter(|_| self.on) {
            Some(filter) => (filter, true),
            None => (text, false),
        }
    }

    /// A client of another node has claimed what one of this node's had.
    pub fn handle_lost(&self, filter: TopicFilter) {
        self.lost.lock().push(filter);
    }

    /// Reserves the filter among the clients of this node. Returns whether that is news.
    fn reserve(&self, filter: &TopicFilter, client: &Arc<Client>) -> Result<bool, Held> {
        match self.holders.lock().entry(filter.clone()) {
            Entry::Occupied(holder) if Arc::ptr_eq(holder.get(), client) => Ok(false),
            Entry::Occupied(_) => Err(Held),
            Entry::Vacant(place) => {
                place.insert(client.clone());
                Ok(true)
            }
        }
    }

    /// Ends a reservation of the client. Returns whether there was one.
    fn remove(&self, filter: &TopicFilter, client: &Arc<Client>) -> bool {
        let mut holders = self.holders.lock();
        let is_holder = holders.get(filter).is_some_and(|holder| Arc::ptr_eq(holder, client));
        if is_holder {
            holders.remove(filter);
        }
        is_holder
    }
}

impl Broker {
    /// Claims the filter for a client, if no client of a live node has it.
    pub(super) fn claim_exclusive(
        &self,
        filter: &TopicFilter,
        client: &Arc<Client>,
        now: Instant,
    ) -> Result<(), Held> {
        let new = self.exclusive.reserve(filter, client)?;
        let claimed =
            self.cluster.get().is_none_or(|cluster| cluster.claim_exclusive(filter, client.id(), now));
        if !claimed && new {
            self.exclusive.remove(filter, client);
        }
        if claimed { Ok(()) } else { Err(Held) }
    }

    /// The client has not this subscription any more; gives back its claim, if it had one.
    pub(super) fn release_exclusive(&self, filter: &SubscriptionFilter, client: &Arc<Client>, now: Instant) {
        if self.exclusive.on
            && filter.share.is_none()
            && self.exclusive.remove(&filter.filter, client)
            && let Some(cluster) = self.cluster.get()
        {
            cluster.release_exclusive(&filter.filter, now);
        }
    }

    /// The client's session has come from another node: so do its claims.
    pub(super) fn adopt_exclusive(&self, client: &Arc<Client>, now: Instant) {
        let Some(cluster) = self.cluster.get().filter(|_| self.exclusive.on) else { return };
        for filter in plain_filters(client) {
            if cluster.move_exclusive(&filter, client.id(), now) {
                self.exclusive.holders.lock().insert(filter, client.clone());
            }
        }
    }

    /// The client's session goes on at another node, which has its claims: they are not given back here.
    pub(super) fn hand_over_exclusive(&self, client: &Arc<Client>) {
        if self.exclusive.on {
            for filter in plain_filters(client) {
                self.exclusive.remove(&filter, client);
            }
        }
    }

    /// Ends the subscriptions whose claims were lost.
    pub(super) fn end_lost_exclusive(&self, now: Instant) {
        for filter in std::mem::take(&mut *self.exclusive.lost.lock()) {
            let Some(client) = self.exclusive.holders.lock().remove(&filter) else { continue };
            self.metrics.exclusive_lost.inc();
            let filter = SubscriptionFilter { share: None, filter };
            let changing = client.change_subscriptions();
            let mut state = client.lock();
            let had = state.record.subscriptions.remove(&filter).is_some();
            if let Some(attachment) = &state.attachment {
                attachment.signal.close(Close::SubscriptionLost);
            }
            drop(state);
            if had {
                self.unroute(&filter, &Subscriber(client.clone()));
                self.remove_interest([&filter], now);
            }
            drop(changing);
            self.announce_subscriptions(&client, &[filter], now);
        }
    }
}

/// The client's subscriptions that are not shared: only these can be exclusive.
fn plain_filters(client: &Client) -> Vec<TopicFilter> {
    let state = client.lock();
    let plain = state.record.subscriptions.keys().filter(|filter| filter.share.is_none());
    plain.map(|filter| filter.filter.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::session_record::SessionRecord;
    use crate::session::Session;

    #[test]
    fn the_prefix_is_one_only_where_there_is_such_a_thing() {
        assert_eq!(Exclusive::new(true).split("$exclusive/a/b"), ("a/b", true));
        assert_eq!(Exclusive::new(true).split("$exclusive"), ("$exclusive", false));
        assert_eq!(Exclusive::new(false).split("$exclusive/a"), ("$exclusive/a", false));
    }

    #[test]
    fn one_client_at_a_time() {
        let client = |id| Arc::new(Client::new(id, Session::new(Arc::default()), SessionRecord::default()));
        let (exclusive, a, b) = (Exclusive::new(true), client("a"), client("b"));
        let filter = TopicFilter::parse("x").unwrap();
        assert_eq!(exclusive.reserve(&filter, &a), Ok(true));
        assert_eq!(exclusive.reserve(&filter, &a), Ok(false));
        assert_eq!(exclusive.reserve(&filter, &b), Err(Held));
        assert!(!exclusive.remove(&filter, &b));
        assert!(exclusive.remove(&filter, &a));
        assert_eq!(exclusive.reserve(&filter, &b), Ok(true));
    }
}
