//! The replicated set against `crdts::Orswot`, over random histories with merges in every order.
//!
//! Every replica adds and removes what it wrote itself. The oracle gets the same dots: our sequence numbers.

use std::collections::BTreeSet;

use crdts::{CmRDT, CvRDT, Dot, Orswot, VClock, orswot::Op};
use proptest::prelude::*;
use rumormq_gossip::{Incarnation, LaneLimits, NodeName, ReplicaId, ReplicatedSet, SetId};

const REPLICAS: usize = 4;

type Oracle = Orswot<Vec<u8>, ReplicaId>;

#[derive(Clone, Debug)]
enum Step {
    Add { at: usize, key: u8 },
    Remove { at: usize, key: u8 },
    Merge { from: usize, into: usize },
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..REPLICAS, 0u8..8).prop_map(|(at, key)| Step::Add { at, key }),
        2 => (0..REPLICAS, 0u8..8).prop_map(|(at, key)| Step::Remove { at, key }),
        2 => (0..REPLICAS, 0..REPLICAS).prop_map(|(from, into)| Step::Merge { from, into }),
    ];
    proptest::collection::vec(step, 0..120)
}

fn replica(number: usize) -> ReplicaId {
    let name = NodeName::parse(&format!("node{number}@host")).expect("is a name");
    ReplicaId { name, incarnation: Incarnation(number as u64) }
}

fn keys(set: &ReplicatedSet) -> BTreeSet<Vec<u8>> {
    let elements = set.lanes().flat_map(|(_, lane)| lane.elements());
    elements.map(|(_, element)| element.key().to_vec()).collect()
}

fn oracle_keys(oracle: &Oracle) -> BTreeSet<Vec<u8>> {
    oracle.iter().map(|entry| entry.val.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn holds_what_orswot_holds(history in history()) {
        let mut sets: Vec<ReplicatedSet> = (0..REPLICAS)
            .map(|number| ReplicatedSet::new(SetId(0), "routes", replica(number), LaneLimits::default()))
            .collect();
        let mut oracles: Vec<Oracle> = vec![Oracle::new(); REPLICAS];
        for step in history {
            match step {
                Step::Add { at, key } => {
                    let dot = Dot::new(replica(at), sets[at].insert(&[key], b""));
                    oracles[at].apply(Op::Add { dot, members: vec![vec![key]] });
                }
                Step::Remove { at, key } => {
                    let dot = sets[at].dot(&[key]);
                    prop_assert_eq!(sets[at].remove(&[key]).is_some(), dot.is_some());
                    if let Some(dot) = dot {
                        let clock = VClock::from(Dot::new(replica(at), dot));
                        oracles[at].apply(Op::Rm { clock, members: vec![vec![key]] });
                    }
                }
                Step::Merge { from, into } => {
                    let (set, oracle) = (sets[from].clone(), oracles[from].clone());
                    sets[into].merge(set);
                    oracles[into].merge(oracle);
                }
            }
            for (set, oracle) in sets.iter().zip(&oracles) {
                prop_assert_eq!(keys(set), oracle_keys(oracle));
            }
        }
    }
}
