//! Waiting for what other nodes had sent before they knew better.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rumormq_gossip::{NodeName, ReplicaId};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::wire::TakeoverMessage;
use super::{Cluster, send};
use crate::cluster::turn;

impl Cluster {
    /// Waits until every publish is here that linked nodes, and this one, had matched before with earlier routes than they
    /// have now. One node may have been asked already. Returns those that cannot be reached, which are not waited for, or did
    /// not answer in time.
    pub(super) async fn fence(
        self: &Arc<Self>,
        asked: Option<(ReplicaId, u64)>,
        patience: Duration,
    ) -> Vec<NodeName> {
        let mut missing: BTreeSet<NodeName> = BTreeSet::new();
        let mut nodes = JoinSet::new();
        for peer in self.peers.all() {
            missing.insert(peer.name().clone());
            // A dead one may still have a link.
            let Some(replica) = peer.destination().filter(|replica| peer.reaches(replica)) else { continue };
            let cluster = self.clone();
            let known = asked.as_ref().filter(|(asked, _)| *asked == replica).map(|(_, sequence)| *sequence);
            nodes.spawn(timeout(patience, async move {
                let sequence = match known {
                    Some(sequence) => sequence,
                    None => cluster.ask_fence(&replica).await?,
                };
                let received = cluster.inbound.stream(&replica);
                while received.lock().sequence() < sequence {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Some(replica.name)
            }));
        }
        turn::all_over().await;
        for answered in nodes.join_all().await.into_iter().flatten().flatten() {
            missing.remove(&answered);
        }
        missing.into_iter().collect()
    }

    /// The last forward that the node had entered for this one when its running publishes were over.
    pub(in crate::cluster) async fn ask_fence(&self, replica: &ReplicaId) -> Option<u64> {
        let token = self.takeovers.number();
        let (asker, answer) = oneshot::channel();
        self.takeovers.fences.lock().insert(token, asker);
        let _asked = Asked { cluster: self, token };
        send(&self.peers, replica, &TakeoverMessage::Fence { token });
        answer.await.ok()
    }

    pub(super) fn answer_fence(self: &Arc<Self>, asker: ReplicaId, token: u64) {
        let cluster = self.clone();
        // It takes as long as the longest turn of a task, and asks nothing of anybody.
        tokio::spawn(async move {
            turn::all_over().await;
            let Some(peer) = cluster.peers.find(&asker.name) else { return };
            let sequence = peer.last_forward();
            send(&cluster.peers, &asker, &TakeoverMessage::Fenced { token, sequence });
        });
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
