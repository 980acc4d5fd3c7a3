use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::codec::packet::{PropertySet, QoS};
use crate::message::Application;

/// An entry as a publish with this payload makes it; an empty one clears.
fn entry(topic: &str, payload: &[u8], lifetime_secs: Option<u64>, stamp: u64) -> Entry {
    let now = Instant::now();
    let application = Application {
        topic: Topic::new(topic).expect("a topic name"),
        payload,
        backing: None,
        qos: QoS::AtMostOnce,
        retain: true,
        properties: &PropertySet::EMPTY,
        expires_at: lifetime_secs.map(|secs| now + Duration::from_secs(secs)),
    };
    let value = (!payload.is_empty()).then(|| value::write(&application, now));
    Entry::new(topic.as_bytes(), value.as_deref(), Stamp::at_ms(stamp))
}

fn at(now: Instant) -> HybridTime {
    HybridTime { now, stamp_ms: 0 }
}

fn publish(store: &RetainedMessages, topic: &str, payload: &[u8], now: Instant) {
    store.show(&entry(topic, payload, None, 0), Arrival::Published, at(now));
}

fn learn(store: &RetainedMessages, entry: &Entry, now: Instant) {
    store.show(entry, Arrival::Learned, at(now));
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("a filter")
}

/// Topics and payloads, found in pieces.
fn found(store: &RetainedMessages, text: &str, now: Instant) -> BTreeMap<String, String> {
    let (filter, mut search, mut all) = (filter(text), store.search(), BTreeMap::new());
    while !search.is_over() {
        store.search_on(&filter, &mut search);
        assert!(search.found.len() <= PIECE);
        while let Some(found) = store.take_found(&mut search, now) {
            let message = value::with_application(&found.entry, found.expires_at, |application| {
                let payload = String::from_utf8_lossy(application.payload).into_owned();
                (application.topic.as_str().to_owned(), payload)
            });
            let (topic, payload) = message.expect("a message");
            assert!(all.insert(topic, payload).is_none(), "each once");
        }
    }
    all
}

fn topics(store: &RetainedMessages, text: &str, now: Instant) -> Vec<String> {
    found(store, text, now).into_keys().collect()
}

#[test]
fn a_search_comes_piece_by_piece() {
    let (store, now) = (RetainedMessages::default(), Instant::now());
    for n in 0..3 * PIECE {
        publish(&store, &format!("a/{n}/{}", n % 3), b"x", now);
    }
    publish(&store, "$sys", b"x", now);
    for (filter, count) in
        [("#", 3 * PIECE), ("a/+/1", PIECE), ("a/7/#", 1), ("a/7/1", 1), ("+", 0), ("$sys/#", 1)]
    {
        assert_eq!(found(&store, filter, now).len(), count, "{filter}");
    }
}

/// A later publish reaches the subscriber as it comes; what the set alone brings does not, and so is found.
#[test]
fn what_was_published_since_is_not_found() {
    let (store, now) = (RetainedMessages::default(), Instant::now());
    for topic in ["a", "b", "c"] {
        publish(&store, topic, b"old", now);
    }
    let (mut early, mut late) = (store.search(), store.search());
    store.search_on(&filter("+"), &mut late);
    publish(&store, "a", b"new", now);
    learn(&store, &entry("b", b"new", None, 1), now);
    store.search_on(&filter("+"), &mut early);
    for search in [&mut early, &mut late] {
        let payloads = std::iter::from_fn(|| store.take_found(search, now)).map(|found| {
            let topic = value::topic(&found.entry).expect("a topic").as_str().to_owned();
            (topic, found.entry.value().expect("a value").ends_with(b"new"))
        });
        let payloads: BTreeMap<String, bool> = payloads.collect();
        assert_eq!(payloads, BTreeMap::from([("b".to_owned(), true), ("c".to_owned(), false)]));
    }
}

#[test]
fn expired_messages_are_hidden_and_named_until_the_set_forgets_them() {
    let (store, now) = (RetainedMessages::default(), Instant::now());
    let soon = now + Duration::from_secs(1);
    for n in 0..SWEEP + 1 {
        learn(&store, &entry(&n.to_string(), b"old", Some(1), 0), now);
    }
    learn(&store, &entry("0", b"fresh", Some(2), 1), now);
    learn(&store, &entry("1", b"fresh", None, 1), now);
    assert_eq!(store.sweep(now).len(), 0);
    assert_eq!(store.len(), SWEEP + 1);
    assert_eq!(topics(&store, "#", soon), ["0", "1"], "at the very moment");
    let expired = store.sweep(soon);
    assert_eq!((expired.len(), store.sweep(soon).len(), store.len()), (SWEEP - 1, 0, 2));
    assert_eq!(store.sweep(soon + LOOK_AGAIN).len(), SWEEP, "those again, and the one of two seconds");
    for entry in &expired {
        store.hide(entry.key(), Some(entry.stamp()));
    }
    learn(&store, &entry("0", b"", None, 2), now);
    learn(&store, &entry("1", b"", None, 2), now);
    assert_eq!((store.len(), store.bytes()), (0, 0));
    let kept = store.kept.read();
    assert!(kept.due.is_empty() && kept.topics.is_empty());
}

