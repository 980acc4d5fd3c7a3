//! Rules that rename topics.

use rumormq::broker::{Extras, Limits};
use rumormq::codec::packet::{Packet, Publish, Will};
use rumormq::topic::Topic;

use crate::support::client::{Q0, Q1, connect, options, publish, unsubscribe};
use crate::support::node::Node;

fn node(rules: &[(&str, &str, &str, &str)]) -> Node {
    let rule = |&(action, source, regex, destination): &(&str, &str, &str, &str)| {
        let text = format!(
            "action = {action:?}\nsource = {source:?}\nregex = {regex:?}\ndestination = {destination:?}\n"
        );
        toml::from_str(&text).expect("a rule")
    };
    let rewrite = rules.iter().map(rule).collect();
    Node::with_extras(Limits::default(), Extras { rewrite, ..Extras::default() })
}

#[test]
fn publishes_go_where_the_rule_says() {
    let node = node(&[("publish", "old/#", "^old/(.+)$", "new/$1/%c")]);
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q1))], "0x01");
    let mut publisher = node.connect("p");
    for _ in 0..2 {
        publisher.publishes(publish(1, Q0, "old/a/b", "x"));
        client.gets("PUBLISH q0 new/a/b/p x");
    }
    publisher.publishes(publish(1, Q0, "old", "x"));
    client.gets("PUBLISH q0 old x");
    // Retained under the name it was delivered by.
    publisher.publishes(Publish { retain: true, ..publish(1, Q0, "old/r", "kept") });
    client.gets("PUBLISH q0 new/r/p kept");
    client.subscribes(&[("old/#", options(Q0)), ("new/#", options(Q0))], "0x00 0x00");
    client.gets("PUBLISH q0 new/r/p kept retain");
    client.waits();
}

#[test]
fn wills_go_where_the_rule_says() {
    let node = node(&[("publish", "old/#", "^old/(.+)$", "new/$1")]);
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q0))], "0x00");
    let topic = Topic::new("old/w").expect("a topic name");
    let will = Will { topic, payload: b"gone", qos: Q0, retain: false, properties: Default::default() };
    node.connect_with(rumormq::codec::packet::Connect { will: Some(will), ..connect("w") }).vanishes();
    client.gets("PUBLISH q0 new/w gone");
}

#[test]
fn subscriptions_are_to_what_the_rule_says_and_end_by_the_same_name() {
    let node = node(&[("subscribe", "mine/#", "^mine/(.+)$", "clients/%c/$1")]);
    let mut client = node.connect("c");
    client.subscribes(&[("mine/#", options(Q0))], "0x00");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q0, "mine/x", "no"));
    publisher.publishes(publish(1, Q0, "clients/c/x", "yes"));
    client.gets("PUBLISH q0 clients/c/x yes");
    client.sends(Packet::Unsubscribe(unsubscribe(1, &["mine/#"])));
    client.gets("UNSUBACK 1 0x00");
    publisher.publishes(publish(1, Q0, "clients/c/x", "no"));
    client.waits();
}

#[test]
fn what_a_rule_makes_has_to_be_a_topic() {
    let node = node(&[("all", "a/#", "^a/(.*)$", "%c/$1")]);
    // Its name would be a wildcard.
    let mut client = node.connect("#");
    client.subscribes(&[("a/b", options(Q0))], "0x8f");
    client.sends(Packet::Publish(publish(1, Q1, "a/b", "x")));
    client.gets("PUBACK 1 0x90");
    client.sends(Packet::Publish(publish(1, Q0, "a/b", "x")));
    client.waits();
    let dropped = node.broker.metrics.messages_dropped.with_label_values(&["topic_invalid"]);
    assert_eq!(dropped.get(), 2);
}
