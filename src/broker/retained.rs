//! Retained messages of this node, bounded in number and bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;

use super::Limits;
use crate::message::{Application, Message};
use crate::router::Retained;
use crate::topic::{Topic, TopicFilter};

/// The retained message of each topic.
pub struct RetainedMessages {
    /// The number of each topic's message. Changed only under the lock of `kept`.
    topics: Retained<u64>,
    kept: RwLock<Kept>,
}

/// Messages by number. Numbers are not used twice, so that a number whose message was replaced names nothing.
#[derive(Default)]
struct Kept {
    messages: BTreeMap<u64, Arc<Message>>,
    /// Those that expire, the next one first.
    expiring: BTreeSet<(Instant, u64)>,
    /// The next number.
    next: u64,
    bytes: usize,
}

/// There is no room for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedFull;

/// The search for the messages that a filter matches, as far as it has come. It knows them by number, which keeps none of
/// them alive.
#[derive(Debug)]
pub struct Search {
    /// Found, and not taken yet; at most a piece.
    pub found: VecDeque<u64>,
    /// To be looked at.
    rest: Range<u64>,
}

/// Messages that one step of a search looks at, or finds.
const PIECE: usize = 1024;
/// Expired messages that are removed at a time.
const SWEEP: usize = 1000;
/// Memory that a level of a topic takes, which may be shared with no other topic.
const LEVEL_BYTES: usize = 100;

impl RetainedMessages {
    /// None.
    pub fn new() -> RetainedMessages {
        RetainedMessages { topics: Retained::new(), kept: RwLock::default() }
    }

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
        let former = self.topics.message(topic);
        if let Some(former) = former {
            kept.remove(former);
        }
        let result = match message {
            None => Ok(None),
            Some(_) if topic.levels().count() > limits.max_filter_levels => Err(RetainedFull),
            Some(message) => {
                if !kept.has_room(&message, limits) {
                    self.remove_expired(&mut kept, now);
                }
                kept.has_room(&message, limits).then(|| Some(kept.insert(message))).ok_or(RetainedFull)
            }
        };
        match result {
            Ok(Some(number)) => {
                self.topics.insert(topic, number);
            }
            Ok(None) | Err(_) if former.is_some() => {
                self.topics.remove(topic);
            }
            Ok(None) | Err(_) => {}
        }
        result.map(|_| ())
    }

    /// Removes some of the messages whose expiry has passed.
    pub fn sweep(&self, now: Instant) {
        let is_due = |kept: &Kept| kept.expiring.first().is_some_and(|(at, _)| *at <= now);
        if is_due(&self.kept.read()) {
            self.remove_expired(&mut self.kept.write(), now);
        }
    }

    /// Begins to search for what the filter matches.
    pub fn search(&self, filter: &TopicFilter) -> Search {
        let end = self.kept.read().next;
        // The tree is the short way to few of many; where many match, they are gone through piece by piece.
        let found = self.topics.matching(filter, PIECE + 1);
        match found.len() <= PIECE {
            true => Search { found: found.into_iter().map(|(_, number)| number).collect(), rest: end..end },
            false => Search { found: VecDeque::new(), rest: 0..end },
        }
    }

    /// Searches on, a bounded step.
    pub fn search_on(&self, filter: &TopicFilter, search: &mut Search) {
        let kept = self.kept.read();
        let mut looked_at = 0;
        for (&number, message) in kept.messages.range(search.rest.clone()).take(PIECE) {
            looked_at += 1;
            search.rest.start = number + 1;
            if Topic::new(message.topic()).is_ok_and(|topic| filter.matches(topic)) {
                search.found.push_back(number);
            }
        }
        if looked_at < PIECE {
            search.rest.start = search.rest.end;
        }
    }

    /// The message of this number, if it is still its topic's and its expiry has not passed.
    pub fn message(&self, number: u64, now: Instant) -> Option<Arc<Message>> {
        self.kept.read().messages.get(&number).filter(|message| !message.is_expired(now)).cloned()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.kept.read().messages.len()
    }

    /// Memory they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.kept.read().bytes
    }

    fn remove_expired(&self, kept: &mut Kept, now: Instant) {
        for _ in 0..SWEEP {
            let Some(&(at, number)) = kept.expiring.first().filter(|(at, _)| *at <= now) else { return };
            kept.expiring.remove(&(at, number));
            if let Some(message) = kept.remove(number)
                && let Ok(topic) = Topic::new(message.topic())
            {
                self.topics.remove(topic);
            }
        }
    }
}

