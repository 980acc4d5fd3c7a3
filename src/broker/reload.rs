//! What changes while clients are connected: limits, users and rules.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::client::{Client, Close, Subscriber};
use super::template::Names;
use super::{Broker, Limits};
use crate::access::AccessConfig;
use crate::topic::SubscriptionFilter;

impl Broker {
    /// Grants this to clients that connect from now on. What is sized once, at the start, stays as it is: the memory for
    /// clients that connect, and the strategy of shared subscriptions.
    pub fn replace_limits(&self, limits: Limits) {
        self.slow.set_threshold(limits.slow_subscriber_threshold);
        *self.limits.write() = Arc::new(limits);
    }

    /// Lets this decide from now on: about clients that connect, and about what all of them publish and subscribe to. What
    /// they are subscribed to already is for [`Broker::end_forbidden_subscriptions`].
    pub fn replace_access(&self, config: AccessConfig) {
        let mut access = self.access.write();
        *access = Arc::new(access.successor(config));
        drop(access);
        self.rules.fetch_add(1, Ordering::Release);
    }

    /// Ends the subscriptions that the rules do not allow, whoever has granted them; gives their number. Their clients are
    /// disconnected, for there is no other way to tell them. It looks at every session, and takes its time.
    pub fn end_forbidden_subscriptions(&self) -> usize {
        self.registry.clients().map(|client| self.end_forbidden(&client, Instant::now())).sum()
    }

    fn end_forbidden(&self, client: &Arc<Client>, now: Instant) -> usize {
        // Whoever subscribes meanwhile has asked the former rules and is done, or will ask the present ones.
        let changing = client.change_subscriptions();
        let given = self.given_filters(client);
        let filters: Vec<SubscriptionFilter> = client.lock().record.subscriptions.keys().cloned().collect();
        let is_forbidden =
            |it: &SubscriptionFilter| !given.contains(it) && !self.may_subscribe(client, &it.filter);
        let forbidden: Vec<SubscriptionFilter> = filters.into_iter().filter(is_forbidden).collect();
        if forbidden.is_empty() {
            return 0;
        }
        let subscriber = Subscriber(client.clone());
        for filter in &forbidden {
            let mut state = client.lock();
            if filter.share.is_none() {
                state.record.owed_retained.forget(&filter.filter);
            }
            state.record.subscriptions.remove(filter);
            drop(state);
            self.unroute(filter, &subscriber);
            self.release_exclusive(filter, client, now);
        }
        self.remove_interest(&forbidden, now);
        drop(changing);
        if let Some(attachment) = &client.lock().attachment {
            attachment.signal.close(Close::Forbidden);
        }
        self.announce_subscriptions(client, &forbidden, now);
        forbidden.len()
    }

    /// What the client is subscribed to because the operator wants it, whatever the rules say.
    fn given_filters(&self, client: &Client) -> HashSet<SubscriptionFilter> {
        if self.auto_subscribe.is_empty() {
            return HashSet::new();
        }
        let identity = client.lock().record.identity.clone();
        let names = Names { client_id: client.id(), user_name: identity.username() };
        let filters = self.auto_subscribe.iter().filter_map(|each| each.filter(names));
        filters.filter_map(|text| Some(self.requested_filter(client, &text).ok()?.0)).collect()
    }
}
