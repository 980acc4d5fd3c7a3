//! A stamped set: its keys are written by several replicas, each in its own lane, and read as registers in which the last
//! write wins.
//!
//! Invariant: the winner of a key is the highest of its entries in all lanes and orphans, by stamp, then writer, then
//! tombstones before values (what has ended by itself keeps its stamp), then owner of the lane. So it is a function of the lanes alone, and who has the same lanes sees the same winners. What is
//! kept here beside the lanes is an index, and what this node still has to tidy up in its own lane.

mod adoption;
mod tombstones;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use hashbrown::HashTable;

use crate::element::Element;
use crate::entry::{Entry, Header};
use crate::hash::LaneKey;
use crate::lane::{Change, Lane};
use crate::replica::{Incarnation, ReplicaId};
use crate::set::ReplicatedSet;
use crate::stamp::{HybridClock, Stamp};
use adoption::Orphan;
pub(crate) use tombstones::Expiry;
use tombstones::Tombstones;

/// What becomes of the entries of a replica that is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    /// They stay, and one of the others takes each over into its own lane.
    Adopted,
    /// They go with it.
    Dropped,
}

/// The version of a key that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Winner {
    /// Who wrote it. Perhaps that replica is dead, or gone for good.
    pub replica: ReplicaId,
    /// What was written: key, value and stamp.
    pub entry: Entry,
    /// The lane that it was in was dropped, and nobody has taken it over yet, as far as is known here.
    pub orphan: bool,
}

impl Winner {
    fn is_value(&self) -> bool {
        self.entry.value().is_some()
    }
}

/// Told of each key whose visible winner has changed: which was it before, and which is it now. Tombstones are none.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Option<Winner>, Option<Winner>);

/// What a stamped set has beside its lanes.
pub(crate) struct Registers {
    key: LaneKey,
    policy: Orphans,
    /// All entries of all lanes and all orphans, by the hash of the key. It holds no keys: those are in the lanes.
    places: HashTable<Place>,
    /// Which slot stands for whose lane, beginning with [`FIRST_COPY`].
    slots: Vec<Option<ReplicaId>>,
    orphans: BTreeMap<u64, Orphan>,
    next_orphan: u64,
    adoption_cursor: u64,
    next_adoption: Option<Instant>,
    /// Own entries that were beaten, and when to remove them.
    losers: VecDeque<(Instant, u64)>,
    known_losers: HashSet<u64>,
    tombstones: Tombstones,
    /// Keys whose winner has a value.
    count: u64,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Part of the key's hash, kept so that growing the table touches no element.
    hash: u32,
    slot: u32,
    /// Its dot in the lane, or its number among the orphans.
    dot: u64,
}

const ORPHAN: u32 = 0;
const OWN: u32 = 1;
const FIRST_COPY: u32 = 2;

/// Spreads the stored part of a hash over all bits that the table looks at.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// An entry as it is compared with others of its key.
struct Version<'a> {
    place: Place,
    element: &'a Element,
    stamp: Stamp,
    writer: (&'a str, Incarnation),
    /// Whose lane it is in; none of an orphan.
    owner: Option<&'a ReplicaId>,
    header: Header<'a>,
    /// The writer of an orphan.
    orphaned_by: Option<&'a ReplicaId>,
}

