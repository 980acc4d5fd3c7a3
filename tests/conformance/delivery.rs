//! How messages reach clients (4.3 to 4.6, 4.9).

use rumormq::codec::packet::{Ack, Connect, Packet, PropertySet, Publish, ReasonCode};

use crate::support::client::{Client, Q0, Q1, Q2, V500, ack, options, publish, subscribe};
use crate::support::node::Node;
use crate::{BOTH, one_of_each_qos, passing, staying};

fn refusing(id: u16) -> Ack<'static> {
    Ack { reason: ReasonCode::UnspecifiedError, ..ack(id) }
}

/// [MQTT-4.3.2-1] to [MQTT-4.3.2-3], [MQTT-4.3.3-1] to [MQTT-4.3.3-6] and [MQTT-4.4.0-1] of 5.0, [MQTT-2.3.1-4],
/// [MQTT-4.3.2-1], [MQTT-4.3.3-1], [MQTT-4.4.0-1] of 3.1.1: one connection after the other, each with what is left.
#[test]
fn each_qos_is_sent_by_its_protocol() {
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(staying(version, "c"));
        client.subscribes(&[("a", options(Q2))], "0x02");
        let mut publisher = node.connect("p");
        for (qos, payload) in [(Q1, "1"), (Q2, "2"), (Q1, "3"), (Q2, "4")] {
            publisher.publishes(publish(7, qos, "a", payload));
        }
        for expected in ["1 q1 a 1", "2 q2 a 2", "3 q1 a 3", "4 q2 a 4"] {
            client.gets(&format!("PUBLISH {expected}"));
        }
        client.sends(Packet::PubAck(ack(3)));
        client.sends(Packet::PubRec(ack(4)));
        client.gets("PUBREL 4");
        let again = |node: &Node, expected: &[&str]| {
            let mut client = node.start_connect(staying(version, "c"));
            client.gets("CONNACK 0x00 present");
            expected.iter().for_each(|expected| client.gets(expected));
            client.waits();
            client
        };
        client.vanishes();
        let mut client = again(&node, &["PUBREL 4", "PUBLISH 1 q1 a 1 dup", "PUBLISH 2 q2 a 2 dup"]);
        client.sends(Packet::PubComp(ack(4)));
        client.sends(Packet::PubRec(ack(2)));
        client.gets("PUBREL 2");
        client.vanishes();
        let mut client = again(&node, &["PUBREL 2", "PUBLISH 1 q1 a 1 dup"]);
        client.sends(Packet::PubAck(ack(1)));
        // What is not acknowledged keeps its identifier, and nobody else gets it.
        publisher.publishes(publish(7, Q1, "a", "5"));
        client.gets("PUBLISH 5 q1 a 5");
        client.sends(Packet::PubAck(ack(5)));
        client.sends(Packet::PubComp(ack(2)));
        client.waits();
        client.vanishes();
        again(&node, &[]).disconnects();
        node.connect_with(Connect { clean_start: true, ..passing(version, "c") }).disconnects();
    }
}

/// [MQTT-4.4.0-1]: at no other time than on a new connection.
#[test]
fn nothing_is_sent_again_on_a_connection() {
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(&[("a", options(Q2))], "0x02");
        let mut publisher = node.connect("p");
        one_of_each_qos(&mut publisher, &mut client);
        client.sends(Packet::PubRec(ack(2)));
        client.gets("PUBREL 2");
        node.after_secs(100_000);
        publisher.publishes(publish(1, Q0, "a", "3"));
        client.gets("PUBLISH q0 a 3");
        client.waits();
        client.disconnects();
    }
}

/// [MQTT-4.4.0-2].
#[test]
fn a_refused_message_is_done_with() {
    let node = Node::start();
    let mut client = node.connect_with(staying(V500, "c"));
    client.subscribes(&[("a", options(Q2))], "0x02");
    let mut publisher = node.connect("p");
    one_of_each_qos(&mut publisher, &mut client);
    client.sends(Packet::PubAck(refusing(1)));
    client.sends(Packet::PubRec(refusing(2)));
    client.waits();
    client.vanishes();
    let mut client = node.start_connect(staying(V500, "c"));
    client.gets("CONNACK 0x00 present");
    client.waits();
}

fn receiving(maximum: u16) -> Connect<'static> {
    let set = PropertySet {
        receive_maximum: std::num::NonZeroU16::new(maximum),
        session_expiry_interval_secs: Some(100),
        ..PropertySet::EMPTY
    };
    Connect { properties: set.into(), ..staying(V500, "c") }
}

