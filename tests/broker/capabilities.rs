//! What a server may do without, announces, and then refuses.

use std::time::Duration;

use rumormq::broker::client::Close;
use rumormq::broker::{Capabilities, Limits};
use rumormq::codec::packet::{Connect, Packet, PropertySet, ProtocolVersion, Publish, QoS, Will};
use rumormq::topic::Topic;

use crate::support::client::{
    Client, Q0, Q1, Q2, V311, V500, connect, lasting, options, publish, subscribe, subscribe_as,
};
use crate::support::node::Node;

fn node(capabilities: Capabilities) -> Node {
    Node::with(Limits { capabilities, ..Limits::default() })
}

/// Connects, and looks at what CONNACK says.
#[track_caller]
fn told(node: &Node, connect: Connect<'_>, look: impl FnOnce(&PropertySet<'_>)) -> Client {
    let mut client = node.start_connect(connect);
    let frame = client.frame().expect("CONNACK");
    let Packet::ConnAck(connack) = frame.packet() else { panic!("{:?}", frame.packet()) };
    look(&connack.properties);
    client
}

fn will(qos: QoS, retain: bool) -> Option<Will<'static>> {
    let topic = Topic::new("w").expect("a topic");
    Some(Will { topic, payload: b"x", qos, retain, properties: Default::default() })
}

/// Sends something as a fresh client, and is closed with this DISCONNECT, or without one where there is none.
#[track_caller]
fn ends(node: &Node, version: ProtocolVersion, packet: Packet<'_>, disconnect: &str) {
    let mut client = node.connect_with(Connect { version, ..connect("offender") });
    client.sends(packet);
    if version == V500 {
        client.gets(disconnect);
    }
    client.is_closed();
}

/// [MQTT-3.2.2-9], [MQTT-3.2.2-10], [MQTT-3.2.2-12].
#[test]
fn the_highest_qos_is_announced_and_kept_to() {
    let node = node(Capabilities { max_qos: Q1, ..Capabilities::default() });
    let mut client = told(&node, connect("c"), |set| assert_eq!(set.maximum_qos, Some(Q1)));
    client.subscribes(&[("a", options(Q2)), ("b", options(Q0))], "0x01 0x00");
    client.sends(Packet::Publish(publish(1, Q1, "a", "x")));
    client.gets_all_of(&["PUBACK 1", "PUBLISH 1 q1 a x"]);
    for version in [V500, V311] {
        ends(&node, version, Packet::Publish(publish(1, Q2, "a", "x")), "DISCONNECT 0x9b");
    }
    let mut refused = node.start_connect(Connect { will: will(Q2, false), ..connect("d") });
    refused.gets("CONNACK 0x9b");
    refused.is_closed();
    let mut old = node.start_connect(Connect { version: V311, will: will(Q2, false), ..connect("d") });
    old.is_closed();
    node.connect_with(Connect { will: will(Q1, true), ..connect("d") }).waits();
}

/// [MQTT-3.2.2-13].
#[test]
fn a_server_without_retained_messages_says_so() {
    let node = node(Capabilities { retain_available: false, ..Capabilities::default() });
    let mut client = told(&node, connect("c"), |set| assert_eq!(set.retain_available, Some(false)));
    client.publishes(publish(1, Q1, "a", "x"));
    for version in [V500, V311] {
        let retained = Publish { retain: true, ..publish(1, Q0, "a", "x") };
        ends(&node, version, Packet::Publish(retained), "DISCONNECT 0x9a");
    }
    let mut refused = node.start_connect(Connect { will: will(Q0, true), ..connect("d") });
    refused.gets("CONNACK 0x9a");
    refused.is_closed();
    assert_eq!(node.broker.census().retained_messages, 0);
}

#[test]
fn a_server_without_wildcards_says_so() {
    let node = node(Capabilities { wildcard_subscriptions: false, ..Capabilities::default() });
    let look = |set: &PropertySet<'_>| assert_eq!(set.wildcard_subscription_available, Some(false));
    told(&node, connect("c"), look).subscribes(&[("a/b", options(Q0))], "0x00");
    let wildcard = Packet::Subscribe(subscribe(1, &[("a", options(Q0)), ("a/+", options(Q0))]));
    ends(&node, V500, wildcard, "DISCONNECT 0xa2");
    node.connect_v311("old").subscribes(&[("a", options(Q0)), ("a/+", options(Q0))], "0x00 0x80");
}

