//! Members that this node has met, and where: whom to ask when it knows nobody who lives. Pure, `now` is passed in.
//!
//! One that leaves goes at once. One that is only away stays much longer than the sets remember it: two sides of a split
//! that have forgotten each other find together by what is here, if no seed leads across.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rumormq_gossip::NodeName;

use crate::store::KnownPeer;

/// As many as a cluster has members. Beyond that, who was met longest ago makes room.
const MAX_PEERS: usize = 500;

/// Members that were met.
#[derive(Debug)]
pub struct KnownPeers {
    peers: BTreeMap<NodeName, Known>,
    /// How long one is known that is not met again.
    keep_for: Duration,
}

#[derive(Debug)]
struct Known {
    address: String,
    last_seen_ms: u64,
    /// The same by this process's clock. For those of an earlier start, when this one began: it must have its time to
    /// meet them.
    met: Instant,
}

impl KnownPeers {
    /// Begins with those of an earlier start.
    pub fn new(former: Vec<KnownPeer>, keep_for: Duration, now: Instant) -> KnownPeers {
        let known = |peer: KnownPeer| {
            (peer.name, Known { address: peer.address, last_seen_ms: peer.last_seen_ms, met: now })
        };
        KnownPeers { peers: former.into_iter().map(known).collect(), keep_for }
    }

    /// A member is there. True if it is new, or elsewhere than before.
    pub fn note(&mut self, name: &NodeName, address: &str, now: Instant, now_ms: u64) -> bool {
        let known = Known { address: address.to_owned(), last_seen_ms: now_ms, met: now };
        let before = self.peers.insert(name.clone(), known);
        if self.peers.len() > MAX_PEERS {
            let oldest = self.peers.iter().min_by_key(|(_, known)| (known.met, known.last_seen_ms));
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.peers.remove(&oldest);
            }
        }
        before.is_none_or(|before| before.address != address)
    }

    /// A member has left for good. True if it was known.
    pub fn remove(&mut self, name: &NodeName) -> bool {
        self.peers.remove(name).is_some()
    }

    /// Drops those that were not met for too long. True if there were any.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = self.peers.len();
        self.peers.retain(|_, known| now.saturating_duration_since(known.met) < self.keep_for);
        self.peers.len() != before
    }

    /// Where they are.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.peers.values().map(|known| known.address.as_str())
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<KnownPeer> {
        let peer = |(name, known): (&NodeName, &Known)| KnownPeer {
            name: name.clone(),
            address: known.address.clone(),
            last_seen_ms: known.last_seen_ms,
        };
        self.peers.iter().map(peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn name(number: usize) -> NodeName {
        NodeName::parse(&format!("n{number}@h")).unwrap()
    }

    fn addresses(known: &KnownPeers) -> Vec<&str> {
        known.addresses().collect()
    }

    #[test]
    fn only_what_is_new_is_a_change() {
        let now = Instant::now();
        let mut known = KnownPeers::new(Vec::new(), DAY, now);
        assert!(known.note(&name(1), "a:1", now, 1));
        assert!(!known.note(&name(1), "a:1", now + DAY / 2, 2));
        assert_eq!(known.all()[0].last_seen_ms, 2);
        assert!(known.note(&name(1), "b:1", now + DAY / 2, 3), "it has moved");
        assert_eq!(addresses(&known), ["b:1"]);
        assert!(known.remove(&name(1)));
        assert!(!known.remove(&name(1)));
    }

    #[test]
    fn who_is_away_is_known_for_a_while_from_the_start_of_this_process() {
        let now = Instant::now();
        // Last seen in 1970: the machine was off for long, and so may the others have been.
        let former = KnownPeer { name: name(1), address: "a:1".to_owned(), last_seen_ms: 5 };
        let mut known = KnownPeers::new(vec![former.clone()], DAY, now);
        known.note(&name(2), "b:1", now, 9);
        assert!(!known.expire(now + DAY / 2));
        assert_eq!(known.all()[0], former);
        known.note(&name(2), "b:1", now + DAY / 2, 9);
        assert!(known.expire(now + DAY));
        assert_eq!(addresses(&known), ["b:1"]);
    }

    #[test]
    fn who_was_met_longest_ago_makes_room() {
        let now = Instant::now();
        let mut known = KnownPeers::new(Vec::new(), DAY, now);
        for number in 0..=MAX_PEERS {
            known.note(&name(number), "a:1", now + Duration::from_secs(number as u64), number as u64);
        }
        let all = known.all();
        assert_eq!(all.len(), MAX_PEERS);
        assert!(all.iter().all(|peer| peer.name != name(0)));
    }
}
