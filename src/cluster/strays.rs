//! What still comes for sessions that have moved away.
//!
//! A session moves when all nodes that can be reached know where to. What another one publishes meanwhile waits for the
//! former owner, and has been acknowledged. So that keeps the client's filters for as long as such a node may come back,
//! and passes on, to the session's owner by then, what that node still sends. The owner knows by
//! [`succession`](crate::session::succession) what of it comes to it directly as well, and asks whether that was all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::{NodeName, ReplicaId};
use smallvec::SmallVec;

use super::forward::wire::{Publication, Shares, StrayAddress};
use super::host::confirm_all;
use super::takeover::fence::{Destination, Fenced};
use super::takeover::wire::{PassedOn, ROUTES_MAX};
use super::{Cluster, origin_of, turn};
use crate::codec::packet::QoS;
use crate::message::{Message, PublishId};
use crate::router::{Router, Subscription};
use crate::topic::{Topic, TopicFilter};

/// Sessions that are remembered. What comes late for others is lost, as it is after `forget_after`.
const MOVED_MAX: usize = 10_000;
/// Messages that wait for one session to have moved.
const HELD_MAX: usize = 10_000;
/// A node that is back, and does not say which routes it knows, may use former ones for so long.
const OLD_ROUTES: Duration = Duration::from_secs(2);
/// A session for which nothing comes any more is remembered for so long, for its owner to ask.
const REMEMBERED: Duration = Duration::from_secs(60);

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

/// The sessions that something may still come for.
#[derive(Default)]
pub(super) struct Strays {
    /// Whether there is any: what each forward asks.
    expected: AtomicBool,
    filters: Router<Arc<str>>,
    /// The filters change under its lock. No other lock is taken under it but the router's and peers'.
    moved: Mutex<Table>,
    /// What came for sessions that are on their way here.
    early: Mutex<HashMap<Arc<str>, Vec<Stray>>>,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<Arc<str>, Moved>,
    /// Who is being asked how far they are, for sessions that have gone where.
    asked: BTreeSet<(NodeName, Option<ReplicaId>)>,
}

struct Moved {
    filters: Vec<TopicFilter>,
    /// The nodes that may still send something.
    from: BTreeMap<NodeName, Late>,
    since: Instant,
    /// What came while the session was moving; none once it has.
    held: Option<Vec<Stray>>,
    /// Origins of which all has been passed on, and for each time that the session was here their first publishes that were not
    /// for this node alone.
    passed_on: Vec<(u64, Vec<u64>)>,
    /// The last forwards with which something was passed on, by the node that had the session then.
    sent: BTreeMap<NodeName, u64>,
}

/// What is late of one node.
struct Late {
    /// What stands for it in the names of publishes.
    origin: u64,
    /// For each time that the session has gone, where to, if that node's routes can be asked for; and the origin's first publish
    /// that may have been matched with them, when that is known.
    times: Vec<(Option<Destination>, Option<u64>)>,
}

/// How far a node is asked to be.
#[derive(Clone, Debug)]
pub(super) struct Question {
    from: NodeName,
    owner: Option<ReplicaId>,
    routes: Vec<u64>,
}

impl Moved {
    /// As it was before the session was about to move, where it has not.
    fn without_attempt(mut self) -> Moved {
        if self.held.take().is_some() {
            self.from.retain(|_, late| {
                late.times.pop();
                !late.times.is_empty()
            });
        }
        self
    }
}

impl Strays {
    /// The session is about to move; what comes for it from these nodes from now on is held.
    pub fn begin(
        &self,
        client: &str,
        filters: Vec<TopicFilter>,
        from: BTreeMap<NodeName, u64>,
        to: Option<Destination>,
        now: Instant,
    ) {
        let mut moved = self.moved.lock();
        // It may have been about to move before, or have moved and come back.
        let former = self.remove(&mut moved, client).map(Moved::without_attempt);
        let (mut late, mut passed_on, sent) =
            former.map(|former| (former.from, former.passed_on, former.sent)).unwrap_or_default();
        for (name, origin) in from {
            passed_on.retain(|(passed_on, _)| *passed_on != origin);
            let late = late.entry(name).or_insert(Late { origin, times: Vec::new() });
            if late.origin != origin {
                *late = Late { origin, times: Vec::new() };
            }
            late.times.push((to.clone(), None));
        }
        if moved.sessions.len() >= MOVED_MAX || filters.is_empty() || late.is_empty() {
            return;
        }
        let moving = Moved { filters, from: late, since: now, held: Some(Vec::new()), passed_on, sent };
        self.insert(&mut moved, client.into(), moving);
    }

