//! One running node in the simulation, with a model of what its application did and saw.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rumormq_gossip::{Change, Config, Element, Node, ReplicaId, SetId, SetSpec, Status};

use crate::membership::Membership;

pub const SETS: [SetSpec; 2] = [SetSpec::plain("routes"), SetSpec::plain("sessions")];

/// Elements by key, for every set.
pub type Content = Vec<BTreeMap<Vec<u8>, Vec<u8>>>;

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
            for (key, value) in elements {
                node.insert(set, key, value, now);
            }
        }
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
            awaited: 0,
            settled: 0,
        }
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
