//! Random histories of a few replicas, against an oracle that knows every lane by heart.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::delta::{Delta, Frontier, SetId};
use crate::lane::{LaneLimits, Outcome};
use crate::replica::NodeName;

const REPLICAS: usize = 4;

fn replica(number: usize) -> ReplicaId {
    let name = NodeName::parse(&format!("node{number}@host")).expect("is a name");
    ReplicaId { name, incarnation: Incarnation(1) }
}

/// Who wrote what when, by key.
type Content = BTreeMap<Vec<u8>, (Stamp, ReplicaId, Option<Vec<u8>>)>;

fn write_of(winner: &Winner) -> (Stamp, ReplicaId, Option<Vec<u8>>) {
    (winner.entry.stamp(), winner.replica.clone(), winner.entry.value().map(<[u8]>::to_vec))
}

/// One replica, with what its application has put together from events and answers alone.
struct Copy {
    set: ReplicatedSet,
    registers: Registers,
    clock: HybridClock,
    seen: Content,
    /// The highest write of each key that ever counted here.
    latest: Content,
    is_dead: bool,
    dropped: Vec<usize>,
}

impl Copy {
    fn new(number: usize, policy: Orphans) -> Copy {
        let limits = LaneLimits { remove_window: 4, ..LaneLimits::default() };
        let set = ReplicatedSet::unindexed(SetId(0), "retained", replica(number), limits);
        Copy {
            registers: Registers::new(&set, policy),
            set,
            clock: HybridClock::default(),
            seen: Content::new(),
            latest: Content::new(),
            is_dead: false,
            dropped: Vec::new(),
        }
    }

    /// What counts, from nothing but the lanes.
    fn oracle(&self) -> Content {
        let mut best: BTreeMap<Vec<u8>, (Stamp, ReplicaId, ReplicaId, Element)> = BTreeMap::new();
        let in_lanes = self.set.lanes().flat_map(|(owner, lane)| {
            lane.elements().filter_map(move |(_, element)| {
                let writer = Header::read(element)?.writer(owner);
                Some((writer, owner.clone(), element.clone()))
            })
        });
        let lowest = ReplicaId { name: NodeName::parse("!@!").unwrap(), incarnation: Incarnation(0) };
        let orphans = self.registers.orphans.values();
        let orphans = orphans.map(|orphan| (orphan.writer.clone(), lowest.clone(), orphan.element.clone()));
        for (writer, owner, element) in in_lanes.chain(orphans) {
            let stamp = Entry::read(&element).unwrap().stamp();
            let entry = (stamp, writer, owner, element.clone());
            let known = best.entry(element.key().to_vec()).or_insert_with(|| entry.clone());
            if (&known.0, &known.1, &known.2) < (&entry.0, &entry.1, &entry.2) {
                *known = entry;
            }
        }
        let read = |(key, (stamp, writer, _, element)): (Vec<u8>, (Stamp, ReplicaId, ReplicaId, Element))| {
            let value = Entry::read(&element).unwrap().value().map(<[u8]>::to_vec);
            (key, (stamp, writer, value))
        };
        best.into_iter().map(read).collect()
    }

    fn winners(&self) -> Content {
        let winners = self.registers.winners(&self.set, |_| true);
        winners.map(|winner| (winner.entry.key().to_vec(), write_of(&winner))).collect()
    }

    fn is_tidy(&self) -> bool {
        self.registers.losers.is_empty() && self.registers.orphans.is_empty()
    }

    /// Everything that must hold at any time.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let oracle = self.oracle();
        for (key, best) in &oracle {
            let known = self.latest.entry(key.clone()).or_insert_with(|| best.clone());
            prop_assert!((best.0, &best.1) >= (known.0, &known.1), "{best:?} came back after {known:?}");
            *known = best.clone();
        }
        for key in self.latest.keys() {
            prop_assert!(oracle.contains_key(key), "{} was lost", key.escape_ascii());
        }
        let values: Content = oracle.into_iter().filter(|(_, (_, _, value))| value.is_some()).collect();
        let winners = self.winners();
        prop_assert_eq!(&winners, &values);
        prop_assert_eq!(&winners, &self.seen);
        prop_assert_eq!(self.registers.count(), winners.len() as u64);
        let places = self.set.lanes().map(|(_, lane)| lane.elements().len()).sum::<usize>();
        prop_assert_eq!(self.registers.places.len(), places + self.registers.orphans.len());
        let own = self.set.own().elements();
        let tombstones = own.filter(|(_, element)| Header::read(element).unwrap().is_tombstone).count();
        prop_assert_eq!(self.registers.tombstones(), tombstones);
        Ok(())
    }
}