    /// It has moved: what was held is to follow it.
    pub fn complete(&self, client: &str) -> Vec<Stray> {
        let mut moved = self.moved.lock();
        moved.sessions.get_mut(client).and_then(|moved| moved.held.take()).unwrap_or_default()
    }

    /// Whether anything may still come.
    pub fn are_expected(&self) -> bool {
        let moved = self.moved.lock();
        moved.sessions.values().any(|session| session.held.is_some() || !session.from.is_empty())
    }

    /// It has not moved, or with all that can come for it. What is still to come from when it was here before stays so.
    pub fn forget(&self, client: &str) {
        let mut moved = self.moved.lock();
        let Some(former) = self.remove(&mut moved, client).map(Moved::without_attempt) else { return };
        if !former.from.is_empty() || !former.passed_on.is_empty() {
            self.insert(&mut moved, client.into(), former);
        }
    }

    /// Whose sessions a publish from this node is for.
    pub fn matching(&self, from: &NodeName, topic: Topic<'_>) -> SmallVec<[Arc<str>; 2]> {
        if !self.expected.load(Ordering::Acquire) {
            return SmallVec::new();
        }
        let matches = self.filters.matches(topic, None);
        let moved = self.moved.lock();
        let is_from = |client: &Arc<str>| {
            moved.sessions.get(client).is_some_and(|session| session.from.contains_key(from))
        };
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

    fn note_sent(&self, client: &str, to: &NodeName, sequence: u64) {
        if let Some(session) = self.moved.lock().sessions.get_mut(client) {
            session.sent.insert(to.clone(), sequence);
        }
    }

    /// What came for a session that is on its way here. False where there is no room.
    fn hold_back(&self, stray: Stray) -> bool {
        let mut early = self.early.lock();
        if early.len() >= MOVED_MAX && !early.contains_key(&stray.client) {
            return false;
        }
        let held = early.entry(stray.client.clone()).or_default();
        let has_room = held.len() < HELD_MAX;
        if has_room {
            held.push(stray);
        }
        has_room
    }

    /// It is here, or does not come.
    pub fn take_early(&self, client: &str) -> Vec<Stray> {
        self.early.lock().remove(client).unwrap_or_default()
    }

    /// What to ask whom: about nodes that something may come from, and that nobody asks yet.
    fn questions(&self, forget_after: Duration, now: Instant) -> Vec<Question> {
        if !self.expected.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut moved = self.moved.lock();
        let is_over = |session: &Moved| {
            let age = now.saturating_duration_since(session.since);
            age >= forget_after || session.from.is_empty() && session.held.is_none() && age >= REMEMBERED
        };
        let over = moved.sessions.iter().filter(|(_, session)| is_over(session));
        for client in over.map(|(client, _)| client.clone()).collect::<Vec<_>>() {
            self.remove(&mut moved, &client);
        }
        let mut questions: BTreeMap<(NodeName, Option<ReplicaId>), BTreeSet<u64>> = BTreeMap::new();
        for session in moved.sessions.values().filter(|session| session.held.is_none()) {
            for (from, late) in &session.from {
                for (to, _) in late.times.iter().filter(|(_, next_from)| next_from.is_none()) {
                    let owner = to.as_ref().map(|to| to.owner.clone());
                    let routes = questions.entry((from.clone(), owner)).or_default();
                    if routes.len() < ROUTES_MAX {
                        routes.extend(to.as_ref().map(|to| to.routes));
                    }
                }
            }
        }
        questions.retain(|asked, _| !moved.asked.contains(asked));
        let question = |((from, owner), routes): (_, BTreeSet<u64>)| Question {
            from,
            owner,
            routes: Vec::from_iter(routes),
        };
        questions.into_iter().map(question).collect()
    }

    /// This node has sent everything, for sessions that had moved by then.
    fn settle(&self, question: &Question, fenced: &Fenced, moved_before: Instant) {
        let mut moved = self.moved.lock();
        for session in moved.sessions.values_mut() {
            if session.since >= moved_before || session.held.is_some() {
                continue;
            }
            let Some(late) = session.from.get_mut(&question.from) else { continue };
            for (to, next_from) in late.times.iter_mut().filter(|(_, next_from)| next_from.is_none()) {
                *next_from = match (to, &question.owner) {
                    (None, None) => Some(0),
                    (Some(to), Some(owner)) if to.owner == *owner => {
                        let at = question.routes.binary_search(&to.routes).ok();
                        at.and_then(|at| fenced.next_from.get(at).copied())
                    }
                    _ => None,
                };
            }
            let known: Option<Vec<u64>> = late.times.iter().map(|(_, next_from)| *next_from).collect();
            if let Some(known) = known {
                session.passed_on.push((late.origin, known));
                session.from.remove(&question.from);
            }
        }
        let done = moved.sessions.iter_mut().filter(|(_, session)| session.from.is_empty());
        for (client, session) in done {
            for filter in session.filters.drain(..) {
                self.filters.unsubscribe(&filter, client);
            }
        }
    }

    /// This incarnation of the node is over: it sends nothing any more.
    fn end(&self, from: &NodeName, present: u64) {
        let mut moved = self.moved.lock();
        for session in moved.sessions.values_mut() {
            if session.from.get(from).is_some_and(|late| late.origin != present) {
                session.from.remove(from);
            }
        }
    }

    /// Of which of these clients and origins everything has been passed on, with the first publish that was not for this node
    /// alone.
    /// `is_done` says whether such a forward has arrived; those to the asker are on the same way as the answer.
    pub fn passed_on(
        &self,
        lines: Vec<(Box<str>, u64)>,
        is_done: impl Fn(&NodeName, u64) -> bool,
    ) -> Vec<PassedOn> {
        let moved = self.moved.lock();
        let passed_on = lines.into_iter().filter_map(|(client, origin)| {
            let Some(session) = moved.sessions.get(&*client) else {
                return Some((client, origin, Vec::new()));
            };
            let is_pending = session.from.values().any(|late| late.origin == origin);
            let is_on_its_way = session.sent.iter().any(|(to, sequence)| !is_done(to, *sequence));
            if is_pending || is_on_its_way || session.held.is_some() {
                return None;
            }
            let known = session.passed_on.iter().rev().find(|(passed_on, _)| *passed_on == origin);
            Some((client, origin, known.map(|(_, next_from)| next_from.clone()).unwrap_or_default()))
        });
        passed_on.collect()
    }

    fn insert(&self, moved: &mut Table, client: Arc<str>, session: Moved) {
        let any = Subscription {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            identifier: None,
        };
        for filter in &session.filters {
            self.filters.subscribe(filter, client.clone(), any);
        }
        moved.sessions.insert(client, session);
        self.expected.store(true, Ordering::Release);
    }

    fn remove(&self, moved: &mut Table, client: &str) -> Option<Moved> {
        let removed = moved.sessions.remove_entry(client).map(|(client, session)| {
            for filter in &session.filters {
                self.filters.unsubscribe(filter, &client);
            }
            session
        });
        if moved.sessions.is_empty() {
            self.expected.store(false, Ordering::Release);
        }
        removed
    }
}

impl Cluster {
    /// Whose sessions, moved from here to other nodes, a publish from this node is for.
    pub fn strays(&self, from: &NodeName, topic: Topic<'_>) -> SmallVec<[Arc<str>; 2]> {
        self.strays.matching(from, topic)
    }

