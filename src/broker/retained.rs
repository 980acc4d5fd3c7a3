//! Retained messages of this node, bounded in number and bytes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;

use super::Limits;
use crate::message::{Application, Message};
use crate::router::{self, Place, Retained};
use crate::topic::{Topic, TopicFilter};

/// The retained message of each topic.
#[derive(Default)]
pub struct RetainedMessages {
    /// One lock: retained messages are set and asked for far more seldom than others pass through.
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    topics: Retained<Entry>,
    /// Those that expire, the next one first.
    expiring: BTreeSet<(Instant, Place)>,
    /// Messages taken so far.
    taken: u64,
    bytes: usize,
}

struct Entry {
    message: Arc<Message>,
    /// Which of all messages taken it is.
    number: u64,
}

/// There is no room for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedFull;

/// The search for the messages that a filter matches, as far as it has come. It knows them by their place, which keeps none
/// of them alive.
#[derive(Debug)]
pub struct Search {
    /// Messages that were taken before the search began. Later ones reached the subscriber as they came.
    taken: u64,
    /// Found, and not sent yet; at most a piece.
    found: VecDeque<Place>,
    rest: router::Search,
}

/// Messages that one step of a search finds.
const PIECE: usize = 1024;
/// Topic levels that it looks at.
const STEPS: usize = 4096;
/// Expired messages that are removed at a time.
const SWEEP: usize = 1000;
/// Memory that a level of a topic takes, which may be shared with no other topic.
const LEVEL_BYTES: usize = 100;

impl RetainedMessages {
    /// Replaces the topic's message, or clears it where the payload is empty [MQTT-3.3.1-5, MQTT-3.3.1-6]. Where there is
    /// no room, the topic has no message from now on: the one it had is not the last one any more.
    pub fn retain(
        &self,
        application: &Application<'_>,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), RetainedFull> {
        let topic = application.topic;
        let message = (!application.payload.is_empty()).then(|| Arc::new(application.to_message()));
        let mut kept = self.kept.write();
        if let Some(former) = kept.topics.place(topic) {
            kept.remove(former);
        }
        match message {
            None => Ok(()),
            Some(_) if topic.levels().count() > limits.max_filter_levels => Err(RetainedFull),
            Some(message) => {
                if !kept.has_room(&message, limits) {
                    kept.remove_expired(now);
                }
                if !kept.has_room(&message, limits) {
                    return Err(RetainedFull);
                }
                kept.insert(application.topic, message);
                Ok(())
            }
        }
    }

    /// Removes some of the messages whose expiry has passed.
    pub fn sweep(&self, now: Instant) {
        let is_due = |kept: &Kept| kept.expiring.first().is_some_and(|(at, _)| *at <= now);
        if is_due(&self.kept.read()) {
            self.kept.write().remove_expired(now);
        }
    }

    /// Begins to search for what a filter matches.
    pub fn search(&self) -> Search {
        Search { taken: self.kept.read().taken, found: VecDeque::new(), rest: router::Search::default() }
    }

    /// Searches on, a bounded step, if nothing is left of what was found before. `filter` is the same in all calls.
    pub fn search_on(&self, filter: &TopicFilter, search: &mut Search) {
        if search.found.is_empty() {
            let kept = self.kept.read();
            kept.topics.search_on(filter, &mut search.rest, &mut search.found, PIECE, STEPS);
        }
    }

    /// Takes the next message out of what was found, if it has neither been replaced since nor expired.
    pub fn take_found(&self, search: &mut Search, now: Instant) -> Option<Arc<Message>> {
        let kept = self.kept.read();
        while let Some(place) = search.found.pop_front() {
            let Some(entry) = kept.topics.at(place) else { continue };
            if entry.number < search.taken && !entry.message.is_expired(now) {
                return Some(entry.message.clone());
            }
        }
        None
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.kept.read().topics.len()
    }

    /// Memory they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.kept.read().bytes
    }
}

impl Kept {
    fn has_room(&self, message: &Message, limits: &Limits) -> bool {
        self.topics.len() < limits.max_retained_messages
            && self.bytes + footprint(message) <= limits.max_retained_bytes
    }

    fn insert(&mut self, topic: Topic<'_>, message: Arc<Message>) {
        self.bytes += footprint(&message);
        let expires_at = message.expires_at;
        let (place, _) = self.topics.insert(topic, Entry { message, number: self.taken });
        self.taken += 1;
        self.expiring.extend(expires_at.map(|at| (at, place)));
    }

    fn remove(&mut self, place: Place) {
        let Some(Entry { message, .. }) = self.topics.remove_at(place) else { return };
        self.bytes -= footprint(&message);
        if let Some(at) = message.expires_at {
            self.expiring.remove(&(at, place));
        }
    }

    fn remove_expired(&mut self, now: Instant) {
        for _ in 0..SWEEP {
            let Some(&(_, place)) = self.expiring.first().filter(|(at, _)| *at <= now) else { return };
            self.remove(place);
        }
    }
}

impl Search {
    /// Whether there is nothing more to find or to take.
    pub fn is_over(&self) -> bool {
        self.found.is_empty() && self.rest.is_over()
    }
}

