//! Retained messages (3.3.1.3), in both versions.

use rumormq::codec::packet::{Packet, Publish, QoS};

use crate::support::client::{Q0, Q1, Q2, ack, options, publish};
use crate::support::node::Node;
use crate::{BOTH, passing, staying};

fn retained<'a>(qos: QoS, topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { retain: true, ..publish(1, qos, topic, payload) }
}

/// [MQTT-3.3.1-5], [MQTT-3.3.1-8] of 5.0, [MQTT-3.3.1-5] to [MQTT-3.3.1-8] and [MQTT-3.3.1-12] of 3.1.1.
#[test]
fn the_last_retained_message_is_kept_with_its_qos() {
    for version in BOTH {
        let node = Node::start();
        let mut publisher = node.connect_with(passing(version, "p"));
        publisher.publishes(retained(Q1, "a/1", "old"));
        publisher.publishes(retained(Q2, "a/1", "new"));
        publisher.publishes(publish(1, Q1, "a/1", "passing"));
        publisher.publishes(publish(1, Q1, "a/1", ""));
        publisher.publishes(retained(Q1, "a/2", "old"));
        publisher.publishes(retained(Q0, "a/2", "new"));
        publisher.publishes(publish(1, Q1, "a/3", "passing"));
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(&[("a/1", options(Q2))], "0x02");
        client.gets("PUBLISH 1 q2 a/1 new retain");
        client.subscribes(&[("a/2", options(Q2))], "0x02");
        client.gets("PUBLISH q0 a/2 new retain");
        client.subscribes(&[("a/3", options(Q2))], "0x02");
        client.waits();
        // Once more at every new subscription, with its QoS at most.
        client.subscribes(&[("a/1", options(Q1))], "0x01");
        client.gets("PUBLISH 2 q1 a/1 new retain");
    }
}

/// [MQTT-3.3.1-6], [MQTT-3.3.1-7] of 5.0, [MQTT-3.3.1-10], [MQTT-3.3.1-11] of 3.1.1.
#[test]
fn an_empty_message_clears_and_is_a_message() {
    for version in BOTH {
        let node = Node::start();
        let mut present = node.connect_with(passing(version, "present"));
        present.subscribes(&[("a", options(Q1))], "0x01");
        let mut publisher = node.connect_with(passing(version, "p"));
        publisher.publishes(retained(Q1, "a", "x"));
        publisher.publishes(retained(Q1, "a", ""));
        present.gets("PUBLISH 1 q1 a x");
        present.gets("PUBLISH 2 q1 a \"\"");
        assert_eq!(node.broker.census().retained_messages, 0);
        let mut late = node.connect_with(passing(version, "late"));
        late.subscribes(&[("a", options(Q1))], "0x01");
        late.waits();
    }
}

/// [MQTT-3.3.1-12] of 5.0, [MQTT-3.3.1-9] of 3.1.1.
#[test]
fn who_is_subscribed_gets_them_as_any_message() {
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(&[("a", options(Q2))], "0x02");
        let mut publisher = node.connect_with(passing(version, "p"));
        for (id, qos) in [(0, Q0), (1, Q1), (2, Q2)] {
            publisher.publishes(retained(qos, "a", "x"));
            let number = if id == 0 { String::new() } else { format!("{id} ") };
            client.gets(&format!("PUBLISH {number}q{} a x", qos as u8));
        }
        publisher.publishes(retained(Q0, "a", ""));
        client.gets("PUBLISH q0 a \"\"");
    }
}

/// [MQTT-3.1.2-7] of 3.1.1: they belong to no session.
#[test]
fn they_outlive_the_session_that_sent_them() {
    for version in BOTH {
        let node = Node::start();
        let mut publisher = node.connect_with(passing(version, "p"));
        publisher.publishes(retained(Q1, "a", "1"));
        publisher.disconnects();
        let mut publisher = node.connect_with(staying(version, "p"));
        publisher.publishes(retained(Q1, "b", "2"));
        publisher.vanishes();
        node.after_secs(100_000_000);
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(&[("+", options(Q0))], "0x00");
        client.gets_all_of(&["PUBLISH q0 a 1 retain", "PUBLISH q0 b 2 retain"]);
    }
}

/// [MQTT-3.8.4-4] of 5.0, [MQTT-3.8.4-3] of 3.1.1: an equal filter brings them again, and the flow goes on.
#[test]
fn they_come_again_with_an_equal_subscription() {
    let node = Node::start();
    for version in BOTH {
        let mut publisher = node.connect_with(passing(version, "p"));
        publisher.publishes(retained(Q1, "a", "kept"));
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(&[("a", options(Q1))], "0x01");
        client.gets("PUBLISH 1 q1 a kept retain");
        client.sends(Packet::PubAck(ack(1)));
        publisher.publishes(publish(1, Q1, "a", "before"));
        client.gets("PUBLISH 2 q1 a before");
        client.subscribes(&[("a", options(Q0))], "0x00");
        client.gets("PUBLISH q0 a kept retain");
        publisher.publishes(publish(1, Q1, "a", "after"));
        client.gets("PUBLISH q0 a after");
        client.waits();
    }
}
