//! What clients may publish and subscribe to.

use std::sync::Arc;

use rumormq::access::AccessConfig;
use rumormq::access::acl::Acl;
use rumormq::access::password::PasswordVerifier;
use rumormq::access::password_file::PasswordFile;
use rumormq::broker::Limits;
use rumormq::codec::packet::{Connect, Packet, QoS, Will};
use rumormq::topic::Topic;

use crate::support::client::{Q0, Q1, Q2, V311, ack, connect, options, publish, subscribe};
use crate::support::node::Node;

const RULES: &str = "
topic readwrite open/#
topic deny open/closed
pattern write from/%c
pattern read to/%c/#
user alice
topic readwrite alice/#
";

fn node() -> Node {
    let acl = Some(Arc::new(Acl::parse(RULES).expect("rules")));
    Node::with_access(Limits::default(), AccessConfig { acl, ..AccessConfig::default() })
}

fn denied(node: &Node) -> u64 {
    node.broker.metrics.messages_dropped.with_label_values(&["denied"]).get()
}

#[test]
fn a_denied_publish_is_refused_and_goes_nowhere() {
    let node = node();
    let mut listener = node.connect("l");
    listener.subscribes(&[("open/+/x", options(Q0)), ("to/l/#", options(Q0))], "0x00 0x00");
    let mut client = node.connect("c");
    for _ in 0..2 {
        client.sends(Packet::Publish(publish(1, Q1, "shut", "x")));
        client.gets("PUBACK 1 0x87");
        client.sends(Packet::Publish(publish(2, Q2, "from/d", "x")));
        client.gets("PUBREC 2 0x87");
        client.sends(Packet::Publish(publish(0, Q0, "open/closed", "x")));
        client.waits();
        client.publishes(publish(3, Q1, "from/c", "x"));
    }
    client.publishes(publish(3, Q1, "open/a/x", "x"));
    listener.gets("PUBLISH q0 open/a/x x");
    listener.waits();
    assert_eq!(denied(&node), 6);
    assert_eq!(node.broker.census().retained_messages, 0);
}

/// [MQTT-3.3.5-2] of 3.1.1: it has no way to say no, and the client goes on.
#[test]
fn a_denied_publish_of_an_old_client_is_acknowledged() {
    let node = node();
    let mut client = node.connect_v311("c");
    client.sends(Packet::Publish(publish(1, Q1, "shut", "x")));
    client.gets("PUBACK 1");
    client.sends(Packet::Publish(publish(2, Q2, "shut", "x")));
    client.gets("PUBREC 2");
    client.sends(Packet::PubRel(ack(2)));
    client.gets("PUBCOMP 2");
    client.sends(Packet::Publish(publish(0, Q0, "shut", "x")));
    client.waits();
    assert_eq!(denied(&node), 3);
}

#[test]
fn a_denied_subscription_is_refused_alone() {
    let node = node();
    let filters = ["open/a", "#", "open/#", "to/c/+", "to/d/x"].map(|filter| (filter, options(Q1)));
    let mut client = node.connect("c");
    client.sends(Packet::Subscribe(subscribe(1, &filters)));
    client.gets("SUBACK 1 0x01 0x87 0x87 0x01 0x87");
    let mut old = node.connect_v311("c");
    old.sends(Packet::Subscribe(subscribe(1, &filters)));
    old.gets("SUBACK 1 0x01 0x80 0x80 0x01 0x80");
    assert_eq!(node.broker.census().subscriptions, 2);
}

/// A will is published without its client: it is asked before.
#[test]
fn a_denied_will_refuses_the_connect() {
    let node = node();
    let will = |topic| Will {
        topic: Topic::new(topic).expect("a topic"),
        payload: b"x",
        qos: QoS::AtMostOnce,
        retain: false,
        properties: Default::default(),
    };
    let mut refused = node.start_connect(Connect { will: Some(will("shut")), ..connect("c") });
    refused.gets("CONNACK 0x87");
    refused.is_closed();
    let mut old = node.start_connect(Connect { version: V311, will: Some(will("shut")), ..connect("c") });
    old.gets("CONNACK 0x87");
    old.is_closed();
    node.connect_with(Connect { will: Some(will("from/c")), ..connect("c") }).waits();
}

/// A user name is what was proved, not what is said.
#[test]
fn rules_of_a_user_are_for_who_proves_to_be_it() {
    let anybody = node();
    let named = Connect { username: Some("alice"), password: Some(b"x"), ..connect("c") };
    let mut client = anybody.connect_with(named);
    client.subscribes(&[("alice/x", options(Q0))], "0x87");
    let hash = PasswordVerifier::hash(b"secret").expect("hashed");
    let passwords = PasswordFile::parse(&format!("alice:{hash}")).expect("a password file");
    let access = AccessConfig {
        passwords: Some(Arc::new(passwords)),
        acl: Some(Arc::new(Acl::parse(RULES).expect("rules"))),
        ..AccessConfig::default()
    };
    let node = Node::with_access(Limits::default(), access);
    let named = Connect { username: Some("alice"), password: Some(b"secret"), ..connect("c") };
    let mut client = node.connect_with(named);
    client.subscribes(&[("alice/#", options(Q0)), ("open/a", options(Q0))], "0x00 0x87");
    client.sends(Packet::Publish(publish(1, Q1, "alice/x", "x")));
    client.gets_all_of(&["PUBACK 1", "PUBLISH q0 alice/x x"]);
}
