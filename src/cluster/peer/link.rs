//! A link that is up, and what it carries for others than its peer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::{NodeName, ReplicaId};
use tokio::sync::Notify;

use super::Peer;
use crate::cluster::relay::way::LinkProof;

/// The first protocol version that knows relay frames.
const RELAYS_SINCE: u16 = 2;
/// The first protocol version that knows introductions.
const INTRODUCES_SINCE: u16 = 2;

/// A link that is up.
#[derive(Debug)]
pub struct Link {
    /// Tells the links of a peer apart.
    pub id: u64,
    /// The incarnation at its other end.
    pub replica: ReplicaId,
    /// What stands for it in the names of publishes.
    pub origin: u64,
    /// The protocol version that both ends speak on it.
    pub protocol: u16,
    /// The name of the end that dialled.
    pub dialled_by: NodeName,
    /// Wakes the writer.
    pub wake: Notify,
    /// Ends both its tasks.
    pub closed: Notify,
    /// When it came up; pings count from here.
    pub started: Instant,
    /// The last answer to a ping.
    pub proof: Mutex<LinkProof>,
    /// The shortest time that an answer took, in microseconds; the greatest number while there is none.
    pub shortest_round_trip: AtomicU64,
    /// When something last came over it, in microseconds since it came up.
    pub heard_micros: AtomicU64,
    /// Other peers that are reached through this one.
    pub carried: Carried,
}

/// Peers whose frames a link takes to its other end, to be passed on there.
#[derive(Debug, Default)]
pub struct Carried {
    any: AtomicBool,
    /// Guards the list. A peer's lock may be taken under it, and not the other way round.
    peers: Mutex<Vec<Weak<Peer>>>,
}

impl Link {
    /// Whether the other end knows relay frames.
    pub fn relays(&self) -> bool {
        self.protocol >= RELAYS_SINCE
    }

    /// Whether the other end knows introductions.
    pub fn introduces(&self) -> bool {
        self.protocol >= INTRODUCES_SINCE
    }

    /// The peer answered a ping that was sent so many microseconds after the link had come up, as it says. Returns the round
    /// trip.
    pub fn handle_pong(&self, sent_micros: u64, now: Instant) -> Duration {
        let asked = self.started.checked_add(Duration::from_micros(sent_micros)).unwrap_or(now).min(now);
        *self.proof.lock() = LinkProof { answered: now, asked };
        let round_trip = now.saturating_duration_since(asked);
        self.shortest_round_trip.fetch_min(round_trip.as_micros() as u64, Ordering::Relaxed);
        round_trip
    }

    /// The time to the other end and back, without waits and losses; zero while it is unknown.
    pub fn round_trip(&self) -> Duration {
        match self.shortest_round_trip.load(Ordering::Relaxed) {
            u64::MAX => Duration::ZERO,
            micros => Duration::from_micros(micros),
        }
    }

    /// Something came over it.
    pub fn note_heard(&self, now: Instant) {
        let micros = now.saturating_duration_since(self.started).as_micros() as u64;
        self.heard_micros.store(micros, Ordering::Relaxed);
    }

    /// When something last came over it.
    pub fn heard(&self) -> Instant {
        let heard = Duration::from_micros(self.heard_micros.load(Ordering::Relaxed));
        self.started.checked_add(heard).unwrap_or(self.started)
    }

    /// When the peer last answered.
    pub fn answered(&self) -> Instant {
        self.proof.lock().answered
    }
}

impl Carried {
    /// One more.
    pub(super) fn insert(&self, peer: &Arc<Peer>) {
        let mut peers = self.peers.lock();
        if !peers.iter().any(|other| other.as_ptr() == Arc::as_ptr(peer)) {
            peers.push(Arc::downgrade(peer));
        }
        self.any.store(true, Ordering::Release);
    }

    /// Whether there may be any.
    pub fn is_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Appends what waits to be carried over this link; peers that have another way by now are struck off.
    pub fn take(&self, link: u64, out: &mut Vec<u8>, now: Instant) {
        let mut peers = self.peers.lock();
        peers.retain(|peer| peer.upgrade().is_some_and(|peer| peer.take_relayed(link, out, now)));
        self.any.store(!peers.is_empty(), Ordering::Release);
    }

    /// All of them.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.lock().iter().filter_map(Weak::upgrade).collect()
    }
}
