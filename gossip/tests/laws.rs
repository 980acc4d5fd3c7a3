//! The laws of a state-based and operation-based CRDT, over copies that random gossip has brought to random states.

use std::collections::BTreeMap;

use crdts::{CmRDT, CvRDT, VClock};
use proptest::prelude::*;
use rumormq_gossip::{
    Delta, Element, Frontier, Incarnation, LaneLimits, NodeName, ReplicaId, ReplicatedSet, SetHash, SetId,
};

const REPLICAS: usize = 3;

fn replica(number: usize) -> ReplicaId {
    let name = NodeName::parse(&format!("node{number}@host")).expect("is a name");
    ReplicaId { name, incarnation: Incarnation(1) }
}

fn empty_set(number: usize) -> ReplicatedSet {
    let limits = LaneLimits { remove_window: 4, ..LaneLimits::default() };
    ReplicatedSet::new(SetId(0), "routes", replica(number), limits)
}

#[derive(Clone, Debug)]
enum Step {
    Insert { at: usize, key: u8, value: u8 },
    Remove { at: usize, key: u8 },
    Merge { from: usize, into: usize },
    Delta { from: usize, into: usize, of: usize, max_bytes: usize },
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let at = 0..REPLICAS;
    let step = prop_oneof![
        4 => (at.clone(), 0u8..6, any::<u8>()).prop_map(|(at, key, value)| Step::Insert { at, key, value }),
        3 => (at.clone(), 0u8..6).prop_map(|(at, key)| Step::Remove { at, key }),
        1 => (at.clone(), at.clone()).prop_map(|(from, into)| Step::Merge { from, into }),
        2 => (at.clone(), at.clone(), at, 1usize..200)
            .prop_map(|(from, into, of, max_bytes)| Step::Delta { from, into, of, max_bytes }),
    ];
    proptest::collection::vec(step, 0..80)
}

fn delta(from: &ReplicatedSet, into: &ReplicatedSet, of: &ReplicaId, max_bytes: usize) -> Option<Delta> {
    let (frontier, held) = into.lane(of).map_or((Frontier::START, 0), |lane| lane.wanted_from());
    let interval = from.lane(of)?.interval(frontier, held, max_bytes)?;
    Some(Delta { set: SetId(0), replica: of.clone(), interval })
}

fn run(history: &[Step]) -> Vec<ReplicatedSet> {
    let mut sets: Vec<ReplicatedSet> = (0..REPLICAS).map(empty_set).collect();
    for step in history {
        match *step {
            Step::Insert { at, key, value } => {
                sets[at].insert(&[key], &[value]);
            }
            Step::Remove { at, key } => {
                sets[at].remove(&[key]);
            }
            Step::Merge { from, into } => {
                let other = sets[from].clone();
                sets[into].merge(other);
            }
            Step::Delta { from, into, of, max_bytes } => {
                if let Some(delta) = delta(&sets[from], &sets[into], &replica(of), max_bytes) {
                    sets[into].apply(delta);
                }
            }
        }
    }
    sets
}

/// What a set holds: for every replica that has any, sequence number, hash and live dots.
type Content = BTreeMap<ReplicaId, (u64, SetHash, Vec<(u64, Element)>)>;

fn content(set: &ReplicatedSet) -> Content {
    let known = set.lanes().filter(|(_, lane)| lane.head().seq > 0);
    known
        .map(|(replica, lane)| {
            let elements = lane.elements().map(|(dot, element)| (dot, element.clone())).collect();
            (replica.clone(), (lane.head().seq, lane.head().hash, elements))
        })
        .collect()
}

fn merged(one: &ReplicatedSet, other: &ReplicatedSet) -> ReplicatedSet {
    assert_eq!(one.validate_merge(other), Ok(()));
    let mut merged = one.clone();
    merged.merge(other.clone());
    merged
}

proptest! {
    #[test]
    fn merge_is_commutative_associative_and_idempotent(history in history()) {
        let sets = run(&history);
        let [a, b, c] = &sets[..] else { unreachable!() };
        prop_assert_eq!(content(&merged(a, b)), content(&merged(b, a)));
        prop_assert_eq!(content(&merged(&merged(a, b), c)), content(&merged(a, &merged(b, c))));
        prop_assert_eq!(content(&merged(a, a)), content(a));
        prop_assert_eq!(content(&merged(&merged(a, b), b)), content(&merged(a, b)));
    }

    /// Merging never loses: the clock of the result is the least upper bound of both clocks.
    #[test]
    fn merge_is_the_least_upper_bound(history in history()) {
        let sets = run(&history);
        let mut bound: VClock<ReplicaId> = sets[0].clock();
        bound.merge(sets[1].clock());
        prop_assert_eq!(merged(&sets[0], &sets[1]).clock(), bound);
    }

    /// Deltas alone, in pieces of any size, lead to what merging whole states leads to; repeating them changes nothing.
    #[test]
    fn deltas_lead_where_states_lead(history in history(), max_bytes in 1usize..300) {
        let sets = run(&history);
        let expected = merged(&merged(&sets[0], &sets[1]), &sets[2]);
        let mut by_deltas = sets[0].clone();
        for of in 1..REPLICAS {
            for from in &sets[1..] {
                while let Some(delta) = delta(from, &by_deltas, &replica(of), max_bytes) {
                    prop_assert_eq!(by_deltas.validate_op(&delta), Ok(()));
                    by_deltas.apply(delta.clone());
                    let once = content(&by_deltas);
                    by_deltas.apply(delta);
                    prop_assert_eq!(content(&by_deltas), once);
                }
            }
        }
        prop_assert_eq!(content(&by_deltas), content(&expected));
    }
}
