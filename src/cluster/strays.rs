//! What still comes for sessions that have moved away.
//!
//! A session moves when all nodes that can be reached know where to. What another one publishes meanwhile waits for the
//! former owner, and has been acknowledged. So that keeps the client's filters for as long as such a node may come back,
//! and passes on, to the session's owner by then, what that node still sends. The owner knows by its name what it has had by
//! its own routes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::{NodeName, ReplicaId};
use smallvec::SmallVec;

use super::Cluster;
use super::forward::wire::{Publication, Shares, StrayAddress};
use super::host::confirm_all;
use crate::codec::packet::QoS;
use crate::message::{Message, PublishId};
use crate::router::{Router, Subscription};
use crate::topic::{Topic, TopicFilter};

/// Sessions that are remembered. What comes late for others is lost, as it is after `forget_after`.
const MOVED_MAX: usize = 10_000;
/// Messages that wait for one session to have moved.
const HELD_MAX: usize = 10_000;
/// A node that is back may use former routes for so long.
const OLD_ROUTES: Duration = Duration::from_secs(2);

/// A publish for a session that has moved away.
#[derive(Clone, Debug)]
pub struct Stray {
    /// Whose session.
    pub client: Arc<str>,
    /// Which publish.
    pub publish: PublishId,
    /// The message.
    pub message: Arc<Message>,
}

/// The sessions that something may still come for.
#[derive(Default)]
pub(super) struct Strays {
    /// Whether there is any: what each forward asks.
    expected: AtomicBool,
    filters: Router<Arc<str>>,
    /// The filters change under its lock. No other lock is taken under it but the router's.
    moved: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<Arc<str>, Moved>,
    /// Nodes that are being asked how far they are.
    asked: BTreeSet<NodeName>,
}

struct Moved {
    filters: Vec<TopicFilter>,
    /// The nodes that may still send something.
    from: BTreeSet<NodeName>,
    since: Instant,
    /// What came while the session was moving; none once it has.
    held: Option<Vec<Stray>>,
}

impl Strays {
    /// The session is about to move; what comes for it from these nodes is held.
    pub fn begin(&self, client: &str, filters: Vec<TopicFilter>, from: Vec<NodeName>, now: Instant) {
        let mut moved = self.moved.lock();
        self.remove(&mut moved, client);
        if moved.sessions.len() >= MOVED_MAX || filters.is_empty() {
            return;
        }
        let client: Arc<str> = client.into();
        let any = Subscription {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            identifier: None,
        };
        for filter in &filters {
            self.filters.subscribe(filter, client.clone(), any);
        }
        let from = from.into_iter().collect();
        moved.sessions.insert(client, Moved { filters, from, since: now, held: Some(Vec::new()) });
        self.expected.store(true, Ordering::Release);
    }

    /// It has moved: what was held is to follow it.
    pub fn complete(&self, client: &str) -> Vec<Stray> {
        let mut moved = self.moved.lock();
        moved.sessions.get_mut(client).and_then(|moved| moved.held.take()).unwrap_or_default()
    }

    /// Whether anything may still come.
    pub fn are_expected(&self) -> bool {
        self.expected.load(Ordering::Acquire)
    }

    /// It has not moved.
    pub fn forget(&self, client: &str) {
        self.remove(&mut self.moved.lock(), client);
    }

    /// Whose sessions a publish from this node is for.
    pub fn matching(&self, from: &NodeName, topic: Topic<'_>) -> SmallVec<[Arc<str>; 2]> {
        if !self.expected.load(Ordering::Acquire) {
            return SmallVec::new();
        }
        let matches = self.filters.matches(topic, None);
        let moved = self.moved.lock();
        let is_from =
            |client: &Arc<str>| moved.sessions.get(client).is_some_and(|session| session.from.contains(from));
        matches.locals.iter().map(|local| local.subscriber.clone()).filter(is_from).collect()
    }

    /// Keeps it, if its session is still moving.
    fn hold(&self, stray: Stray) -> Option<Stray> {
        let mut moved = self.moved.lock();
        match moved.sessions.get_mut(&stray.client).and_then(|moved| moved.held.as_mut()) {
            Some(held) if held.len() < HELD_MAX => {
                held.push(stray);
                None
            }
            _ => Some(stray),
        }
    }

    /// Nodes that something may come from, and that nobody asks yet.
    fn to_ask(&self, forget_after: Duration, now: Instant) -> BTreeSet<NodeName> {
        if !self.expected.load(Ordering::Acquire) {
            return BTreeSet::new();
        }
        let mut moved = self.moved.lock();
        let is_old = |session: &Moved| now.saturating_duration_since(session.since) >= forget_after;
        let old = moved.sessions.iter().filter(|(_, session)| is_old(session));
        for client in old.map(|(client, _)| client.clone()).collect::<Vec<_>>() {
            self.remove(&mut moved, &client);
        }
        let from = moved.sessions.values().flat_map(|session| &session.from);
        from.filter(|name| !moved.asked.contains(*name)).cloned().collect()
    }

    /// This node has sent everything, for sessions that had moved by then.
    fn settle(&self, from: &NodeName, moved_before: Instant) {
        let mut moved = self.moved.lock();
        let mut done = Vec::new();
        for (client, session) in &mut moved.sessions {
            if session.since < moved_before && session.held.is_none() {
                session.from.remove(from);
                done.extend(session.from.is_empty().then(|| client.clone()));
            }
        }
        for client in done {
            self.remove(&mut moved, &client);
        }
    }

