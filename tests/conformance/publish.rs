//! PUBLISH (3.3): what stands in it, and what becomes of it.

use rumormq::codec::packet::{Connect, Packet, PropertySet, Publish};

use crate::support::client::{Q0, Q1, Q2, V311, V500, ack, options, publish, subscribe_as};
use crate::support::node::Node;
use crate::{BOTH, passing, staying};

/// [MQTT-2.2.1-2], [MQTT-2.2.2-1], [MQTT-3.3.1-2], [MQTT-3.3.2-1], [MQTT-4.3.1-1], [MQTT-4.3.2-2], [MQTT-4.3.3-2]: byte by
/// byte, with all that must be there, and nothing else.
#[test]
fn a_message_to_a_client_is_these_bytes() {
    let node = Node::start();
    let mut publisher = node.connect("p");
    let expected: [(_, [&[u8]; 3]); 2] = [
        (V311, [b"\x30\x07\x00\x03t/axx", b"\x32\x08\x00\x03t/a\x00\x01x", b"\x34\x08\x00\x03t/a\x00\x02x"]),
        (
            V500,
            [
                b"\x30\x08\x00\x03t/a\x00xx",
                b"\x32\x09\x00\x03t/a\x00\x01\x00x",
                b"\x34\x09\x00\x03t/a\x00\x02\x00x",
            ],
        ),
    ];
    for (version, frames) in expected {
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(&[("t/+", options(Q2))], "0x02");
        publisher.publishes(publish(1, Q0, "t/a", "xx"));
        publisher.publishes(publish(40, Q1, "t/a", "x"));
        publisher.publishes(publish(50, Q2, "t/a", "x"));
        for bytes in frames {
            let frame = client.frame().expect("a message");
            assert_eq!(frame.bytes(), bytes, "{version:?}");
        }
        client.disconnects();
    }
}

/// [MQTT-1.5.4-3] of 5.0, [MQTT-1.4.0-3] of 3.1.1: U+FEFF is a character like any other, also as the first.
#[test]
fn a_byte_order_mark_is_kept() {
    let node = Node::start();
    for version in BOTH {
        let mut plain = node.connect_with(passing(version, "plain"));
        plain.subscribes(&[("topic", options(Q0))], "0x00");
        let mut marked = node.connect_with(passing(version, "marked"));
        marked.subscribes(&[("\u{FEFF}topic", options(Q0))], "0x00");
        let mut publisher = node.connect_with(passing(version, "p"));
        publisher.publishes(publish(1, Q0, "\u{FEFF}topic", "\u{FEFF}x"));
        marked.gets("PUBLISH q0 \u{FEFF}topic \u{FEFF}x");
        plain.waits();
    }
}

/// [MQTT-3.3.1-3]: a first delivery is no repetition, whatever the publisher's packet was.
#[test]
fn the_publishers_dup_is_not_passed_on() {
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(&[("a", options(Q2))], "0x02");
        let mut publisher = node.connect_with(passing(version, "p"));
        publisher.publishes(Publish { dup: true, ..publish(1, Q1, "a", "x") });
        publisher.publishes(Publish { dup: true, ..publish(2, Q2, "a", "y") });
        client.gets("PUBLISH 1 q1 a x");
        client.gets("PUBLISH 2 q2 a y");
    }
}

/// [MQTT-3.3.4-2] to [MQTT-3.3.4-5] of 5.0, [MQTT-3.3.5-1] of 3.1.1: one copy, at the highest QoS, with all identifiers.
#[test]
fn overlapping_subscriptions_give_one_copy() {
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(
            &[("a/#", options(Q0)), ("a/+", options(Q1)), ("a/b", options(Q0))],
            "0x00 0x01 0x00",
        );
        if version == V500 {
            client.sends(Packet::Subscribe(subscribe_as(7, "+/b", options(Q0))));
            client.gets("SUBACK 1 0x00");
            // Two that bear the same number.
            client.sends(Packet::Subscribe(subscribe_as(7, "#", options(Q0))));
            client.gets("SUBACK 1 0x00");
        }
        node.connect("p").publishes(publish(1, Q2, "a/b", "x"));
        client.gets(if version == V500 { "PUBLISH 1 q1 a/b x id=7 id=7" } else { "PUBLISH 1 q1 a/b x" });
        client.waits();
    }
}

/// 3.3.2.3.2: each QoS in its way.
#[test]
fn a_payload_that_is_no_text_is_refused_where_it_claims_to_be_one() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("a", options(Q0))], "0x00");
    let claiming = |utf8, publish: Publish<'static>| {
        let set = PropertySet { payload_format_indicator: Some(utf8), ..PropertySet::EMPTY };
        Packet::Publish(Publish { payload: b"\xff", properties: set.into(), ..publish })
    };
    let mut publisher = node.connect("p");
    publisher.sends(claiming(true, publish(1, Q1, "a", "")));
    publisher.gets("PUBACK 1 0x99");
    publisher.sends(claiming(true, publish(2, Q2, "a", "")));
    publisher.gets("PUBREC 2 0x99");
    client.waits();
    publisher.sends(claiming(false, publish(1, Q0, "a", "")));
    client.gets("PUBLISH q0 a [1 bytes] utf8=false");
    publisher.sends(claiming(true, publish(1, Q0, "a", "")));
    publisher.gets("DISCONNECT 0x99");
    publisher.is_closed();
    client.waits();
}

