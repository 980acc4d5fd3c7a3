//! Waiting for what other nodes had sent before they knew better.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rumormq_gossip::{MemberState, NodeName, ReplicaId};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::wire::{ROUTES_MAX, SUCCESSION_SINCE, TakeoverMessage};
use super::{Cluster, send};
use crate::cluster::interest::ROUTES;
use crate::cluster::{origin_of, turn};

/// A node waits so long for the routes that it is asked about, before it gives no answer.
const ROUTES_PATIENCE: Duration = Duration::from_secs(2);
/// Questions that are being answered. More are not.
const ANSWERS_MAX: usize = 4096;
/// Between two looks whether they are there.
const LOOK: Duration = Duration::from_millis(2);

/// Where a session has moved to, or is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Which node.
    pub owner: ReplicaId,
    /// Its sequence number in the set of routes by which the session is routed there.
    pub routes: u64,
}

/// What a node says of its publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fenced {
    /// The last forward that it had entered for this one.
    pub sequence: u64,
    /// How many publishes it had named when it knew the way to the destination: all of them are in that stream, or in none.
    pub publishes: u64,
    /// For each of the routes that it was asked about, its first publish that may have been matched with it.
    pub next_from: Vec<u64>,
}

/// What became of a fence around all peers.
#[derive(Debug, Default)]
pub struct Around {
    /// Of whom everything has come: as [`PublishId::origin`](crate::message::PublishId::origin), with its first publish that
    /// need not have come here.
    pub received: Vec<(u64, u64)>,
    /// Who could not be reached, or did not answer in time.
    pub missing: BTreeMap<NodeName, u64>,
}

impl Cluster {
    /// Waits until every publish is here that linked nodes, and this one, had matched before they knew the way to the
    /// destination; without one, until what they have matched by now is here. One node may have been asked already: which, and
    /// what it says.
    pub(in crate::cluster) async fn fence(
        self: &Arc<Self>,
        asked: Option<(ReplicaId, Fenced)>,
        destination: Option<Destination>,
        patience: Duration,
    ) -> Around {
        let mut around = Around { missing: self.present_peers(), ..Around::default() };
        let mut nodes = JoinSet::new();
        for peer in self.peers.all() {
            // A dead one may still have a link.
            let Some(replica) = peer.destination().filter(|replica| peer.reaches(replica)) else { continue };
            let cluster = self.clone();
            let known =
                asked.as_ref().filter(|(asked, _)| *asked == replica).map(|(_, fenced)| fenced.clone());
            let destination = destination.clone();
            nodes.spawn(timeout(patience, async move {
                let fenced = match known {
                    Some(fenced) => fenced,
                    None => cluster.ask_fence(&replica, destination.as_ref()).await?,
                };
                cluster.receive(&replica, fenced.sequence).await;
                Some((replica, fenced))
            }));
        }
        for (replica, fenced) in nodes.join_all().await.into_iter().flatten().flatten() {
            around.missing.remove(&replica.name);
            around.received.push((origin_of(&replica), fenced.publishes));
        }
        // The turns that have brought the last ones deliver them; and this node's own publishes enter.
        turn::all_over().await;
        around
    }