#[test]
fn a_server_without_subscription_identifiers_says_so() {
    let node = node(Capabilities { subscription_identifiers: false, ..Capabilities::default() });
    let look = |set: &PropertySet<'_>| assert_eq!(set.subscription_identifiers_available, Some(false));
    told(&node, connect("c"), look).subscribes(&[("a/+", options(Q0))], "0x00");
    ends(&node, V500, Packet::Subscribe(subscribe_as(7, "a", options(Q0))), "DISCONNECT 0xa1");
}

/// [MQTT-3.2.2-21], [MQTT-3.2.2-22].
#[test]
fn the_keep_alive_may_be_the_servers() {
    let max_keep_alive = Duration::from_secs(1);
    let node = node(Capabilities { max_keep_alive, ..Capabilities::default() });
    let with = |keep_alive_secs, version| Connect { keep_alive_secs, version, ..connect("c") };
    for asked in [0, 2, u16::MAX] {
        told(&node, with(asked, V500), |set| assert_eq!(set.server_keep_alive_secs, Some(1)));
    }
    told(&node, with(1, V500), |set| assert_eq!(set.server_keep_alive_secs, None));
    let mut old = node.connect_with(Connect { client_id: "old", ..with(0, V311) });
    let mut silent = told(&node, with(0, V500), |_| {});
    silent.gets("DISCONNECT 0x8d");
    silent.is_closed();
    old.waits();
}

/// [MQTT-3.1.2-28].
#[test]
fn who_asks_is_told_where_its_answers_go() {
    let response_topic = Some("reply/%c/x".parse().expect("a topic"));
    let node = node(Capabilities { response_topic, ..Capabilities::default() });
    let asks = |asks, client_id| {
        let set = PropertySet { request_response_information: asks, ..PropertySet::EMPTY };
        Connect { properties: set.into(), ..connect(client_id) }
    };
    told(&node, asks(Some(true), "c"), |set| assert_eq!(set.response_information, Some("reply/c/x")));
    told(&node, asks(Some(true), ""), |set| {
        let expected = format!("reply/{}/x", set.assigned_client_identifier.expect("an identifier"));
        assert_eq!(set.response_information, Some(&*expected));
    });
    // A name that is no level of its own is in no topic.
    told(&node, asks(Some(true), "#"), |set| assert_eq!(set.response_information, None));
    for no in [Some(false), None] {
        told(&node, asks(no, "c"), |set| assert_eq!(set.response_information, None));
    }
}

#[test]
fn who_finds_no_place_is_told_where_to_go() {
    let server_reference = Some("mqtt2.example.org:1883".parse().expect("a reference"));
    let capabilities = Capabilities { server_reference, ..Capabilities::default() };
    let limits = Limits { max_connections: 3, max_sessions: 1, capabilities, ..Limits::default() };
    let node = Node::with(limits);
    let mut first = node.connect_with(lasting("a", 10));
    let reference = Some("mqtt2.example.org:1883");
    let mut second = Client::open(node.address, V500);
    second.sends(Packet::Connect(Box::new(connect("b"))));
    let frame = second.frame().expect("CONNACK");
    let Packet::ConnAck(connack) = frame.packet() else { panic!("{:?}", frame.packet()) };
    assert_eq!((connack.reason as u8, connack.properties.server_reference), (0x9C, reference));
    second.is_closed();
    // It does not fit; the reason does.
    let set = PropertySet { maximum_packet_size: std::num::NonZeroU32::new(16), ..PropertySet::EMPTY };
    let mut small = node.start_connect(Connect { properties: set.into(), ..connect("b") });
    small.gets("CONNACK 0x9c");
    small.is_closed();
    node.broker.close_all(Close::ShuttingDown);
    let frame = first.frame().expect("DISCONNECT");
    let Packet::Disconnect(disconnect) = frame.packet() else { panic!("{:?}", frame.packet()) };
    assert_eq!((disconnect.reason as u8, disconnect.properties.server_reference), (0x9C, reference));
}
