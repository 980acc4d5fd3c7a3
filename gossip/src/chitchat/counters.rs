use std::sync::atomic::{AtomicU64, Ordering};

use super::sizes::Sizes;
use crate::seal::Rejections;

/// What the membership counts, for metrics. All of them only grow.
#[derive(Debug, Default)]
pub struct GossipCounters {
    rejected: Rejections,
    incoming: Sizes,
    outgoing: Sizes,
    send_dropped: AtomicU64,
    members_refused: AtomicU64,
    restarts: AtomicU64,
}

impl GossipCounters {
    /// Datagrams and messages refused, by reason.
    pub fn rejected(&self) -> &Rejections {
        &self.rejected
    }

    /// Datagrams received, refused ones included.
    pub fn incoming(&self) -> &Sizes {
        &self.incoming
    }

    /// Datagrams sent.
    pub fn outgoing(&self) -> &Sizes {
        &self.outgoing
    }

    /// Datagrams that the socket did not take: its buffer was full, or there was no way to their destination.
    pub fn send_dropped(&self) -> u64 {
        self.send_dropped.load(Ordering::Relaxed)
    }

    /// How often a member was mentioned that is not let in because the cluster is full, or whose name is none.
    pub fn members_refused(&self) -> u64 {
        self.members_refused.load(Ordering::Relaxed)
    }

    /// How often chitchat died of what it was fed, and was started anew.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(super) fn received(&self, len: usize) {
        self.incoming.count_one(len);
    }

    pub(super) fn sent(&self, len: usize) {
        self.outgoing.count_one(len);
    }

    pub(super) fn not_sent(&self) {
        self.send_dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, members: u64) {
        self.members_refused.fetch_add(members, Ordering::Relaxed);
    }

    pub(super) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }
}
