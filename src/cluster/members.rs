//! Who else is in the cluster and where, as the membership and the links tell it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rumormq_gossip::chitchat::{self, Liveness};
use rumormq_gossip::{Head, Observation, ReplicaId, SetId, Status};
use tokio::net::UdpSocket;
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
    /// Whether it is about to leave.
    pub draining: bool,
    /// How far its clock was ahead when its link came up, the time of the message's way included.
    pub clock_skew_ms: Option<i64>,
}

impl Members {
    /// A link's HELLO names its addresses and its clock. Whether heartbeats arrive is not its to say.
    pub fn note_hello(&self, hello: &Hello, wall_clock_ms: u64) {
        let mut known = self.known.lock();
        let member = Member {
            cluster_addr: hello.addresses.cluster.parse().ok(),
            addresses: hello.addresses.clone(),
            alive: false,
            draining: false,
            clock_skew_ms: None,
        };
        let member = known.entry(hello.replica.clone()).or_insert(member);
        member.addresses = hello.addresses.clone();
        // A peer may say anything.
        member.clock_skew_ms = Some(hello.wall_clock_ms.wrapping_sub(wall_clock_ms) as i64);
    }

    /// A peer is linked to it. Who is known already has told its addresses itself. What is no address is not kept.
    pub fn note_introduction(&self, replica: ReplicaId, addresses: Addresses) {
        if !addresses.are_valid() {
            return;
        }
        let cluster_addr = addresses.cluster.parse().ok();
        let member = Member { cluster_addr, addresses, alive: false, draining: false, clock_skew_ms: None };
        self.known.lock().entry(replica).or_insert(member);
    }

    /// What these say of themselves, and whether their heartbeats arrive.
    pub fn look_up<'a>(
        &self,
        replicas: impl Iterator<Item = &'a ReplicaId>,
    ) -> Vec<Option<(Addresses, bool)>> {
        let known = self.known.lock();
        let look_up = |replica| known.get(replica).map(|member| (member.addresses.clone(), member.alive));
        replicas.map(look_up).collect()
    }

    fn note(&self, observation: &chitchat::Observation) {
        let mut known = self.known.lock();
        if observation.liveness == Liveness::Forgotten || status(observation) == Status::Left {
            known.remove(&observation.replica);
            return;
        }
        let text = |key: &str| observation.keys.get(key).cloned();
        let before = known.get(&observation.replica);
        let member = Member {
            cluster_addr: Some(observation.cluster_addr),
            addresses: Addresses {
                // A name, where its HELLO gave one, outlives an address.
                cluster: before.map_or_else(
                    || observation.cluster_addr.to_string(),
                    |known| known.addresses.cluster.clone(),
                ),
                // Gossip may not have brought yet what its HELLO said.
                mqtt: text("mqtt").or_else(|| before.and_then(|known| known.addresses.mqtt.clone())),
                http: text("http").or_else(|| before.and_then(|known| known.addresses.http.clone())),
            },
            alive: observation.liveness == Liveness::Alive,
            draining: text("status").as_deref() == Some(DRAINING),
            clock_skew_ms: before.and_then(|known| known.clock_skew_ms),
        };
        known.insert(observation.replica.clone(), member);
    }

    /// The replica will not come back.
    pub fn forget(&self, replica: &ReplicaId) {
        self.known.lock().remove(replica);
    }

    /// How far the clocks of linked members were ahead, in milliseconds.
    pub fn clock_skews(&self) -> Vec<(ReplicaId, i64)> {
        let known = self.known.lock();
        known.iter().filter_map(|(replica, member)| Some((replica.clone(), member.clock_skew_ms?))).collect()
    }

    /// Members whose heartbeats arrive, or that are linked as `is_linked` says, and the address that they give.
    pub fn present(&self, is_linked: impl Fn(&ReplicaId) -> bool) -> Vec<(ReplicaId, String)> {
        let known = self.known.lock();
        let present = known.iter().filter(|(replica, member)| member.alive || is_linked(replica));
        present.map(|(replica, member)| (replica.clone(), member.addresses.cluster.clone())).collect()
    }

    /// Members that are not about to leave, and what they say of themselves.
    pub fn staying(&self) -> Vec<(ReplicaId, Addresses)> {
        let known = self.known.lock();
        let staying = known.iter().filter(|(_, member)| !member.draining);
        staying.map(|(replica, member)| (replica.clone(), member.addresses.clone())).collect()
    }

    /// Where members receive links, and whether their heartbeats arrive; by name and incarnation.
    pub fn addresses(&self) -> Vec<(ReplicaId, SocketAddr, bool)> {
        let known = self.known.lock();
        let members = known.iter();
        members
            .filter_map(|(replica, member)| Some((replica.clone(), member.cluster_addr?, member.alive)))
            .collect()
    }
}