    fn remove(&self, moved: &mut Table, client: &str) {
        if let Some((client, session)) = moved.sessions.remove_entry(client) {
            for filter in &session.filters {
                self.filters.unsubscribe(filter, &client);
            }
        }
        if moved.sessions.is_empty() {
            self.expected.store(false, Ordering::Release);
        }
    }
}

impl Cluster {
    /// Whose sessions, moved from here to other nodes, a publish from this node is for.
    pub fn strays(&self, from: &NodeName, topic: Topic<'_>) -> SmallVec<[Arc<str>; 2]> {
        self.strays.matching(from, topic)
    }

    /// Passes publishes on to the nodes that have the sessions, as what is known of them says; `from` has just passed them on
    /// itself. Call it without the lock of any stream.
    pub fn forward_strays(&self, strays: Vec<Stray>, from: Option<&NodeName>, now: Instant) {
        let mut done = Vec::new();
        for stray in strays {
            let Some(Stray { client, publish, message }) = self.strays.hold(stray) else { continue };
            if self.host.session_claim(&client).is_some() && self.owner_elsewhere(&client).is_none() {
                continue; // It is back, and has got it by its own routes.
            }
            let owner = self.owner_elsewhere(&client).map(|claim| claim.owner.name);
            let owner = owner.filter(|owner| Some(owner) != from);
            let Some(peer) = owner.and_then(|owner| self.peers.find(&owner)) else {
                tracing::debug!(%client, "a message for a session that has moved finds nobody");
                self.counters.strays_lost.inc();
                continue;
            };
            let address = StrayAddress { client: client.as_ref().into(), origin: publish.origin };
            let shares = Shares { only: true, stray: Some(address), ..Shares::default() };
            let publication = Publication { number: publish.number, retained: None };
            peer.forward(publication, message, Some(Box::new(shares)), None, now, &mut done);
            self.counters.strays_forwarded.inc();
        }
        confirm_all(done, now);
    }
}

/// Asks nodes that are back how much of what they send may still be for sessions that have moved.
pub(super) fn tend(cluster: &Arc<Cluster>, now: Instant) {
    for name in cluster.strays.to_ask(cluster.config.gossip.forget_after, now) {
        let link = cluster.peers.find(&name).and_then(|peer| peer.link());
        let Some(link) = link.filter(|link| now.saturating_duration_since(link.started) >= OLD_ROUTES) else {
            continue;
        };
        cluster.strays.moved.lock().asked.insert(name.clone());
        let (cluster, replica) = (cluster.clone(), link.replica.clone());
        tokio::spawn(async move {
            if await_all_sent(&cluster, &replica).await {
                cluster.strays.settle(&name, now - OLD_ROUTES);
            }
            cluster.strays.moved.lock().asked.remove(&name);
        });
    }
}

/// Waits until all is here that the node had entered for this one by now. False if it cannot be reached any more.
async fn await_all_sent(cluster: &Arc<Cluster>, replica: &ReplicaId) -> bool {
    let Ok(Some(sequence)) = tokio::time::timeout(OLD_ROUTES, cluster.ask_fence(replica)).await else {
        return false;
    };
    let received = cluster.inbound.stream(replica);
    while received.lock().sequence() < sequence {
        if !cluster.is_linked(replica) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::PropertySet;
    use crate::message::Application;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).expect("a name")
    }

    fn stray(client: &str) -> Stray {
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
        Stray { client: client.into(), publish, message: Arc::new(application.to_message()) }
    }

    #[test]
    fn a_session_that_has_moved_is_remembered_until_all_have_sent_what_they_had() {
        let strays = Strays::default();
        let now = Instant::now();
        let topic = Topic::new("a/b").expect("a topic");
        let matching = |from: &str| strays.matching(&node(from), topic).to_vec();
        let filters =
            vec![TopicFilter::parse("a/#").expect("a filter"), TopicFilter::parse("+/b").expect("one")];
        assert_eq!(matching("c@h").len(), 0);
        strays.begin("x", filters, vec![node("c@h"), node("d@h")], now);
        assert_eq!(matching("c@h"), ["x".into()]);
        assert_eq!(matching("e@h").len(), 0, "that one knew where it is");
        assert!(strays.hold(stray("x")).is_none() && strays.hold(stray("y")).is_some());
        let later = now + Duration::from_secs(1);
        strays.settle(&node("c@h"), later);
        assert_eq!(matching("c@h").len(), 1, "it has not moved yet");
        assert_eq!(strays.complete("x").len(), 1);
        assert!(strays.hold(stray("x")).is_some());
        strays.settle(&node("c@h"), now);
        assert_eq!(matching("c@h").len(), 1, "it was asked before");
        strays.settle(&node("c@h"), later);
        assert_eq!((matching("c@h").len(), matching("d@h").len()), (0, 1));
        assert_eq!(strays.to_ask(Duration::from_secs(9), later), BTreeSet::from([node("d@h")]));
        assert!(strays.to_ask(Duration::from_secs(1), later).is_empty(), "not for ever");
        assert_eq!(matching("d@h").len(), 0);
        assert_eq!(strays.filters.filter_count(), 0);
        assert!(!strays.expected.load(Ordering::Relaxed));
    }
}