impl Kept {
    fn has_room(&self, message: &Message, limits: &Limits) -> bool {
        self.messages.len() < limits.max_retained_messages
            && self.bytes + footprint(message) <= limits.max_retained_bytes
    }

    fn insert(&mut self, message: Arc<Message>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.bytes += footprint(&message);
        self.expiring.extend(message.expires_at.map(|at| (at, number)));
        self.messages.insert(number, message);
        number
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Message>> {
        let message = self.messages.remove(&number)?;
        self.bytes -= footprint(&message);
        if let Some(at) = message.expires_at {
            self.expiring.remove(&(at, number));
        }
        Some(message)
    }
}

impl Search {
    /// Whether there is nothing more to find or to take.
    pub fn is_over(&self) -> bool {
        self.found.is_empty() && self.rest.is_empty()
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
        let mut search = store.search(&filter);
        let mut topics = Vec::new();
        while !search.is_over() {
            if search.found.is_empty() {
                store.search_on(&filter, &mut search);
            }
            assert!(search.found.len() <= PIECE);
            let messages = search.found.drain(..).filter_map(|number| store.message(number, now));
            topics.extend(messages.map(|message| message.topic().to_owned()));
        }
        topics.sort_unstable();
        topics
    }

    #[test]
    fn a_search_finds_in_pieces_what_the_tree_finds_at_once() {
        let (store, limits, now) = (RetainedMessages::new(), Limits::default(), Instant::now());
        for n in 0..3 * PIECE {
            retain(&store, &format!("a/{n}/{}", n % 3), b"x", None, &limits, now).expect("room");
        }
        retain(&store, "$sys", b"x", None, &limits, now).expect("room");
        for filter in ["#", "a/+/1", "a/+/0", "a/7/#", "a/7/1", "+", "$sys/#"] {
            let mut expected: Vec<String> = store
                .topics
                .matching(&TopicFilter::parse(filter).expect("a filter"), usize::MAX)
                .into_iter()
                .map(|(topic, _)| topic)
                .collect();
            expected.sort_unstable();
            assert_eq!(found(&store, filter, now), expected, "{filter}");
        }
    }

    #[test]
    fn what_was_found_and_replaced_since_is_gone() {
        let (store, limits, now) = (RetainedMessages::new(), Limits::default(), Instant::now());
        retain(&store, "a", b"old", None, &limits, now).expect("room");
        let search = store.search(&TopicFilter::parse("a").expect("a filter"));
        let old = Arc::downgrade(&store.message(search.found[0], now).expect("the message"));
        retain(&store, "a", b"new", None, &limits, now).expect("room");
        assert!(store.message(search.found[0], now).is_none());
        assert!(old.upgrade().is_none(), "nobody keeps it alive");
    }

    #[test]
    fn expired_messages_go_and_fresh_ones_of_their_topics_stay() {
        let (store, limits, now) = (RetainedMessages::new(), Limits::default(), Instant::now());
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
        assert!(store.kept.read().expiring.is_empty() && store.topics.is_empty());
    }

    #[test]
    fn expired_messages_make_room() {
        let limits = Limits { max_retained_messages: 1, ..Limits::default() };
        let (store, now) = (RetainedMessages::new(), Instant::now());
        retain(&store, "a", b"x", Some(now), &limits, now).expect("room");
        retain(&store, "b", b"x", None, &limits, now).expect("room");
        assert_eq!(retain(&store, "c", b"x", None, &limits, now), Err(RetainedFull));
    }

    #[test]
    fn without_room_the_topic_has_no_message() {
        let limits = Limits { max_retained_bytes: 2000, ..Limits::default() };
        let (store, now) = (RetainedMessages::new(), Instant::now());
        retain(&store, "a", b"x", None, &limits, now).expect("room");
        assert_eq!(retain(&store, "a", &[0; 2000], None, &limits, now), Err(RetainedFull));
        assert_eq!((store.len(), store.bytes(), store.topics.len()), (0, 0, 0));
    }

    #[test]
    fn levels_of_topics_count() {
        let limits = Limits { max_retained_bytes: 10_000, ..Limits::default() };
        let (store, now) = (RetainedMessages::new(), Instant::now());
        assert_eq!(retain(&store, &"/".repeat(120), b"x", None, &limits, now), Err(RetainedFull));
        retain(&store, &"/".repeat(60), b"x", None, &limits, now).expect("room");
        let limits = Limits::default();
        assert_eq!(retain(&store, &"/".repeat(128), b"x", None, &limits, now), Err(RetainedFull));
        retain(&store, &"/".repeat(127), b"x", None, &limits, now).expect("room");
    }
}
