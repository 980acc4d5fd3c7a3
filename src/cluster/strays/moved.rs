//! The sessions that have moved away from here, and what may still come for them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::{NodeName, ReplicaId};
use smallvec::SmallVec;

use super::Stray;
use super::waiting::Waiting;
use crate::cluster::takeover::fence::{Destination, Fenced};
use crate::cluster::takeover::wire::{PassedOn, ROUTES_MAX, Stay};
use crate::codec::packet::QoS;
use crate::router::{Router, Subscription};
use crate::topic::{Topic, TopicFilter};

/// Sessions that are remembered. What comes late for others is lost, as it is after `forget_after`.
const SESSIONS_MAX: usize = 10_000;
/// Stays of one session that something may still come for from one node, or that are remembered; of more, the oldest are not.
const STAYS_MAX: usize = 64;
/// What is known of one session's stays, of all origins.
const OVER_MAX: usize = 1024;
/// A session for which nothing comes any more is remembered for so long, for its owner to ask.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The sessions that something may still come for.
#[derive(Default)]
pub struct MovedSessions {
    /// Whether there is any: what each forward asks.
    expected: AtomicBool,
    filters: Router<Arc<str>>,
    /// The filters change under its lock. No other lock is taken under it but the router's and peers'.
    table: Mutex<Table>,
    /// Bytes of what is held for all of them.
    held: Arc<AtomicUsize>,
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
    /// When it was about to move for the last time.
    since: Instant,
    /// When anything has changed for the last time: for so long its owner has had time to ask.
    changed: Instant,
    /// While it is.
    leaving: Option<Leaving>,
    /// What all of an origin has been passed on for.
    passed_on: VecDeque<Over>,
    /// The last forwards with which something was passed on, by the node that had the session then.
    sent: BTreeMap<NodeName, u64>,
}

/// A session that is about to move.
struct Leaving {
    /// The stamp of the claim that this node has it with, until then.
    stay: u64,
    /// What comes meanwhile.
    held: Waiting,
}

/// What is late of one node.
struct Late {
    /// What stands for it in the names of publishes.
    origin: u64,
    departures: Vec<Departure>,
}

/// The end of a stay.
struct Departure {
    /// The stamp of the claim that this node had the session with.
    stay: u64,
    /// Where to, if that node's routes can be asked for.
    to: Option<Destination>,
    since: Instant,
}

/// A stay that nothing of an origin comes for any more.
struct Over {
    origin: u64,
    stay: u64,
    /// The origin's first publish that was not for this node alone.
    next_from: u64,
}

/// How far a node is asked to be.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who is asked.
    pub from: NodeName,
    /// Until it knows the routes of that one; without it, until it cannot use the former ones any more.
    pub owner: Option<ReplicaId>,
    /// Which routes.
    pub routes: Vec<u64>,
}

impl Question {
    /// What it says of a departure to there: the node's first publish that may have been matched with the routes.
    fn answer(&self, fenced: &Fenced, to: Option<&Destination>) -> Option<u64> {
        match (to, &self.owner) {
            (None, None) => Some(0),
            (Some(to), Some(owner)) if to.owner == *owner => {
                let at = self.routes.binary_search(&to.routes).ok()?;
                fenced.next_from.get(at).copied()
            }
            _ => None,
        }
    }
}

impl Moved {
    /// As it was before it was about to move, where it has not. What was held for others' sake is given back: of what came here by
    /// its routes the session has its own.
    fn undo(&mut self, me: u64) -> Vec<Stray> {
        let Some(Leaving { stay, mut held }) = self.leaving.take() else { return Vec::new() };
        for late in self.from.values_mut() {
            late.departures.retain(|departure| departure.stay != stay);
        }
        self.from.retain(|_, late| !late.departures.is_empty());
        held.take().into_iter().filter(|stray| stray.former != me).collect()
    }

    /// Nothing comes for it, and nobody has anything to ask.
    fn is_settled(&self) -> bool {
        self.from.is_empty() && self.passed_on.is_empty()
    }

    fn leaves(&self, stay: u64) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.stay == stay)
    }

    fn is_late(&self, origin: u64, stay: u64) -> bool {
        let of_origin = self.from.values().filter(|late| late.origin == origin);
        of_origin.flat_map(|late| &late.departures).any(|departure| departure.stay == stay)
    }
}