/// [MQTT-3.3.4-9], [MQTT-4.9.0-1], [MQTT-4.9.0-2]; [MQTT-3.3.4-10], [MQTT-4.9.0-3]: all else is served.
#[test]
fn the_clients_receive_maximum_is_kept_to() {
    let node = Node::start();
    let mut client = node.connect_with(receiving(2));
    client.subscribes(&[("a", options(Q2))], "0x02");
    let mut publisher = node.connect("p");
    for (qos, payload) in [(Q1, "1"), (Q2, "2"), (Q1, "3"), (Q2, "4"), (Q1, "5"), (Q1, "6")] {
        publisher.publishes(publish(1, qos, "a", payload));
    }
    client.gets("PUBLISH 1 q1 a 1");
    client.gets("PUBLISH 2 q2 a 2");
    client.waits();
    client.subscribes(&[("b", options(Q0))], "0x00");
    client.unsubscribes("b", "0x00");
    client.sends(Packet::Publish(publish(9, Q1, "c", "x")));
    client.gets("PUBACK 9 0x10");
    client.sends(Packet::Publish(publish(9, Q2, "c", "x")));
    client.gets("PUBREC 9 0x10");
    client.sends(Packet::PubRel(ack(9)));
    client.gets("PUBCOMP 9");
    // A message of QoS 0 costs nothing of it.
    publisher.publishes(publish(1, Q0, "a", "free"));
    client.gets("PUBLISH q0 a free");
    // PUBREC does not give the place back, PUBCOMP does.
    client.sends(Packet::PubRec(ack(2)));
    client.gets("PUBREL 2");
    client.waits();
    client.sends(Packet::PubComp(ack(2)));
    client.gets("PUBLISH 3 q1 a 3");
    client.waits();
    client.sends(Packet::PubAck(ack(1)));
    client.gets("PUBLISH 4 q2 a 4");
    client.waits();
    // A refusal does.
    client.sends(Packet::PubRec(refusing(4)));
    client.gets("PUBLISH 5 q1 a 5");
    client.waits();
    client.vanishes();
    let mut client = node.start_connect(receiving(1));
    client.gets("CONNACK 0x00 present");
    client.gets("PUBLISH 3 q1 a 3 dup");
    client.waits();
}

/// [MQTT-4.6.0-1] to [MQTT-4.6.0-4], as the specification wants them of clients, and [MQTT-4.6.0-5], [MQTT-4.6.0-6].
#[test]
fn messages_and_their_acknowledgements_keep_their_order() {
    const MESSAGES: u16 = 200;
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(staying(version, "c"));
        client.subscribes(&[("order/+", options(Q2))], "0x02");
        let mut publisher = node.connect_with(passing(version, "p"));
        for id in 1..=MESSAGES {
            let qos = if id % 2 == 0 { Q1 } else { Q2 };
            let topic = if id % 3 == 0 { "order/a" } else { "order/b" };
            publisher.sends(Packet::Publish(publish(id, qos, topic, &id.to_string())));
        }
        for id in 1..=MESSAGES {
            publisher.gets(&format!("{} {id}", if id % 2 == 0 { "PUBACK" } else { "PUBREC" }));
        }
        comes_in_order(&mut client, MESSAGES, false);
        client.vanishes();
        let mut client = node.connect_with(staying(version, "c"));
        comes_in_order(&mut client, MESSAGES, true);
        for id in (1..=MESSAGES).filter(|id| id % 2 == 1) {
            client.sends(Packet::PubRec(ack(id)));
        }
        for id in (1..=MESSAGES).filter(|id| id % 2 == 1) {
            client.gets(&format!("PUBREL {id}"));
        }
        client.waits();
        client.disconnects();
        node.connect_with(Connect { clean_start: true, ..passing(version, "c") }).disconnects();
    }
}

fn comes_in_order(client: &mut Client, messages: u16, dup: bool) {
    for expected in 1..=messages {
        let frame = client.frame().expect("a message");
        let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH") };
        assert_eq!(publish.payload, expected.to_string().as_bytes());
        assert_eq!((publish.packet_id.map_or(0, |id| id.get()), publish.dup), (expected, dup));
    }
}

/// [MQTT-4.5.0-1]: each session with a matching subscription gets it, connected or not, and nobody else.
#[test]
fn every_session_with_a_matching_subscription_gets_the_message() {
    let node = Node::start();
    for version in BOTH {
        for (id, filter) in [("one", "a/b"), ("two", "a/+"), ("three", "#"), ("other", "b")] {
            let mut client = node.connect_with(staying(version, id));
            client.subscribes(&[(filter, options(Q1))], "0x01");
            client.vanishes();
        }
        let mut live = node.connect_with(passing(version, "live"));
        live.sends(Packet::Subscribe(subscribe(1, &[("+/b", options(Q0))])));
        live.gets("SUBACK 1 0x00");
        node.connect("p").publishes(Publish { ..publish(1, Q1, "a/b", "x") });
        live.gets("PUBLISH q0 a/b x");
        for id in ["one", "two", "three"] {
            let mut client = node.connect_with(staying(version, id));
            client.gets("PUBLISH 1 q1 a/b x");
            client.waits();
            client.disconnects();
            node.connect(id).disconnects();
        }
        node.connect_with(staying(version, "other")).waits();
        node.connect("other").disconnects();
    }
}
