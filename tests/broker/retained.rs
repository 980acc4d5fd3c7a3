//! Retained messages.

use std::sync::Arc;

use rumormq::broker::Limits;
use rumormq::codec::packet::{Packet, PropertySet, Publish, RetainHandling, SubscriptionOptions};
use rumormq::session::SessionLimits;

use crate::support::client::{Q0, Q1, Q2, ack, lasting, options, publish, subscribe, subscribe_as};
use crate::support::node::Node;

fn retained<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { retain: true, ..publish(1, Q1, topic, payload) }
}

fn dropped(node: &Node) -> u64 {
    node.broker.metrics.messages_dropped.with_label_values(&["retained_full"]).get()
}

/// [MQTT-3.3.1-5], [MQTT-3.3.1-8].
#[test]
fn the_last_retained_message_waits_for_subscribers() {
    let node = Node::start();
    let mut publisher = node.connect("p");
    publisher.publishes(retained("a/b", "old"));
    publisher.publishes(retained("a/b", "new"));
    publisher.publishes(publish(1, Q1, "a/b", "passing"));
    publisher.publishes(retained("a/c", "other"));
    let mut client = node.connect("c");
    client.subscribes(&[("a/b", options(Q2))], "0x02");
    client.gets("PUBLISH 1 q1 a/b new retain");
    client.subscribes(&[("a/+", options(Q0))], "0x00");
    client.gets_all_of(&["PUBLISH q0 a/b new retain", "PUBLISH q0 a/c other retain"]);
    client.waits();
    let mut old = node.connect_v311("o");
    old.subscribes(&[("#", options(Q0))], "0x00");
    old.gets_all_of(&["PUBLISH q0 a/b new retain", "PUBLISH q0 a/c other retain"]);
    old.waits();
}

/// [MQTT-3.3.1-6], [MQTT-3.3.1-7].
#[test]
fn an_empty_payload_clears() {
    let node = Node::start();
    let mut present = node.connect("present");
    present.subscribes(&[("a", options(Q0))], "0x00");
    let mut publisher = node.connect("p");
    publisher.publishes(retained("a", "x"));
    publisher.publishes(retained("a", ""));
    publisher.publishes(retained("b", ""));
    present.gets("PUBLISH q0 a x");
    present.gets("PUBLISH q0 a \"\"");
    let mut late = node.connect("late");
    late.subscribes(&[("#", options(Q0))], "0x00");
    late.waits();
}

/// [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11].
#[test]
fn retain_handling_says_when_they_are_sent() {
    let node = Node::start();
    node.connect("p").publishes(retained("a", "x"));
    let handling = |retain_handling| SubscriptionOptions { retain_handling, ..options(Q0) };
    let mut client = node.connect("c");
    client.subscribes(&[("a", handling(RetainHandling::DoNotSend))], "0x00");
    client.waits();
    client.subscribes(&[("a", handling(RetainHandling::SendIfNew))], "0x00");
    client.waits();
    client.subscribes(&[("+", handling(RetainHandling::SendIfNew))], "0x00");
    client.gets("PUBLISH q0 a x retain");
    for _ in 0..2 {
        client.subscribes(&[("a", handling(RetainHandling::Send))], "0x00");
        client.gets("PUBLISH q0 a x retain");
    }
    client.unsubscribes("a", "0x00");
    client.subscribes(&[("a", handling(RetainHandling::SendIfNew))], "0x00");
    client.gets("PUBLISH q0 a x retain");
}

#[test]
fn a_resumed_session_does_not_make_a_subscription_new() {
    let node = Node::start();
    node.connect("p").publishes(retained("a", "x"));
    let if_new = SubscriptionOptions { retain_handling: RetainHandling::SendIfNew, ..options(Q0) };
    let mut client = node.connect_with(lasting("c", 100));
    client.subscribes(&[("a", if_new)], "0x00");
    client.gets("PUBLISH q0 a x retain");
    client.disconnects();
    let mut client = node.connect_with(lasting("c", 100));
    client.subscribes(&[("a", if_new)], "0x00");
    client.waits();
}

/// The flag says "from the store", whatever Retain As Published asks for live messages.
#[test]
fn retained_messages_are_marked_and_named_for_their_subscription() {
    let node = Node::start();
    let mut publisher = node.connect("p");
    let set = PropertySet {
        message_expiry_interval_secs: Some(1000),
        content_type: Some("text/plain"),
        user_properties: vec![("k", "v")],
        ..PropertySet::EMPTY
    };
    publisher.publishes(Publish { properties: set.into(), ..retained("a", "x") });
    let mut client = node.connect("c");
    client.subscribes(
        &[("#", SubscriptionOptions { retain_handling: RetainHandling::DoNotSend, ..options(Q0) })],
        "0x00",
    );
    client.sends(Packet::Subscribe(subscribe_as(9, "a", options(Q0))));
    client.gets("SUBACK 1 0x00");
    client.gets_one_of(&[
        "PUBLISH q0 a x retain id=9 expiry=1000 type=text/plain k:v",
        "PUBLISH q0 a x retain id=9 expiry=999 type=text/plain k:v",
    ]);
}

