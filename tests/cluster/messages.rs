//! What a message is made of reaches the clients of every node alike: the statements of `tests/conformance`, over a link.

use std::num::NonZeroU16;

use rumormq::codec::packet::{
    Connect, Packet, Properties, PropertySet, Publish, QoS, SubscriptionOptions, Will,
};
use rumormq::topic::Topic;

use crate::clients::connect;
use crate::processes::{Process, start_cluster};
use crate::support::client::{self, Client, Q0, Q1, Q2, V311, V500, ack, options, publish, subscribe_as};

fn connect_with(node: &Process, connect: Connect<'_>) -> Client {
    node.beside(|| Client::connect(node.mqtt_addr(), connect))
}

/// [MQTT-3.3.2-4], [MQTT-3.3.2-6], [MQTT-3.3.2-15] to [MQTT-3.3.2-20]: of a publish, and of a will [MQTT-3.1.3-10].
#[test]
fn properties_cross_nodes_unaltered() {
    let nodes = start_cluster(2);
    let mut subscriber = connect(&nodes[1], "s");
    subscriber.subscribes(&[("a", options(Q1))], "0x01");
    let mut old = connect_with(&nodes[1], Connect { version: V311, ..client::connect("old") });
    old.subscribes(&[("a", options(Q1))], "0x01");
    let set = PropertySet {
        payload_format_indicator: Some(true),
        message_expiry_interval_secs: Some(1000),
        content_type: Some("text/plain"),
        response_topic: Some(Topic::new("answers/here").expect("a topic name")),
        correlation_data: Some(b"17"),
        user_properties: vec![("k", "1"), ("j", "2"), ("k", "3"), ("k", "1")],
        ..PropertySet::EMPTY
    };
    let aliased = PropertySet { topic_alias: NonZeroU16::new(3), ..set.clone() };
    let arrives = |client: &mut Client, id| {
        let line = |secs| {
            format!(
                "PUBLISH {id} q1 a x expiry={secs} utf8=true type=text/plain response=answers/here correlation=17 \
                 k:1 j:2 k:3 k:1"
            )
        };
        let (now, later) = (line(1000), line(999));
        client.gets_one_of(&[&now, &later]);
    };
    connect(&nodes[0], "p").publishes(Publish { properties: aliased.into(), ..publish(1, Q1, "a", "x") });
    arrives(&mut subscriber, 1);
    old.gets("PUBLISH 1 q1 a x");
    let topic = Topic::new("a").expect("a topic name");
    let will = Will { topic, payload: b"x", qos: Q1, retain: false, properties: set.into() };
    connect_with(&nodes[0], Connect { will: Some(will), ..client::connect("w") }).vanishes();
    arrives(&mut subscriber, 2);
    old.gets("PUBLISH 2 q1 a x");
}

/// [MQTT-3.8.4-8]: the lower of both counts, in any pair of versions.
#[test]
fn every_qos_crosses_nodes() {
    let nodes = start_cluster(2);
    for (from, to) in [(V311, V500), (V500, V311)] {
        for granted in [Q0, Q1, Q2] {
            let mut subscriber = connect_with(&nodes[1], Connect { version: to, ..client::connect("s") });
            subscriber.subscribes(&[("a/+", options(granted))], &format!("{:#04x}", granted as u8));
            let mut publisher = connect_with(&nodes[0], Connect { version: from, ..client::connect("p") });
            let mut id = 0;
            for qos in [Q0, Q1, Q2] {
                publisher.publishes(publish(9, qos, "a/b", "hello"));
                match qos.min(granted) {
                    QoS::AtMostOnce => subscriber.gets("PUBLISH q0 a/b hello"),
                    lower => {
                        id += 1;
                        subscriber.gets(&format!("PUBLISH {id} q{} a/b hello", lower as u8));
                    }
                }
            }
            subscriber.waits();
            subscriber.disconnects();
        }
    }
}

/// [MQTT-3.3.4-2] to [MQTT-3.3.4-4], [MQTT-3.3.1-12], [MQTT-3.3.1-13], [MQTT-3.8.3-3].
#[test]
fn options_hold_for_messages_of_other_nodes() {
    let nodes = start_cluster(2);
    let mut one_copy = connect(&nodes[1], "one copy");
    for (identifier, filter, qos) in [(3, "a/#", Q0), (4, "a/+", Q2), (5, "#", Q1)] {
        one_copy.sends(Packet::Subscribe(subscribe_as(identifier, filter, options(qos))));
        one_copy.gets(&format!("SUBACK 1 {:#04x}", qos as u8));
    }
    let mut keeping = connect(&nodes[1], "keeping");
    let as_published = SubscriptionOptions { retain_as_published: true, ..options(Q0) };
    keeping.subscribes(&[("a/b", as_published)], "0x00");
    let no_local = SubscriptionOptions { no_local: true, ..options(Q0) };
    let mut remote = connect(&nodes[1], "remote");
    remote.subscribes(&[("a/b", no_local)], "0x00");
    let mut publisher = connect(&nodes[0], "p");
    publisher.subscribes(&[("a/b", no_local)], "0x00");
    publisher.publishes(Publish { retain: true, ..publish(1, Q2, "a/b", "x") });
    one_copy.gets("PUBLISH 1 q2 a/b x id=3 id=4 id=5");
    keeping.gets("PUBLISH q0 a/b x retain");
    remote.gets("PUBLISH q0 a/b x");
    publisher.waits();
    one_copy.sends(Packet::PubRec(ack(1)));
    one_copy.gets("PUBREL 1");
    one_copy.sends(Packet::PubComp(ack(1)));
    one_copy.waits();
}

/// [MQTT-3.1.2-24], [MQTT-3.1.2-26]: what a client can take is its own node's to know.
#[test]
fn what_a_client_takes_holds_for_messages_of_other_nodes() {
    let nodes = start_cluster(2);
    let set = PropertySet {
        maximum_packet_size: std::num::NonZeroU32::new(100),
        topic_alias_maximum: Some(1),
        receive_maximum: NonZeroU16::new(1),
        ..PropertySet::EMPTY
    };
    let mut subscriber = connect_with(&nodes[1], Connect { properties: set.into(), ..client::connect("s") });
    subscriber.subscribes(&[("sensors/+", options(Q1))], "0x01");
    let mut publisher = connect(&nodes[0], "p");
    for payload in ["1", &"x".repeat(100), "2", "3"] {
        publisher.publishes(Publish { properties: Properties::NONE, ..publish(1, Q1, "sensors/1", payload) });
    }
    subscriber.gets("PUBLISH 1 q1 sensors/1 1 alias=1");
    subscriber.waits();
    subscriber.sends(Packet::PubAck(ack(1)));
    subscriber.gets("PUBLISH 3 q1  2 alias=1");
    subscriber.sends(Packet::PubAck(ack(3)));
    subscriber.gets("PUBLISH 4 q1  3 alias=1");
}
