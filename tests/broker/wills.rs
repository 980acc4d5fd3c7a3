//! Wills: when they are published, and when not.

use rumormq::codec::packet::{Connect, Packet, PropertySet, QoS, ReasonCode, SubscriptionOptions, Will};
use rumormq::topic::Topic;

use crate::support::client::{Client, Q0, Q1, Q2, V311, connect, lasting, options, publish};
use crate::support::node::Node;

fn will(qos: QoS, delay_secs: u32) -> Option<Will<'static>> {
    let delay = (delay_secs > 0).then_some(delay_secs);
    Some(Will {
        topic: Topic::new("wills/c").expect("a topic name"),
        payload: b"gone",
        qos,
        retain: false,
        properties: PropertySet { will_delay_interval_secs: delay, ..PropertySet::EMPTY }.into(),
    })
}

/// A node and someone who waits for wills.
fn mourner(node: &Node) -> Client {
    let mut mourner = node.connect("mourner");
    mourner.subscribes(&[("wills/#", options(Q2))], "0x02");
    mourner
}

/// [MQTT-3.1.2-8].
#[test]
fn a_lost_connection_publishes_the_will() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    let mut id = 0;
    for version in [V311, crate::support::client::V500] {
        for qos in [Q0, Q1, Q2] {
            node.connect_with(Connect { version, will: will(qos, 0), ..connect("c") }).vanishes();
            if qos == Q0 {
                mourner.gets("PUBLISH q0 wills/c gone");
            } else {
                id += 1;
                mourner.gets(&format!("PUBLISH {id} q{} wills/c gone", qos as u8));
            }
        }
    }
}

#[test]
fn a_violation_publishes_the_will() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    let mut client = node.connect_with(Connect { will: will(Q0, 0), ..connect("c") });
    client.sends_bytes(&[0xF7, 0]);
    client.gets("DISCONNECT 0x81");
    mourner.gets("PUBLISH q0 wills/c gone");
}

#[test]
fn silence_publishes_the_will() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    let _client = node.connect_with(Connect { keep_alive_secs: 1, will: will(Q0, 0), ..connect("c") });
    mourner.gets("PUBLISH q0 wills/c gone");
}

/// [MQTT-3.14.4-3], [MQTT-3.1.2-10].
#[test]
fn a_goodbye_discards_the_will() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    node.connect_with(Connect { will: will(Q0, 0), ..connect("c") }).disconnects();
    node.connect_with(Connect { version: V311, will: will(Q0, 0), ..connect("c") }).disconnects();
    node.connect_with(Connect { will: will(Q0, 5), ..lasting("c", 100) }).disconnects();
    node.after_secs(1000);
    mourner.waits();
}

#[test]
fn a_goodbye_with_will_publishes_it() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    node.connect_with(Connect { will: will(Q0, 0), ..connect("c") })
        .disconnects_with(ReasonCode::DisconnectWithWill, None);
    mourner.gets("PUBLISH q0 wills/c gone");
    node.connect_with(Connect { will: will(Q0, 0), ..connect("c") })
        .disconnects_with(ReasonCode::ImplementationSpecificError, None);
    mourner.gets("PUBLISH q0 wills/c gone");
}

#[test]
fn a_delayed_will_waits() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    node.connect_with(Connect { will: will(Q0, 5), ..lasting("c", 100) }).vanishes();
    node.after_secs(4);
    mourner.waits();
    node.after_secs(6);
    mourner.gets("PUBLISH q0 wills/c gone");
    node.after_secs(1000);
    mourner.waits();
}

/// [MQTT-3.1.3-9].
#[test]
fn a_new_connection_calls_a_delayed_will_off() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    node.connect_with(Connect { will: will(Q0, 5), ..lasting("c", 100) }).vanishes();
    let client = node.connect_with(lasting("c", 100));
    node.after_secs(1000);
    mourner.waits();
    // It had no will of its own.
    client.vanishes();
    node.after_secs(1000);
    mourner.waits();
}

#[test]
fn the_end_of_the_session_does_not_wait_for_the_delay() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    node.connect_with(Connect { will: will(Q0, 50), ..lasting("c", 10) }).vanishes();
    node.after_secs(9);
    mourner.waits();
    node.after_secs(11);
    mourner.gets("PUBLISH q0 wills/c gone");
    node.connect_with(Connect { will: will(Q0, 50), ..lasting("c", 0) }).vanishes();
    mourner.gets("PUBLISH q0 wills/c gone");
    node.after_secs(1000);
    mourner.waits();
}