impl MovedSessions {
    /// The session, which `me` has had with the claim `stay`, is about to move; what comes for it from these nodes from now on
    /// is held. Gives what was held since it was about to move before and is for it here, and whether what comes late will be
    /// passed on.
    #[must_use]
    pub fn begin(
        &self,
        client: &str,
        (me, stay): (u64, u64),
        filters: Vec<TopicFilter>,
        from: BTreeMap<NodeName, u64>,
        to: Option<Destination>,
        now: Instant,
    ) -> (Vec<Stray>, bool) {
        let mut table = self.table.lock();
        let mut moved = self.remove(&mut table, client).unwrap_or_else(|| Moved {
            filters: Vec::new(),
            from: BTreeMap::new(),
            since: now,
            changed: now,
            leaving: None,
            passed_on: VecDeque::new(),
            sent: BTreeMap::new(),
        });
        let held = moved.undo(me);
        for (name, origin) in from {
            let late = moved.from.entry(name).or_insert(Late { origin, departures: Vec::new() });
            if late.origin != origin {
                *late = Late { origin, departures: Vec::new() };
            }
            let excess = (late.departures.len() + 1).saturating_sub(STAYS_MAX);
            late.departures.drain(..excess);
            late.departures.push(Departure { stay, to: to.clone(), since: now });
        }
        moved.filters = filters;
        (moved.since, moved.changed) = (now, now);
        moved.leaving = Some(Leaving { stay, held: Waiting::new(&self.held) });
        let has_room = table.sessions.len() < SESSIONS_MAX;
        let is_remembered = has_room || moved.from.is_empty();
        if has_room {
            self.insert(&mut table, client.into(), moved);
        }
        (held, is_remembered)
    }

    /// It has moved: what was held is to follow it, oldest first. Ask again once that is on its way: what comes meanwhile is held
    /// as well. Nothing is any more when there is nothing left.
    pub fn complete(&self, client: &str) -> Vec<Stray> {
        let mut table = self.table.lock();
        let Some(moved) = table.sessions.get_mut(client) else { return Vec::new() };
        let held = moved.leaving.as_mut().map(|leaving| leaving.held.take()).unwrap_or_default();
        if held.is_empty() {
            moved.leaving = None;
            if moved.is_settled() && moved.sent.is_empty() {
                self.remove(&mut table, client);
            }
        }
        held
    }

    /// Whether anything may still come.
    pub fn are_expected(&self) -> bool {
        let table = self.table.lock();
        table.sessions.values().any(|moved| moved.leaving.is_some() || !moved.from.is_empty())
    }

    /// It has not moved. What is still to come for earlier stays of it here stays so. Gives
    /// what was held for it.
    #[must_use]
    pub fn forget(&self, client: &str, me: u64) -> Vec<Stray> {
        let mut table = self.table.lock();
        let Some(mut moved) = self.remove(&mut table, client) else { return Vec::new() };
        let held = moved.undo(me);
        // The next owner has to know when all that was passed on has come.
        if !moved.is_settled() || !moved.sent.is_empty() {
            self.insert(&mut table, client.into(), moved);
        }
        held
    }

    /// Whose sessions a publish from this node is for.
    pub fn matching(&self, from: &NodeName, topic: Topic<'_>) -> SmallVec<[Arc<str>; 2]> {
        if !self.expected.load(Ordering::Acquire) {
            return SmallVec::new();
        }
        let matches = self.filters.matches(topic, None);
        let table = self.table.lock();
        let is_from =
            |client: &Arc<str>| table.sessions.get(client).is_some_and(|moved| moved.from.contains_key(from));
        matches.locals.iter().map(|local| local.subscriber.clone()).filter(is_from).collect()
    }

    /// Keeps it while its session is about to move, and gives it back if it is not; an error where there is no room.
    pub fn hold(&self, stray: Stray) -> Result<Option<Stray>, Stray> {
        let mut table = self.table.lock();
        match table.sessions.get_mut(&stray.client).and_then(|moved| moved.leaving.as_mut()) {
            Some(leaving) => leaving.held.push(stray).map(|()| None),
            None => Ok(Some(stray)),
        }
    }

