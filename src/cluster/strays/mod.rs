//! What still comes for sessions that have moved away.
//!
//! A session moves when all nodes that can be reached know where to. What another one publishes meanwhile waits for the
//! former owner, and has been acknowledged. So that keeps the client's filters for as long as such a node may come back,
//! and passes on, to the session's owner by then, what that node still sends. The owner knows by
//! [`succession`](crate::session::succession) what of it comes to it directly as well, and asks whether that was all.

mod moved;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq_gossip::{NodeName, ReplicaId};
use smallvec::SmallVec;

use super::forward::wire::{Publication, Shares, StrayAddress};
use super::host::confirm_all;
use super::takeover::fence::Fenced;
use super::{Cluster, origin_of, turn};
use crate::message::{Message, PublishId};
use crate::topic::Topic;
use moved::{MovedSessions, Question};
use waiting::EarlyStrays;

/// A node that is back, and does not say which routes it knows, may use former ones for so long.
const OLD_ROUTES: Duration = Duration::from_secs(2);

/// A publish for a session that has moved away.
#[derive(Clone, Debug)]
pub struct Stray {
    /// Whose session.
    pub client: Arc<str>,
    /// The former owner that it came to, as [`origin_of`](super::origin_of) names it.
    pub former: u64,
    /// Which publish.
    pub publish: PublishId,
    /// The message.
    pub message: Arc<Message>,
}

impl Stray {
    /// Roughly the memory that it takes, in bytes.
    fn size(&self) -> usize {
        size_of::<Stray>() + size_of::<Message>() + self.message.topic().len() + self.message.payload().len()
    }
}

/// What comes late.
#[derive(Default)]
pub(super) struct Strays {
    /// For sessions that were here.
    pub moved: MovedSessions,
    /// For sessions that are on their way here.
    early: EarlyStrays,
}

impl Cluster {
    /// Whose sessions, moved from here to other nodes, a publish from this node is for.
    pub fn strays(&self, from: &NodeName, topic: Topic<'_>) -> SmallVec<[Arc<str>; 2]> {
        self.strays.moved.matching(from, topic)
    }

    /// One that another node passes on, for a session that may be here, waits behind those that came for it before it was, and
    /// while it is not known whether it still is. Given back where nothing is in the way.
    pub fn hold_stray(&self, stray: Stray) -> Option<Stray> {
        let behind = self.strays.early.hold_behind(stray);
        let held = behind.and_then(|stray| stray.map_or(Ok(None), |stray| self.strays.moved.hold(stray)));
        held.unwrap_or_else(|lost| self.lose(&lost))
    }

    /// Passes publishes on to the nodes that have the sessions, as what is known of them says. Call it without the lock of any
    /// stream.
    pub fn forward_strays(&self, strays: Vec<Stray>, now: Instant) {
        let held = |stray| self.strays.moved.hold(stray).unwrap_or_else(|lost| self.lose(&lost));
        self.pass_strays_on(strays.into_iter().filter_map(held).collect(), now);
    }

    /// A session has moved: what was held for it follows.
    pub(super) fn release_held(&self, client: &str) {
        loop {
            let held = self.strays.moved.complete(client);
            if held.is_empty() {
                return;
            }
            self.pass_strays_on(held, Instant::now());
        }
    }

    /// A session is here, or does not come: what came for it before follows.
    pub(super) fn release_early(&self, client: &str) {
        loop {
            let early = self.strays.early.take(client);
            if early.is_empty() {
                return;
            }
            match self.owner_elsewhere(client) {
                Some(_) => self.pass_strays_on(early, Instant::now()),
                None => self.host.deliver_strays(&early, Instant::now()),
            }
        }
    }

    fn lose(&self, stray: &Stray) -> Option<Stray> {
        tracing::debug!(client = %stray.client, "there is no room for a message for a session that moves");
        self.counters.strays_lost.inc();
        None
    }

