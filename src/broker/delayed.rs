//! Publishes to `$delayed/SECONDS/TOPIC`, kept until their time has come. In memory: they do not survive the node.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Broker;
use super::batch::Batch;
use super::client::{Client, Subscriber};
use crate::message::{Application, Message, PortableMessage};
use crate::topic::{Topic, TopicError};

/// Longest delay, in seconds.
pub const MAX_DELAY_SECS: u64 = 4_294_967;

const PREFIX: &str = "$delayed/";
/// Messages published in one go, before the tick's other work.
const A_TICK: usize = 10_000;

/// Messages that wait, bounded in number and bytes.
#[derive(Debug)]
pub struct Delayed {
    max_messages: usize,
    max_bytes: usize,
    /// Held for one look-up, and no other lock is taken under it.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By due time, and among equals in the order of their arrival.
    messages: BTreeMap<(Instant, u64), Entry>,
    arrived: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    /// Whose subscriptions with No Local do not get it.
    publisher: Weak<Client>,
}

/// There is no room for another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayedFull;

impl Delayed {
    /// Room for so many messages; for none, publishes to `$delayed/...` are like any other.
    pub fn new(max_messages: usize, max_bytes: usize) -> Delayed {
        Delayed { max_messages, max_bytes, waiting: Mutex::default() }
    }

    /// Whether messages may wait here.
    pub fn is_on(&self) -> bool {
        self.max_messages > 0
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.lock().messages.len()
    }

    /// Keeps a message until `due`.
    fn push(&self, due: Instant, message: Message, publisher: Weak<Client>) -> Result<(), DelayedFull> {
        let mut waiting = self.waiting.lock();
        let bytes = waiting.bytes + message.size();
        if waiting.messages.len() >= self.max_messages || bytes > self.max_bytes {
            return Err(DelayedFull);
        }
        waiting.bytes = bytes;
        waiting.arrived += 1;
        let key = (due, waiting.arrived);
        waiting.messages.insert(key, Entry { message, publisher });
        Ok(())
    }

    /// Takes all of them, with the time that each has to wait yet.
    fn take_all(&self, now: Instant) -> Vec<(Duration, Message)> {
        let mut waiting = self.waiting.lock();
        waiting.bytes = 0;
        let all = std::mem::take(&mut waiting.messages).into_iter();
        all.map(|((due, _), entry)| (due.saturating_duration_since(now), entry.message)).collect()
    }

    /// Takes the next message that is due.
    fn pop(&self, now: Instant) -> Option<Entry> {
        let mut waiting = self.waiting.lock();
        let entry = waiting.messages.first_entry().filter(|entry| entry.key().0 <= now)?.remove();
        waiting.bytes -= entry.message.size();
        Some(entry)
    }
}

/// The delay and the topic that a topic asks for; no delay if it does not begin with `$delayed/`.
///
/// # Errors
/// It begins so, and no delay of at most [`MAX_DELAY_SECS`] seconds and no topic that could wait follow.
pub fn split(topic: Topic<'_>) -> Result<(Option<Duration>, Topic<'_>), TopicError> {
    let Some(rest) = topic.as_str().strip_prefix(PREFIX) else { return Ok((None, topic)) };
    let (secs, name) = rest.split_once('/').ok_or(TopicError::Empty)?;
    let digits = secs.bytes().all(|byte| byte.is_ascii_digit());
    let secs = secs.parse().ok().filter(|&secs: &u64| digits && secs <= MAX_DELAY_SECS);
    let secs = secs.filter(|_| !name.starts_with(PREFIX)).ok_or(TopicError::Empty)?;
    Ok((Some(Duration::from_secs(secs)), Topic::new(name)?))
}

impl Broker {
    /// Keeps a publish until its delay has passed.
    pub(super) fn delay(
        &self,
        application: &Application<'_>,
        delay: Duration,
        publisher: &Arc<Client>,
        now: Instant,
    ) -> Result<(), DelayedFull> {
        let kept = self.delayed.push(now + delay, application.to_message(), Arc::downgrade(publisher));
        if kept.is_err() {
            self.metrics.messages_dropped.with_label_values(&["delayed_full"]).inc();
        }
        kept
    }