/// A clean start ends the session, and so its delayed will must not wait any longer [MQTT-3.1.2-8].
#[test]
fn a_clean_start_publishes_a_delayed_will() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    node.connect_with(Connect { will: will(Q0, 50), ..lasting("c", 100) }).vanishes();
    let _client = node.connect("c");
    mourner.gets("PUBLISH q0 wills/c gone");
    node.after_secs(1000);
    mourner.waits();
}

#[test]
fn a_takeover_publishes_a_will_without_delay_and_calls_off_one_with() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    let mut first = node.connect_with(Connect { will: will(Q0, 0), ..lasting("c", 100) });
    let second = node.connect_with(Connect { will: will(Q0, 5), ..lasting("c", 100) });
    first.gets("DISCONNECT 0x8e");
    mourner.gets("PUBLISH q0 wills/c gone");
    let third = node.connect_with(lasting("c", 100));
    drop(second);
    node.after_secs(1000);
    mourner.waits();
    drop(third);
}

/// [MQTT-3.1.2-14], [MQTT-3.1.2-15].
#[test]
fn a_will_is_retained_if_it_says_so() {
    let node = Node::start();
    let retained = will(Q1, 0).map(|will| Will { retain: true, ..will });
    node.connect_with(Connect { will: retained, ..connect("c") }).vanishes();
    let mut late = node.connect("late");
    late.subscribes(&[("wills/#", options(Q0))], "0x00");
    late.gets("PUBLISH q0 wills/c gone retain");
}

#[test]
fn the_wills_properties_travel_and_its_expiry_begins_when_it_is_published() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    let set = PropertySet {
        will_delay_interval_secs: Some(50),
        message_expiry_interval_secs: Some(30),
        content_type: Some("text/plain"),
        user_properties: vec![("k", "v")],
        ..PropertySet::EMPTY
    };
    let will = will(Q0, 0).map(|will| Will { properties: set.into(), ..will });
    node.connect_with(Connect { will, ..lasting("c", 100) }).vanishes();
    node.after_secs(60);
    mourner.gets("PUBLISH q0 wills/c gone expiry=30 type=text/plain k:v");
}

/// [MQTT-3.8.3-3]: a will is a publish of its client.
#[test]
fn no_local_spares_a_client_its_own_will() {
    let node = Node::start();
    let mut client = node.connect_with(Connect { will: will(Q1, 0), ..lasting("c", 100) });
    let no_local = SubscriptionOptions { no_local: true, ..options(Q1) };
    client.subscribes(&[("wills/c", no_local)], "0x01");
    client.vanishes();
    let mut client = node.connect_with(lasting("c", 100));
    client.waits();
}

#[test]
fn a_client_may_mourn_itself() {
    let node = Node::start();
    let mut client = node.connect_with(Connect { will: will(Q1, 0), ..lasting("c", 100) });
    client.subscribes(&[("wills/c", options(Q1))], "0x01");
    client.vanishes();
    let mut client = node.connect_with(lasting("c", 100));
    client.gets("PUBLISH 1 q1 wills/c gone");
}

/// [MQTT-3.1.2-11], [MQTT-3.1.2-12], [MQTT-3.3.2-2].
#[test]
fn a_will_that_is_none_is_refused() {
    let node = Node::start();
    let refused = |bytes: &[u8], reason: &str| {
        let mut client = Client::open(node.address, crate::support::client::V500);
        client.sends_bytes(bytes);
        client.gets(&format!("CONNACK {reason}"));
        client.is_closed();
    };
    refused(b"\x10\x0e\x00\x04MQTT\x05\x0a\x00\x00\x00\x00\x01c", "0x81");
    refused(b"\x10\x0e\x00\x04MQTT\x05\x22\x00\x00\x00\x00\x01c", "0x81");
    refused(b"\x10\x14\x00\x04MQTT\x05\x1e\x00\x00\x00\x00\x01c\x00\x00\x01a\x00\x00", "0x81");
    refused(b"\x10\x14\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01c\x00\x00\x01#\x00\x00", "0x90");
}

#[test]
fn a_stopping_node_publishes_wills() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    let mut client = node.connect_with(Connect { will: will(Q0, 0), ..connect("c") });
    node.broker.close_all(rumormq::broker::client::Close::ShuttingDown);
    client.gets("DISCONNECT 0x8b");
    client.is_closed();
    mourner.gets_one_of(&["DISCONNECT 0x8b", "PUBLISH q0 wills/c gone"]);
    let _ = mourner.try_sends(Packet::Publish(publish(1, Q0, "x", "x")));
}