    /// Something has been passed on with this forward.
    pub fn note_sent(&self, client: &str, to: &NodeName, sequence: u64) {
        if let Some(moved) = self.table.lock().sessions.get_mut(client) {
            moved.sent.insert(to.clone(), sequence);
        }
    }

    /// What to ask whom: about nodes that something may come from, and that nobody asks yet. Whatever becomes of one, say so with
    /// [`MovedSessions::drop_question`].
    pub fn questions(&self, forget_after: Duration, now: Instant) -> Vec<Question> {
        if !self.expected.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut table = self.table.lock();
        let is_over = |moved: &Moved| {
            let passed = |since| now.saturating_duration_since(since);
            let is_quiet = passed(moved.changed) >= REMEMBERED && moved.leaving.is_none();
            is_quiet && (moved.from.is_empty() || passed(moved.since) >= forget_after)
        };
        let over = table.sessions.iter().filter(|(_, moved)| is_over(moved));
        for client in over.map(|(client, _)| client.clone()).collect::<Vec<_>>() {
            self.remove(&mut table, &client);
        }
        let mut questions: BTreeMap<(NodeName, Option<ReplicaId>), BTreeSet<u64>> = BTreeMap::new();
        for moved in table.sessions.values() {
            for (from, late) in &moved.from {
                let ended = late.departures.iter().filter(|departure| !moved.leaves(departure.stay));
                for Departure { to, .. } in ended {
                    let owner = to.as_ref().map(|to| to.owner.clone());
                    let routes = questions.entry((from.clone(), owner)).or_default();
                    if routes.len() < ROUTES_MAX {
                        routes.extend(to.as_ref().map(|to| to.routes));
                    }
                }
            }
        }
        questions.retain(|asked, _| table.asked.insert(asked.clone()));
        let question = |((from, owner), routes): (_, BTreeSet<u64>)| Question {
            from,
            owner,
            routes: Vec::from_iter(routes),
        };
        questions.into_iter().map(question).collect()
    }

    /// The question is answered, or not asked after all.
    pub fn drop_question(&self, question: &Question) {
        self.table.lock().asked.remove(&(question.from.clone(), question.owner.clone()));
    }

    /// This node has sent everything, for sessions that had moved by then.
    pub fn settle(&self, question: &Question, fenced: &Fenced, moved_before: Instant, now: Instant) {
        let mut table = self.table.lock();
        for moved in table.sessions.values_mut() {
            let leaves = moved.leaving.as_ref().map(|leaving| leaving.stay);
            let Some(late) = moved.from.get_mut(&question.from) else { continue };
            let (origin, passed_on) = (late.origin, &mut moved.passed_on);
            late.departures.retain(|departure| {
                let Departure { stay, ref to, since } = *departure;
                let has_ended = since < moved_before && leaves != Some(stay);
                match question.answer(fenced, to.as_ref()).filter(|_| has_ended) {
                    Some(next_from) => passed_on.push_back(Over { origin, stay, next_from }),
                    None => return true,
                }
                moved.changed = now;
                false
            });
            passed_on.drain(..passed_on.len().saturating_sub(OVER_MAX));
            if late.departures.is_empty() {
                moved.from.remove(&question.from);
            }
        }
        let done = table.sessions.iter_mut().filter(|(_, moved)| moved.from.is_empty());
        for (client, moved) in done {
            for filter in moved.filters.drain(..) {
                self.filters.unsubscribe(&filter, client);
            }
        }
    }

    /// This incarnation of the node is over: it sends nothing any more.
    pub fn end(&self, from: &NodeName, present: u64) {
        let mut table = self.table.lock();
        for moved in table.sessions.values_mut() {
            if moved.from.get(from).is_some_and(|late| late.origin != present) {
                moved.from.remove(from);
            }
        }
    }

    /// For which of these stays here everything of an origin has been passed on. `is_done` says whether such a forward has
    /// arrived; those to the asker are on the same way as the answer.
    pub fn passed_on(&self, stays: Vec<Stay>, is_done: impl Fn(&NodeName, u64) -> bool) -> Vec<PassedOn> {
        let table = self.table.lock();
        let passed_on = stays.into_iter().filter_map(|stay| {
            let Some(moved) = table.sessions.get(&*stay.client) else {
                return Some(PassedOn { stay, next_from: 0 });
            };
            let is_on_its_way = moved.sent.iter().any(|(to, sequence)| !is_done(to, *sequence));
            if moved.is_late(stay.origin, stay.claim) || is_on_its_way || moved.leaving.is_some() {
                return None;
            }
            let is_it = |over: &&Over| (over.origin, over.stay) == (stay.origin, stay.claim);
            let next_from = moved.passed_on.iter().find(is_it).map_or(0, |over| over.next_from);
            Some(PassedOn { stay, next_from })
        });
        passed_on.collect()
    }

