//! Who else is in the cluster and where, as the membership and the links tell it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rumormq_gossip::chitchat::{self, Liveness};
use rumormq_gossip::{Head, Observation, ReplicaId, SetId, Status};
use tokio::sync::mpsc;

use super::Cluster;
use super::interest::SETS;
use super::link::hello::{Addresses, Hello};
use super::replication::head_key;

/// Addresses of the other members, by incarnation. Bounded by what the membership admits.
#[derive(Debug, Default)]
pub struct Members {
    known: Mutex<BTreeMap<ReplicaId, Member>>,
}

/// Where a member is reached.
#[derive(Clone, Debug)]
pub struct Member {
    /// Where it receives links.
    pub cluster_addr: Option<SocketAddr>,
    /// What it says of itself.
    pub addresses: Addresses,
    /// Whether its heartbeats arrive.
    pub alive: bool,
}

impl Members {
    /// A link's HELLO names its addresses.
    pub fn note_hello(&self, hello: &Hello) {
        let mut known = self.known.lock();
        let member = Member {
            cluster_addr: hello.addresses.cluster.parse().ok(),
            addresses: hello.addresses.clone(),
            alive: true,
        };
        known.entry(hello.replica.clone()).or_insert(member).addresses = hello.addresses.clone();
    }

    fn note(&self, observation: &chitchat::Observation) {
        let mut known = self.known.lock();
        if observation.liveness == Liveness::Forgotten {
            known.remove(&observation.replica);
            return;
        }
        let text = |key: &str| observation.keys.get(key).cloned();
        let member = Member {
            cluster_addr: Some(observation.cluster_addr),
            addresses: Addresses {
                cluster: observation.cluster_addr.to_string(),
                mqtt: text("mqtt"),
                http: text("http"),
            },
            alive: observation.liveness == Liveness::Alive,
        };
        known.insert(observation.replica.clone(), member);
    }

    /// Members whose heartbeats arrive and the address to dial.
    pub fn to_dial(&self) -> Vec<(ReplicaId, SocketAddr)> {
        let known = self.known.lock();
        let alive = known.iter().filter(|(_, member)| member.alive);
        alive.filter_map(|(replica, member)| Some((replica.clone(), member.cluster_addr?))).collect()
    }
}

/// Hands on what the membership observes.
pub async fn observe(cluster: Arc<Cluster>, mut observations: mpsc::Receiver<chitchat::Observation>) {
    while let Some(observation) = observations.recv().await {
        let now = Instant::now();
        cluster.members.note(&observation);
        if observation.conflict {
            tracing::error!(replica = %observation.replica, "two nodes have one name; rename one of them");
        }
        let heads = SETS.iter().enumerate().filter_map(|(at, set)| {
            let head: Head = observation.keys.get(&head_key(set))?.parse().ok()?;
            Some((SetId(at as u8), head))
        });
        let observation = Observation {
            alive: observation.liveness == Liveness::Alive,
            status: match observation.keys.get("status").map(String::as_str) {
                Some("stopped") => Status::Stopped,
                Some("left") => Status::Left,
                _ => Status::Running,
            },
            heads: heads.collect(),
            replica: observation.replica,
        };
        cluster.with_replication(now, |replication| replication.node.handle_observation(observation, now));
    }
}
