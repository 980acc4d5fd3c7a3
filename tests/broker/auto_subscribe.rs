//! Subscriptions of every client.

use rumormq::broker::{Extras, Limits};
use rumormq::codec::packet::{Packet, Publish};

use crate::support::client::{Q0, Q2, lasting, publish, unsubscribe};
use crate::support::node::Node;

fn node(list: &[&str]) -> Node {
    let auto_subscribe = list.iter().map(|text| toml::from_str(text).expect("a subscription")).collect();
    Node::with_extras(Limits::default(), Extras { auto_subscribe, ..Extras::default() })
}

#[test]
fn every_client_gets_them_and_may_end_them() {
    let node = node(&["topic = \"c/%c\"\nqos = 1", "topic = \"u/%u\"", "topic = \"all\"\nno_local = true"]);
    let mut publisher = node.connect("p");
    publisher.publishes(Publish { retain: true, ..publish(1, Q0, "c/c1", "kept") });
    let mut client = node.connect("c1");
    client.gets("PUBLISH q0 c/c1 kept retain");
    publisher.publishes(publish(1, Q2, "c/c1", "x"));
    client.gets("PUBLISH 1 q1 c/c1 x");
    publisher.publishes(publish(1, Q0, "c/c2", "x"));
    publisher.publishes(publish(1, Q0, "u/", "x"));
    publisher.publishes(publish(1, Q0, "all", "y"));
    client.gets("PUBLISH q0 all y");
    client.sends(Packet::Unsubscribe(unsubscribe(1, &["all"])));
    client.gets("UNSUBACK 1 0x00");
    publisher.publishes(publish(1, Q0, "all", "y"));
    client.waits();
}

#[test]
fn a_resumed_session_gets_them_again() {
    let node = node(&["topic = \"a\"\nretain_handling = 1"]);
    let mut publisher = node.connect("p");
    publisher.sends(Packet::Publish(Publish { retain: true, ..publish(1, Q0, "a", "kept") }));
    publisher.gets("PUBLISH q0 a kept");
    let mut client = node.connect_with(lasting("c", 100));
    client.gets("PUBLISH q0 a kept retain");
    client.sends(Packet::Unsubscribe(unsubscribe(1, &["a"])));
    client.gets("UNSUBACK 1 0x00");
    client.vanishes();
    let mut client = node.connect_with(lasting("c", 100));
    client.gets("PUBLISH q0 a kept retain");
    client.vanishes();
    // The subscription is not new this time.
    node.connect_with(lasting("c", 100)).waits();
}

#[test]
fn a_name_that_is_a_wildcard_gets_nothing() {
    let node = node(&["topic = \"c/%c\""]);
    let mut client = node.connect("+");
    node.connect("p").publishes(publish(1, Q0, "c/other", "x"));
    client.waits();
}