/// How long a message lives is counted from its stamp, by the clock that makes stamps.
#[test]
fn a_message_that_was_long_on_its_way_expires_in_time() {
    let (store, now) = (RetainedMessages::default(), Instant::now());
    let time = HybridTime { now, stamp_ms: 9_000 };
    store.show(&entry("a", b"x", Some(10), 0), Arrival::Learned, time);
    store.show(&entry("b", b"x", Some(8), 0), Arrival::Learned, time);
    assert_eq!(topics(&store, "#", now), ["a"]);
    assert_eq!(topics(&store, "#", now + Duration::from_millis(999)), ["a"]);
    assert!(topics(&store, "#", now + Duration::from_millis(1000)).is_empty());
}

#[test]
fn room_is_for_the_messages_that_are_shown() {
    let (store, now) = (RetainedMessages::default(), Instant::now());
    let topic = |name| Topic::new(name).expect("a topic name");
    let limits = Limits { max_retained_messages: 1, max_retained_bytes: 2000, ..Limits::default() };
    assert!(store.has_room(topic("a"), 10, &limits) && !store.has_room(topic("a"), 2000, &limits));
    learn(&store, &entry("a", &[b'x'; 1000], Some(1), 0), now);
    assert!(store.has_room(topic("a"), 1500, &limits), "in place of the former");
    assert!(!store.has_room(topic("b"), 10, &limits));
    store.sweep(now + Duration::from_secs(1));
    assert!(store.has_room(topic("b"), 1500, &limits), "that one is over");
    let (limits, deep) = (Limits::default(), "/".repeat(128));
    assert!(!store.has_room(topic(&deep), 1, &limits) && store.has_room(topic(&deep[1..]), 1, &limits));
    let limits = Limits { max_retained_bytes: 10_000, ..limits };
    assert!(!store.has_room(topic(&deep[1..]), 1, &limits), "levels take memory");
}

#[test]
fn a_forward_ahead_of_the_set_counts_until_that_has_caught_up() {
    let (store, now) = (RetainedMessages::default(), Instant::now());
    let payload = |topic: &str| found(&store, topic, now).remove(topic);
    let is = |topic: &str, expected: &str| assert_eq!(payload(topic).as_deref(), Some(expected));
    learn(&store, &entry("a", b"1", None, 1), now);
    store.show_ahead(&entry("a", b"3", None, 3), at(now));
    is("a", "3");
    learn(&store, &entry("a", b"2", None, 2), now);
    is("a", "3");
    store.show_ahead(&entry("a", b"2", None, 2), at(now));
    is("a", "3");
    learn(&store, &entry("a", b"3", None, 3), now);
    learn(&store, &entry("a", b"4", None, 4), now);
    is("a", "4");
    // A clear, and what it clears comes behind.
    store.show_ahead(&entry("a", b"", None, 6), at(now));
    assert_eq!(
        store.stamp(Topic::new("a").expect("a topic name")),
        Stamp::at_ms(6),
        "what is written now is later"
    );
    learn(&store, &entry("a", b"5", None, 5), now);
    assert_eq!(payload("a"), None);
    store.hide(b"a", Some(Stamp::at_ms(6)));
    learn(&store, &entry("a", b"7", None, 7), now);
    is("a", "7");
    // One whose entry never comes is asked about.
    store.show_ahead(&entry("b", b"9", None, 9), at(now));
    is("b", "9");
    assert!(store.take_overdue(now).is_empty());
    assert_eq!(store.take_overdue(now + Duration::from_secs(6)), [Box::from(*b"b")]);
    store.hide(b"b", None);
    assert_eq!(payload("b"), None);
}

proptest! {
    /// Whatever comes, what is shown is what was last said, and what is counted is what is shown.
    #[test]
    fn what_is_shown_is_what_counts(
        steps in prop::collection::vec(("[ab](/[ab]){0,2}", prop::option::of("[xyz]{1,3}"), prop::option::of(0..3u64)), 0..40),
        elapsed in 0..4u64,
    ) {
        let (store, start) = (RetainedMessages::default(), Instant::now());
        let mut model: BTreeMap<String, (String, Option<u64>)> = BTreeMap::new();
        for (stamp, (topic, payload, lifetime)) in steps.into_iter().enumerate() {
            let text = payload.clone().unwrap_or_default();
            learn(&store, &entry(&topic, text.as_bytes(), lifetime, 0), start);
            match payload {
                Some(payload) => model.insert(topic, (payload, lifetime)),
                None => model.remove(&topic),
            };
            if stamp % 7 == 0 {
                store.sweep(start);
                model.retain(|_, (_, lifetime)| *lifetime != Some(0));
                prop_assert_eq!(store.len(), model.len());
            }
        }
        let now = start + Duration::from_secs(elapsed);
        model.retain(|_, (_, lifetime)| lifetime.is_none_or(|lifetime| lifetime > elapsed));
        let expected: BTreeMap<String, String> = model.iter().map(|(topic, (payload, _))| (topic.clone(), payload.clone())).collect();
        prop_assert_eq!(found(&store, "#", now), expected);
        store.sweep(now);
        prop_assert_eq!(store.len(), model.len());
        for topic in model.keys() {
            store.hide(topic.as_bytes(), None);
        }
        prop_assert_eq!((store.len(), store.bytes()), (0, 0));
    }
}