/// Memory that a message takes together with the levels of its topic.
fn footprint(message: &Message) -> usize {
    let levels = message.topic().bytes().filter(|byte| *byte == b'/').count() + 1;
    message.size() + message.topic().len() + levels * LEVEL_BYTES
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::codec::packet::{PropertySet, QoS};

    fn retain(
        store: &RetainedMessages,
        topic: &str,
        payload: &[u8],
        expires_at: Option<Instant>,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), RetainedFull> {
        let application = Application {
            topic: Topic::new(topic).expect("a topic name"),
            payload,
            backing: None,
            qos: QoS::AtMostOnce,
            retain: true,
            properties: &PropertySet::EMPTY,
            expires_at,
        };
        store.retain(&application, limits, now)
    }

    fn found(store: &RetainedMessages, filter: &str, now: Instant) -> Vec<String> {
        let filter = TopicFilter::parse(filter).expect("a filter");
        let mut search = store.search();
        let mut topics = Vec::new();
        while !search.is_over() {
            store.search_on(&filter, &mut search);
            assert!(search.found.len() <= PIECE);
            let messages = std::iter::from_fn(|| store.take_found(&mut search, now));
            topics.extend(messages.map(|message| message.topic().to_owned()));
        }
        topics.sort_unstable();
        topics
    }

    #[test]
    fn a_search_comes_piece_by_piece() {
        let (store, limits, now) = (RetainedMessages::default(), Limits::default(), Instant::now());
        for n in 0..3 * PIECE {
            retain(&store, &format!("a/{n}/{}", n % 3), b"x", None, &limits, now).expect("room");
        }
        retain(&store, "$sys", b"x", None, &limits, now).expect("room");
        for (filter, count) in
            [("#", 3 * PIECE), ("a/+/1", PIECE), ("a/7/#", 1), ("a/7/1", 1), ("+", 0), ("$sys/#", 1)]
        {
            assert_eq!(found(&store, filter, now).len(), count, "{filter}");
        }
    }

    /// The subscriber has got the new one as it came.
    #[test]
    fn what_was_replaced_since_is_not_found() {
        let (store, limits, now) = (RetainedMessages::default(), Limits::default(), Instant::now());
        let filter = TopicFilter::parse("+").expect("a filter");
        for topic in ["a", "b"] {
            retain(&store, topic, b"old", None, &limits, now).expect("room");
        }
        let (mut early, mut late) = (store.search(), store.search());
        store.search_on(&filter, &mut late);
        let old = {
            let kept = store.kept.read();
            Arc::downgrade(&kept.topics.message(Topic::new("a").expect("a topic")).expect("there").message)
        };
        retain(&store, "a", b"new", None, &limits, now).expect("room");
        assert!(old.upgrade().is_none(), "no search keeps it alive");
        store.search_on(&filter, &mut early);
        for search in [&mut early, &mut late] {
            assert_eq!(store.take_found(search, now).expect("the other one").topic(), "b");
            assert!(store.take_found(search, now).is_none());
        }
    }

    #[test]
    fn expired_messages_go_and_fresh_ones_of_their_topics_stay() {
        let (store, limits, now) = (RetainedMessages::default(), Limits::default(), Instant::now());
        let soon = now + Duration::from_secs(1);
        for n in 0..SWEEP + 1 {
            retain(&store, &n.to_string(), b"old", Some(soon), &limits, now).expect("room");
        }
        retain(&store, "0", b"fresh", Some(soon + Duration::from_secs(1)), &limits, now).expect("room");
        retain(&store, "1", b"fresh", None, &limits, now).expect("room");
        store.sweep(now);
        assert_eq!(store.len(), SWEEP + 1);
        store.sweep(soon);
        assert_eq!(found(&store, "#", soon), ["0", "1"]);
        retain(&store, "0", b"", None, &limits, now).expect("nothing to keep");
        retain(&store, "1", b"", None, &limits, now).expect("nothing to keep");
        assert_eq!((store.len(), store.bytes()), (0, 0));
        assert!(store.kept.read().expiring.is_empty());
    }

    #[test]
    fn expired_messages_make_room() {
        let limits = Limits { max_retained_messages: 1, ..Limits::default() };
        let (store, now) = (RetainedMessages::default(), Instant::now());
        retain(&store, "a", b"x", Some(now), &limits, now).expect("room");
        retain(&store, "b", b"x", None, &limits, now).expect("room");
        assert_eq!(retain(&store, "c", b"x", None, &limits, now), Err(RetainedFull));
    }

    #[test]
    fn without_room_the_topic_has_no_message() {
        let limits = Limits { max_retained_bytes: 2000, ..Limits::default() };
        let (store, now) = (RetainedMessages::default(), Instant::now());
        retain(&store, "a", b"x", None, &limits, now).expect("room");
        assert_eq!(retain(&store, "a", &[0; 2000], None, &limits, now), Err(RetainedFull));
        assert_eq!((store.len(), store.bytes()), (0, 0));
    }

    #[test]
    fn levels_of_topics_count() {
        let limits = Limits { max_retained_bytes: 10_000, ..Limits::default() };
        let (store, now) = (RetainedMessages::default(), Instant::now());
        assert_eq!(retain(&store, &"/".repeat(120), b"x", None, &limits, now), Err(RetainedFull));
        retain(&store, &"/".repeat(60), b"x", None, &limits, now).expect("room");
        let limits = Limits::default();
        assert_eq!(retain(&store, &"/".repeat(128), b"x", None, &limits, now), Err(RetainedFull));
        retain(&store, &"/".repeat(127), b"x", None, &limits, now).expect("room");
    }
}
