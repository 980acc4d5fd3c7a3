//! Where the sessions of a node go that is about to leave: other nodes are asked to take them.
//!
//! Such a request moves nothing by itself. Who takes it claims the session as a connection of its client would, but with a
//! claim that gives way to one: so a client that comes back meanwhile, anywhere, has its session.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use rumormq_gossip::ReplicaId;

use super::wire::TakeoverMessage;
use super::{Cluster, QUEUE_MAX, send};
use crate::cluster::members::DRAINING;
use crate::message::PortableMessage;

/// The first protocol version that knows [`TakeoverMessage::Adopt`].
const ADOPT_SINCE: u16 = 3;
/// Longest wait for the others to have what is left to be said.
const FLUSH_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether they have.
const LOOK: Duration = Duration::from_millis(10);

/// A live node that takes sessions and clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuge {
    /// Which node.
    pub replica: ReplicaId,
    /// Where its clients connect, as far as it says so.
    pub mqtt: Option<String>,
}

/// The node that takes this client: the same one as long as it is there, and each of them as many clients as the others.
pub fn refuge_of<'a>(refuges: &'a [Refuge], client: &str) -> Option<&'a Refuge> {
    refuges.iter().max_by_key(|refuge| {
        let mut hasher = DefaultHasher::new();
        (refuge.replica.name.as_str(), client).hash(&mut hasher);
        hasher.finish()
    })
}

impl Cluster {
    /// Tells the others not to send anybody here any more. Everything else goes on.
    pub fn announce_drain(&self) {
        if let Some(membership) = &*self.membership.read() {
            // Few and short.
            let _ = membership.publish("status", DRAINING.to_owned());
        }
    }

    /// The nodes that can be asked to take a session.
    pub fn refuges(&self) -> Vec<Refuge> {
        let staying = self.members.staying().into_iter();
        let able = staying.filter(|(replica, _)| {
            let peer = self.peers.find(&replica.name);
            peer.is_some_and(|peer| peer.reaches(replica) && peer.protocol() >= ADOPT_SINCE)
        });
        able.map(|(replica, addresses)| Refuge { replica, mqtt: addresses.mqtt }).collect()
    }

    /// Asks a node to take a session of this one, which is over here once it has. It may not hear of it, or not be able to.
    pub fn offer_session(&self, to: &Refuge, id: &str) {
        send(&self.peers, &to.replica, &TakeoverMessage::Adopt { id: id.into() });
    }

    /// Gives other nodes the publishes that wait for their delay to pass, each with what is left of that.
    pub async fn hand_over_delayed(&self, delayed: impl Iterator<Item = (Duration, PortableMessage)>) {
        let deadline = Instant::now() + FLUSH_MAX;
        for (number, (due, message)) in delayed.enumerate() {
            let refuge = loop {
                if let Some(refuge) = refuge_of(&self.refuges(), &number.to_string()) {
                    break refuge.clone();
                }
                if Instant::now() > deadline {
                    tracing::error!(
                        "publishes with a delay are lost, no other node takes them: bring one back before a node is drained"
                    );
                    return;
                }
                tokio::time::sleep(LOOK).await;
            };
            let due_ms = u64::try_from(due.as_millis()).unwrap_or(u64::MAX);
            send(&self.peers, &refuge.replica, &TakeoverMessage::Delayed { due_ms, message });
            let is_full =
                || self.peers.find(&refuge.replica.name).is_some_and(|peer| peer.queue_len() > QUEUE_MAX);
            while is_full() {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Waits until the others have what this node has forwarded and written, and what they had under way for sessions that were
    /// here has been passed on; not without end, if one says nothing.
    pub async fn flush(&self) {
        let deadline = Instant::now() + FLUSH_MAX;
        let is_waiting = || {
            let waits =
                |peer: &std::sync::Arc<crate::cluster::Peer>| peer.is_reachable() && !peer.is_drained();
            self.peers.all().iter().any(waits) || !self.is_followed()
        };
        if self.strays.moved.are_expected() {
            tokio::time::sleep(self.takeovers.timeout).await;
        }
        while is_waiting() && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use rumormq_gossip::{Incarnation, NodeName};

    use super::*;

    fn refuges(names: &[&str]) -> Vec<Refuge> {
        let refuge = |name: &&str| Refuge {
            replica: ReplicaId { name: NodeName::parse(name).unwrap(), incarnation: Incarnation(1) },
            mqtt: None,
        };
        names.iter().map(refuge).collect()
    }

    #[test]
    fn clients_are_spread_evenly_and_stay_where_they_can() {
        let (three, two) = (refuges(&["a@h", "b@h", "c@h"]), refuges(&["c@h", "a@h"]));
        let mut counts = [0; 3];
        for client in 0..3000 {
            let client = format!("client-{client}");
            let chosen = refuge_of(&three, &client).unwrap();
            counts[three.iter().position(|refuge| refuge == chosen).unwrap()] += 1;
            if chosen.replica.name.as_str() != "b@h" {
                assert_eq!(refuge_of(&two, &client), Some(chosen));
            }
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_eq!(refuge_of(&[], "c"), None);
    }
}
