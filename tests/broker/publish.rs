//! PUBLISH from a client to clients.

use std::num::NonZeroU16;
use std::sync::Arc;

use rumormq::broker::Limits;
use rumormq::codec::packet::{Connect, Packet, PropertySet, Publish, QoS};
use rumormq::session::SessionLimits;
use rumormq::topic::Topic;

use crate::support::client::{Client, Q0, Q1, Q2, V311, V500, ack, connect, lasting, options, publish};
use crate::support::node::Node;

fn with(set: PropertySet<'static>, publish: Publish<'static>) -> Packet<'static> {
    Packet::Publish(Publish { properties: set.into(), ..publish })
}

/// [MQTT-3.8.4-8]: the lower of both counts, in any pair of versions.
#[test]
fn every_qos_reaches_every_qos() {
    let node = Node::start();
    for (from, to) in [(V311, V311), (V311, V500), (V500, V311), (V500, V500)] {
        let connect_as = |id, version| node.connect_with(Connect { version, ..connect(id) });
        for granted in [Q0, Q1, Q2] {
            for qos in [Q0, Q1, Q2] {
                let mut subscriber = connect_as("s", to);
                subscriber.subscribes(&[("a/+", options(granted))], &format!("{:#04x}", granted as u8));
                connect_as("p", from).publishes(publish(9, qos, "a/b", "hello"));
                match qos.min(granted) {
                    QoS::AtMostOnce => subscriber.gets("PUBLISH q0 a/b hello"),
                    QoS::AtLeastOnce => {
                        subscriber.gets("PUBLISH 1 q1 a/b hello");
                        subscriber.sends(Packet::PubAck(ack(1)));
                    }
                    QoS::ExactlyOnce => {
                        subscriber.gets("PUBLISH 1 q2 a/b hello");
                        subscriber.sends(Packet::PubRec(ack(1)));
                        subscriber.gets("PUBREL 1");
                        subscriber.sends(Packet::PubComp(ack(1)));
                    }
                }
                subscriber.waits();
            }
        }
    }
}

#[test]
fn without_a_subscriber_the_publisher_is_told_so() {
    let node = Node::start();
    let mut publisher = node.connect("p");
    publisher.sends(Packet::Publish(publish(1, Q1, "a", "x")));
    publisher.gets("PUBACK 1 0x10");
    publisher.sends(Packet::Publish(publish(2, Q2, "a", "x")));
    publisher.gets("PUBREC 2 0x10");
    let mut old = node.connect_v311("o");
    old.sends(Packet::Publish(publish(1, Q1, "a", "x")));
    old.gets("PUBACK 1");
}

/// [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-20]; 3.1.1 has no place for them.
#[test]
fn properties_travel_unaltered() {
    let node = Node::start();
    let mut new = node.connect("new");
    let mut old = node.connect_v311("old");
    new.subscribes(&[("a", options(Q1))], "0x01");
    old.subscribes(&[("a", options(Q1))], "0x01");
    let set = PropertySet {
        payload_format_indicator: Some(true),
        message_expiry_interval_secs: Some(1000),
        content_type: Some("text/plain"),
        response_topic: Some(Topic::new("answers/here").expect("a topic name")),
        correlation_data: Some(b"17"),
        user_properties: vec![("k", "1"), ("j", "2"), ("k", "3")],
        topic_alias: NonZeroU16::new(3),
        ..PropertySet::EMPTY
    };
    node.connect("p").publishes(Publish { properties: set.into(), ..publish(1, Q1, "a", "x") });
    new.gets(
        "PUBLISH 1 q1 a x expiry=1000 utf8=true type=text/plain response=answers/here correlation=17 k:1 j:2 k:3",
    );
    old.gets("PUBLISH 1 q1 a x");
}

