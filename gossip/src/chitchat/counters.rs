use std::sync::atomic::{AtomicU64, Ordering};

use crate::seal::Rejections;

/// What the membership counts, for metrics. All of them only grow.
#[derive(Debug, Default)]
pub struct GossipCounters {
    rejected: Rejections,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    datagrams_in: AtomicU64,
    datagrams_out: AtomicU64,
    send_dropped: AtomicU64,
    members_refused: AtomicU64,
    restarts: AtomicU64,
}

impl GossipCounters {
    /// Datagrams and messages refused, by reason.
    pub fn rejected(&self) -> &Rejections {
        &self.rejected
    }

    /// Bytes of datagrams received, refused ones included.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes of datagrams sent.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Datagrams received, refused ones included.
    pub fn datagrams_in(&self) -> u64 {
        self.datagrams_in.load(Ordering::Relaxed)
    }

    /// Datagrams sent.
    pub fn datagrams_out(&self) -> u64 {
        self.datagrams_out.load(Ordering::Relaxed)
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
        self.datagrams_in.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, len: usize) {
        self.datagrams_out.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(len as u64, Ordering::Relaxed);
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
