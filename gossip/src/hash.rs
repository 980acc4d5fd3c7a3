//! The hash of a lane's state: a sum over its live elements, so that adding or removing one costs one hash, whatever
//! the order.
//!
//! SipHash-1-3 is fixed by its paper (Aumasson and Bernstein, 2012), so nodes of different machines and versions agree.
//! It is keyed by replica and set name: equal elements of two lanes do not cancel out, and the key is derived the
//! same way everywhere. Nothing here is secret.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::element::Element;
use crate::replica::ReplicaId;

/// What the hashes of one lane are keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneKey(u64, u64);

impl LaneKey {
    /// The key of `replica`'s lane in the set called `set`.
    pub fn new(replica: &ReplicaId, set: &str) -> LaneKey {
        let mut hasher = SipHasher13::new();
        // Lengths go in front, so that no two (name, set) pairs give the same bytes.
        for text in [replica.name.as_str(), set] {
            hasher.write(&(text.len() as u64).to_le_bytes());
            hasher.write(text.as_bytes());
        }
        hasher.write(&replica.incarnation.0.to_le_bytes());
        let (high, low) = hasher.finish128().as_u64();
        LaneKey(high, low)
    }

    /// What one live element adds to its lane's [`SetHash`].
    pub fn element_hash(self, dot: u64, element: &Element) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(&dot.to_le_bytes());
        hasher.write(&(element.key().len() as u64).to_le_bytes());
        hasher.write(element.bytes());
        hasher.finish128().as_u128()
    }

    /// Where a key is found in the owner's index.
    pub(crate) fn key_hash(self, key: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(key);
        hasher.finish128().h1
    }
}

/// The sum modulo 2^128 of the hashes of all live elements of a lane. Two replicas that hold a lane at one sequence
/// number and differ here have diverged.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct SetHash(pub u128);

impl SetHash {
    pub(crate) fn add(&mut self, element_hash: u128) {
        self.0 = self.0.wrapping_add(element_hash);
    }

    pub(crate) fn remove(&mut self, element_hash: u128) {
        self.0 = self.0.wrapping_sub(element_hash);
    }
}

impl std::fmt::Display for SetHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{Incarnation, NodeName};

    fn replica(name: &str, incarnation: u64) -> ReplicaId {
        ReplicaId { name: NodeName::parse(name).unwrap(), incarnation: Incarnation(incarnation) }
    }

    /// A changed value here means that nodes of two versions would report divergence of equal sets.
    #[test]
    fn hash_is_the_same_on_every_machine_and_version() {
        let key = LaneKey::new(&replica("a@host", 7), "routes");
        let hash = key.element_hash(42, &Element::new(b"sensors/+", b"1"));
        assert_eq!(format!("{hash:032x}"), "4ab9531789d45b4d720f7f603461ba60");
    }

    #[test]
    fn hash_tells_replica_set_dot_and_the_border_of_key_and_value_apart() {
        let hash = |replica: &ReplicaId, set, dot, key: &[u8], value: &[u8]| {
            LaneKey::new(replica, set).element_hash(dot, &Element::new(key, value))
        };
        let a = replica("a@host", 7);
        let all = [
            hash(&a, "routes", 1, b"kv", b"w"),
            hash(&replica("a@host", 8), "routes", 1, b"kv", b"w"),
            hash(&replica("b@host", 7), "routes", 1, b"kv", b"w"),
            hash(&a, "sessions", 1, b"kv", b"w"),
            hash(&a, "routes", 2, b"kv", b"w"),
            hash(&a, "routes", 1, b"k", b"vw"),
        ];
        let distinct: std::collections::BTreeSet<u128> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