    /// Passes publishes on to the nodes that have the sessions, as what is known of them says. Call it without the lock of any
    /// stream.
    pub fn forward_strays(&self, strays: Vec<Stray>, now: Instant) {
        let mut done = Vec::new();
        for stray in strays {
            let Some(stray) = self.strays.hold(stray) else { continue };
            let Some(owner) = self.owner_elsewhere(&stray.client) else {
                // Once it is here, it has its own routes.
                if self.takeovers.is_arriving(&stray.client) && !self.strays.hold_back(stray) {
                    self.counters.strays_lost.inc();
                }
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
            self.strays.note_sent(&client, peer.name(), peer.last_forward());
            self.counters.strays_forwarded.inc();
        }
        confirm_all(done, now);
    }
}

/// Asks nodes that are back how much of what they send may still be for sessions that have moved.
pub(super) fn tend(cluster: &Arc<Cluster>, now: Instant) {
    for question in cluster.strays.questions(cluster.config.gossip.forget_after, now) {
        let Some(peer) = cluster.peers.find(&question.from) else { continue };
        let Some(replica) = peer.destination() else { continue };
        cluster.strays.end(&question.from, origin_of(&replica));
        let is_fresh = |started: Instant| {
            question.owner.is_none() && now.saturating_duration_since(started) < OLD_ROUTES
        };
        if peer.link().is_some_and(|link| is_fresh(link.started)) {
            continue;
        }
        let asked = (question.from.clone(), question.owner.clone());
        cluster.strays.moved.lock().asked.insert(asked.clone());
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let moved_before = match question.owner {
                Some(_) => now,
                None => now - OLD_ROUTES,
            };
            if let Some(fenced) = await_all_sent(&cluster, &replica, &question).await {
                cluster.strays.settle(&question, &fenced, moved_before);
            }
            cluster.strays.moved.lock().asked.remove(&asked);
        });
    }
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
    use crate::codec::packet::PropertySet;
    use crate::message::Application;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).expect("a name")
    }

    fn replica(name: &str) -> ReplicaId {
        ReplicaId { name: node(name), incarnation: rumormq_gossip::Incarnation(1) }
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
        Stray { client: client.into(), former: 9, publish, message: Arc::new(application.to_message()) }
    }

    #[test]
    fn a_session_that_has_moved_is_remembered_until_all_have_sent_what_they_had() {
        let strays = Strays::default();
        let (now, to) = (Instant::now(), Destination { owner: replica("b@h"), routes: 7 });
        let topic = Topic::new("a/b").expect("a topic");
        let matching = |from: &str| strays.matching(&node(from), topic).to_vec();
        let filters =
            vec![TopicFilter::parse("a/#").expect("a filter"), TopicFilter::parse("+/b").expect("one")];
        assert_eq!(matching("c@h").len(), 0);
        let from = BTreeMap::from([(node("c@h"), 30), (node("d@h"), 40)]);
        strays.begin("x", filters, from, Some(to.clone()), now);
        assert_eq!(matching("c@h"), ["x".into()]);
        assert_eq!(matching("e@h").len(), 0, "that one knew where it is");
        assert!(strays.hold(stray("x")).is_none() && strays.hold(stray("y")).is_some());
        let later = now + Duration::from_secs(1);
        let question =
            |from: &str| Question { from: node(from), owner: Some(to.owner.clone()), routes: vec![3, 7] };
        let fenced = Fenced { sequence: 0, next_from: vec![100, 200] };
        strays.settle(&question("c@h"), &fenced, later);
        assert_eq!(matching("c@h").len(), 1, "it has not moved yet");
        let lines = || vec![("x".into(), 30), ("x".into(), 40), ("z".into(), 30)];
        let nothing = || ("z".into(), 30, vec![]);
        assert_eq!(strays.passed_on(lines(), |_, _| true), [nothing()], "nothing came for that one");
        assert_eq!(strays.complete("x").len(), 1);
        assert!(strays.hold(stray("x")).is_some());
        strays.settle(&question("c@h"), &fenced, now);
        assert_eq!(matching("c@h").len(), 1, "it was asked before");
        strays.settle(&question("c@h"), &fenced, later);
        assert_eq!((matching("c@h").len(), matching("d@h").len()), (0, 1));
        strays.note_sent("x", &node("b@h"), 5);
        assert_eq!(strays.passed_on(lines(), |_, sequence| sequence < 5), [nothing()], "it may come still");
        let passed_on = strays.passed_on(lines(), |_, sequence| sequence == 5);
        assert_eq!(passed_on, [("x".into(), 30, vec![200]), nothing()]);
        let questions = strays.questions(Duration::from_secs(9), later);
        assert_eq!(questions.iter().map(|asked| &asked.from).collect::<Vec<_>>(), [&node("d@h")]);
        assert_eq!(questions[0].routes, [7]);
        strays.end(&node("d@h"), 40);
        assert_eq!(matching("d@h").len(), 1, "it is still the same");
        assert!(strays.questions(Duration::from_secs(1), later).is_empty(), "not for ever");
        assert_eq!(matching("d@h").len(), 0);
        assert_eq!(strays.filters.filter_count(), 0);
        assert!(!strays.expected.load(Ordering::Relaxed));
    }

    #[test]
    fn a_node_that_has_restarted_sends_nothing_of_what_it_had() {
        let strays = Strays::default();
        let filters = vec![TopicFilter::parse("a/#").expect("a filter")];
        strays.begin("x", filters, BTreeMap::from([(node("c@h"), 30)]), None, Instant::now());
        strays.complete("x");
        strays.end(&node("c@h"), 31);
        assert_eq!(strays.passed_on(vec![("x".into(), 30)], |_, _| true), [("x".into(), 30, vec![])]);
        assert!(strays.matching(&node("c@h"), Topic::new("a/b").expect("a topic")).is_empty());
    }
}