/// [MQTT-4.3.3-10], and [MQTT-3.3.1-3]: the publisher's DUP is its own affair.
#[test]
fn a_qos_2_duplicate_is_delivered_once() {
    let node = Node::start();
    let mut subscriber = node.connect("s");
    subscriber.subscribes(&[("a", options(Q1))], "0x01");
    let mut publisher = node.connect_with(lasting("p", 100));
    publisher.sends(Packet::Publish(publish(1, Q2, "a", "x")));
    publisher.gets("PUBREC 1");
    publisher.sends(Packet::Publish(Publish { dup: true, ..publish(1, Q2, "a", "x") }));
    publisher.gets("PUBREC 1");
    publisher.vanishes();
    let mut publisher = node.connect_with(lasting("p", 100));
    publisher.sends(Packet::Publish(Publish { dup: true, ..publish(1, Q2, "a", "x") }));
    publisher.gets("PUBREC 1");
    publisher.sends(Packet::PubRel(ack(1)));
    publisher.gets("PUBCOMP 1");
    publisher.sends(Packet::Publish(Publish { dup: true, ..publish(1, Q2, "a", "new") }));
    publisher.gets("PUBREC 1");
    subscriber.gets("PUBLISH 1 q1 a x");
    subscriber.gets("PUBLISH 2 q1 a new");
    subscriber.waits();
}

/// [MQTT-4.3.2-5].
#[test]
fn a_qos_1_duplicate_is_a_message_of_its_own() {
    let node = Node::start();
    let mut subscriber = node.connect("s");
    subscriber.subscribes(&[("a", options(Q1))], "0x01");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q1, "a", "x"));
    publisher.publishes(Publish { dup: true, ..publish(1, Q1, "a", "x") });
    subscriber.gets("PUBLISH 1 q1 a x");
    subscriber.gets("PUBLISH 2 q1 a x");
}

#[test]
fn a_publisher_hears_itself() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("a", options(Q2))], "0x02");
    client.sends(Packet::Publish(publish(1, Q1, "a", "x")));
    client.gets_all_of(&["PUBACK 1", "PUBLISH 1 q1 a x"]);
}

#[test]
fn an_empty_payload_is_a_message() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("a", options(Q0))], "0x00");
    client.sends(Packet::Publish(publish(1, Q0, "a", "")));
    client.gets("PUBLISH q0 a \"\"");
}

