//! Remote replicas as small integers, and sets of them as bits.

use std::ops::BitOrAssign;

/// Stands for a remote replica; the cluster assigns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(u16);

impl PeerIndex {
    /// Indices are below this.
    pub const LIMIT: usize = 512;

    /// The index, or none if it is not below [`PeerIndex::LIMIT`].
    pub fn new(index: usize) -> Option<Self> {
        (index < Self::LIMIT).then_some(PeerIndex(index as u16))
    }

    /// The index as a number, to use in an array of [`PeerIndex::LIMIT`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerSet {
    words: [u64; PeerIndex::LIMIT / 64],
}

impl PeerSet {
    /// The set of none.
    pub const EMPTY: Self = PeerSet { words: [0; PeerIndex::LIMIT / 64] };

    /// Adds a peer. Returns whether it is new to the set.
    pub fn insert(&mut self, peer: PeerIndex) -> bool {
        let (word, bit) = Self::place(peer);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    /// Takes a peer out. Returns whether it was in the set.
    pub fn remove(&mut self, peer: PeerIndex) -> bool {
        let (word, bit) = Self::place(peer);
        let was = self.words[word] & bit != 0;
        self.words[word] &= !bit;
        was
    }

    /// Whether the peer is in the set.
    pub fn contains(&self, peer: PeerIndex) -> bool {
        let (word, bit) = Self::place(peer);
        self.words[word] & bit != 0
    }

    /// Whether no peer is in the set.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// Number of peers in the set.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The peers in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = PeerIndex> + use<> {
        (0u16..).zip(self.words).flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros() as u16;
                bits &= bits.wrapping_sub(1);
                (bit < 64).then_some(PeerIndex(word * 64 + bit))
            })
        })
    }

    fn place(peer: PeerIndex) -> (usize, u64) {
        (peer.index() / 64, 1 << (peer.index() % 64))
    }
}

impl BitOrAssign for PeerSet {
    fn bitor_assign(&mut self, other: Self) {
        for (mine, theirs) in self.words.iter_mut().zip(other.words) {
            *mine |= theirs;
        }
    }
}

impl Extend<PeerIndex> for PeerSet {
    fn extend<I: IntoIterator<Item = PeerIndex>>(&mut self, peers: I) {
        for peer in peers {
            self.insert(peer);
        }
    }
}

impl FromIterator<PeerIndex> for PeerSet {
    fn from_iter<I: IntoIterator<Item = PeerIndex>>(peers: I) -> Self {
        let mut set = PeerSet::EMPTY;
        set.extend(peers);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_holds_what_was_inserted_in_order() {
        let peers: Vec<_> = [0, 63, 64, 300, 511].map(|i| PeerIndex::new(i).unwrap()).to_vec();
        let mut set: PeerSet = peers.iter().rev().copied().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), peers);
        assert_eq!(set.len(), 5);
        assert!(!set.insert(peers[1]) && set.remove(peers[1]) && !set.remove(peers[1]));
        assert!(!set.contains(peers[1]) && set.contains(peers[2]));
        assert_eq!(PeerIndex::new(512), None);
    }

    #[test]
    fn union_has_both() {
        let one = |i| PeerIndex::new(i).unwrap();
        let mut set: PeerSet = [one(1), one(200)].into_iter().collect();
        set |= [one(200), one(400)].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [one(1), one(200), one(400)]);
        assert!(PeerSet::EMPTY.is_empty() && !set.is_empty());
    }
}