    fn pass_strays_on(&self, strays: Vec<Stray>, now: Instant) {
        let mut done = Vec::new();
        for stray in strays {
            let Some(owner) = self.owner_elsewhere(&stray.client) else {
                self.bring_home(stray, now);
                continue;
            };
            let Stray { client, former, publish, message } = stray;
            let Some(peer) = self.peers.find(&owner.owner.name) else {
                tracing::debug!(%client, "a message for a session that has moved finds nobody");
                self.counters.strays_lost.inc();
                continue;
            };
            let address = StrayAddress { client: client.as_ref().into(), origin: publish.origin, former };
            let shares = Shares { only: true, stray: Some(address), ..Shares::default() };
            let publication = Publication { number: publish.number, retained: None };
            peer.forward(publication, message, Some(Box::new(shares)), None, now, &mut done);
            self.strays.moved.note_sent(&client, peer.name(), peer.last_forward());
            self.counters.strays_forwarded.inc();
        }
        confirm_all(done, now);
    }

    /// Its session is here, or on its way, or is over.
    fn bring_home(&self, stray: Stray, now: Instant) {
        if !self.takeovers.is_arriving(&stray.client) {
            let stray = self.strays.early.hold_behind(stray).unwrap_or_else(|lost| self.lose(&lost));
            return self.host.deliver_strays(stray.as_slice(), now);
        }
        let client = stray.client.clone();
        if let Err(stray) = self.strays.early.hold(stray) {
            self.lose(&stray);
        }
        if !self.takeovers.is_arriving(&client) {
            self.release_early(&client); // It has come in between, and looked before this was there.
        }
    }
}

/// Asks nodes that are back how much of what they send may still be for sessions that have moved.
pub(super) fn tend(cluster: &Arc<Cluster>, now: Instant) {
    let moved = &cluster.strays.moved;
    for question in moved.questions(cluster.config.gossip.forget_after, now) {
        let replica = cluster.peers.find(&question.from).and_then(|peer| peer.destination());
        if let Some(replica) = &replica {
            moved.end(&question.from, origin_of(replica));
        }
        match replica.filter(|_| is_due(cluster, &question, now)) {
            None => moved.drop_question(&question),
            Some(replica) => {
                tokio::spawn(ask(cluster.clone(), replica, question, now));
            }
        }
    }
}

/// Whether the node can be asked, and has had the time that it needs.
fn is_due(cluster: &Cluster, question: &Question, now: Instant) -> bool {
    let Some(peer) = cluster.peers.find(&question.from) else { return false };
    let is_fresh =
        |started: Instant| question.owner.is_none() && now.saturating_duration_since(started) < OLD_ROUTES;
    !peer.link().is_some_and(|link| is_fresh(link.started))
}

async fn ask(cluster: Arc<Cluster>, replica: ReplicaId, question: Question, now: Instant) {
    let moved_before = match question.owner {
        Some(_) => Some(now),
        None => now.checked_sub(OLD_ROUTES),
    };
    if let Some(fenced) = await_all_sent(&cluster, &replica, &question).await
        && let Some(moved_before) = moved_before
    {
        cluster.strays.moved.settle(&question, &fenced, moved_before, Instant::now());
    }
    cluster.strays.moved.drop_question(&question);
}

/// Waits until all is here, and passed on, that the node had entered for this one by now. None if it cannot be reached any
/// more.
async fn await_all_sent(cluster: &Arc<Cluster>, replica: &ReplicaId, question: &Question) -> Option<Fenced> {
    let destinations = question.owner.clone().map(|owner| (owner, question.routes.clone()));
    let asking = cluster.ask_fence_after(replica, destinations);
    let fenced = tokio::time::timeout(2 * OLD_ROUTES, asking).await.ok()??;
    let received = cluster.inbound.stream(replica);
    while received.lock().sequence() < fenced.sequence {
        if !cluster.is_linked(replica) {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The turn that has brought the last one passes it on at its end.
    turn::all_over().await;
    Some(fenced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::{PropertySet, QoS};
    use crate::message::Application;

    pub(super) fn node(name: &str) -> NodeName {
        NodeName::parse(name).expect("a name")
    }

    pub(super) fn replica(name: &str) -> ReplicaId {
        ReplicaId { name: node(name), incarnation: rumormq_gossip::Incarnation(1) }
    }

    /// A message for the client that came to that former owner.
    pub(super) fn stray(client: &str, former: u64) -> Stray {
        let application = Application {
            topic: Topic::new("a/b").expect("a topic"),
            payload: b"x",
            backing: None,
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: &PropertySet::EMPTY,
            expires_at: None,
        };
        let publish = PublishId { origin: 1, number: 2 };
        Stray { client: client.into(), former, publish, message: Arc::new(application.to_message()) }
    }
}
