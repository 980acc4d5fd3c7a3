//! What can be set about a [`Node`](crate::Node), and what each setting costs.

use std::time::Duration;

use crate::lane::LaneLimits;

/// Times and limits. The defaults fit clusters of 3 to 50 nodes in one data centre and work up to 500.
#[derive(Clone, Debug)]
pub struct Config {
    /// Limits of every lane's copy.
    pub lane: LaneLimits,
    /// Size of one delta, in bytes; longer intervals go in pieces. Too small costs a round trip a piece, too large keeps
    /// other messages of the link waiting. An element that is larger travels alone.
    pub max_delta_bytes: usize,
    /// While a delta is on its way to a peer, further changes are collected for so long. Longer saves messages in bursts
    /// and delays the changes behind the first.
    pub coalesce: Duration,
    /// Deltas of one lane on their way to one peer; when it acknowledges none of them, changes are collected
    /// without limit of time, which costs no memory.
    pub max_in_flight: u32,
    /// Between two periodic messages to a linked peer: what was applied, and who answers whom. Bounds how late a lost
    /// message is noticed, and with [`evidence_window`](Config::evidence_window) how long a crashed node stays suspect.
    pub digest_interval: Duration,
    /// Every so many periodic messages, one names all lanes, not only the changed ones.
    pub full_digest_every: u64,
    /// A linked owner pushes its changes itself: so long its peers wait before they ask for them.
    pub push_grace: Duration,
    /// A delta that begins behind what is known waits so long for the one before.
    pub gap_wait: Duration,
    /// An unanswered request is repeated, to somebody else if possible. Shorter than a round trip asks twice.
    pub pull_timeout: Duration,
    /// Requests on their way to one peer. More load it, fewer make a joining node slow.
    pub max_pulls_per_peer: usize,
    /// A pong speaks for a peer so long.
    pub evidence_window: Duration,
    /// How long a change waits for the acknowledgement of a peer that answers pings.
    pub settle_timeout: Duration,
    /// How long it waits for one that does not.
    pub settle_timeout_silent: Duration,
    /// A node that is dead for so long is dropped. When it returns, it must begin a new lane.
    pub forget_after: Duration,
    /// What was cleared in a stamped set is remembered for so long, so that no older value comes back. Must exceed
    /// [`forget_after`](Config::forget_after): who returns within that brings all that it had. Longer costs memory for every clear.
    pub tombstone_ttl: Duration,
    /// What was [retired](crate::Node::retire) is remembered until every known replica has acknowledged it, and for so long
    /// after that, but no longer than `tombstone_ttl`.
    pub retired_ttl: Duration,
    /// Tombstones in a lane of this node; beyond it the oldest go early and are counted.
    pub max_tombstones: usize,
    /// An own entry that somebody else's has beaten is removed after so long: by then the winner should have reached
    /// whoever learns of the removal.
    pub prune_after: Duration,
    /// Who takes over what a dropped replica has written is settled by hash. If the first does not, for it may never have had
    /// it, the next one does so much later, and so on.
    pub adoption_patience: Duration,
    /// Up to so many live nodes everybody links to everybody; above, to those in its row and column of a [grid](crate::mesh). More
    /// cost each node links, pings and digests, fewer make more pairs of nodes depend on one in between.
    pub full_mesh_up_to: usize,
    /// A link that neither end needs is kept for so long, for its end may not last.
    pub spare_link_after: Duration,
    /// Replicas known at a time; more are refused and counted.
    pub max_members: usize,
    /// Dropped replicas that are remembered, so that no third party brings them back. Oldest first out.
    pub max_departed: usize,
    /// Memory for deltas that wait for the one before, in bytes. Beyond it they are dropped, to be asked for again.
    pub max_waiting_bytes: usize,
}

impl Config {
    /// Whether the times fit together: a node that returns before it is forgotten brings all that it had, so what was cleared
    /// meanwhile must be remembered for longer.
    pub fn outlives_absence(&self) -> bool {
        self.tombstone_ttl > self.forget_after
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            lane: LaneLimits::default(),
            max_delta_bytes: 256 * 1024,
            coalesce: Duration::from_millis(5),
            max_in_flight: 8,
            digest_interval: Duration::from_millis(500),
            full_digest_every: 8,
            push_grace: Duration::from_millis(100),
            gap_wait: Duration::from_millis(20),
            pull_timeout: Duration::from_secs(1),
            max_pulls_per_peer: 8,
            evidence_window: Duration::from_secs(1),
            settle_timeout: Duration::from_secs(5),
            settle_timeout_silent: Duration::from_millis(500),
            forget_after: Duration::from_secs(3600),
            tombstone_ttl: Duration::from_secs(24 * 3600),
            retired_ttl: Duration::from_secs(5),
            max_tombstones: 1_000_000,
            prune_after: Duration::from_secs(1),
            adoption_patience: Duration::from_secs(2),
            full_mesh_up_to: 64,
            spare_link_after: Duration::from_secs(10),
            max_members: 500,
            max_departed: 4096,
            max_waiting_bytes: 16 * 1024 * 1024,
        }
    }
}
