//! What this node's subscribers want, as elements of the replicated set: the first subscriber of a filter adds its
//! route, the last one removes it; for the group of a shared subscription the route says how many members it has here.

use std::collections::HashMap;
use std::time::Instant;

use rumormq_gossip::{Node, Orphans, SetId, SetSpec};

use crate::router::Members;
use crate::topic::{SubscriptionFilter, TopicFilter};

/// The replicated set of routes. Its keys are filters as text, with `$share/NAME/` before them for a group; its values
/// [`Members`], which only groups have.
pub const ROUTES: SetId = SetId(0);

/// Who has the session of a client: its keys are client ids, and the claim of the highest stamp counts. What a node that is
/// gone had claimed goes with it.
pub const SESSIONS: SetId = SetId(1);

/// Retained messages by topic. They outlive the node that took them.
pub const RETAINED: SetId = SetId(2);

/// Who has an exclusive subscription: its keys are filters, its values client ids. What a node that is gone had claimed goes
/// with it.
pub const EXCLUSIVE: SetId = SetId(3);

/// The sets of a cluster, in the order of their [`SetId`]s.
pub const SETS: [SetSpec; 4] = [
    SetSpec::plain("routes"),
    SetSpec::stamped("sessions", Orphans::Dropped),
    SetSpec::stamped("retained", Orphans::Adopted),
    SetSpec::stamped("exclusive", Orphans::Dropped),
];

/// A route of a filter that is not shared has one member.
const ONE_MEMBER: &[u8] = &[1];

/// Counts the local subscribers of each filter. It is kept under the same lock as the replicated sets, so that the
/// order in which subscribers come and go does not matter.
#[derive(Debug, Default)]
pub struct Interest {
    subscribers: HashMap<TopicFilter, usize>,
    /// What the groups' routes say.
    groups: HashMap<SubscriptionFilter, Members>,
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

    /// One subscriber less.
    pub fn remove(&mut self, node: &mut Node, filter: &TopicFilter, now: Instant) {
        let Some(count) = self.subscribers.get_mut(filter) else { return };
        *count -= 1;
        if *count == 0 {
            self.subscribers.remove(filter);
            node.remove(ROUTES, filter.as_str().as_bytes(), now);
        }
    }

    /// A group has these members on this node now. To be asked of the router under the lock under which this is called:
    /// so the last word is the right one, whoever changes what at the same time.
    pub fn set_members(
        &mut self,
        node: &mut Node,
        share: &SubscriptionFilter,
        members: Members,
        now: Instant,
    ) {
        let key = share.to_string();
        if members.connected == 0 && members.offline == 0 {
            if self.groups.remove(share).is_some() {
                node.remove(ROUTES, key.as_bytes(), now);
            }
        } else if self.groups.insert(share.clone(), members) != Some(members) {
            // Writing to memory does not fail.
            let value = postcard::to_stdvec(&members).unwrap_or_default();
            node.insert(ROUTES, key.as_bytes(), &value, now);
        }
    }

    /// The sequence number of the filter's route, whoever created it: when every peer has applied it, the filter is
    /// routed.
    pub fn route(&self, node: &Node, filter: &SubscriptionFilter) -> Option<u64> {
        match &filter.share {
            None => node.dot(ROUTES, filter.filter.as_str().as_bytes()),
            Some(_) => node.dot(ROUTES, filter.to_string().as_bytes()),
        }
    }
}

/// The filter that a route's key stands for; none where a peer of a later version has keys of another kind.
pub fn filter_of(key: &[u8]) -> Option<SubscriptionFilter> {
    SubscriptionFilter::parse(std::str::from_utf8(key).ok()?).ok()
}

/// How many members a group's route says there are; none for other routes.
pub fn member_count(key: &str, value: &[u8]) -> Option<u32> {
    key.starts_with("$share/").then(|| members_of(value).total())
}

/// What the value of a group's route says; a peer's nonsense counts as no members.
pub fn members_of(value: &[u8]) -> Members {
    postcard::from_bytes(value).unwrap_or_default()
}
