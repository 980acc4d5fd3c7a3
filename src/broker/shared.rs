//! Shared subscriptions: a message goes to one member of the group, wherever in the cluster that is.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Broker;
use super::client::Subscriber;
use crate::router::Subscription;
use crate::topic::SubscriptionFilter;

impl Broker {
    /// Makes a subscription known to the router.
    pub(super) fn route(
        &self,
        filter: &SubscriptionFilter,
        subscriber: Subscriber,
        subscription: Subscription,
        connected: bool,
    ) {
        match &filter.share {
            None => self.router.subscribe(&filter.filter, subscriber, subscription),
            Some(name) => {
                let now_ms = wall_clock_ms();
                self.router.join(name, &filter.filter, subscriber, subscription, connected, now_ms)
            }
        };
    }

    /// Takes a subscription out of the router.
    pub(super) fn unroute(&self, filter: &SubscriptionFilter, subscriber: &Subscriber) {
        match &filter.share {
            None => self.router.unsubscribe(&filter.filter, subscriber),
            Some(name) => self.router.leave(name, &filter.filter, subscriber),
        };
    }
}

fn wall_clock_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