/// What a node says of its status that is about to leave. Who does not know the word takes the node for a running one, which it
/// is.
pub(super) const DRAINING: &str = "draining";

/// What the membership observes.
pub type Observations = mpsc::Receiver<chitchat::Observation>;

/// Hands on what the membership observes, and starts it anew when the node has a new incarnation.
pub async fn run(cluster: Arc<Cluster>, socket: Arc<UdpSocket>, mut observations: Observations) {
    loop {
        tokio::select! {
            () = observe(&cluster, &mut observations) => return,
            () = cluster.restarted.notified() => {}
        }
        let former = cluster.membership.write().take();
        if let Some(former) = former {
            former.stop().await;
        }
        match cluster.start_membership(socket.clone()).await {
            Ok(present) => observations = present,
            Err(error) => {
                return tracing::error!(%error, "the membership does not start again: restart the node");
            }
        }
    }
}

fn status(observation: &chitchat::Observation) -> Status {
    match observation.keys.get("status").map(String::as_str) {
        Some("stopped") => Status::Stopped,
        Some("left") => Status::Left,
        _ => Status::Running,
    }
}

async fn observe(cluster: &Cluster, observations: &mut Observations) {
    while let Some(observation) = observations.recv().await {
        let now = Instant::now();
        // Its heartbeats may arrive after its last word.
        if !cluster.replication.lock().node.has_left(&observation.replica) {
            cluster.members.note(&observation);
        }
        if observation.conflict {
            tracing::error!(replica = %observation.replica, "two nodes have one name: stop one of them, and start it under another --node");
        }
        let heads = SETS.iter().enumerate().filter_map(|(at, set)| {
            let head: Head = observation.keys.get(&head_key(set.name))?.parse().ok()?;
            Some((SetId(at as u8), head))
        });
        let observation = Observation {
            alive: observation.liveness == Liveness::Alive,
            status: status(&observation),
            heads: heads.collect(),
            replica: observation.replica,
        };
        cluster.with_replication(now, |replication| replication.node.handle_observation(observation, now));
    }
}

#[cfg(test)]
mod tests {
    use rumormq_gossip::{Incarnation, NodeName};

    use super::*;
    use crate::cluster::link::hello::SPOKEN;

    #[test]
    fn no_clock_of_a_peer_does_harm() {
        let replica =
            ReplicaId { name: NodeName::parse("a@h").expect("a name"), incarnation: Incarnation(1) };
        let members = Members::default();
        for (theirs, ours, skew) in [
            (1_500, 1_000, 500),
            (1_000, 1_500, -500),
            (1 << 63, 1, i64::MAX),
            (u64::MAX, 0, -1),
            (0, u64::MAX, 1),
        ] {
            let hello = Hello {
                cluster: "c".to_owned(),
                protocol: SPOKEN,
                replica: replica.clone(),
                addresses: Addresses { cluster: "127.0.0.1:1".to_owned(), ..Addresses::default() },
                gossip: Vec::new(),
                forwards_received: BTreeMap::new(),
                wall_clock_ms: theirs,
            };
            members.note_hello(&hello, ours);
            assert_eq!(members.clock_skews(), [(replica.clone(), skew)]);
        }
    }

    #[test]
    fn an_introduction_with_no_address_is_none() {
        let replica =
            ReplicaId { name: NodeName::parse("a@h").expect("a name"), incarnation: Incarnation(1) };
        let at = |cluster: &str| Addresses { cluster: cluster.to_owned(), ..Addresses::default() };
        let members = Members::default();
        for address in ["", "h", "h:x", &format!("{}:1", "h".repeat(1_000_000))] {
            members.note_introduction(replica.clone(), at(address));
        }
        members.note_introduction(replica.clone(), Addresses { http: Some("h".repeat(300)), ..at("h:1") });
        assert_eq!(members.look_up([&replica].into_iter())[0], None);
        members.note_introduction(replica.clone(), at("127.0.0.1:1"));
        assert_eq!(members.look_up([&replica].into_iter())[0], Some((at("127.0.0.1:1"), false)));
    }
}
