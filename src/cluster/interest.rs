//! What this node's subscribers want, as elements of the replicated set: the first subscriber of a filter adds its
//! route, the last one removes it.

use std::collections::HashMap;
use std::time::Instant;

use rumormq_gossip::{Node, SetId};

use crate::topic::TopicFilter;

/// The replicated set of routes. Its keys are filters as text, its values the number of members, which only groups of
/// shared subscriptions have.
pub const ROUTES: SetId = SetId(0);

/// The sets of a cluster by name, in the order of their [`SetId`]s.
pub const SETS: [&str; 1] = ["routes"];

/// A route of a filter that is not shared has one member.
const ONE_MEMBER: &[u8] = &[1];

/// Counts the local subscribers of each filter. It is kept under the same lock as the replicated sets, so that the
/// order in which subscribers come and go does not matter.
#[derive(Debug, Default)]
pub struct Interest {
    subscribers: HashMap<TopicFilter, usize>,
}

impl Interest {
    /// One more local subscriber.
    pub fn add(&mut self, node: &mut Node, filter: &TopicFilter, now: Instant) {
        let count = self.subscribers.entry(filter.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            node.insert(ROUTES, filter.as_str().as_bytes(), ONE_MEMBER, now);
        }
    }

    /// The sequence number of the filter's route, whoever created it: when every peer has applied it, the filter is
    /// routed.
    pub fn route(&self, node: &Node, filter: &TopicFilter) -> Option<u64> {
        node.dot(ROUTES, filter.as_str().as_bytes())
    }

    /// One subscriber less.
    pub fn remove(&mut self, node: &mut Node, filter: &TopicFilter, now: Instant) {
        let Some(count) = self.subscribers.get_mut(filter) else { return };
        *count -= 1;
        if *count == 0 {
            self.subscribers.remove(filter);
            node.remove(ROUTES, filter.as_str().as_bytes(), now);
        }
    }
}

/// The filter that a route's key stands for; none where a peer of a later version has keys of another kind.
pub fn filter_of(key: &[u8]) -> Option<TopicFilter> {
    TopicFilter::parse(std::str::from_utf8(key).ok()?).ok()
}