fn note(seen: &mut Content) -> impl FnMut(Option<Winner>, Option<Winner>) {
    |before, after| {
        let key = before.iter().chain(&after).next().expect("something changed").entry.key().to_vec();
        let known = match &after {
            Some(after) => seen.insert(key, write_of(after)),
            None => seen.remove(&key),
        };
        assert_eq!(known, before.as_ref().map(write_of), "what is said to be before");
    }
}

struct World {
    copies: Vec<Copy>,
    now: Instant,
    wall_ms: u64,
    written: Content,
}

#[derive(Clone, Debug)]
enum Step {
    Write { at: usize, key: u8, skew: u64 },
    Clear { at: usize, key: u8, skew: u64 },
    Merge { from: usize, into: usize, of: usize, max_bytes: usize },
    Upkeep { at: usize },
    Pass { millis: u64 },
    Die { at: usize },
    Drop { at: usize, of: usize },
}

fn history(deaths: bool) -> impl Strategy<Value = Vec<Step>> {
    let at = 0..REPLICAS;
    let deaths = u32::from(deaths);
    let step = prop_oneof![
        4 => (at.clone(), 0u8..4, 0u64..50).prop_map(|(at, key, skew)| Step::Write { at, key, skew }),
        2 => (at.clone(), 0u8..4, 0u64..50).prop_map(|(at, key, skew)| Step::Clear { at, key, skew }),
        8 => (at.clone(), at.clone(), at.clone(), 1usize..200)
            .prop_map(|(from, into, of, max_bytes)| Step::Merge { from, into, of, max_bytes }),
        2 => at.clone().prop_map(|at| Step::Upkeep { at }),
        1 => (1u64..3000).prop_map(|millis| Step::Pass { millis }),
        deaths => at.clone().prop_map(|at| Step::Die { at }),
        2 * deaths => (at.clone(), at).prop_map(|(at, of)| Step::Drop { at, of }),
    ];
    proptest::collection::vec(step, 0..150)
}

