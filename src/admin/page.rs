//! One page of a long list.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::cursor::Cursor;
use super::view::{
    ClientView, ClientsPage, RetainedPage, RetainedView, RouteView, RoutesPage, SlowSubscriberView,
    SlowSubscribersPage, SubscriptionView, SubscriptionsPage,
};
use crate::topic::TopicFilter;

/// Entries on a page where the request does not say.
pub const DEFAULT_LIMIT: usize = 100;
/// Most entries on a page, whatever the request says.
pub const MAX_LIMIT: usize = 1000;

/// Which part of a list is asked for. Lists are sorted bytewise by the keys of their entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Only entries sorted behind this key.
    pub after: Option<String>,
    /// Most entries on the page; at least one.
    pub limit: usize,
}

impl Default for Part {
    /// The first page.
    fn default() -> Self {
        Part { after: None, limit: DEFAULT_LIMIT }
    }
}

/// The first entries of a part, picked out of all of them in any order; no more are kept than are needed.
#[derive(Debug)]
pub struct FirstEntries<T> {
    part: Part,
    entries: BTreeMap<String, T>,
}

impl<T> FirstEntries<T> {
    /// None yet.
    pub fn of(part: &Part) -> FirstEntries<T> {
        FirstEntries { part: part.clone(), entries: BTreeMap::new() }
    }

    /// Whether an entry of this key can be on the page, as far as is known by now: spares making those that cannot.
    pub fn admits(&self, key: &str) -> bool {
        // One more than the page takes says that there is a next one.
        self.part.after.as_deref().is_none_or(|after| key > after)
            && (self.entries.len() <= self.part.limit.max(1)
                || self.entries.last_key_value().is_some_and(|(last, _)| key <= last.as_str()))
    }

    /// Whether more entries are of use, where they come in order.
    pub fn flow(&self) -> ControlFlow<()> {
        match self.entries.len() > self.part.limit.max(1) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// How many are kept: one more than the page takes, at most.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.entries.len()
    }

    /// Puts an entry where it belongs, in the place of an earlier one of the same key.
    pub fn insert(&mut self, key: String, entry: T) {
        if self.admits(&key) {
            self.entries.insert(key, entry);
            if self.entries.len() > self.part.limit.max(1) + 1 {
                self.entries.pop_last();
            }
        }
    }

    /// The entry of this key, if it is among them.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut T> {
        self.entries.get_mut(key)
    }

    /// The page, and what its next one comes behind if there is one.
    pub fn into_page(mut self) -> (Vec<T>, Option<String>) {
        let more = self.entries.len() > self.part.limit.max(1) && self.entries.pop_last().is_some();
        let next =
            self.entries.last_key_value().filter(|_| more).map(|(last, _)| Cursor(last.clone()).encode());
        (self.entries.into_values().collect(), next)
    }
}

/// Which routes are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutesQuery {
    /// Only this filter.
    pub filter: Option<String>,
    /// Only filters that this node wants.
    pub node: Option<String>,
    /// Which part of them.
    pub part: Part,
}

impl RoutesQuery {
    /// Whether a route with this filter may be on the page: spares finding out its nodes.
    pub fn admits(&self, filter: &str) -> bool {
        self.filter.as_deref().is_none_or(|wanted| wanted == filter)
    }

    /// Takes the page out of all routes, each filter given once, in any order.
    pub fn page(&self, routes: impl IntoIterator<Item = RouteView>) -> RoutesPage {
        let mut first = FirstEntries::of(&self.part);
        for route in routes {
            let wanted = self.node.as_ref().is_none_or(|node| route.nodes.contains(node));
            if wanted && self.admits(&route.filter) {
                first.insert(route.filter.clone(), route);
            }
        }
        let (routes, next) = first.into_page();
        RoutesPage { routes, next }
    }
}

/// Which retained messages are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetainedQuery {
    /// Only those that this filter matches; without one, all.
    pub filter: Option<TopicFilter>,
    /// Which part of them.
    pub part: Part,
}

impl From<FirstEntries<RetainedView>> for RetainedPage {
    fn from(first: FirstEntries<RetainedView>) -> RetainedPage {
        let (retained, next) = first.into_page();
        RetainedPage { retained, next }
    }
}

/// Which clients are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientsQuery {
    /// Only those whose identifier begins so.
    pub prefix: Option<String>,
    /// Only those of this user.
    pub username: Option<String>,
    /// Only those with a connection, or without.
    pub connected: Option<bool>,
    /// Which part of them.
    pub part: Part,
}

impl From<FirstEntries<ClientView>> for ClientsPage {
    fn from(first: FirstEntries<ClientView>) -> ClientsPage {
        let (clients, next) = first.into_page();
        ClientsPage { clients, next, missing: Vec::new() }
    }
}

/// Which slow subscribers are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowQuery {
    /// Only those that take so many milliseconds; without one, what the node's setting says, or a second.
    pub threshold_ms: Option<u64>,
    /// Which part of them.
    pub part: Part,
}

impl From<FirstEntries<SlowSubscriberView>> for SlowSubscribersPage {
    fn from(first: FirstEntries<SlowSubscriberView>) -> SlowSubscribersPage {
        let (slow_subscribers, next) = first.into_page();
        SlowSubscribersPage { slow_subscribers, next, missing: Vec::new() }
    }
}

/// Which subscriptions are asked for. Their key is made by [`SubscriptionsQuery::key`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionsQuery {
    /// Only those of this client.
    pub client: Option<String>,
    /// Only those to this filter, as it was subscribed to.
    pub filter: Option<String>,
    /// Which part of them.
    pub part: Part,
}

impl SubscriptionsQuery {
    /// What a subscription is sorted by: the client, then the filter. Neither has the character that is between them.
    pub fn key(client: &str, filter: &str) -> String {
        format!("{client}\0{filter}")
    }

    /// The client in such a key.
    pub fn client_of(key: &str) -> Option<&str> {
        key.split_once('\0').map(|(client, _)| client)
    }
}

impl From<FirstEntries<SubscriptionView>> for SubscriptionsPage {
    fn from(first: FirstEntries<SubscriptionView>) -> SubscriptionsPage {
        let (subscriptions, next) = first.into_page();
        SubscriptionsPage { subscriptions, next, missing: Vec::new() }
    }
}
