use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::queue::{BYTES_MAX, EVENTS_MAX};
use super::*;
use crate::codec;
use crate::codec::packet::{
    Auth, ConnAck, Connect, Packet, Properties, PropertySet, ProtocolVersion, Publish, QoS, ReasonCode, Will,
};
use crate::topic::Topic;

const V500: ProtocolVersion = ProtocolVersion::V500;

fn order(id: &str, client: Option<&str>, topic: Option<&str>) -> Order {
    let selector = Selector::new(client, topic).expect("a selector");
    Order { id: id.to_owned(), selector, payload_max: 0, time: Duration::from_secs(60) }
}

fn begin(tracer: &Tracer, client: &str, now: Instant) -> Arc<Trace> {
    tracer.begin(order(client, Some(client), None), 0, now, 1).expect("room").0
}

/// Whether a pattern means an identifier, by trying everything that a `*` may stand for.
fn means(pattern: &[u8], id: &[u8]) -> bool {
    match pattern {
        [] => id.is_empty(),
        [b'*', rest @ ..] => (0..=id.len()).any(|at| means(rest, &id[at..])),
        [first, rest @ ..] => id.first() == Some(first) && means(rest, &id[1..]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_star_stands_for_any_characters(pattern in "[ab*]{1,8}", id in "[ab]{0,8}") {
        let matches = ClientPattern::new(&pattern).expect("a pattern").matches(&id);
        prop_assert_eq!(matches, means(pattern.as_bytes(), id.as_bytes()), "{} {}", pattern, id);
    }

    /// However much comes, and however it is read: memory is bounded, what is read is in order and without gaps but for
    /// those that are told, and everything is either read or told to be lost.
    #[test]
    fn what_is_not_read_in_time_is_told_to_be_lost(
        pushes in prop::collection::vec(1_usize..3 * EVENTS_MAX, 1..4),
        bytes in prop::sample::select(vec![1_usize, 2_000, 100_000, usize::MAX]),
    ) {
        let (tracer, now) = (Tracer::default(), Instant::now());
        let trace = begin(&tracer, "c", now);
        let (mut pushed, mut read, mut lost, mut after) = (0, 0, 0, 0);
        for count in pushes {
            (0..count).for_each(|_| trace.push(5, |_| TraceEvent::of(Happening::Found, "c")));
            pushed += count;
            // The last answer may have been lost: what was not acknowledged comes again.
            let again = trace.read(after, bytes, now, 6);
            let part = trace.read(after, bytes, now, 6);
            prop_assert_eq!(&again.events, &part.events);
            prop_assert!(part.events.len() <= EVENTS_MAX);
            for event in part.events {
                prop_assert!(event.number > after);
                after = event.number;
                match event.event {
                    Happening::Lost => lost += event.details["events"].parse::<usize>().expect("a number"),
                    _ => read += 1,
                }
            }
        }
        loop {
            let part = trace.read(after, usize::MAX, now, 7);
            let Some(last) = part.events.last() else { break };
            after = last.number;
            for event in part.events {
                match event.event {
                    Happening::Lost => lost += event.details["events"].parse::<usize>().expect("a number"),
                    _ => read += 1,
                }
            }
        }
        prop_assert_eq!((read + lost, lost as u64), (pushed, tracer.lost()));
    }

    /// However the socket takes the bytes: each packet is told once, and an alias is resolved.
    #[test]
    fn packets_are_seen_once_however_they_are_written(
        sizes in prop::collection::vec(0_usize..300, 1..20),
        taken in prop::collection::vec(0_usize..200, 60),
    ) {
        let (tracer, now) = (Tracer::default(), Instant::now());
        let trace = begin(&tracer, "c", now);
        let mut tap = Tap::new("c", vec![trace.clone()]);
        let mut wire = Vec::new();
        for (at, size) in sizes.iter().enumerate() {
            let payload = vec![b'x'; *size];
            let alias = PropertySet { topic_alias: NonZeroU16::new(3), ..PropertySet::EMPTY };
            let publish = Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: false,
                topic: Topic::new("a/long/topic").ok().filter(|_| at == 0),
                packet_id: None,
                properties: alias.into(),
                payload: &payload,
            };
            codec::encode(&Packet::Publish(publish), V500, u32::MAX, &mut wire).expect("it fits");
        }
        let mut from = 0;
        for taken in taken.into_iter().chain([usize::MAX]) {
            tap.handle_written(&wire[from..], V500, 1);
            from = from.saturating_add(taken).min(wire.len());
            tap.handle_put_back(wire.len() - from);
        }
        let seen = trace.read(0, usize::MAX, now, 1).events;
        let seen: Vec<usize> = seen.iter().filter_map(|event| event.payload_size).collect();
        prop_assert_eq!(seen, sizes);
        let events = trace.read(0, usize::MAX, now, 1).events;
        prop_assert!(events.iter().all(|event| event.topic.as_deref() == Some("a/long/topic")));
    }

    /// Whatever bytes come: no panic.
    #[test]
    fn bytes_that_are_no_packets_are_passed_over(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let trace = begin(&Tracer::default(), "c", Instant::now());
        Tap::midway("c", HashMap::new(), 3).handle_written(&bytes, V500, 1);
        Tap::new("c", vec![trace]).handle_written(&bytes, V500, 1);
    }
}

#[test]
fn memory_is_bounded_in_bytes_too() {
    let (tracer, now) = (Tracer::default(), Instant::now());
    let trace = begin(&tracer, "c", now);
    let long = "x".repeat(100_000);
    for _ in 0..EVENTS_MAX {
        let told = (0..40)
            .fold(TraceEvent::of(Happening::Found, &long), |told, at| told.with(&at.to_string(), &long));
        trace.push(1, |_| told);
    }
    let events = trace.read(0, usize::MAX, now, 1).events;
    let bytes: usize = events.iter().map(TraceEvent::size).sum();
    assert!((BYTES_MAX..BYTES_MAX + 100_000).contains(&bytes), "{bytes}");
    assert!(tracer.lost() > 0);
}

#[test]
fn a_selector_is_one_thing() {
    assert_eq!(Selector::new(None, None), Err(SelectorError::NotOne));
    assert_eq!(Selector::new(Some("c"), Some("t")), Err(SelectorError::NotOne));
    assert_eq!(Selector::new(Some(""), None), Err(SelectorError::Client));
    assert!(matches!(Selector::new(None, Some("a/#/b")), Err(SelectorError::Topic(_))));
    let topic = Selector::new(None, Some("a/+")).expect("a filter");
    assert!(topic.is_of_topic(Topic::new("a/b").expect("a topic")) && !topic.is_of_client("a/+"));
}

#[test]
fn a_trace_ends_with_its_time_or_when_nobody_reads_it() {
    let (tracer, now) = (Tracer::default(), Instant::now());
    assert!(!tracer.is_on_clients() && !tracer.is_on_topics());
    let short = Order { time: Duration::from_secs(5), ..order("short", Some("c"), None) };
    let (short, begun) = tracer.begin(short, 0, now, 1).expect("room");
    assert!(begun);
    short.push(1, |_| TraceEvent::of(Happening::Found, "c"));
    let (again, begun) = tracer.begin(order("short", Some("c"), None), 0, now, 1).expect("it is there");
    assert!(!begun && Arc::ptr_eq(&short, &again));
    let (topic, _) = tracer.begin(order("topic", None, Some("t/#")), 0, now, 1).expect("room");
    assert!(tracer.is_on_clients() && tracer.is_on_topics());
    assert_eq!((tracer.of_client("c").len(), tracer.of_client("d").len()), (1, 0));
    assert_eq!(tracer.of_topic(Topic::new("t/x").expect("a topic")).len(), 1);
    let after = |secs| now + Duration::from_secs(secs);
    tracer.tidy(after(4));
    assert_eq!(tracer.len(), 2);
    short.read(0, 1, after(4), 1);
    tracer.tidy(after(5));
    assert!(short.is_over() && !topic.is_over() && !tracer.is_on_clients());
    short.push(1, |_| panic!("nobody wants it"));
    assert_eq!(short.read(0, usize::MAX, after(5), 1), Part::default(), "it holds nothing");
    topic.read(0, 1, after(14), 1);
    tracer.tidy(after(28));
    assert!(!topic.is_over(), "it was read {} s ago", 14);
    tracer.tidy(after(29));
    assert!(topic.is_over() && tracer.is_empty() && !tracer.is_on_topics());
    let (anew, _) = tracer.begin(order("topic", None, Some("t/#")), 7, now, 1).expect("room");
    let told = anew.read(7, usize::MAX, now, 1).events;
    assert!(told.len() == 1 && told[0].event == Happening::Lost && told[0].number > 7, "{told:?}");
}

#[test]
fn there_are_few_traces_at_a_time() {
    let (tracer, now) = (Tracer::default(), Instant::now());
    (0..8).for_each(|at| drop(begin(&tracer, &at.to_string(), now)));
    assert_eq!(tracer.begin(order("one more", Some("c"), None), 0, now, 1).err(), Some(TracerFull));
    assert!(TracerFull.to_string().starts_with("8 traces"));
}

fn told(packet: &Packet<'_>, payload_max: usize) -> String {
    serde_json::to_string(&super::packet(Happening::Received, "c", packet, payload_max)).expect("JSON")
}

#[test]
fn secrets_are_never_told_and_payloads_only_where_asked_for() {
    let user_properties = vec![("token", "USERSECRET")];
    let connect = Connect {
        version: V500,
        clean_start: true,
        keep_alive_secs: 10,
        client_id: "c",
        will: Some(Will {
            topic: Topic::new("w").expect("a topic"),
            payload: b"WILLPAYLOAD",
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: Properties::NONE,
        }),
        username: Some("alice"),
        password: Some(b"PASSWORD"),
        properties: PropertySet {
            authentication_method: Some("SCRAM-SHA-256"),
            authentication_data: Some(b"AUTHDATA"),
            user_properties: user_properties.clone(),
            ..PropertySet::EMPTY
        }
        .into(),
    };
    let connect = Packet::Connect(Box::new(connect));
    let auth = Packet::Auth(Auth {
        reason: ReasonCode::ContinueAuthentication,
        properties: PropertySet { authentication_data: Some(b"AUTHDATA"), ..PropertySet::EMPTY }.into(),
    });
    let publish = Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: true,
        topic: Topic::new("t").ok(),
        packet_id: None,
        properties: PropertySet {
            correlation_data: Some(b"CORRELATION"),
            user_properties,
            ..PropertySet::EMPTY
        }
        .into(),
        payload: b"SOMEPAYLOAD",
    });
    for packet in [&connect, &auth, &publish] {
        for payload_max in [0, 4, 1000] {
            let text = told(packet, payload_max);
            for secret in ["PASSWORD", "AUTHDATA", "CORRELATION"] {
                assert!(!text.contains(secret), "{text}");
            }
            for payload in ["USERSECRET", "WILLPAYLOAD", "SOMEPAYLOAD"] {
                assert!(
                    payload_max > 100
                        || payload == "USERSECRET" && payload_max > 0
                        || !text.contains(payload),
                    "{text}"
                );
            }
        }
    }
    assert!(
        told(&publish, 4).contains(r#""payload":"SOME…""#) && told(&publish, 1000).contains("SOMEPAYLOAD")
    );
    assert!(told(&publish, 0).contains(r#""payload_size":11"#) && told(&publish, 0).contains("token"));
    assert!(told(&connect, 0).contains(r#""username":"alice""#) && told(&connect, 0).contains("hidden"));
    let refused =
        ConnAck { session_present: false, reason: ReasonCode::NotAuthorized, properties: Properties::NONE };
    assert!(told(&Packet::ConnAck(refused), 0).contains(r#""reasons":["0x87 NotAuthorized"]"#));
}

#[test]
fn what_a_later_version_tells_is_something() {
    let event: TraceEvent =
        serde_json::from_str(r#"{"number": 1, "at_ms": 2, "event": "invented", "more": true}"#)
            .expect("an event");
    assert_eq!(event.event, Happening::Other);
}