/// [MQTT-3.3.2-17], [MQTT-3.3.2-18]: passing through, from the queue, and from the store.
#[test]
fn user_properties_keep_their_order() {
    let node = Node::start();
    let mut live = node.connect("live");
    live.subscribes(&[("a", options(Q0))], "0x00");
    let mut away = node.connect_with(staying(V500, "away"));
    away.subscribes(&[("a", options(Q1))], "0x01");
    away.vanishes();
    let user_properties = vec![("b", "1"), ("a", "2"), ("b", "3"), ("b", "1")];
    let set = PropertySet { user_properties, ..PropertySet::EMPTY };
    node.connect("p").publishes(Publish { retain: true, properties: set.into(), ..publish(1, Q1, "a", "x") });
    live.gets("PUBLISH q0 a x b:1 a:2 b:3 b:1");
    node.connect_with(staying(V500, "away")).gets("PUBLISH 1 q1 a x b:1 a:2 b:3 b:1");
    let mut late = node.connect("late");
    late.subscribes(&[("a", options(Q0))], "0x00");
    late.gets("PUBLISH q0 a x retain b:1 a:2 b:3 b:1");
}

/// [MQTT-4.3.3-9]: the identifier of a refused message is free, and its next bearer a message of its own.
#[test]
fn a_refused_identifier_is_free_at_once() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("a", options(Q0))], "0x00");
    let set = PropertySet { payload_format_indicator: Some(true), ..PropertySet::EMPTY };
    let mut publisher = node.connect("p");
    publisher.sends(Packet::Publish(Publish {
        payload: b"\xff",
        properties: set.into(),
        ..publish(2, Q2, "a", "")
    }));
    publisher.gets("PUBREC 2 0x99");
    publisher.publishes(publish(2, Q2, "a", "x"));
    client.gets("PUBLISH q0 a x");
}

/// [MQTT-4.3.3-13]: the exchange goes on although the message has gone.
#[test]
fn an_expired_message_is_acknowledged_to_the_end() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("a", options(Q2))], "0x02");
    let set = PropertySet { message_expiry_interval_secs: Some(0), ..PropertySet::EMPTY };
    let mut publisher = node.connect("p");
    for n in 1..=2 {
        publisher.publishes(Publish { properties: set.clone().into(), ..publish(n, Q2, "a", "x") });
    }
    publisher.waits();
}

/// [MQTT-4.3.2-4], [MQTT-4.3.2-5], [MQTT-4.3.3-8], [MQTT-4.3.3-10] to [MQTT-4.3.3-12] of 5.0, [MQTT-4.3.2-2],
/// [MQTT-4.3.3-2] of 3.1.1: what the receiver says, and what it takes for a new message.
#[test]
fn each_qos_is_received_by_its_protocol() {
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(&[("a", options(Q0))], "0x00");
        let mut publisher = node.connect_with(passing(version, "p"));
        for payload in ["1", "2"] {
            publisher
                .sends(Packet::Publish(Publish { dup: payload == "2", ..publish(300, Q1, "a", payload) }));
            publisher.gets("PUBACK 300");
            client.gets(&format!("PUBLISH q0 a {payload}"));
        }
        for payload in ["3", "4"] {
            publisher.sends(Packet::Publish(publish(300, Q2, "a", payload)));
            publisher.gets("PUBREC 300");
            publisher.sends(Packet::Publish(Publish { dup: true, ..publish(300, Q2, "a", payload) }));
            publisher.gets("PUBREC 300");
            publisher.sends(Packet::PubRel(ack(300)));
            publisher.gets("PUBCOMP 300");
            client.gets(&format!("PUBLISH q0 a {payload}"));
        }
        client.waits();
    }
}

/// [MQTT-3.3.4-1], and [MQTT-3.3.5-2] of 3.1.1: here everybody may publish, and
/// is answered, though nobody listens.
#[test]
fn every_publish_is_answered() {
    let node = Node::start();
    let mut old = node.connect_with(passing(V311, "c"));
    old.sends(Packet::Publish(publish(1, Q1, "a", "x")));
    old.gets("PUBACK 1");
    old.sends(Packet::Publish(publish(2, Q2, "a", "x")));
    old.gets("PUBREC 2");
    old.sends(Packet::PubRel(ack(2)));
    old.gets("PUBCOMP 2");
    let mut new = node.connect_with(Connect { ..passing(V500, "d") });
    new.sends(Packet::Publish(publish(1, Q1, "a", "x")));
    new.gets("PUBACK 1 0x10");
    new.sends(Packet::Publish(publish(2, Q2, "a", "x")));
    new.gets("PUBREC 2 0x10");
}
