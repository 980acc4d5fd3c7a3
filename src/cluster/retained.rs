//! Retained messages in the replicated set: written by the node that takes them, shown by all.
//!
//! Keys are topics. Values are the broker's, which are not read here. Of what several nodes have written to a topic the
//! highest stamp counts; the set outlives its writers.

use std::time::Instant;

use rumormq_gossip::{Entry, Stamp, Winner};

use super::host::{Arrival, HybridTime, Receipt, confirm_all};
use super::interest::RETAINED;
use super::replication::Replication;
use super::{Cluster, wall_clock_ms};

/// A retained message that was written to the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// What to wait for with [`Cluster::when_retained`].
    pub sequence: u64,
    /// Tells it from earlier and later messages of its topic, on all nodes.
    pub stamp: Stamp,
}

impl HybridTime {
    /// The time, when a stamp may be from a clock that is ahead.
    pub fn with_stamp(stamp: Stamp, now: Instant) -> HybridTime {
        HybridTime { now, stamp_ms: wall_clock_ms().max(stamp.ms()) }
    }
}

impl Cluster {
    /// Sets a topic's retained message; none clears it. It is later than `seen`, the stamp of what the topic had, which may
    /// be ahead of the set. The broker is shown it before this returns.
    pub fn retain(&self, topic: &str, value: Option<&[u8]>, seen: Stamp, now: Instant) -> Retained {
        self.with_replication(now, |replication| {
            let (node, key, wall_ms) = (&mut replication.node, topic.as_bytes(), wall_clock_ms());
            node.absorb(seen);
            let written = match value {
                Some(value) => node.write(RETAINED, key, value, wall_ms, now),
                None => node.clear(RETAINED, key, wall_ms, now),
            };
            // What is shown shares the bytes of the set.
            if let Some(latest) = node.latest(RETAINED, key) {
                self.host.show_retained(&latest.entry, Arrival::Published, replication.hybrid_time(now));
            }
            Retained { sequence: written.seq, stamp: written.stamp }
        })
    }

    /// Confirms `receipt` once every live node that can be reached has the message, at the latest after `puback_timeout`.
    pub fn when_retained(&self, retained: Retained, receipt: Receipt, now: Instant) {
        self.with_replication(now, |replication| {
            replication.retaining.wait(retained.sequence, receipt, now);
            replication.node.await_settled(RETAINED, retained.sequence, now);
        });
    }

    /// The time of these messages is over. Those that this node has written are removed from the set.
    pub fn expire_retained(&self, entries: &[Entry], now: Instant) {
        self.with_replication(now, |replication| {
            for entry in entries {
                let expired = replication.node.expire(RETAINED, entry.key(), entry.stamp(), now);
                if expired.is_some() {
                    self.host.hide_retained(entry.key(), Some(entry.stamp()));
                }
            }
        });
    }

    /// What the set says of these topics is shown, whatever came by other ways.
    pub fn show_retained_anew(&self, keys: &[Box<[u8]>], now: Instant) {
        self.with_replication(now, |replication| {
            for key in keys {
                match replication.node.latest(RETAINED, key) {
                    Some(latest) => {
                        self.host.show_retained(
                            &latest.entry,
                            Arrival::Learned,
                            replication.hybrid_time(now),
                        );
                    }
                    None => self.host.hide_retained(key, None),
                }
            }
        });
    }

    /// The retained message of a topic as the set has it, and who wrote it.
    pub fn retained(&self, topic: &str) -> Option<Winner> {
        self.replication.lock().node.winner(RETAINED, topic.as_bytes())
    }

    /// Nobody waits longer than `puback_timeout` for other nodes to have a retained message.
    pub(super) fn release_retaining(&self, now: Instant) {
        let released = self.replication.lock().retaining.release(now, self.config.puback_timeout);
        self.counters.retained_unconfirmed.inc_by(released.len() as u64);
        confirm_all(released, now);
    }
}

impl Replication {
    pub(super) fn hybrid_time(&self, now: Instant) -> HybridTime {
        let wall_ms = wall_clock_ms();
        HybridTime { now, stamp_ms: wall_ms + self.node.stamps_ahead_ms(wall_ms) }
    }
}
