//! Publishes to `$delayed/SECONDS/TOPIC`.

use rumormq::broker::{Extras, Limits};
use rumormq::codec::packet::{Packet, PropertySet, Publish, SubscriptionOptions};

use crate::support::client::{Q0, Q1, Q2, ack, options, publish};
use crate::support::node::Node;

fn node(max_delayed_messages: usize) -> Node {
    Node::with_extras(Limits::default(), Extras { max_delayed_messages, ..Extras::default() })
}

#[test]
fn a_message_comes_when_its_time_has_come() {
    let node = node(10);
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q2))], "0x02");
    let mut publisher = node.connect("p");
    publisher.sends(Packet::Publish(publish(1, Q1, "$delayed/20/a/b", "late")));
    publisher.gets("PUBACK 1");
    publisher.publishes(publish(1, Q0, "$delayed/10/a", "soon"));
    let set =
        PropertySet { content_type: Some("text"), user_properties: vec![("k", "v")], ..PropertySet::EMPTY };
    publisher.publishes(Publish { properties: set.into(), ..publish(1, Q2, "$delayed/15/a", "between") });
    assert_eq!(node.broker.census().delayed, 3);
    node.after_secs(9);
    client.waits();
    node.after_secs(11);
    client.gets("PUBLISH q0 a soon");
    node.after_secs(30);
    client.gets("PUBLISH 1 q2 a between type=text k:v");
    client.gets("PUBLISH 2 q1 a/b late");
    client.waits();
    assert_eq!(node.broker.census().delayed, 0);
}

#[test]
fn it_is_retained_when_it_is_published() {
    let node = node(10);
    let mut publisher = node.connect("p");
    publisher.publishes(Publish { retain: true, ..publish(1, Q0, "$delayed/10/a", "x") });
    let mut client = node.connect("c");
    client.subscribes(&[("a", options(Q0))], "0x00");
    client.waits();
    node.after_secs(11);
    client.gets("PUBLISH q0 a x");
    client.subscribes(&[("a", options(Q0))], "0x00");
    client.gets("PUBLISH q0 a x retain");
}

/// Its lifetime runs from when it came.
#[test]
fn it_may_expire_while_it_waits() {
    let node = node(10);
    let mut client = node.connect("c");
    client.subscribes(&[("a", options(Q0))], "0x00");
    let mut publisher = node.connect("p");
    for (expiry, payload) in [(10, "short"), (1000, "long")] {
        let set = PropertySet { message_expiry_interval_secs: Some(expiry), ..PropertySet::EMPTY };
        publisher.publishes(Publish { properties: set.into(), ..publish(1, Q1, "$delayed/20/a", payload) });
    }
    node.after_secs(21);
    let frame = client.frame().expect("open");
    let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH") };
    assert_eq!(publish.payload, b"long");
    let left = publish.properties.message_expiry_interval_secs.expect("an expiry");
    assert!((900..=980).contains(&left), "{left}");
}

#[test]
fn there_is_room_for_so_many() {
    let node = node(1);
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q1, "$delayed/10/a", "1"));
    publisher.sends(Packet::Publish(publish(2, Q1, "$delayed/10/a", "2")));
    publisher.gets("PUBACK 2 0x97");
    publisher.publishes(publish(1, Q0, "$delayed/10/a", "3"));
    let dropped = node.broker.metrics.messages_dropped.with_label_values(&["delayed_full"]);
    assert_eq!(dropped.get(), 2);
}

#[test]
fn delays_that_are_none_are_refused() {
    let node = node(1);
    let mut publisher = node.connect("p");
    for topic in
        ["$delayed/x/a", "$delayed/4294968/a", "$delayed/5", "$delayed/5/", "$delayed/1/$delayed/1/a"]
    {
        publisher.sends(Packet::Publish(publish(1, Q1, topic, "x")));
        publisher.gets("PUBACK 1 0x90");
    }
    publisher.sends(Packet::Publish(publish(1, Q1, "$delayed/5/$SYS/a", "x")));
    publisher.gets("PUBACK 1 0x87");
}

#[test]
fn the_publisher_is_still_known() {
    let node = node(1);
    let mut client = node.connect("c");
    client.subscribes(&[("a", SubscriptionOptions { no_local: true, ..options(Q0) })], "0x00");
    client.publishes(publish(1, Q0, "$delayed/1/a", "x"));
    node.after_secs(2);
    client.waits();
}

#[test]
fn by_default_the_topic_is_like_any_other() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("$delayed/#", options(Q1))], "0x01");
    node.connect("p").publishes(publish(1, Q1, "$delayed/5/a", "x"));
    client.gets("PUBLISH 1 q1 $delayed/5/a x");
    client.sends(Packet::PubAck(ack(1)));
    client.waits();
}
