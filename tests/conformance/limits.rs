//! What a client says it can take: packet sizes (3.1.2.11.4), topic aliases (3.1.2.11.5), problem information (3.1.2.11.7).

use std::num::{NonZeroU16, NonZeroU32};

use rumormq::codec::packet::{Connect, Packet, PropertySet, Publish};

use crate::support::client::{Q0, Q1, Q2, V311, V500, ack, options, publish, subscribe, unsubscribe};
use crate::support::node::Node;
use crate::{passing, staying};

fn with(set: PropertySet<'static>) -> Connect<'static> {
    let set = PropertySet { session_expiry_interval_secs: Some(100), ..set };
    Connect { properties: set.into(), ..staying(V500, "c") }
}

fn taking(bytes: u32) -> Connect<'static> {
    with(PropertySet { maximum_packet_size: NonZeroU32::new(bytes), ..PropertySet::EMPTY })
}

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]: not live, not retained, not from the queue, not again; the rest goes on.
#[test]
fn nothing_above_the_clients_maximum_packet_size_is_sent() {
    let node = Node::start();
    let (fits, large) = ("x".repeat(88), "x".repeat(89));
    let mut publisher = node.connect("p");
    publisher.publishes(Publish { retain: true, ..publish(1, Q1, "large", &large) });
    let mut client = node.connect_with(taking(100));
    // Fixed header 2, topic 7, identifier 2, property length 1.
    client.subscribes(&[("large", options(Q2)), ("+", options(Q2))], "0x02 0x02");
    client.waits();
    for qos in [Q0, Q1, Q2] {
        publisher.publishes(publish(1, qos, "large", &"x".repeat(91)));
    }
    publisher.publishes(publish(1, Q1, "other", &large));
    publisher.publishes(publish(1, Q1, "other", &fits));
    let frame = client.frame().expect("a message");
    assert_eq!(frame.bytes().len(), 100);
    client.waits();
    client.vanishes();
    publisher.publishes(publish(1, Q1, "other", &fits));
    publisher.publishes(publish(1, Q2, "other", &large));
    publisher.publishes(publish(1, Q1, "other", "small"));
    let mut client = node.start_connect(taking(99));
    client.gets("CONNACK 0x00 present");
    let frame = client.frame().expect("a message");
    assert!(matches!(frame.packet(), Packet::Publish(publish) if publish.payload == b"small"));
    client.waits();
    // All that was too large counts as sent: there is nothing left of it.
    client.vanishes();
    let mut client = node.start_connect(taking(1000));
    client.gets("CONNACK 0x00 present");
    assert!(
        matches!(client.frame().expect("a message").packet(), Packet::Publish(p) if p.payload == b"small")
    );
    client.waits();
}

/// [MQTT-3.1.2-24]: no more is a refusal.
#[test]
fn a_refusal_that_does_not_fit_is_said_by_closing() {
    let node = Node::start();
    let mut client = node.start_connect(taking(5));
    assert_eq!(client.frame().expect("CONNACK").bytes(), b"\x20\x03\x00\x95\x00");
    client.is_closed();
    node.start_connect(taking(4)).is_closed();
}

fn aliasing(maximum: Option<u16>) -> Connect<'static> {
    with(PropertySet { topic_alias_maximum: maximum, ..PropertySet::EMPTY })
}

/// [MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-7], [MQTT-3.3.2-8], [MQTT-3.3.2-11].
#[test]
fn aliases_are_set_where_the_client_takes_them() {
    let node = Node::start();
    let mut publisher = node.connect("p");
    let mut old = node.connect_with(passing(V311, "old"));
    let mut client = node.connect_with(aliasing(Some(1)));
    for client in [&mut old, &mut client] {
        client.subscribes(&[("sensors/#", options(Q1))], "0x01");
    }
    for (qos, payload) in [(Q0, "1"), (Q0, "2"), (Q1, "3"), (Q1, "4")] {
        publisher.publishes(publish(1, qos, "sensors/kitchen", payload));
    }
    client.gets("PUBLISH q0 sensors/kitchen 1 alias=1");
    client.gets("PUBLISH q0  2 alias=1");
    client.gets("PUBLISH 1 q1  3 alias=1");
    client.gets("PUBLISH 2 q1  4 alias=1");
    // The only alias is in use, and not taken from its topic by one that comes once.
    publisher.publishes(publish(1, Q0, "sensors/cellar", "5"));
    client.gets("PUBLISH q0 sensors/cellar 5");
    for line in
        ["q0 sensors/kitchen 1", "q0 sensors/kitchen 2", "1 q1 sensors/kitchen 3", "2 q1 sensors/kitchen 4"]
    {
        old.gets(&format!("PUBLISH {line}"));
    }
    client.sends(Packet::PubAck(ack(2)));
    client.waits();
    client.vanishes();
    // What is sent again names its topic: the alias has died with its connection.
    for maximum in [None, Some(0)] {
        let mut client = node.start_connect(aliasing(maximum));
        client.gets("CONNACK 0x00 present");
        client.gets("PUBLISH 1 q1 sensors/kitchen 3 dup");
        for _ in 0..2 {
            publisher.publishes(publish(1, Q0, "sensors/kitchen", "6"));
            client.gets("PUBLISH q0 sensors/kitchen 6");
        }
        client.vanishes();
    }
    let mut client = node.start_connect(aliasing(Some(9)));
    client.gets("CONNACK 0x00 present");
    let frame = client.frame().expect("a message");
    let Packet::Publish(first) = frame.packet() else { panic!("not a PUBLISH") };
    let alias = first.properties.topic_alias.map_or(0, NonZeroU16::get);
    assert!(first.topic.is_some() && (1..=9).contains(&alias));
    publisher.publishes(publish(1, Q0, "sensors/kitchen", "7"));
    client.gets(&format!("PUBLISH q0  7 alias={alias}"));
}

/// [MQTT-3.1.2-29]: no packet but PUBLISH, CONNACK and DISCONNECT says more than a reason code, whatever there is to say.
#[test]
fn who_wants_no_problem_information_gets_none() {
    let node = Node::start();
    let set = PropertySet { request_problem_information: Some(false), ..PropertySet::EMPTY };
    let mut client = node.connect_with(with(set));
    let requests = [
        Packet::Subscribe(subscribe(1, &[("a#", options(Q0)), ("a", options(Q0))])),
        Packet::Unsubscribe(unsubscribe(2, &["a#", "b"])),
        Packet::Publish(publish(3, Q1, "nobody", "x")),
        Packet::Publish(publish(4, Q2, "nobody", "x")),
        Packet::PubRel(ack(9)),
        Packet::PubRec(ack(9)),
    ];
    for request in requests {
        client.sends(request);
        let frame = client.frame().expect("an answer");
        let properties = match frame.packet() {
            Packet::SubAck(answer) | Packet::UnsubAck(answer) => answer.properties,
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
                ack.properties
            }
            other => panic!("unexpected {other:?}"),
        };
        assert!(properties.reason_string.is_none() && properties.user_properties.is_empty());
    }
    client.waits();
}
