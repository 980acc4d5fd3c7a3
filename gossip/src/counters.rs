//! What a node counts, from its start.

/// Monotonic counters. Those that end in "must stay 0" are alarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Deltas given to links.
    pub delta_sent: u64,
    /// Deltas that came from links.
    pub delta_received: u64,
    /// Deltas that moved a lane to a new sequence number.
    pub delta_applied: u64,
    /// Deltas kept until the rest of their interval is there.
    pub delta_staged: u64,
    /// Deltas that brought nothing new.
    pub delta_duplicate: u64,
    /// Deltas that came before the one they follow.
    pub delta_gap: u64,
    /// Waiting deltas that were dropped for want of room.
    pub delta_waiting_dropped: u64,
    /// Deltas refused because the lane would become too large.
    pub delta_too_large: u64,
    /// Requests sent.
    pub pulls_sent: u64,
    /// Lanes brought forward on request by their owner, by intervals.
    pub repair_range_origin: u64,
    /// The same by somebody else.
    pub repair_range_peer: u64,
    /// Lanes brought forward on request by their owner, with a bitmap of live dots.
    pub repair_snapshot_origin: u64,
    /// The same by somebody else.
    pub repair_snapshot_peer: u64,
    /// Copies found to differ from the owner's lane; must stay 0.
    pub divergence_detected: u64,
    /// Live members that did not acknowledge a change in time.
    pub settle_timeouts: u64,
    /// Acknowledgements passed on between nodes without a link.
    pub acks_relayed: u64,
    /// Lanes of older incarnations dropped because the newer one is complete.
    pub superseded: u64,
    /// Replicas dropped because they were dead too long.
    pub forgotten: u64,
    /// Tombstones that went before their time because there were too many.
    pub tombstones_early: u64,
    /// Replicas refused because there are too many.
    pub members_refused: u64,
    /// Messages about sets that this node does not have.
    pub unknown_set: u64,
    /// Messages that broke the protocol; must stay 0.
    pub messages_invalid: u64,
}
