//! How long a session outlives its connection, and what it keeps.

use rumormq::broker::Limits;
use rumormq::codec::packet::{Connect, Packet, ReasonCode};
use rumormq::session::SessionLimits;

use crate::support::client::{Q0, Q1, Q2, V311, ack, connect, lasting, options, publish};
use crate::support::node::Node;

/// [MQTT-3.1.2-23], [MQTT-4.1.0-2].
#[test]
fn a_session_lasts_as_long_as_it_asked() {
    let node = Node::start();
    node.connect_with(lasting("c", 100)).vanishes();
    node.after_secs(99);
    let mut client = node.start_connect(lasting("c", 100));
    client.gets("CONNACK 0x00 present");
    client.vanishes();
    node.after_secs(101);
    node.start_connect(lasting("c", 100)).gets("CONNACK 0x00");
}

/// [MQTT-4.1.0-1].
#[test]
fn a_session_does_not_end_while_it_is_connected() {
    let node = Node::start();
    node.connect_with(lasting("c", 10)).vanishes();
    let mut client = node.connect_with(lasting("c", 10));
    client.subscribes(&[("a", options(Q0))], "0x00");
    node.after_secs(1000);
    node.connect("p").publishes(publish(1, Q1, "a", "x"));
    client.gets("PUBLISH q0 a x");
}

#[test]
fn without_a_lifetime_the_session_ends_with_the_connection() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("a", options(Q1))], "0x01");
    client.vanishes();
    let mut publisher = node.connect("p");
    publisher.sends(Packet::Publish(publish(1, Q1, "a", "x")));
    publisher.gets("PUBACK 1 0x10");
    node.start_connect(lasting("c", 0)).gets("CONNACK 0x00");
}

/// Clean session 0 of 3.1.1 names no lifetime: it gets the longest one.
#[test]
fn the_old_protocol_gets_the_limit() {
    let max_session_expiry = std::time::Duration::from_secs(50);
    let node = Node::with(Limits { max_session_expiry, ..Limits::default() });
    let old = |clean_start| Connect { version: V311, clean_start, ..connect("c") };
    node.connect_with(old(false)).disconnects();
    node.after_secs(49);
    let mut client = node.start_connect(old(false));
    client.gets("CONNACK 0x00 present");
    client.disconnects();
    node.after_secs(51);
    node.start_connect(old(false)).gets("CONNACK 0x00");
}

#[test]
fn disconnect_may_change_the_lifetime() {
    let node = Node::start();
    node.connect_with(lasting("c", 100)).disconnects_with(ReasonCode::Success, Some(10));
    node.after_secs(11);
    let mut client = node.start_connect(lasting("c", 10));
    client.gets("CONNACK 0x00");
    client.disconnects_with(ReasonCode::Success, Some(100));
    node.after_secs(99);
    let mut client = node.start_connect(lasting("c", 10));
    client.gets("CONNACK 0x00 present");
    client.disconnects_with(ReasonCode::Success, Some(0));
    node.start_connect(lasting("c", 10)).gets("CONNACK 0x00");
}

#[test]
fn disconnect_must_not_give_a_lifetime_to_a_session_that_had_none() {
    let node = Node::start();
    let mut client = node.connect("c");
    let set = rumormq::codec::packet::PropertySet {
        session_expiry_interval_secs: Some(10),
        ..rumormq::codec::packet::PropertySet::EMPTY
    };
    let reason = ReasonCode::Success;
    client.sends(Packet::Disconnect(rumormq::codec::packet::Disconnect { reason, properties: set.into() }));
    client.gets("DISCONNECT 0x82");
    client.is_closed();
}

/// [MQTT-4.4.0-1], [MQTT-4.5.0-1].
#[test]
fn what_was_in_flight_and_what_came_meanwhile_is_delivered() {
    let node = Node::start();
    let mut client = node.connect_with(lasting("c", 100));
    client.subscribes(&[("#", options(Q2))], "0x02");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q1, "a", "1"));
    publisher.publishes(publish(1, Q2, "a", "2"));
    publisher.publishes(publish(1, Q2, "a", "3"));
    client.gets("PUBLISH 1 q1 a 1");
    client.gets("PUBLISH 2 q2 a 2");
    client.gets("PUBLISH 3 q2 a 3");
    client.sends(Packet::PubRec(ack(3)));
    client.gets("PUBREL 3");
    client.vanishes();
    publisher.publishes(publish(1, Q0, "a", "lost"));
    publisher.publishes(publish(1, Q1, "a", "4"));
    let mut client = node.start_connect(lasting("c", 100));
    client.gets("CONNACK 0x00 present");
    client.gets("PUBREL 3");
    client.gets("PUBLISH 1 q1 a 1 dup");
    client.gets("PUBLISH 2 q2 a 2 dup");
    client.gets("PUBLISH 4 q1 a 4");
    client.sends(Packet::PubComp(ack(3)));
    client.sends(Packet::PubAck(ack(1)));
    client.sends(Packet::PubAck(ack(4)));
    client.sends(Packet::PubRec(ack(2)));
    client.gets("PUBREL 2");
    client.sends(Packet::PubComp(ack(2)));
    client.waits();
    client.vanishes();
    let mut client = node.start_connect(lasting("c", 100));
    client.gets("CONNACK 0x00 present");
    client.waits();
}

/// The oldest stay, the newest are dropped, and the counter says so.
#[test]
fn an_absent_client_has_a_bounded_queue() {
    let session = std::sync::Arc::new(SessionLimits { max_queued_messages: 3, ..SessionLimits::default() });
    let node = Node::with(Limits { session, ..Limits::default() });
    let mut client = node.connect_with(lasting("c", 100));
    client.subscribes(&[("#", options(Q1))], "0x01");
    client.vanishes();
    let mut publisher = node.connect("p");
    for n in 1..=5 {
        publisher.publishes(publish(1, Q1, "a", &n.to_string()));
    }
    let dropped = node.broker.metrics.messages_dropped.with_label_values(&["queue_full"]);
    publisher.waits();
    node.awaits("two dropped messages", || dropped.get() == 2);
    let mut client = node.connect_with(lasting("c", 100));
    for n in 1..=3 {
        client.gets(&format!("PUBLISH {n} q1 a {n}"));
    }
    client.waits();
}

#[test]
fn an_expired_session_leaves_no_subscription() {
    let node = Node::start();
    let mut client = node.connect_with(lasting("c", 10));
    client.subscribes(&[("a", options(Q1)), ("b/#", options(Q1))], "0x01 0x01");
    client.vanishes();
    let mut publisher = node.connect("p");
    publisher.sends(Packet::Publish(publish(1, Q1, "b/1", "x")));
    publisher.gets("PUBACK 1");
    node.after_secs(11);
    publisher.sends(Packet::Publish(publish(1, Q1, "b/1", "x")));
    publisher.gets("PUBACK 1 0x10");
}