    /// Takes what waits, for other nodes.
    pub fn take_delayed(&self, now: Instant) -> impl Iterator<Item = (Duration, PortableMessage)> + use<> {
        let all = self.delayed.take_all(now).into_iter();
        all.map(move |(left, message)| (left, PortableMessage::of(&message, now)))
    }

    /// What waited on a node that leaves, waits here.
    pub(super) fn delay_on(&self, due_ms: u64, message: PortableMessage, now: Instant) {
        let left = Duration::from_millis(due_ms).min(Duration::from_secs(MAX_DELAY_SECS));
        let Some(message) = message.into_message(now) else { return };
        if self.delayed.push(now + left, message, Weak::new()).is_err() {
            self.metrics.messages_dropped.with_label_values(&["delayed_full"]).inc();
        }
    }

    /// Publishes what is due.
    pub(super) fn publish_delayed(&self, batch: &mut Batch) {
        for _ in 0..A_TICK {
            let Some(Entry { message, publisher }) = self.delayed.pop(batch.now) else { return };
            if message.is_expired(batch.now) {
                self.metrics.messages_dropped.with_label_values(&["expired"]).inc();
                continue;
            }
            let publisher = publisher.upgrade().map(Subscriber);
            message.with_application(|application| {
                let retained = self.retain(application, batch.now);
                let matches = self.router.matches(application.topic, publisher.as_ref());
                self.publish(application, &matches, publisher.as_deref(), retained, None, batch);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_says_how_long() {
        let split = |text: &str| {
            let (delay, topic) = split(Topic::new(text).unwrap()).ok()?;
            Some((delay.map(|delay| delay.as_secs()), topic.as_str().to_owned()))
        };
        for (text, delay, topic) in [
            ("a/b", None, "a/b"),
            ("$delayed", None, "$delayed"),
            ("$delayedx/5/a", None, "$delayedx/5/a"),
            ("$delayed/0/a", Some(0), "a"),
            ("$delayed/5/a/b", Some(5), "a/b"),
            ("$delayed/5//", Some(5), "/"),
            ("$delayed/4294967/a", Some(4_294_967), "a"),
        ] {
            assert_eq!(split(text), Some((delay, topic.to_owned())), "{text}");
        }
        for text in [
            "$delayed/",
            "$delayed/5",
            "$delayed/5/",
            "$delayed//a",
            "$delayed/-5/a",
            "$delayed/x/a",
            "$delayed/5.5/a",
            "$delayed/4294968/a",
            "$delayed/99999999999999999999999/a",
            "$delayed/5/$delayed/5/a",
        ] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    fn message(payload: &[u8]) -> Message {
        let application = Application {
            topic: Topic::new("a").unwrap(),
            payload,
            backing: None,
            qos: crate::codec::packet::QoS::AtMostOnce,
            retain: false,
            properties: &crate::codec::packet::PropertySet::EMPTY,
            expires_at: None,
        };
        application.to_message()
    }

    #[test]
    fn what_is_due_comes_in_order_and_makes_room() {
        let now = Instant::now();
        let delayed = Delayed::new(3, usize::MAX);
        let at = |secs| now + Duration::from_secs(secs);
        for (secs, payload) in [(2, b"c"), (1, b"a"), (1, b"b")] {
            delayed.push(at(secs), message(payload), Weak::new()).unwrap();
        }
        assert_eq!(delayed.push(at(1), message(b"d"), Weak::new()), Err(DelayedFull));
        assert!(delayed.pop(now).is_none());
        let order: Vec<_> = std::iter::from_fn(|| delayed.pop(at(2))).map(|entry| entry.message).collect();
        assert_eq!(
            order.iter().map(|message| &message.payload()[..]).collect::<Vec<_>>(),
            [b"a", b"b", b"c"]
        );
        assert_eq!(delayed.waiting.lock().bytes, 0);
    }

    #[test]
    fn bytes_are_bounded() {
        let delayed = Delayed::new(100, 2 * message(&[0; 1000]).size());
        let now = Instant::now();
        delayed.push(now, message(&[0; 1000]), Weak::new()).unwrap();
        delayed.push(now, message(&[0; 1000]), Weak::new()).unwrap();
        assert_eq!(delayed.push(now, message(b""), Weak::new()), Err(DelayedFull));
    }
}
