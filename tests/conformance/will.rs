//! Wills (3.1.2.5), in both versions.

use rumormq::codec::packet::{
    Connect, Disconnect, Packet, Properties, PropertySet, ReasonCode, SubscriptionOptions, Will,
};
use rumormq::topic::Topic;

use crate::support::client::{Client, Q0, Q1, V500, options};
use crate::support::node::Node;
use crate::{BOTH, passing, staying};

fn will(retain: bool, payload: &'static [u8]) -> Option<Will<'static>> {
    let topic = Topic::new("will").expect("a topic name");
    Some(Will { topic, payload, qos: Q1, retain, properties: Properties::NONE })
}

fn mourner(node: &Node) -> Client {
    let mut mourner = node.connect("m");
    let as_published = SubscriptionOptions { retain_as_published: true, ..options(Q0) };
    mourner.subscribes(&[("will", as_published)], "0x00");
    mourner
}

/// [MQTT-3.1.2-14], [MQTT-3.1.2-15] of 5.0, [MQTT-3.1.2-16], [MQTT-3.1.2-17] of 3.1.1.
#[test]
fn a_will_is_retained_exactly_if_it_says_so() {
    for version in BOTH {
        let node = Node::start();
        let mut mourner = mourner(&node);
        node.connect_with(Connect { will: will(false, b"passing"), ..passing(version, "c") }).vanishes();
        mourner.gets("PUBLISH q0 will passing");
        let mut late = node.connect("late");
        late.subscribes(&[("will", options(Q0))], "0x00");
        late.waits();
        node.connect_with(Connect { will: will(true, b"kept"), ..passing(version, "c") }).vanishes();
        mourner.gets("PUBLISH q0 will kept retain");
        let mut late = node.connect("late");
        late.subscribes(&[("will", options(Q0))], "0x00");
        late.gets("PUBLISH q0 will kept retain");
    }
}

/// [MQTT-3.1.2-8] of 5.0 and 3.1.1: published once the connection is gone, whoever ended it and why.
#[test]
fn every_end_but_a_goodbye_publishes_the_will() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    for version in BOTH {
        let connected = || node.connect_with(Connect { will: will(false, b"gone"), ..passing(version, "c") });
        connected().vanishes();
        mourner.gets("PUBLISH q0 will gone");
        let mut offender = connected();
        offender.sends_bytes(b"\x00\x00");
        mourner.gets("PUBLISH q0 will gone");
        let taken_over = connected();
        let heir = node.connect_with(passing(version, "c"));
        mourner.gets("PUBLISH q0 will gone");
        drop(taken_over);
        heir.disconnects();
        mourner.waits();
    }
}

/// [MQTT-3.14.4-3], [MQTT-3.1.2-10]: neither then nor when the session ends.
#[test]
fn a_goodbye_takes_the_will_with_it() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    for version in BOTH {
        for connect in [passing(version, "c"), staying(version, "c")] {
            node.connect_with(Connect { will: will(false, b"gone"), ..connect }).disconnects();
            node.after_secs(100_000_000);
        }
        // Nor does a later connection have it.
        node.connect_with(Connect { will: will(false, b"gone"), ..staying(version, "c") }).disconnects();
        node.connect_with(staying(version, "c")).vanishes();
    }
    mourner.waits();
}

/// [MQTT-3.1.2-12] of 3.1.1; [MQTT-3.1.2-10]: a will is its connection's, and published once.
#[test]
fn a_connection_without_a_will_publishes_none() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    for version in BOTH {
        node.connect_with(passing(version, "c")).vanishes();
        node.connect_with(Connect { will: will(false, b"gone"), ..staying(version, "c") }).vanishes();
        mourner.gets("PUBLISH q0 will gone");
        node.connect_with(staying(version, "c")).vanishes();
        node.after_secs(100_000_000);
    }
    mourner.waits();
}

/// [MQTT-3.1.2-8] of 3.1.1: who was not accepted has no will.
#[test]
fn the_will_of_a_refused_client_is_not_published() {
    let node = Node::with(rumormq::broker::Limits { max_client_id_len: 3, ..Default::default() });
    let mut mourner = mourner(&node);
    for version in BOTH {
        let mut client =
            node.start_connect(Connect { will: will(false, b"gone"), ..passing(version, "long") });
        client.gets("CONNACK 0x85");
        client.is_closed();
    }
    mourner.waits();
}

/// [MQTT-3.1.3-10]: and all else that travels with a message.
#[test]
fn the_properties_of_a_will_are_its_messages() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    let set = PropertySet {
        payload_format_indicator: Some(true),
        content_type: Some("text/plain"),
        response_topic: Some(Topic::new("answers").expect("a topic name")),
        correlation_data: Some(b"17"),
        user_properties: vec![("b", "1"), ("a", "2"), ("b", "3"), ("b", "1")],
        ..PropertySet::EMPTY
    };
    let will = will(false, b"gone").map(|will| Will { properties: set.into(), ..will });
    node.connect_with(Connect { will, ..passing(V500, "c") }).vanishes();
    mourner.gets(
        "PUBLISH q0 will gone utf8=true type=text/plain response=answers correlation=17 b:1 a:2 b:3 b:1",
    );
}

/// 3.1.3.2.3: a will that is not the text it claims to be is refused when it is made.
#[test]
fn a_will_that_is_not_the_text_it_claims_is_refused() {
    let node = Node::start();
    let claims = |utf8| {
        let set = PropertySet { payload_format_indicator: Some(utf8), ..PropertySet::EMPTY };
        let will = will(false, b"\xff").map(|will| Will { properties: set.into(), ..will });
        node.start_connect(Connect { will, ..passing(V500, "c") })
    };
    let mut refused = claims(true);
    refused.gets("CONNACK 0x99");
    refused.is_closed();
    claims(false).gets("CONNACK 0x00");
}

/// 3.14.2.1: of the reasons to go, only peace is a goodbye.
#[test]
fn who_leaves_in_anger_has_a_will() {
    let node = Node::start();
    let mut mourner = mourner(&node);
    for reason in [ReasonCode::DisconnectWithWill, ReasonCode::UnspecifiedError, ReasonCode::QuotaExceeded] {
        let mut client = node.connect_with(Connect { will: will(false, b"gone"), ..passing(V500, "c") });
        client.sends(Packet::Disconnect(Disconnect { reason, properties: Properties::NONE }));
        client.is_closed();
        mourner.gets("PUBLISH q0 will gone");
    }
}
