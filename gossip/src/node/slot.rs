//! Small numbers for replicas. What a node keeps for every link *and* lane it keeps in tables: in maps by name this would be most of
//! its memory in a large cluster, and most of its time.

use crate::delta::SetId;

/// A replica's slot in tables, for as long as it is a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u32);

impl Slot {
    /// This node itself.
    pub const OWN: Slot = Slot(0);
}

/// Gives slots out: of those that were given back first.
#[derive(Debug, Default)]
pub(super) struct Slots {
    taken: u32,
    free: Vec<Slot>,
}

impl Slots {
    pub fn take(&mut self) -> Slot {
        self.free.pop().unwrap_or_else(|| {
            self.taken += 1;
            Slot(self.taken)
        })
    }

    /// Nothing may be left of it in any table.
    pub fn give_back(&mut self, slot: Slot) {
        self.free.push(slot);
    }
}

/// A version vector for each set: what somebody has applied of whose lane.
#[derive(Debug)]
pub(super) struct Versions {
    sets: usize,
    seqs: Vec<u64>,
}

impl Versions {
    /// With room for all who have a slot now: every link has one of these, and to grow slot by slot would cost more than to use it.
    pub fn new(sets: usize, slots: &Slots) -> Versions {
        Versions { sets, seqs: Vec::with_capacity((slots.taken as usize + 1) * sets) }
    }

    pub fn sets(&self) -> impl Iterator<Item = SetId> + use<> {
        (0..self.sets).map(|index| SetId(index as u8))
    }

    pub fn get(&self, set: SetId, slot: Slot) -> u64 {
        self.seqs.get(self.index(set, slot)).copied().unwrap_or(0)
    }

    /// Raises a number; it never falls.
    pub fn raise(&mut self, set: SetId, slot: Slot, seq: u64) {
        let index = self.index(set, slot);
        if self.seqs.len() <= index {
            self.seqs.resize((slot.0 as usize + 1) * self.sets, 0);
        }
        self.seqs[index] = self.seqs[index].max(seq);
    }

    pub fn forget(&mut self, slot: Slot) {
        let of_place = slot.0 as usize * self.sets..(slot.0 as usize + 1) * self.sets;
        if let Some(seqs) = self.seqs.get_mut(of_place) {
            seqs.fill(0);
        }
    }

    fn index(&self, set: SetId, slot: Slot) -> usize {
        slot.0 as usize * self.sets + usize::from(set.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_place_over_begins_at_nothing() {
        let mut slots = Slots::default();
        let (a, b) = (slots.take(), slots.take());
        let mut versions = Versions::new(2, &slots);
        assert!(a != b && a != Slot::OWN && b != Slot::OWN);
        for (slot, seq) in [(a, 1), (b, 2), (Slot::OWN, 3)] {
            versions.raise(SetId(1), slot, seq);
            versions.raise(SetId(1), slot, 0);
            assert_eq!((versions.get(SetId(0), slot), versions.get(SetId(1), slot)), (0, seq));
        }
        versions.forget(a);
        slots.give_back(a);
        let heir = slots.take();
        assert_eq!((heir, versions.get(SetId(1), heir)), (a, 0));
        assert_eq!((versions.get(SetId(1), b), versions.get(SetId(1), Slot::OWN)), (2, 3));
        assert_eq!(versions.get(SetId(1), slots.take()), 0, "nothing was noted of it");
    }
}