#[test]
fn expired_retained_messages_are_not_sent() {
    let node = Node::start();
    let set = PropertySet { message_expiry_interval_secs: Some(0), ..PropertySet::EMPTY };
    node.connect("p").publishes(Publish { properties: set.into(), ..retained("a", "x") });
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q0))], "0x00");
    client.waits();
}

/// [MQTT-4.7.2-1].
#[test]
fn a_leading_wildcard_does_not_find_dollar_topics() {
    let node = Node::start();
    node.connect("p").publishes(retained("$app/x", "x"));
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q0)), ("+/x", options(Q0))], "0x00 0x00");
    client.waits();
    client.subscribes(&[("$app/#", options(Q0))], "0x00");
    client.gets("PUBLISH q0 $app/x x retain");
}

#[test]
fn the_store_is_bounded_by_messages() {
    let node = Node::with(Limits { max_retained_messages: 2, ..Limits::default() });
    let mut publisher = node.connect("p");
    publisher.publishes(retained("a", "1"));
    publisher.publishes(retained("b", "1"));
    let mut live = node.connect("live");
    live.subscribes(&[("c", options(Q0))], "0x00");
    publisher.sends(Packet::Publish(retained("c", "1")));
    publisher.gets("PUBACK 1");
    live.gets("PUBLISH q0 c 1");
    assert_eq!(dropped(&node), 1);
    publisher.publishes(retained("a", "2"));
    publisher.publishes(retained("b", ""));
    publisher.publishes(retained("c", "2"));
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q0))], "0x00");
    client.gets_all_of(&["PUBLISH q0 a 2 retain", "PUBLISH q0 c 2 retain"]);
}

#[test]
fn the_store_is_bounded_by_bytes() {
    let node = Node::with(Limits { max_retained_bytes: 10_000, ..Limits::default() });
    let large = "x".repeat(6000);
    let mut publisher = node.connect("p");
    publisher.publishes(retained("a", &large));
    publisher.publishes(retained("b", &large));
    assert_eq!((node.broker.census().retained_messages, dropped(&node)), (1, 1));
    publisher.publishes(retained("a", &large));
    publisher.publishes(retained("a", ""));
    publisher.publishes(retained("b", &large));
    assert_eq!((node.broker.census().retained_messages, dropped(&node)), (1, 1));
}

/// The old message is not the last one of its topic any more.
#[test]
fn a_message_that_does_not_fit_clears_what_it_would_replace() {
    let node = Node::with(Limits { max_retained_bytes: 2000, ..Limits::default() });
    let mut publisher = node.connect("p");
    publisher.publishes(retained("a", "old"));
    publisher.publishes(retained("a", &"x".repeat(2000)));
    assert_eq!(node.broker.census().retained_messages, 0);
    let mut client = node.connect("c");
    client.subscribes(&[("a", options(Q0))], "0x00");
    client.waits();
}

/// Each level of a topic takes memory, however short.
#[test]
fn topics_that_are_too_deep_are_not_retained() {
    let node = Node::with(Limits { max_filter_levels: 3, ..Limits::default() });
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q0))], "0x00");
    let mut publisher = node.connect("p");
    publisher.publishes(retained("a/b/c", "x"));
    publisher.publishes(retained("a/b/c/d", "x"));
    client.gets("PUBLISH q0 a/b/c x");
    client.gets("PUBLISH q0 a/b/c/d x");
    assert_eq!((node.broker.census().retained_messages, dropped(&node)), (1, 1));
}

#[test]
fn expired_retained_messages_go_by_themselves() {
    let node = Node::start();
    let set = PropertySet { message_expiry_interval_secs: Some(10), ..PropertySet::EMPTY };
    node.connect("p").publishes(Publish { properties: set.into(), ..retained("a", "x") });
    node.after_secs(9);
    assert_eq!(node.broker.census().retained_messages, 1);
    node.after_secs(11);
    assert_eq!(node.broker.census().retained_messages, 0);
}

/// However often one packet names a filter, its messages come once.
#[test]
fn a_filter_that_is_repeated_in_a_packet_is_owed_once() {
    let node = Node::start();
    let mut publisher = node.connect("p");
    publisher.publishes(retained("a", "x"));
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q0)); 5], "0x00 0x00 0x00 0x00 0x00");
    client.gets("PUBLISH q0 a x retain");
    client.waits();
}

