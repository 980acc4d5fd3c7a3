//! One running node in the simulation, with a model of what its application did and saw.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rumormq_gossip::{
    Change, Config, Element, Node, NodeName, Orphans, ReplicaId, SetId, SetKind, SetSpec, Stamp, Status,
    Winner,
};

use crate::membership::Membership;

pub const SETS: [SetSpec; 3] = [
    SetSpec::plain("routes"),
    SetSpec::stamped("sessions", Orphans::Dropped),
    SetSpec::stamped("retained", Orphans::Adopted),
];

pub fn is_stamped(set: usize) -> bool {
    SETS[set].kind != SetKind::Plain
}

/// Elements by key, for every set; of stamped sets what this node wrote last, tombstones included.
pub type Content = Vec<BTreeMap<Vec<u8>, Kept>>;

/// What an application keeps of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub value: Option<Vec<u8>>,
    pub stamp: Stamp,
}

/// When which node wrote what. (A node that begins a new lane is the same to its clients.)
pub type Seen = (Stamp, NodeName, Option<Vec<u8>>);

pub fn seen(winner: &Winner) -> Seen {
    let value = winner.entry.value().map(<[u8]>::to_vec);
    (winner.entry.stamp(), winner.replica.name.clone(), value)
}

pub struct Process {
    /// Tells the processes of one host apart.
    pub life: u64,
    pub node: Node,
    pub status: Status,
    /// What its application holds in the own lanes.
    pub truth: Content,
    pub membership: Membership,
    /// By host of the peer.
    pub connections: BTreeMap<usize, Connection>,
    /// Connections begun and not answered yet, by host of the peer.
    pub dialing: BTreeMap<usize, u64>,
    pub tick_at: Option<Duration>,
    /// Elements of others' lanes, put together from events alone.
    pub seen: BTreeMap<(SetId, ReplicaId), BTreeMap<Element, i64>>,
    /// Winners of stamped sets, put together from events and answers alone.
    pub winners: Vec<BTreeMap<Vec<u8>, Seen>>,
    pub awaited: u64,
    pub settled: u64,
}

pub struct Connection {
    pub id: u64,
    pub peer: ReplicaId,
    pub since: Duration,
    pub last_pong: Duration,
}

impl Process {
    /// Starts a node that restores `content` before it speaks to anybody.
    pub fn start(life: u64, me: ReplicaId, config: Config, content: Content, now: Instant) -> Process {
        let mut node = Node::new(config, me, &SETS, now);
        for (set, elements) in (0..).map(SetId).zip(&content) {
            for (key, kept) in elements {
                match is_stamped(usize::from(set.0)) {
                    true => node.restore(set, key, kept.value.as_deref(), kept.stamp, now),
                    false => Some(node.insert(set, key, kept.value.as_deref().unwrap_or_default(), now)),
                };
            }
        }
        let restored = (0..SETS.len()).map(|set| match is_stamped(set) {
            true => {
                node.winners(SetId(set as u8)).map(|won| (won.entry.key().to_vec(), seen(&won))).collect()
            }
            false => BTreeMap::new(),
        });
        let restored = restored.collect();
        Process {
            life,
            node,
            status: Status::Running,
            truth: content,
            membership: Membership::default(),
            connections: BTreeMap::new(),
            dialing: BTreeMap::new(),
            tick_at: None,
            seen: BTreeMap::new(),
            winners: restored,
            awaited: 0,
            settled: 0,
        }
    }

    /// A key of a stamped set has another winner. False if it had another one before than is said.
    pub fn note_winner(&mut self, set: SetId, before: Option<&Winner>, after: Option<&Winner>) -> bool {
        let Some(key) = before.or(after).map(|winner| winner.entry.key().to_vec()) else { return false };
        let winners = &mut self.winners[usize::from(set.0)];
        let known = match after {
            Some(after) => winners.insert(key, seen(after)),
            None => winners.remove(&key),
        };
        known == before.map(seen)
    }

    pub fn note_change(&mut self, set: SetId, replica: ReplicaId, change: Change) {
        let seen = self.seen.entry((set, replica)).or_default();
        for (elements, by) in [(change.added, 1), (change.removed, -1)] {
            for (_, element) in elements {
                let count = seen.entry(element.clone()).or_default();
                *count += by;
                if *count == 0 {
                    seen.remove(&element);
                }
            }
        }
    }

    /// What is wrong with the events so far, if put together they are not what the node holds.
    pub fn events_disagree(&self) -> Option<String> {
        for set in (0..SETS.len()).map(|set| SetId(set as u8)) {
            if is_stamped(usize::from(set.0)) {
                let winners = self.node.winners(set);
                let held: BTreeMap<Vec<u8>, Seen> =
                    winners.map(|winner| (winner.entry.key().to_vec(), seen(&winner))).collect();
                let seen = &self.winners[usize::from(set.0)];
                if held != *seen || held.len() as u64 != self.node.winner_count(set) {
                    return Some(format!("{} holds {held:?}, its events say {seen:?}", self.node.me()));
                }
                continue;
            }
            let mut held: BTreeMap<ReplicaId, BTreeMap<Element, i64>> = BTreeMap::new();
            for (replica, element) in self.node.elements(set, true) {
                if replica != self.node.me() {
                    *held.entry(replica.clone()).or_default().entry(element.clone()).or_default() += 1;
                }
            }
            let seen: BTreeMap<ReplicaId, BTreeMap<Element, i64>> = self
                .seen
                .iter()
                .filter(|((of, _), elements)| *of == set && !elements.is_empty())
                .map(|((_, replica), elements)| (replica.clone(), elements.clone()))
                .collect();
            if held != seen {
                return Some(format!("{} holds {held:?}, its events say {seen:?}", self.node.me()));
            }
        }
        None
    }
}