impl World {
    fn new(policy: Orphans) -> World {
        let copies = (0..REPLICAS).map(|number| Copy::new(number, policy)).collect();
        World { copies, now: Instant::now(), wall_ms: 1000, written: Content::new() }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { at, key, skew } => self.write(at, key, true, skew),
            Step::Clear { at, key, skew } => self.write(at, key, false, skew),
            Step::Merge { from, into, of, max_bytes } => {
                self.merge(from, into, of, max_bytes);
            }
            Step::Upkeep { at } => self.upkeep(at),
            Step::Pass { millis } => {
                self.now += Duration::from_millis(millis);
                self.wall_ms += millis;
            }
            Step::Die { at } => {
                // The last one has to tell what was.
                if self.copies.iter().filter(|copy| !copy.is_dead).count() > 1 {
                    self.copies[at].is_dead = true;
                }
            }
            Step::Drop { at, of } => self.drop_lane(at, of),
        }
    }

    fn write(&mut self, at: usize, key: u8, is_value: bool, skew: u64) {
        let (now, wall_ms) = (self.now, self.wall_ms + skew * at as u64);
        let copy = &mut self.copies[at];
        if copy.is_dead {
            return;
        }
        let stamp = copy.clock.tick(wall_ms, None);
        let value = is_value.then(|| stamp.0.to_le_bytes().to_vec());
        let element = Entry::write(&[key], value.as_deref(), stamp, None);
        let (_, replaced) = copy.registers.write(&mut copy.set, element, now + Duration::from_secs(1));
        let written = (stamp, replica(at), value.clone());
        let known = match value {
            Some(_) => copy.seen.insert(vec![key], written.clone()),
            None => copy.seen.remove(&vec![key]),
        };
        assert_eq!(known, replaced.as_ref().map(write_of));
        let best = self.written.entry(vec![key]).or_insert_with(|| written.clone());
        if (best.0, &best.1) < (written.0, &written.1) {
            *best = written;
        }
    }

    /// Brings one lane forward by a piece; false if there is none.
    fn merge(&mut self, from: usize, into: usize, of: usize, max_bytes: usize) -> bool {
        let now = self.now;
        if from == into || into == of || self.copies[into].dropped.contains(&of) {
            return false;
        }
        let (owner, target) = (replica(of), &self.copies[into]);
        if target.is_dead || self.copies[from].is_dead {
            return false;
        }
        let (at, held) = target.set.lane(&owner).map_or((Frontier::START, 0), |lane| lane.wanted_from());
        let lane = self.copies[from].set.lane(&owner);
        let Some(interval) = lane.and_then(|lane| lane.interval(at, held, max_bytes)) else { return false };
        let copy = &mut self.copies[into];
        let delta = Delta { set: SetId(0), replica: owner.clone(), interval };
        if let Outcome::Applied(change) = copy.set.merge_delta(&delta) {
            let prune_at = now + Duration::from_secs(1);
            let sink = &mut note(&mut copy.seen);
            copy.registers.merge(&copy.set, &owner, &change, &mut copy.clock, prune_at, sink);
        }
        true
    }

    fn upkeep(&mut self, at: usize) {
        let others: Vec<NodeName> = self
            .copies
            .iter()
            .enumerate()
            .filter(|(number, copy)| *number != at && !copy.is_dead)
            .map(|(number, _)| replica(number).name)
            .collect();
        let now = self.now;
        if self.copies[at].is_dead {
            return;
        }
        // What the others have, as links and digests tell.
        let mut applied: BTreeMap<ReplicaId, u64> = BTreeMap::new();
        for of in (0..REPLICAS).map(replica) {
            let has = |copy: &Copy| copy.set.lane(&of).map_or(0, |lane| lane.head().seq);
            let living = self.copies.iter().filter(|copy| !copy.is_dead);
            applied.insert(of.clone(), living.map(has).min().unwrap_or_default());
        }
        let is_everywhere = |owner: &ReplicaId, dot: u64| applied[owner] >= dot;
        let copy = &mut self.copies[at];
        copy.registers.prune(&mut copy.set, is_everywhere, now, &mut note(&mut copy.seen));
        let (patience, ttl) = (Duration::from_secs(2), Duration::from_secs(3600));
        copy.registers.adopt(&mut copy.set, &others, patience, ttl, now);
    }

    fn drop_lane(&mut self, at: usize, of: usize) {
        let now = self.now;
        if !self.copies[of].is_dead || self.copies[at].is_dead || self.copies[at].dropped.contains(&of) {
            return;
        }
        let copy = &mut self.copies[at];
        copy.dropped.push(of);
        if let Some(lane) = copy.set.drop_lane(&replica(of)) {
            let sink = &mut note(&mut copy.seen);
            copy.registers.drop_lane(&copy.set, &replica(of), lane, now, sink);
        }
    }

    /// All that is alive talks until nothing changes any more.
    fn converge(&mut self) -> Result<(), TestCaseError> {
        for at in 0..REPLICAS {
            for of in 0..REPLICAS {
                self.drop_lane(at, of);
            }
        }
        for _ in 0..100 {
            let mut quiet = true;
            for into in 0..REPLICAS {
                for of in 0..REPLICAS {
                    for from in 0..REPLICAS {
                        while self.merge(from, into, of, 1000) {
                            quiet = false;
                        }
                    }
                }
                let before = self.copies[into].set.head();
                self.upkeep(into);
                quiet &= self.copies[into].set.head() == before;
                if !self.copies[into].is_dead {
                    self.copies[into].check()?;
                }
            }
            self.now += Duration::from_secs(1);
            if quiet && self.copies.iter().all(|copy| copy.is_dead || copy.is_tidy()) {
                return Ok(());
            }
        }
        Err(TestCaseError::fail("they do not come to rest"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Of each key the highest write counts everywhere, nothing else of it is left, and the events say so all along.
    #[test]
    fn the_last_write_wins_everywhere(history in history(false)) {
        let mut world = World::new(Orphans::Adopted);
        for step in &history {
            world.step(step);
            for copy in &mut world.copies {
                copy.check()?;
            }
        }
        world.converge()?;
        let expected: Content =
            world.written.clone().into_iter().filter(|(_, (_, _, value))| value.is_some()).collect();
        for copy in &world.copies {
            prop_assert_eq!(copy.winners(), expected.clone());
            let entries: usize = copy.set.lanes().map(|(_, lane)| lane.elements().len()).sum();
            prop_assert_eq!(entries, world.written.len(), "what was beaten is pruned, by its owner alone");
        }
    }

    /// Whoever dies and is dropped, whenever: what counted anywhere that lives is neither lost nor beaten by
    /// anything older, and in the end every survivor has the same, in living lanes.
    #[test]
    fn orphans_are_adopted(history in history(true)) {
        let mut world = World::new(Orphans::Adopted);
        for step in &history {
            world.step(step);
            for copy in world.copies.iter_mut().filter(|copy| !copy.is_dead) {
                copy.check()?;
            }
        }
        world.converge()?;
        let mut survivors = world.copies.iter().filter(|copy| !copy.is_dead);
        let first = survivors.next().expect("one survives");
        for copy in survivors {
            prop_assert_eq!(copy.winners(), first.winners());
        }
        for copy in world.copies.iter().filter(|copy| !copy.is_dead) {
            prop_assert_eq!(copy.registers.orphans(), 0);
            for (key, (stamp, writer, value)) in copy.winners() {
                let latest = world.written.get(&key).expect("was written");
                prop_assert!((stamp, &writer) <= (latest.0, &latest.1));
                prop_assert!(value.is_some_and(|value| value == stamp.0.to_le_bytes()), "the original stamp");
            }
        }
    }
}

/// What somebody has taken over for a node that was thought to be gone, and is back under a later incarnation.
#[test]
fn of_two_copies_one_stays_when_the_writer_begins_anew() {
    let mut world = World::new(Orphans::Adopted);
    world.write(0, 7, true, 0);
    world.merge(0, 3, 0, 1000);
    let owner = replica(0);
    let copy = &mut world.copies[3];
    let lane = copy.set.drop_lane(&owner).expect("was merged");
    copy.registers.drop_lane(&copy.set, &owner, lane, world.now, &mut note(&mut copy.seen));
    copy.registers.adopt(&mut copy.set, &[], Duration::ZERO, Duration::ZERO, world.now);
    assert!(world.merge(3, 0, 3, 1000));
    let returned = &mut world.copies[0];
    assert_eq!(returned.registers.losers.len(), 1, "the other copy is the higher one");

    let again = ReplicaId { incarnation: Incarnation(2), ..owner };
    returned.registers.restart(&mut returned.set, again.clone());
    let later = world.now + Duration::from_secs(10);
    returned.registers.prune(&mut returned.set, |_, _| true, later, &mut note(&mut returned.seen));
    let winner = returned.registers.winner(&returned.set, &[7]).expect("is there");
    assert_eq!((winner.replica, winner.orphan), (again, false), "now this one is, and the other will go");
}

#[test]
fn what_is_no_entry_counts_for_nothing() {
    let mut copy = Copy::new(0, Orphans::Adopted);
    let stranger = replica(1);
    let writer = [&[0; 8][..], &[2, 200, b'x']].concat();
    let nonsense: Vec<&[u8]> = vec![b"", b"1234567", b"12345678", &writer];
    let added = nonsense.iter().map(|value| Element::new(b"key", value));
    let change = Change { added: (1..).zip(added).collect(), removed: Vec::new() };
    let sink = &mut |_, _| panic!("nothing has changed");
    copy.registers.merge(&copy.set, &stranger, &change, &mut copy.clock, Instant::now(), sink);
    let gone = Change { removed: change.added, added: Vec::new() };
    copy.registers.merge(&copy.set, &stranger, &gone, &mut copy.clock, Instant::now(), sink);
    assert_eq!((copy.registers.count(), copy.registers.places.len()), (0, 0));
}
