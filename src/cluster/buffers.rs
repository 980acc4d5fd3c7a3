//! The forward buffers of all peers together: what enters them, what leaves when there is too much, and who is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Cluster;
use super::forward::stream::ForwardOverflow;
use super::forward::wire::Publication;
use super::host::{Receipt, confirm_all};
use super::peer::Peer;
use super::shares::Destinations;
use crate::message::Message;
use crate::router::PeerSet;

/// Bytes that the fullest buffer gives up at once when all together hold too much.
const RELIEF: usize = 1 << 20;
/// Between two warnings of one cause.
const WARN_EVERY: Duration = Duration::from_secs(10);

impl Cluster {
    /// Puts a QoS 1 or 2 message into the streams to these nodes. Those that cannot be reached have it in their buffers:
    /// their receipts count at once.
    pub fn forward(
        &self,
        destinations: Destinations,
        publication: Publication,
        message: Arc<Message>,
        receipt: impl Fn() -> Option<Receipt>,
        now: Instant,
    ) {
        let mut safe = Vec::new();
        for (peer, shares) in destinations {
            peer.forward(publication, message.clone(), shares, receipt(), now, &mut safe);
        }
        confirm_all(safe, now);
        if self.peers.budget().is_over() {
            self.relieve_buffers(now);
        }
    }

    /// Whether publishes are refused rather than old ones dropped.
    pub fn may_refuse(&self) -> bool {
        self.config.forward.overflow == ForwardOverflow::Refuse
    }

    /// Whether a publish to these nodes is to be refused: one of them cannot be reached, and has no room in its buffer.
    pub fn refuses(&self, matched: &PeerSet) -> bool {
        self.may_refuse() && self.destinations(matched).iter().any(|peer| peer.is_unreachable_and_full())
    }

    /// Bytes in all forward buffers, to within 128 KiB for each.
    pub fn forward_bytes(&self) -> usize {
        self.peers.budget().used()
    }

    /// Where all buffers together hold too much, the fullest of a node that cannot be reached gives up its oldest. Those of
    /// live nodes have their publishers wait; so it is their turn only if that was not enough, and likewise where what is
    /// buffered is not to be dropped.
    #[cold]
    pub(super) fn relieve_buffers(&self, now: Instant) {
        let budget = self.peers.budget();
        while budget.is_over() {
            let all = budget.is_far_over();
            if self.may_refuse() && !all {
                return;
            }
            let peers = self.peers.all();
            let candidates = peers.iter().filter(|peer| all || !peer.is_reachable());
            let fullest =
                candidates.map(|peer| (peer.backlog(now).bytes, peer)).max_by_key(|(bytes, _)| *bytes);
            let Some((bytes, peer)) = fullest.filter(|(bytes, _)| *bytes > 0) else { return };
            let mut done = Vec::new();
            peer.give_up(RELIEF.min(bytes), &mut done);
            confirm_all(done, now);
        }
    }

    /// A node will not come back: nobody will ask for what was kept for it.
    pub(super) fn abandon_buffer(&self, peer: &Peer, left: bool, now: Instant) {
        let mut done = Vec::new();
        let dropped = peer.abandon(&mut done);
        confirm_all(done, now);
        let counter = if left { &self.counters.dropped_left } else { &self.counters.dropped_forgotten };
        counter.inc_by(dropped);
        if dropped > 0 {
            let reason = if left { "left" } else { "forgotten" };
            tracing::warn!(peer = %peer.name(), reason, dropped, "messages for a node that is gone are dropped: start it sooner next time, or raise forget_after");
        }
    }

    /// Tells the log what was lost since it was last told.
    pub(super) fn warn_of_losses(&self, now: Instant) {
        let peers = self.peers.all();
        let losses = self.alarms.lock().poll(now, || {
            let mut dropped: BTreeMap<&'static str, u64> = BTreeMap::new();
            for (reason, count) in peers.iter().flat_map(|peer| peer.counters.dropped()) {
                *dropped.entry(reason).or_default() += count;
            }
            dropped
        });
        for Loss { reason, dropped } in losses {
            // Nobody is owed these.
            if matches!(reason, "no_link" | "link_full" | "expired") {
                tracing::debug!(reason, dropped, "messages for other nodes were dropped");
                continue;
            }
            let waiting = peers.iter().map(|peer| (peer, peer.backlog(now)));
            let fullest = waiting.max_by_key(|(_, backlog)| backlog.bytes);
            let (fullest, backlog) = fullest.map(|(peer, backlog)| (peer.name(), backlog)).unzip();
            let backlog = backlog.unwrap_or_default();
            tracing::warn!(
                reason,
                dropped,
                fullest = fullest.map(tracing::field::display),
                its_messages = backlog.messages,
                its_bytes = backlog.bytes,
                its_oldest_seconds = backlog.oldest.as_secs(),
                all_bytes = self.forward_bytes(),
                "acknowledged messages for nodes that cannot be reached were dropped: bring the nodes back, or raise forward_buffer_* and \
                 forward_total_bytes"
            );
        }
    }
}

/// What the log was told of losses, so that it is told of each once, and not too often.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    told: BTreeMap<&'static str, (u64, Instant)>,
    polled: Option<Instant>,
}

/// So many messages were dropped for one reason since it was last told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loss {
    reason: &'static str,
    dropped: u64,
}

impl Alarms {
    /// What to tell now. `dropped` gives the counts from the start, by reason; it is asked once a second.
    fn poll(&mut self, now: Instant, dropped: impl FnOnce() -> BTreeMap<&'static str, u64>) -> Vec<Loss> {
        if self.polled.is_some_and(|polled| now.saturating_duration_since(polled) < Duration::from_secs(1)) {
            return Vec::new();
        }
        self.polled = Some(now);
        let mut losses = Vec::new();
        for (reason, count) in dropped() {
            let told = self.told.get(reason).copied();
            // The counts of a peer that is gone are gone with it.
            let last = told.map_or(0, |(last, _)| last.min(count));
            let due = told.is_none_or(|(_, when)| now.saturating_duration_since(when) >= WARN_EVERY);
            if count > last && due {
                self.told.insert(reason, (count, now));
                losses.push(Loss { reason, dropped: count - last });
            } else if let Some((told, _)) = self.told.get_mut(reason) {
                *told = last;
            }
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_told_once_and_not_too_often() {
        let mut alarms = Alarms::default();
        let began = Instant::now();
        let mut poll = |secs: u64, age: u64, overflow: u64| {
            let counts = || BTreeMap::from([("age", age), ("overflow", overflow)]);
            let losses = alarms.poll(began + Duration::from_secs(secs), counts);
            losses.into_iter().map(|loss| (loss.reason, loss.dropped)).collect::<Vec<_>>()
        };
        assert_eq!(poll(0, 0, 0), []);
        assert_eq!(poll(1, 0, 5), [("overflow", 5)]);
        assert_eq!(poll(2, 1, 9), [("age", 1)], "a cause of its own");
        assert_eq!(poll(11, 1, 20), [("overflow", 15)], "what came in between is not forgotten");
        assert_eq!(poll(60, 1, 20), []);
        assert_eq!(poll(61, 1, 3), [], "a peer is gone, with its counts");
        assert_eq!(poll(62, 1, 4), [("overflow", 1)]);
    }
}
