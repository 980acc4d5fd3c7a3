//! The receiving end of streams: each forward counts once, in order, whichever link brings it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rumormq_gossip::ReplicaId;

/// How far one stream has been received. Held while a forward is given to the sessions, so that two links of one origin
/// cannot both bring it.
pub type Received = Arc<Mutex<HighWater>>;

/// The last forward of a stream that arrived without a gap, and how far the QoS 0 messages beside it are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HighWater {
    sequence: u64,
    /// The newest publish of QoS 0, and the way that it came by.
    newest: (u64, Way),
    /// The newest one that came by any other way.
    newest_elsewhere: u64,
}

/// A way that frames come by, over a link or through a third node. No two of a process are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way(u64);

impl Way {
    /// One more.
    pub fn next() -> Way {
        static WAYS: AtomicU64 = AtomicU64::new(1);
        Way(WAYS.fetch_add(1, Ordering::Relaxed))
    }
}

/// What to do with a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is the next one: deliver it.
    Next,
    /// It was delivered before.
    Duplicate,
    /// One before it is missing: the peer breaks the protocol.
    Gap,
}

impl HighWater {
    /// Takes note of a forward.
    pub fn admit(&mut self, sequence: u64) -> Admission {
        match sequence {
            _ if sequence <= self.sequence => Admission::Duplicate,
            _ if sequence == self.sequence + 1 => {
                self.sequence = sequence;
                Admission::Next
            }
            _ => Admission::Gap,
        }
    }

    /// Nothing up to `to` will come.
    pub fn skip(&mut self, to: u64) {
        self.sequence = self.sequence.max(to);
    }

    /// The last one received.
    pub fn sequence(self) -> u64 {
        self.sequence
    }

    /// Takes note of a publish of QoS 0. False if a newer one has come by another way: it would be out of order
    /// [MQTT-4.6.0-6].
    pub fn admit_at_most_once(&mut self, way: Way, publish: u64) -> bool {
        let (newest, by) = self.newest;
        if by == way {
            self.newest.0 = newest.max(publish);
            return publish >= self.newest_elsewhere;
        }
        // Numbers begin at 0.
        let is_first = by == Way::default();
        if is_first || publish > newest {
            (self.newest, self.newest_elsewhere) = ((publish, way), newest);
            return true;
        }
        false
    }
}

/// All streams towards this node, by origin.
#[derive(Debug, Default)]
pub struct InboundStreams {
    streams: Mutex<BTreeMap<ReplicaId, Received>>,
}

impl InboundStreams {
    /// The stream of `origin`. Streams of its earlier incarnations are over and forgotten.
    pub fn stream(&self, origin: &ReplicaId) -> Received {
        let mut streams = self.streams.lock();
        streams.retain(|replica, _| replica.name != origin.name || replica.incarnation >= origin.incarnation);
        streams.entry(origin.clone()).or_default().clone()
    }

    /// The stream of `origin`, if it has one.
    pub fn find(&self, origin: &ReplicaId) -> Option<Received> {
        self.streams.lock().get(origin).cloned()
    }

    /// What HELLO says: the last forward received of each stream.
    pub fn received(&self) -> BTreeMap<ReplicaId, u64> {
        self.streams
            .lock()
            .iter()
            .map(|(origin, received)| (origin.clone(), received.lock().sequence))
            .collect()
    }

    /// Forgets the stream of a replica that will not come back.
    pub fn forget(&self, origin: &ReplicaId) {
        self.streams.lock().remove(origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_by_one_way_is_late_only_behind_what_came_by_the_other() {
        let ways = [Way::next(), Way::next(), Way::next()];
        let mut high_water = HighWater::default();
        let mut admits = |way: usize, publish: u64| high_water.admit_at_most_once(ways[way], publish);
        assert!(admits(0, 5));
        assert!(
            admits(0, 4),
            "publishers side by side do not always get into the queue in the order of their numbers"
        );
        assert!(admits(1, 9));
        assert!(!admits(0, 8));
        assert!(!admits(2, 7));
        assert!(admits(1, 8) && admits(2, 12));
        assert!(!admits(1, 11) && admits(2, 10));
        assert!(admits(0, 20) && !admits(2, 19));
    }

    #[test]
    fn the_first_of_all_counts() {
        let (mut high_water, way) = (HighWater::default(), Way::next());
        assert!(high_water.admit_at_most_once(way, 0));
        assert!(!high_water.admit_at_most_once(Way::next(), 0));
    }
}