    fn insert(&self, table: &mut Table, client: Arc<str>, moved: Moved) {
        let any = Subscription {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            identifier: None,
        };
        for filter in &moved.filters {
            self.filters.subscribe(filter, client.clone(), any);
        }
        table.sessions.insert(client, moved);
        self.expected.store(true, Ordering::Release);
    }

    fn remove(&self, table: &mut Table, client: &str) -> Option<Moved> {
        let removed = table.sessions.remove_entry(client).map(|(client, moved)| {
            for filter in &moved.filters {
                self.filters.unsubscribe(filter, &client);
            }
            moved
        });
        if table.sessions.is_empty() {
            self.expected.store(false, Ordering::Release);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{node, replica, stray};
    use super::*;

    const ME: u64 = 9;

    fn stay(client: &str, origin: u64, claim: u64) -> Stay {
        Stay { client: client.into(), origin, claim }
    }

    fn filters() -> Vec<TopicFilter> {
        vec![TopicFilter::parse("a/#").expect("a filter"), TopicFilter::parse("+/b").expect("one")]
    }

    fn matching(moved: &MovedSessions, from: &str) -> usize {
        moved.matching(&node(from), Topic::new("a/b").expect("a topic")).len()
    }

    #[test]
    fn a_session_that_has_moved_is_remembered_until_all_have_sent_what_they_had() {
        let moved = MovedSessions::default();
        let (now, to) = (Instant::now(), Destination { owner: replica("b@h"), routes: 7 });
        assert_eq!(matching(&moved, "c@h"), 0);
        let from = BTreeMap::from([(node("c@h"), 30), (node("d@h"), 40)]);
        assert!(moved.begin("x", (ME, 1), filters(), from, Some(to.clone()), now).0.is_empty());
        assert_eq!((matching(&moved, "c@h"), matching(&moved, "e@h")), (1, 0), "that one knew where it is");
        assert!(matches!(moved.hold(stray("x", ME)), Ok(None)));
        assert!(matches!(moved.hold(stray("y", ME)), Ok(Some(_))));
        let later = now + Duration::from_secs(1);
        let question =
            |from: &str| Question { from: node(from), owner: Some(to.owner.clone()), routes: vec![3, 7] };
        let fenced = Fenced { sequence: 0, publishes: 0, next_from: vec![100, 200] };
        moved.settle(&question("c@h"), &fenced, later, later);
        assert_eq!(matching(&moved, "c@h"), 1, "it has not moved yet");
        let stays = || vec![stay("x", 30, 1), stay("x", 40, 1), stay("z", 30, 1)];
        let nothing = || PassedOn { stay: stay("z", 30, 1), next_from: 0 };
        assert_eq!(moved.passed_on(stays(), |_, _| true), [nothing()], "nothing came for that one");
        assert_eq!(moved.complete("x").len(), 1);
        assert!(matches!(moved.hold(stray("x", ME)), Ok(None)), "one is being passed on");
        assert_eq!((moved.complete("x").len(), moved.complete("x").len()), (1, 0));
        assert!(matches!(moved.hold(stray("x", ME)), Ok(Some(_))));
        moved.settle(&question("c@h"), &fenced, now, now);
        assert_eq!(matching(&moved, "c@h"), 1, "it was asked before");
        moved.settle(&question("c@h"), &fenced, later, later);
        assert_eq!((matching(&moved, "c@h"), matching(&moved, "d@h")), (0, 1));
        moved.note_sent("x", &node("b@h"), 5);
        assert_eq!(moved.passed_on(stays(), |_, sequence| sequence < 5), [nothing()], "it may come still");
        let passed_on = moved.passed_on(stays(), |_, sequence| sequence == 5);
        assert_eq!(passed_on, [PassedOn { stay: stay("x", 30, 1), next_from: 200 }, nothing()]);
        let questions = moved.questions(Duration::from_secs(9), later);
        assert_eq!(questions.iter().map(|asked| &asked.from).collect::<Vec<_>>(), [&node("d@h")]);
        assert_eq!(questions[0].routes, [7]);
        assert!(moved.questions(Duration::from_secs(9), later).is_empty(), "it is asked");
        moved.drop_question(&questions[0]);
        moved.end(&node("d@h"), 40);
        assert_eq!(matching(&moved, "d@h"), 1, "it is still the same");
        let forgotten = later + REMEMBERED;
        assert!(moved.questions(Duration::from_secs(1), forgotten).is_empty(), "not for ever");
        assert_eq!(matching(&moved, "d@h"), 0);
        assert_eq!(moved.filters.filter_count(), 0);
        assert!(!moved.expected.load(Ordering::Relaxed));
        assert_eq!(moved.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_node_that_has_restarted_sends_nothing_of_what_it_had() {
        let moved = MovedSessions::default();
        let from = BTreeMap::from([(node("c@h"), 30)]);
        assert!(moved.begin("x", (ME, 1), filters(), from, None, Instant::now()).0.is_empty());
        assert!(moved.complete("x").is_empty());
        moved.end(&node("c@h"), 31);
        let asked = vec![stay("x", 30, 1)];
        assert_eq!(moved.passed_on(asked, |_, _| true), [PassedOn { stay: stay("x", 30, 1), next_from: 0 }]);
        assert_eq!(matching(&moved, "c@h"), 0);
    }

    #[test]
    fn what_was_passed_on_is_remembered_after_the_handover() {
        let moved = MovedSessions::default();
        let now = Instant::now();
        assert!(moved.begin("x", (ME, 1), filters(), BTreeMap::new(), None, now).0.is_empty());
        moved.hold(stray("x", 5)).expect("there is room");
        assert_eq!(moved.complete("x").len(), 1);
        moved.note_sent("x", &node("b@h"), 5);
        assert!(moved.complete("x").is_empty() && moved.forget("x", ME).is_empty());
        let asked = || vec![stay("x", 30, 1)];
        assert!(moved.passed_on(asked(), |_, sequence| sequence < 5).is_empty(), "it may come still");
        assert_eq!(moved.passed_on(asked(), |_, _| true).len(), 1);
        assert!(moved.questions(Duration::from_secs(9), now + REMEMBERED).is_empty());
        assert!(moved.table.lock().sessions.is_empty());
    }

    #[test]
    fn a_handover_that_fails_changes_nothing_of_earlier_ones() {
        let moved = MovedSessions::default();
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let to = |routes| Some(Destination { owner: replica("b@h"), routes });
        let from = |name: &str, origin| BTreeMap::from([(node(name), origin)]);
        // It goes, and what c has for it is still to come; it comes back, and goes again or not.
        assert!(moved.begin("x", (ME, 1), filters(), from("c@h", 30), to(7), now).0.is_empty());
        assert!(moved.complete("x").is_empty());
        assert!(moved.begin("x", (ME, 2), filters(), from("d@h", 40), to(8), now).0.is_empty());
        moved.hold(stray("x", ME)).expect("there is room");
        moved.hold(stray("x", 5)).expect("there is room");
        let (again, _) = moved.begin("x", (ME, 2), filters(), from("d@h", 40), to(9), now);
        assert_eq!(again.len(), 1, "what came by its routes it has");
        assert_eq!(again[0].former, 5);
        moved.hold(stray("x", 5)).expect("there is room");
        assert_eq!(moved.forget("x", ME).len(), 1);
        assert_eq!((matching(&moved, "c@h"), matching(&moved, "d@h")), (1, 0));
        // An answer about the first time says nothing of a second one.
        assert!(moved.begin("x", (ME, 2), filters(), from("c@h", 30), to(8), later).0.is_empty());
        assert!(moved.complete("x").is_empty());
        let question = Question { from: node("c@h"), owner: Some(replica("b@h")), routes: vec![7] };
        moved.settle(&question, &Fenced { sequence: 0, publishes: 0, next_from: vec![100] }, later, later);
        let asked = vec![stay("x", 30, 1), stay("x", 30, 2)];
        let first = PassedOn { stay: stay("x", 30, 1), next_from: 100 };
        assert_eq!(moved.passed_on(asked, |_, _| true), [first]);
    }
}