    /// Waits until the peer's forward has come. It is delivered when the turns are over that run by then.
    pub(in crate::cluster) async fn receive(&self, from: &ReplicaId, sequence: u64) {
        let received = self.inbound.stream(from);
        while received.lock().sequence() < sequence {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// The newest known incarnation of every other node that may come back, or has never gone.
    fn present_peers(&self) -> BTreeMap<NodeName, u64> {
        let replication = self.replication.lock();
        let me = &replication.node.me().name;
        let mut newest: BTreeMap<NodeName, ReplicaId> = BTreeMap::new();
        for replica in replication.node.members_in(|state| state != MemberState::Left) {
            let known = newest.entry(replica.name.clone()).or_insert_with(|| replica.clone());
            if known.incarnation < replica.incarnation {
                *known = replica.clone();
            }
        }
        newest.remove(me);
        newest.into_iter().map(|(name, replica)| (name, origin_of(&replica))).collect()
    }

    /// Asks a node for [`Fenced`].
    pub(in crate::cluster) async fn ask_fence(
        &self,
        replica: &ReplicaId,
        destination: Option<&Destination>,
    ) -> Option<Fenced> {
        let destinations = destination.map(|to| (to.owner.clone(), vec![to.routes]));
        self.ask_fence_after(replica, destinations).await
    }

    /// The same for several routes of one destination.
    pub(in crate::cluster) async fn ask_fence_after(
        &self,
        replica: &ReplicaId,
        destinations: Option<(ReplicaId, Vec<u64>)>,
    ) -> Option<Fenced> {
        let token = self.takeovers.number();
        let (asker, answer) = oneshot::channel();
        self.takeovers.fences.lock().insert(token, asker);
        let _asked = Asked { cluster: self, token };
        let knows = self.peers.find(&replica.name).is_some_and(|peer| peer.protocol() >= SUCCESSION_SINCE);
        let question = match destinations.filter(|_| knows) {
            Some((owner, routes)) => TakeoverMessage::FenceAfter { token, owner, routes },
            None => TakeoverMessage::Fence { token },
        };
        send(&self.peers, replica, &question);
        answer.await.ok()
    }

    pub(super) fn answer_fence(self: &Arc<Self>, asker: ReplicaId, token: u64) {
        let (cluster, answers) = (self.clone(), self.takeovers.answers.clone());
        if Arc::strong_count(&answers) > ANSWERS_MAX {
            return; // Whoever asks counts this node among those that have not answered.
        }
        // It takes as long as the longest turn of a task, and asks nothing of anybody.
        tokio::spawn(async move {
            turn::all_over().await;
            drop(answers);
            let Some(peer) = cluster.peers.find(&asker.name) else { return };
            let sequence = peer.last_forward();
            send(&cluster.peers, &asker, &TakeoverMessage::Fenced { token, sequence });
        });
    }

    pub(super) fn answer_fence_after(
        self: &Arc<Self>,
        asker: ReplicaId,
        token: u64,
        owner: ReplicaId,
        routes: Vec<u64>,
    ) {
        let is_mine = owner == self.me();
        let answers = self.takeovers.answers.clone();
        if routes.len() > ROUTES_MAX || Arc::strong_count(&answers) > ANSWERS_MAX {
            return; // Nobody asks so much.
        }
        let cluster = self.clone();
        tokio::spawn(async move {
            let last = routes.iter().copied().max().unwrap_or(0);
            // The owner has said how far it was; but what it had sent by then may not have come in time.
            if !is_mine && !cluster.learns_routes(&owner, last).await {
                return;
            }
            drop(answers);
            let publishes = cluster.publishes.load(Ordering::Acquire);
            turn::all_over().await;
            let Some(peer) = cluster.peers.find(&asker.name) else { return };
            let sequence = peer.last_forward();
            let next_from = cluster.first_publishes(&owner, &routes);
            let answer = TakeoverMessage::FencedAfter { token, sequence, publishes, next_from };
            send(&cluster.peers, &asker, &answer);
        });
    }

    /// Waits until this node knows the routes of `owner` up to that one; false if it does not get to know them. Those of a node
    /// that is no member any more are over.
    pub(super) async fn learns_routes(&self, owner: &ReplicaId, sequence: u64) -> bool {
        if sequence == 0 {
            return true; // It has none.
        }
        let deadline = Instant::now() + ROUTES_PATIENCE;
        loop {
            {
                let replication = self.replication.lock();
                let applied = replication.node.applied(ROUTES, owner);
                let is_gone = !replication.node.is_member(owner);
                if is_gone || applied.is_some_and(|head| head.seq >= sequence) {
                    return true;
                }
            }
            if Instant::now() > deadline {
                return false;
            }
            sleep(LOOK).await;
        }
    }

    /// This node's first publishes that may have been matched with these routes.
    pub(super) fn first_publishes(&self, owner: &ReplicaId, routes: &[u64]) -> Vec<u64> {
        let replication = self.replication.lock();
        let milestones = &replication.milestones;
        routes.iter().map(|&sequence| milestones.first_publish(owner, sequence)).collect()
    }
}

/// A question nobody waits for any more is forgotten.
struct Asked<'a> {
    cluster: &'a Cluster,
    token: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.cluster.takeovers.fences.lock().remove(&self.token);
    }
}
