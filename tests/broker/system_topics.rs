//! Topics below `$SYS`.

use std::time::Duration;

use rumormq::broker::{Extras, Limits};
use rumormq::codec::packet::Packet;

use crate::support::client::{Client, Q0, Q1, lasting, options, publish, unsubscribe};
use crate::support::node::Node;

#[track_caller]
fn gets_value(client: &mut Client, topic: &str) -> String {
    let frame = client.frame().expect("open");
    let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH: {:?}", frame.packet()) };
    assert_eq!(publish.topic.map(|topic| topic.as_str()), Some(topic));
    String::from_utf8(publish.payload.to_vec()).expect("text")
}

#[track_caller]
fn gets_event(client: &mut Client, id: &str, event: &str) -> serde_json::Value {
    let payload = gets_value(client, &format!("$SYS/brokers/rumormq/clients/{id}/{event}"));
    let event: serde_json::Value = serde_json::from_str(&payload).expect("JSON");
    assert_eq!(event["clientid"], id);
    event
}

#[test]
fn a_subscriber_gets_the_values_at_once_and_then_again() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("$SYS/broker/version", options(Q1))], "0x01");
    client.gets(&format!(
        "PUBLISH q0 $SYS/broker/version rumormq version {} retain",
        env!("CARGO_PKG_VERSION")
    ));
    client.sends(Packet::Unsubscribe(unsubscribe(1, &["$SYS/broker/version"])));
    client.gets("UNSUBACK 1 0x00");
    client.subscribes(&[("$SYS/broker/clients/connected", options(Q0))], "0x00");
    client.gets("PUBLISH q0 $SYS/broker/clients/connected 1 retain");
    let _second = node.connect("d");
    client.waits();
    node.after_secs(11);
    client.gets("PUBLISH q0 $SYS/broker/clients/connected 2");
    node.after_secs(12);
    client.waits();
}

#[test]
fn counters_count() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("a", options(Q0))], "0x00");
    let mut publisher = node.connect("p");
    for _ in 0..3 {
        publisher.publishes(publish(1, Q1, "a", "0123456789"));
        client.gets("PUBLISH q0 a 0123456789");
    }
    node.connect_with(lasting("away", 100)).vanishes();
    let mut observer = node.connect("o");
    let mut value = |name: &str| -> u64 {
        let topic = format!("$SYS/broker/{name}");
        observer.subscribes(&[(&topic, options(Q0))], "0x00");
        gets_value(&mut observer, &topic).parse().expect("a number")
    };
    assert_eq!(value("publish/messages/received"), 3);
    assert_eq!(value("publish/messages/sent"), 3);
    // Three CONNECTs, two SUBSCRIBEs, three PUBLISHes, and a fourth CONNECT.
    assert!(value("messages/received") >= 8);
    assert!(value("bytes/received") > 60 && value("bytes/sent") > 60);
    assert_eq!(
        (value("clients/connected"), value("clients/total"), value("clients/disconnected")),
        (3, 4, 1)
    );
    assert!(value("subscriptions/count") >= 1);
    assert_eq!(value("retained messages/count"), 0);
}

#[test]
fn wildcards_do_not_match_them() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q0)), ("+/broker/#", options(Q0))], "0x00 0x00");
    let mut knowing = node.connect("k");
    knowing.subscribes(&[("$SYS/broker/clients/+", options(Q0))], "0x00");
    node.after_secs(11);
    client.waits();
}

#[test]
fn clients_cannot_publish_there() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("$SYS/mine", options(Q0))], "0x00");
    let mut publisher = node.connect("p");
    publisher.sends(Packet::Publish(publish(1, Q1, "$SYS/mine", "x")));
    publisher.gets("PUBACK 1 0x87");
    publisher.publishes(publish(1, Q0, "$SYS/mine", "x"));
    publisher.publishes(publish(1, Q0, "$SYSTEM", "x"));
    client.waits();
    assert_eq!(node.broker.metrics.messages_dropped.with_label_values(&["system_topic"]).get(), 2);
}

#[test]
fn clients_are_seen_to_come_and_go() {
    let node = Node::start();
    let mut observer = node.connect("o");
    let (connected, all) = ("$SYS/brokers/+/clients/+/connected", "$SYS/brokers/+/clients/x/#");
    observer.subscribes(&[(connected, options(Q0)), (all, options(Q0))], "0x00 0x00");
    let mut client = node.connect_with(lasting("x", 100));
    let event = gets_event(&mut observer, "x", "connected");
    assert_eq!((&event["proto_ver"], &event["expiry_interval"]), (&5.into(), &100.into()));
    client.subscribes(&[("a", options(Q1))], "0x01");
    let event = gets_event(&mut observer, "x", "subscribed");
    assert_eq!((&event["topic"], &event["subopts"]["qos"]), (&"a".into(), &1.into()));
    client.sends(Packet::Unsubscribe(unsubscribe(1, &["a", "b"])));
    assert_eq!(gets_event(&mut observer, "x", "unsubscribed")["topic"], "a");
    let taking_over = node.connect_with(lasting("x", 100));
    gets_event(&mut observer, "x", "connected");
    assert_eq!(gets_event(&mut observer, "x", "disconnected")["reason"], "takenover");
    taking_over.disconnects();
    assert_eq!(gets_event(&mut observer, "x", "disconnected")["reason"], "normal");
    node.connect_with(lasting("x", 100)).vanishes();
    gets_event(&mut observer, "x", "connected");
    assert_eq!(gets_event(&mut observer, "x", "disconnected")["reason"], "tcp_closed");
    observer.waits();
}

#[test]
fn emqx_names_bear_the_nodes_name() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("$SYS/brokers", options(Q0))], "0x00");
    client.gets("PUBLISH q0 $SYS/brokers rumormq retain");
    client.subscribes(&[("$SYS/brokers/+/stats/connections/count", options(Q0))], "0x00");
    client.gets("PUBLISH q0 $SYS/brokers/rumormq/stats/connections/count 1 retain");
}

#[test]
fn without_an_interval_there_are_none() {
    let extras = Extras { sys_interval: Duration::ZERO, ..Extras::default() };
    let node = Node::with_extras(Limits::default(), extras);
    let mut client = node.connect("c");
    client.subscribes(&[("$SYS/#", options(Q0))], "0x00");
    let _another = node.connect("d");
    node.after_secs(100);
    client.waits();
}
