//! MQTT 3.1, whose CONNECT names the protocol `MQIsdp`: the older brother of 3.1.1, which numbers no statements.

use rumormq::codec::packet::{Connect, Packet, Properties, Publish, Will};
use rumormq::topic::Topic;

use crate::support::client::{Client, Q0, Q1, Q2, V310, ack, connect, options, publish};
use crate::support::node::Node;

fn old(client_id: &str, clean_start: bool) -> Connect<'_> {
    Connect { version: V310, clean_start, ..connect(client_id) }
}

/// CONNACK has no flags: a session that goes on is not said to.
#[test]
fn a_client_is_accepted_and_its_session_resumed() {
    let node = Node::start();
    let accepted = |mut client: Client| {
        assert_eq!(client.frame().expect("CONNACK").bytes(), b"\x20\x02\x00\x00");
        client
    };
    let mut client = accepted(node.start_connect(old("c", false)));
    client.subscribes(&[("a", options(Q2))], "0x02");
    client.vanishes();
    node.connect("p").publishes(publish(1, Q1, "a", "x"));
    let mut client = accepted(node.start_connect(old("c", false)));
    client.gets("PUBLISH 1 q1 a x");
    client.disconnects();
    let mut client = accepted(node.start_connect(old("c", true)));
    client.waits();
}

/// It asks for 1 to 23 characters. Longer ones do no harm, and there are clients that have them.
#[test]
fn identifiers_may_be_longer_than_it_allows_but_not_empty() {
    let node = Node::start();
    node.start_connect(old(&"x".repeat(24), true)).gets("CONNACK 0x00");
    let mut refused = Client::open(node.address, V310);
    refused.sends_bytes(b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00");
    assert_eq!(refused.frame().expect("CONNACK").bytes(), b"\x20\x02\x00\x02");
    refused.is_closed();
}

#[test]
fn every_qos_and_the_will_work() {
    let node = Node::start();
    let will = Will {
        topic: Topic::new("will").expect("a topic name"),
        payload: b"gone",
        qos: Q1,
        retain: true,
        properties: Properties::NONE,
    };
    let mut client = node.connect_with(old("c", true));
    client.subscribes(&[("#", options(Q2))], "0x02");
    let mut publisher = node.connect_with(Connect { will: Some(will), ..old("p", true) });
    publisher.publishes(publish(1, Q0, "a", "0"));
    publisher.publishes(publish(1, Q1, "a", "1"));
    publisher.publishes(Publish { retain: true, ..publish(1, Q2, "a", "2") });
    client.gets("PUBLISH q0 a 0");
    client.gets("PUBLISH 1 q1 a 1");
    client.gets("PUBLISH 2 q2 a 2");
    publisher.vanishes();
    client.gets("PUBLISH 3 q1 will gone");
    client.sends(Packet::PubAck(ack(1)));
    client.sends(Packet::PubAck(ack(3)));
    client.sends(Packet::PubRec(ack(2)));
    client.gets("PUBREL 2");
    client.sends(Packet::PubComp(ack(2)));
    let mut late = node.connect_with(old("l", true));
    late.subscribes(&[("+", options(Q0))], "0x00");
    late.gets_all_of(&["PUBLISH q0 a 2 retain", "PUBLISH q0 will gone retain"]);
}

/// In 3.1 a SUBSCRIBE, UNSUBSCRIBE or PUBREL that is sent again is marked so.
#[test]
fn requests_may_be_marked_as_sent_again() {
    let node = Node::start();
    let mut client = node.connect_with(old("c", true));
    client.sends_bytes(b"\x8a\x06\x00\x01\x00\x01a\x01");
    client.gets("SUBACK 1 0x01");
    client.sends_bytes(b"\xaa\x05\x00\x02\x00\x01a");
    client.gets("UNSUBACK 2");
    client.sends(Packet::Publish(publish(3, Q2, "a", "x")));
    client.gets("PUBREC 3");
    client.sends_bytes(b"\x6a\x02\x00\x03");
    client.gets("PUBCOMP 3");
}

/// 3.1 grants every subscription; what cannot be granted gets 3.1.1's code for it.
#[test]
fn a_filter_that_is_none_is_refused() {
    let node = Node::start();
    node.connect_with(old("c", true)).subscribes(&[("a", options(Q0)), ("a#", options(Q0))], "0x00 0x80");
}
