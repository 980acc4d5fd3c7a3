//! One page of a long list.

use std::collections::BinaryHeap;

use super::cursor::Cursor;
use super::view::{RouteView, RoutesPage};

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