fn alias(alias: u16, publish: Publish<'static>) -> Packet<'static> {
    with(PropertySet { topic_alias: NonZeroU16::new(alias), ..PropertySet::EMPTY }, publish)
}

fn nameless(publish: Publish<'static>) -> Publish<'static> {
    Publish { topic: None, ..publish }
}

/// [MQTT-3.3.2-12].
#[test]
fn an_alias_stands_for_the_topic_it_was_set_to_last() {
    let node = Node::with(Limits { topic_alias_maximum: 2, ..Limits::default() });
    let mut subscriber = node.connect("s");
    subscriber.subscribes(&[("#", options(Q0))], "0x00");
    let mut publisher = node.connect("p");
    publisher.sends(alias(1, publish(1, Q0, "a", "1")));
    publisher.sends(alias(2, publish(1, Q0, "b", "2")));
    publisher.sends(alias(1, nameless(publish(1, Q0, "-", "3"))));
    publisher.sends(alias(1, publish(1, Q0, "c", "4")));
    publisher.sends(alias(1, nameless(publish(1, Q0, "-", "5"))));
    publisher.sends(alias(2, nameless(publish(1, Q0, "-", "6"))));
    for expected in ["a 1", "b 2", "a 3", "c 4", "c 5", "b 6"] {
        subscriber.gets(&format!("PUBLISH q0 {expected}"));
    }
}

/// [MQTT-3.3.2-7], [MQTT-3.3.2-9]; 3.3.4 names the reason codes.
#[test]
fn aliases_out_of_range_or_unknown_are_refused() {
    let node = Node::with(Limits { topic_alias_maximum: 2, ..Limits::default() });
    let refused = |client: &mut Client, packet, reason: &str| {
        client.sends(packet);
        client.gets(&format!("DISCONNECT {reason}"));
        client.is_closed();
    };
    refused(&mut node.connect("p"), alias(3, publish(1, Q0, "a", "x")), "0x94");
    refused(&mut node.connect("p"), alias(3, nameless(publish(1, Q0, "-", "x"))), "0x94");
    refused(&mut node.connect("p"), alias(1, nameless(publish(1, Q0, "-", "x"))), "0x82");
    let mut publisher = node.connect_with(lasting("p", 100));
    publisher.sends(alias(1, publish(1, Q0, "a", "x")));
    publisher.vanishes();
    refused(&mut node.connect_with(lasting("p", 100)), alias(1, nameless(publish(1, Q0, "-", "x"))), "0x82");
}

/// [MQTT-3.3.4-6].
#[test]
fn a_client_must_not_name_subscription_identifiers() {
    let node = Node::start();
    let mut client = node.connect("p");
    let subscription_identifiers = vec![std::num::NonZeroU32::MIN];
    client.sends(with(
        PropertySet { subscription_identifiers, ..PropertySet::EMPTY },
        publish(1, Q1, "a", "x"),
    ));
    client.gets("DISCONNECT 0x82");
    client.is_closed();
}

#[test]
fn a_payload_that_is_not_the_text_it_claims_is_refused() {
    let node = Node::start();
    let mut subscriber = node.connect("s");
    subscriber.subscribes(&[("a", options(Q0))], "0x00");
    let mut publisher = node.connect("p");
    let text = |id, qos| {
        with(
            PropertySet { payload_format_indicator: Some(true), ..PropertySet::EMPTY },
            Publish { payload: b"\xff\xfe", ..publish(id, qos, "a", "") },
        )
    };
    publisher.sends(text(1, Q1));
    publisher.gets("PUBACK 1 0x99");
    publisher.sends(text(2, Q2));
    publisher.gets("PUBREC 2 0x99");
    subscriber.waits();
}

/// [MQTT-3.3.4-7].
#[test]
fn more_unreleased_publishes_than_announced_end_the_connection() {
    let session =
        Arc::new(SessionLimits { receive_maximum: NonZeroU16::new(2).expect("2"), ..Default::default() });
    let node = Node::with(Limits { session, ..Limits::default() });
    let mut publisher = node.connect("p");
    publisher.sends(Packet::Publish(publish(1, Q2, "a", "x")));
    publisher.sends(Packet::Publish(publish(2, Q2, "a", "x")));
    publisher.gets("PUBREC 1 0x10");
    publisher.gets("PUBREC 2 0x10");
    publisher.sends(Packet::Publish(publish(3, Q1, "a", "x")));
    publisher.gets("DISCONNECT 0x93");
    publisher.is_closed();
}

/// [MQTT-3.3.2-5]: an expired message is not delivered; one that is due to expire says when.
#[test]
fn messages_expire_while_they_wait() {
    let node = Node::start();
    let mut subscriber = node.connect_with(lasting("s", 100));
    subscriber.subscribes(&[("a", options(Q1))], "0x01");
    subscriber.disconnects();
    let mut publisher = node.connect("p");
    let expiring = |id, secs| {
        with(
            PropertySet { message_expiry_interval_secs: Some(secs), ..PropertySet::EMPTY },
            publish(id, Q1, "a", "x"),
        )
    };
    publisher.sends(expiring(1, 0));
    publisher.gets("PUBACK 1");
    publisher.sends(expiring(2, 1000));
    publisher.gets("PUBACK 2");
    let mut subscriber = node.connect_with(lasting("s", 100));
    subscriber.gets_one_of(&["PUBLISH 1 q1 a x expiry=1000", "PUBLISH 1 q1 a x expiry=999"]);
    subscriber.waits();
}