/// More than one step of a search finds, for several filters, and each once.
#[test]
fn many_retained_messages_come_piece_by_piece() {
    const MESSAGES: usize = 3000;
    let node = Node::start();
    let mut publisher = node.connect("p");
    for n in 0..MESSAGES {
        let topic = format!("a/{n}");
        publisher.sends(Packet::Publish(Publish { retain: true, ..publish(1, Q0, &topic, "x") }));
    }
    publisher.waits();
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q0)), ("a/7", options(Q0)), ("+/+", options(Q0))], "0x00 0x00 0x00");
    let mut topics = std::collections::HashMap::new();
    for _ in 0..2 * MESSAGES + 1 {
        let frame = client.frame().expect("a retained message");
        let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH") };
        *topics.entry(publish.topic.expect("a topic").as_str().to_owned()).or_insert(0) += 1;
    }
    client.waits();
    assert_eq!(topics.len(), MESSAGES);
    assert!(topics.iter().all(|(topic, count)| *count == if topic == "a/7" { 3 } else { 2 }));
}

/// [MQTT-3.3.1-9]: all of them, however many, to a client that takes them. The queue's bounds are for messages that come
/// faster than they go; these can wait where they are.
#[test]
fn a_subscriber_gets_more_retained_messages_than_fit_its_queue() {
    const MESSAGES: usize = 500;
    let session = Arc::new(SessionLimits {
        max_queued_messages: 10,
        max_outbox_bytes: 1000,
        max_inflight: std::num::NonZeroU16::new(5).expect("5"),
        ..Default::default()
    });
    let node = Node::with(Limits { session, ..Limits::default() });
    let mut publisher = node.connect("p");
    for n in 0..MESSAGES {
        publisher.publishes(retained(&format!("a/{n}"), "0123456789"));
    }
    let mut client = node.connect("c");
    client.subscribes(&[("a/+", options(Q0))], "0x00");
    for _ in 0..MESSAGES {
        let frame = client.frame().expect("a retained message");
        assert!(matches!(frame.packet(), Packet::Publish(publish) if publish.retain));
    }
    client.waits();
    client.sends(Packet::Subscribe(subscribe(1, &[("a/#", options(Q1))])));
    client.gets("SUBACK 1 0x01");
    for _ in 0..MESSAGES {
        let frame = client.frame().expect("a retained message");
        let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH") };
        let id = publish.packet_id.expect("QoS 1");
        client.sends(Packet::PubAck(ack(id.get())));
    }
    client.waits();
}

/// An older message must not follow the newer one that replaced it while it waited, nor one whose subscription is gone.
#[test]
fn a_retained_message_that_waits_may_be_overtaken() {
    let session = SessionLimits { max_inflight: std::num::NonZeroU16::MIN, ..SessionLimits::default() };
    let node = Node::with(Limits { session: Arc::new(session), ..Limits::default() });
    let mut publisher = node.connect("p");
    for topic in ["a/1", "a/2", "b/1", "b/2"] {
        publisher.publishes(retained(topic, "old"));
    }
    let mut client = node.connect("c");
    client.subscribes(&[("a/+", options(Q1)), ("b/+", options(Q1))], "0x01 0x01");
    let frame = client.frame().expect("a retained message");
    let Packet::Publish(first) = frame.packet() else { panic!("not a PUBLISH") };
    let first = first.topic.expect("a topic").as_str();
    let other = if first == "a/1" { "a/2" } else { "a/1" };
    publisher.publishes(retained(other, "new"));
    client.sends(Packet::Unsubscribe(crate::support::client::unsubscribe(2, &["b/+"])));
    client.gets("UNSUBACK 2 0x00");
    client.sends(Packet::PubAck(ack(1)));
    client.gets(&format!("PUBLISH 2 q1 {other} new"));
    client.sends(Packet::PubAck(ack(2)));
    client.waits();
}

#[test]
fn expired_retained_messages_make_room() {
    let node = Node::with(Limits { max_retained_messages: 1, ..Limits::default() });
    let set = PropertySet { message_expiry_interval_secs: Some(0), ..PropertySet::EMPTY };
    let mut publisher = node.connect("p");
    publisher.publishes(Publish { properties: set.into(), ..retained("a", "x") });
    publisher.publishes(retained("b", "x"));
    publisher.publishes(retained("c", "x"));
    assert_eq!(dropped(&node), 1);
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q0))], "0x00");
    client.gets("PUBLISH q0 b x retain");
    client.waits();
}
