//! One page of a long list.

use std::collections::{BTreeMap, BinaryHeap};

use super::cursor::Cursor;
use super::view::{RetainedPage, RetainedView, RouteView, RoutesPage};
use crate::topic::TopicFilter;

/// Which routes are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutesQuery {
    /// Only this filter.
    pub filter: Option<String>,
    /// Only filters that this node wants.
    pub node: Option<String>,
    /// Only filters sorted behind this one.
    pub after: Option<String>,
    /// Most routes on the page.
    pub limit: usize,
}

impl Default for RoutesQuery {
    /// The first page of all routes.
    fn default() -> Self {
        RoutesQuery { filter: None, node: None, after: None, limit: RoutesQuery::DEFAULT_LIMIT }
    }
}

impl RoutesQuery {
    /// Routes on a page where the request does not say.
    pub const DEFAULT_LIMIT: usize = 100;
    /// Most routes on a page, whatever the request says.
    pub const MAX_LIMIT: usize = 1000;

    /// Whether a route with this filter can be on the page: spares finding out its nodes.
    pub fn admits(&self, filter: &str) -> bool {
        self.filter.as_deref().is_none_or(|wanted| wanted == filter)
            && self.after.as_deref().is_none_or(|after| filter > after)
    }

    /// Takes the page out of all routes, each filter given once, in any order. Keeps no more than a page of them.
    pub fn page(&self, routes: impl IntoIterator<Item = RouteView>) -> RoutesPage {
        let mut first: BinaryHeap<RouteView> = BinaryHeap::new();
        let mut more = false;
        for route in routes {
            let wanted = self.node.as_ref().is_none_or(|node| route.nodes.contains(node));
            if !wanted || !self.admits(&route.filter) {
                continue;
            }
            first.push(route);
            if first.len() > self.limit.max(1) {
                first.pop();
                more = true;
            }
        }
        let routes = first.into_sorted_vec();
        let next = routes.last().filter(|_| more).map(|last| Cursor(last.filter.clone()).encode());
        RoutesPage { routes, next }
    }
}

/// Which retained messages are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedQuery {
    /// Only those that this filter matches; without one, all.
    pub filter: Option<TopicFilter>,
    /// Only topics sorted behind this one.
    pub after: Option<String>,
    /// Most messages on the page.
    pub limit: usize,
}

impl RetainedQuery {
    /// Whether a message with this topic can be on the page that has these already, one more than it takes at most.
    pub fn admits(&self, topic: &str, page: &BTreeMap<String, RetainedView>) -> bool {
        self.after.as_deref().is_none_or(|after| topic > after)
            && (page.len() <= self.limit
                || page.last_key_value().is_some_and(|(last, _)| topic < last.as_str()))
    }

    /// Puts an admitted message where it belongs.
    pub fn take(&self, message: RetainedView, page: &mut BTreeMap<String, RetainedView>) {
        page.insert(message.topic.clone(), message);
        if page.len() > self.limit + 1 {
            page.pop_last();
        }
    }

    /// The page, when all messages have been looked at.
    pub fn page(&self, mut page: BTreeMap<String, RetainedView>) -> RetainedPage {
        let more = page.len() > self.limit && page.pop_last().is_some();
        let next = page.last_key_value().filter(|_| more).map(|(last, _)| Cursor(last.clone()).encode());
        RetainedPage { retained: page.into_values().collect(), next }
    }
}