impl<'a> Version<'a> {
    fn in_lane(place: Place, owner: &'a ReplicaId, element: &'a Element) -> Option<Version<'a>> {
        let header = Header::read(element)?;
        let writer = header.writer.unwrap_or((owner.name.as_str(), owner.incarnation));
        let stamp = header.stamp;
        Some(Version { place, element, stamp, writer, owner: Some(owner), header, orphaned_by: None })
    }

    fn of_orphan(place: Place, orphan: &'a Orphan) -> Option<Version<'a>> {
        let header = Header::read(&orphan.element)?;
        let writer = (orphan.writer.name.as_str(), orphan.writer.incarnation);
        let (element, stamp) = (&orphan.element, header.stamp);
        let orphaned_by = Some(&orphan.writer);
        Some(Version { place, element, stamp, writer, owner: None, header, orphaned_by })
    }

    /// The same in whichever lane it is.
    fn write(&self) -> (Stamp, (&'a str, Incarnation), bool) {
        (self.stamp, self.writer, self.header.is_tombstone)
    }

    fn rank(&self) -> (impl Ord + use<'a>, Option<&'a ReplicaId>) {
        (self.write(), self.owner)
    }

    fn winner(&self) -> Option<Winner> {
        let replica = match (self.orphaned_by, self.owner) {
            (Some(writer), _) => writer.clone(),
            (None, Some(owner)) => self.header.writer(owner),
            (None, None) => return None,
        };
        Some(Winner { replica, entry: Entry::read(self.element)?, orphan: self.owner.is_none() })
    }
}

impl Registers {
    pub fn new(set: &ReplicatedSet, policy: Orphans) -> Registers {
        Registers {
            // Any key will do: it never leaves this node.
            key: LaneKey::new(set.me(), set.name()),
            policy,
            places: HashTable::new(),
            slots: Vec::new(),
            orphans: BTreeMap::new(),
            next_orphan: 0,
            adoption_cursor: 0,
            next_adoption: None,
            losers: VecDeque::new(),
            known_losers: HashSet::new(),
            tombstones: Tombstones::default(),
            count: 0,
        }
    }

    // ---- Queries ----

    /// Number of keys that have a value.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Entries of dropped lanes that nobody has taken over yet.
    pub fn orphans(&self) -> usize {
        self.orphans.len()
    }

    /// Tombstones in the own lane.
    pub fn tombstones(&self) -> usize {
        self.tombstones.live()
    }

    /// What counts for a key, be it a tombstone.
    pub fn latest(&self, set: &ReplicatedSet, key: &[u8]) -> Option<Winner> {
        self.best(set, self.hash(key), key)?.winner()
    }

    /// The value that counts for a key.
    pub fn winner(&self, set: &ReplicatedSet, key: &[u8]) -> Option<Winner> {
        self.latest(set, key).filter(Winner::is_value)
    }

    /// The values that count for the keys that `wanted` admits, in no order.
    pub fn winners<'a>(
        &'a self,
        set: &'a ReplicatedSet,
        mut wanted: impl FnMut(&[u8]) -> bool + 'a,
    ) -> impl Iterator<Item = Winner> + 'a {
        // Lane by lane, for their elements lie in order; the index is only asked whether there is anything else.
        let in_lanes = set.lanes().flat_map(move |(owner, lane)| {
            let slot = self.slot_of(set, owner);
            lane.elements().filter_map(move |(dot, element)| Some((slot?, dot, element)))
        });
        let orphans = self.orphans.iter().map(|(number, orphan)| (ORPHAN, *number, &orphan.element));
        in_lanes.chain(orphans).filter_map(move |(slot, dot, element)| {
            if !wanted(element.key()) {
                return None;
            }
            let place = Place { hash: self.hash(element.key()), slot, dot };
            let mut places =
                self.places.iter_hash(spread(place.hash)).filter(|other| other.hash == place.hash);
            let is_alone = places.all(|other| *other == place);
            let wins =
                is_alone || self.best(set, place.hash, element.key()).is_some_and(|best| best.place == place);
            if wins { self.version(set, place)?.winner().filter(Winner::is_value) } else { None }
        })
    }

    fn slot_of(&self, set: &ReplicatedSet, owner: &ReplicaId) -> Option<u32> {
        if owner == set.me() {
            return Some(OWN);
        }
        let index = self.slots.iter().position(|slot| slot.as_ref() == Some(owner))?;
        Some(index as u32 + FIRST_COPY)
    }

    fn hash(&self, key: &[u8]) -> u32 {
        self.key.key_hash(key) as u32
    }

    fn version<'a>(&'a self, set: &'a ReplicatedSet, place: Place) -> Option<Version<'a>> {
        match place.slot {
            ORPHAN => Version::of_orphan(place, self.orphans.get(&place.dot)?),
            OWN => Version::in_lane(place, set.me(), set.own().element(place.dot)?),
            copy => {
                let owner = self.slots.get((copy - FIRST_COPY) as usize)?.as_ref()?;
                Version::in_lane(place, owner, set.lane(owner)?.element(place.dot)?)
            }
        }
    }

    fn versions<'a>(
        &'a self,
        set: &'a ReplicatedSet,
        hash: u32,
        key: &[u8],
    ) -> impl Iterator<Item = Version<'a>> {
        let places = self.places.iter_hash(spread(hash)).filter(move |place| place.hash == hash);
        let versions = places.filter_map(move |place| self.version(set, *place));
        versions.filter(move |version| version.element.key() == key)
    }

    fn best<'a>(&'a self, set: &'a ReplicatedSet, hash: u32, key: &[u8]) -> Option<Version<'a>> {
        self.versions(set, hash, key).max_by(|one, other| one.rank().cmp(&other.rank()))
    }

    // ---- Others' lanes ----

    /// The lane of another replica has changed so.
    pub fn merge(
        &mut self,
        set: &ReplicatedSet,
        replica: &ReplicaId,
        change: &Change,
        clock: &mut HybridClock,
        prune_at: Instant,
        sink: Sink<'_>,
    ) {
        let slot = self.slot(replica);
        // What won and is gone, by key: most of it has a successor among the added, and makes one change with it.
        let mut dethroned: HashMap<&[u8], Winner> = HashMap::new();
        for (dot, element) in &change.removed {
            let hash = self.hash(element.key());
            let place = Place { hash, slot, dot: *dot };
            if !self.take(place) {
                continue;
            }
            let Some(gone) = Version::in_lane(place, replica, element) else { continue };
            let beaten = self.best(set, hash, element.key()).is_some_and(|best| best.rank() > gone.rank());
            if !beaten && let Some(winner) = gone.winner() {
                let known = dethroned.entry(element.key()).or_insert_with(|| winner.clone());
                if known.entry.stamp() < winner.entry.stamp() {
                    *known = winner;
                }
            }
        }
        for (dot, element) in &change.added {
            let Some(header) = Header::read(element) else { continue };
            clock.absorb(header.stamp);
            let (key, hash) = (element.key(), self.hash(element.key()));
            let before = match dethroned.remove(key) {
                Some(winner) => Some(winner),
                None => self.best(set, hash, key).and_then(|best| best.winner()),
            };
            self.put(Place { hash, slot, dot: *dot });
            let after = self.settle(set, hash, key, prune_at);
            self.shift(before, after, sink);
        }
        for (key, before) in dethroned {
            let after = self.best(set, self.hash(key), key).and_then(|best| best.winner());
            self.shift(Some(before), after, sink);
        }
    }

    /// The lane of another replica was dropped.
    pub fn drop_lane(
        &mut self,
        set: &ReplicatedSet,
        replica: &ReplicaId,
        lane: Lane,
        now: Instant,
        sink: Sink<'_>,
    ) {
        let slot = self.slot(replica);
        for (dot, element) in lane.into_elements() {
            let hash = self.hash(element.key());
            let place = Place { hash, slot, dot };
            self.take(place);
            let Some(gone) = Version::in_lane(place, replica, &element) else { continue };
            let rest = self.best(set, hash, element.key());
            if rest.as_ref().is_some_and(|rest| rest.write() >= gone.write()) {
                continue;
            }
            match self.policy {
                Orphans::Adopted => {
                    let writer = gone.header.writer(replica);
                    self.orphan(hash, Orphan { element, writer, lane: replica.clone(), since: now });
                }
                Orphans::Dropped => {
                    let (before, after) = (gone.winner(), rest.and_then(|rest| rest.winner()));
                    self.shift(before, after, sink);
                }
            }
        }
        if let Some(free) = self.slots.get_mut((slot - FIRST_COPY) as usize) {
            *free = None;
        }
    }

    /// The slot of a replica's copy.
    fn slot(&mut self, replica: &ReplicaId) -> u32 {
        let found = self.slots.iter().position(|slot| slot.as_ref() == Some(replica));
        let index = found.unwrap_or_else(|| {
            let free = self.slots.iter().position(Option::is_none);
            let index = free.unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() - 1
            });
            self.slots[index] = Some(replica.clone());
            index
        });
        index as u32 + FIRST_COPY
    }

    // ---- The own lane ----

    /// Writes to the own lane, whatever else there is of the key. Returns the sequence number and what won before.
    pub fn write(
        &mut self,
        set: &mut ReplicatedSet,
        element: Element,
        prune_at: Instant,
    ) -> (u64, Option<Winner>) {
        let key = element.key();
        let hash = self.hash(key);
        let before = self.best(set, hash, key).and_then(|best| best.winner());
        let own = self.versions(set, hash, key).find(|version| version.place.slot == OWN);
        let superseded = own.map(|own| (own.place, own.header.is_tombstone));
        if let Some((place, is_tombstone)) = superseded {
            self.take(place);
            self.tombstones.removed(is_tombstone);
        }
        let is_tombstone = Header::read(&element).is_some_and(|header| header.is_tombstone);
        self.tombstones.added(is_tombstone);
        let seq = set.write(element.clone(), superseded.map(|(place, _)| place.dot));
        self.put(Place { hash, slot: OWN, dot: seq });
        let after = self.settle(set, hash, element.key(), prune_at);
        self.shift(before.clone(), after, &mut |_, _| ());
        (seq, before.filter(Winner::is_value))
    }

    /// Removes a dot of the own lane; false if it is not there.
    fn erase(&mut self, set: &mut ReplicatedSet, dot: u64, sink: Sink<'_>) -> bool {
        let Some(element) = set.own().element(dot).cloned() else { return false };
        let (key, hash) = (element.key(), self.hash(element.key()));
        let before = self.best(set, hash, key).and_then(|best| best.winner());
        self.take(Place { hash, slot: OWN, dot });
        self.tombstones.removed(Header::read(&element).is_some_and(|header| header.is_tombstone));
        set.erase(dot);
        let after = self.best(set, hash, key).and_then(|best| best.winner());
        self.shift(before, after, sink);
        true
    }

    /// Whether the winner of a key is in the own lane.
    pub fn holds(&self, set: &ReplicatedSet, key: &[u8]) -> bool {
        let best = self.best(set, self.hash(key), key);
        best.is_some_and(|best| best.place.slot == OWN && !best.header.is_tombstone)
    }

    /// Removes own entries that were beaten. What has lost stays lost, whatever has become of the winner. But as long as
    /// somebody has only the loser, for `is_everywhere` does not say of the winner's dot that all have it, the loser is not
    /// taken from him.
    pub fn prune(
        &mut self,
        set: &mut ReplicatedSet,
        is_everywhere: impl Fn(&ReplicaId, u64) -> bool,
        now: Instant,
        sink: Sink<'_>,
    ) {
        for _ in 0..MAX_AT_ONCE {
            let Some((_, dot)) = self.losers.front().copied().filter(|(due, _)| *due <= now) else { return };
            self.losers.pop_front();
            let Some(element) = set.own().element(dot) else {
                self.known_losers.remove(&dot);
                continue;
            };
            let best = self.best(set, self.hash(element.key()), element.key());
            let may_go = best.is_none_or(|best| {
                best.place.slot == OWN || best.owner.is_some_and(|owner| is_everywhere(owner, best.place.dot))
            });
            if may_go {
                self.known_losers.remove(&dot);
                self.erase(set, dot, sink);
            } else {
                self.losers.push_back((now + 10 * PAUSE, dot));
            }
        }
    }

    /// The own lane begins anew under another name.
    pub fn restart(&mut self, set: &mut ReplicatedSet, me: ReplicaId) {
        let renumbered: BTreeMap<u64, u64> = set.restart(me).into_iter().collect();
        self.places.retain(|place| place.slot != OWN);
        for dot in renumbered.values() {
            let Some(element) = set.own().element(*dot) else { continue };
            if Header::read(element).is_some() {
                self.put(Place { hash: self.hash(element.key()), slot: OWN, dot: *dot });
            }
        }
        self.tombstones.renumber(&renumbered);
        // What had lost against a copy that somebody took over may win now: the writer is a later one. Only the other goes then.
        self.known_losers.clear();
        for (due, dot) in std::mem::take(&mut self.losers) {
            let Some(dot) = renumbered.get(&dot).copied() else { continue };
            let Some(element) = set.own().element(dot) else { continue };
            let best = self.best(set, self.hash(element.key()), element.key());
            if best.is_some_and(|best| best.place.slot != OWN) && self.known_losers.insert(dot) {
                self.losers.push_back((due, dot));
            }
        }
    }

    /// When there is something to tidy up.
    pub fn next_upkeep(&self) -> Option<Instant> {
        let loser = self.losers.front().map(|(due, _)| *due);
        let adoption = if self.orphans.is_empty() { None } else { self.next_adoption };
        loser.into_iter().chain(adoption).chain(self.tombstones.next_due()).min()
    }

    // ---- The index ----

    fn put(&mut self, place: Place) {
        self.places.insert_unique(spread(place.hash), place, |place| spread(place.hash));
    }

    /// Takes a place out; false if it is not there.
    fn take(&mut self, place: Place) -> bool {
        let found = self.places.find_entry(spread(place.hash), |entry| *entry == place);
        found.map(hashbrown::hash_table::OccupiedEntry::remove).is_ok()
    }

    /// What wins, after an entry of the key has come. Orphans that it beats go, an own entry that it beats will.
    fn settle(&mut self, set: &ReplicatedSet, hash: u32, key: &[u8], prune_at: Instant) -> Option<Winner> {
        let best = self.best(set, hash, key)?;
        let (place, winner) = (best.place, best.winner());
        let beaten: Vec<Place> = self
            .versions(set, hash, key)
            .map(|version| version.place)
            .filter(|other| *other != place)
            .collect();
        for other in beaten {
            match other.slot {
                ORPHAN => {
                    self.take(other);
                    self.orphans.remove(&other.dot);
                }
                OWN if self.known_losers.insert(other.dot) => self.losers.push_back((prune_at, other.dot)),
                _ => {}
            }
        }
        winner
    }

    /// Counts, and tells if there is anything to tell.
    fn shift(&mut self, before: Option<Winner>, after: Option<Winner>, sink: Sink<'_>) {
        let (before, after) = (before.filter(Winner::is_value), after.filter(Winner::is_value));
        match (&before, &after) {
            (None, None) => return,
            (None, Some(_)) => self.count += 1,
            (Some(_), None) => self.count = self.count.saturating_sub(1),
            (Some(before), Some(after)) => {
                let (one, other) = (&before.entry, &after.entry);
                let same_write = before.replica == after.replica && one.stamp() == other.stamp();
                if same_write && one.value() == other.value() {
                    return;
                }
            }
        }
        sink(before, after);
    }
}

/// Entries tidied up in one go.
const MAX_AT_ONCE: usize = 1024;
/// The next go is so much later, if there is more.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
