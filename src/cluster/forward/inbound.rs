//! The receiving end of streams: each forward counts once, in order, whichever link brings it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rumormq_gossip::ReplicaId;

/// How far one stream has been received. Held while a forward is given to the sessions, so that two links of one origin
/// cannot both bring it.
pub type Received = Arc<Mutex<HighWater>>;

/// The last forward of a stream that arrived without a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HighWater(u64);

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
            _ if sequence <= self.0 => Admission::Duplicate,
            _ if sequence == self.0 + 1 => {
                self.0 = sequence;
                Admission::Next
            }
            _ => Admission::Gap,
        }
    }

    /// Nothing up to `to` will come.
    pub fn skip(&mut self, to: u64) {
        self.0 = self.0.max(to);
    }

    /// The last one received.
    pub fn sequence(self) -> u64 {
        self.0
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
        self.streams.lock().iter().map(|(origin, received)| (origin.clone(), received.lock().0)).collect()
    }

    /// Forgets the stream of a replica that will not come back.
    pub fn forget(&self, origin: &ReplicaId) {
        self.streams.lock().remove(origin);
    }
}
