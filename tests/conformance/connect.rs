//! CONNECT (3.1) and the session it opens.

use rumormq::codec::packet::{Connect, Packet, Publish};

use crate::support::client::{Client, Q0, Q1, Q2, V310, V311, V500, ack, options, publish};
use crate::support::node::Node;
use crate::{BOTH, passing, staying};

/// [MQTT-3.1.3-5].
#[test]
fn identifiers_of_23_letters_and_digits_are_welcome() {
    let node = Node::start();
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in [V310, V311, V500] {
        for id in [&all[..23], &all[23..46], &all[39..], "a", "Z", "0"] {
            node.connect_with(passing(version, id)).waits();
        }
    }
}

/// A CONNECT of this version with these flags and this payload.
fn connect_bytes(level: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT".to_vec();
    body.extend([level, flags, 0, 0]);
    body.extend((level == 5).then_some(0));
    body.extend(payload);
    let mut packet = vec![0x10, u8::try_from(body.len()).expect("a short packet")];
    packet.extend(body);
    packet
}

/// Flags and payload of CONNECTs that break their format, and what 5.0 is told. Will properties stand as `%`.
const MALFORMED: &[(&str, u8, &[u8], &str)] = &[
    ("a reserved flag", 0x03, b"\x00\x01c", "0x81"),
    ("no client identifier", 0x02, b"", "0x81"),
    ("a client identifier cut short", 0x02, b"\x00\x09c", "0x81"),
    ("a client identifier that is no text", 0x02, b"\x00\x01\xff", "0x81"),
    ("a client identifier with U+0000", 0x02, b"\x00\x01\x00", "0x81"),
    ("will QoS without a will", 0x0a, b"\x00\x01c", "0x81"),
    ("will retain without a will", 0x22, b"\x00\x01c", "0x81"),
    ("will QoS 3", 0x1e, b"\x00\x01c%\x00\x01w\x00\x01x", "0x81"),
    ("a will without anything", 0x06, b"\x00\x01c", "0x81"),
    ("a will without a payload", 0x06, b"\x00\x01c%\x00\x01w", "0x81"),
    ("a will without its flag", 0x02, b"\x00\x01c%\x00\x01w\x00\x01x", "0x81"),
    ("a will topic that is no text", 0x06, b"\x00\x01c%\x00\x01\xff\x00\x01x", "0x81"),
    ("a will topic with a wildcard", 0x06, b"\x00\x01c%\x00\x01+\x00\x01x", "0x90"),
    ("a user name that is missing", 0x82, b"\x00\x01c", "0x81"),
    ("a user name that was not announced", 0x02, b"\x00\x01c\x00\x01u", "0x81"),
    ("a user name that is no text", 0x82, b"\x00\x01c\x00\x01\xff", "0x81"),
    ("a password that is missing", 0xc2, b"\x00\x01c\x00\x01u", "0x81"),
    ("a password that was not announced", 0x82, b"\x00\x01c\x00\x01u\x00\x01p", "0x81"),
];

/// [MQTT-3.1.4-1] and what it stands for; 3.1.1 is not told, just closed.
#[test]
fn a_connect_that_breaks_its_format_ends_the_connection() {
    let node = Node::start();
    for &(offence, flags, payload, reason) in MALFORMED {
        for level in [4, 5] {
            println!("{offence}, level {level}");
            let payload: Vec<u8> = payload
                .iter()
                .filter(|&&byte| byte != b'%' || level == 5)
                .map(|&byte| if byte == b'%' { 0 } else { byte })
                .collect();
            let mut client = Client::open(node.address, if level == 5 { V500 } else { V311 });
            client.sends_bytes(&connect_bytes(level, flags, &payload));
            if level == 5 {
                client.gets(&format!("CONNACK {reason}"));
            }
            client.is_closed();
        }
    }
    assert_eq!(node.broker.metrics.connections.get(), 0);
}

/// [MQTT-3.1.2-22] of 3.1.1; 5.0 has a use for a password alone.
#[test]
fn the_old_protocol_wants_a_user_name_with_a_password() {
    let node = Node::start();
    let mut client = Client::open(node.address, V311);
    client.sends_bytes(&connect_bytes(4, 0x42, b"\x00\x01c\x00\x01p"));
    client.is_closed();
    let mut client = Client::open(node.address, V500);
    client.sends_bytes(&connect_bytes(5, 0x42, b"\x00\x01c\x00\x01p"));
    client.gets("CONNACK 0x00");
}

/// A session with all that one can have: a subscription, messages in flight and waiting, an identifier not released.
fn full_session(node: &Node, connect: Connect<'_>) {
    let mut client = node.connect_with(connect);
    client.subscribes(&[("to/c", options(Q2))], "0x02");
    client.sends(Packet::Publish(publish(7, Q2, "from/c", "first")));
    client.gets("PUBREC 7");
    let mut publisher = node.connect("p");
    for (qos, payload) in [(Q1, "1"), (Q2, "2"), (Q2, "3")] {
        publisher.publishes(publish(9, qos, "to/c", payload));
    }
    client.gets("PUBLISH 1 q1 to/c 1");
    client.gets("PUBLISH 2 q2 to/c 2");
    client.gets("PUBLISH 3 q2 to/c 3");
    client.sends(Packet::PubRec(ack(2)));
    client.gets("PUBREL 2");
    client.vanishes();
    publisher.publishes(publish(9, Q1, "to/c", "4"));
    publisher.publishes(publish(9, Q2, "to/c", "5"));
}

fn listener(node: &Node) -> Client {
    let mut listener = node.connect("listener");
    listener.subscribes(&[("from/c", options(Q1))], "0x01");
    listener
}

/// [MQTT-3.1.2-5] of 5.0; [MQTT-3.1.2-4], [MQTT-3.1.2-5] of 3.1.1.
#[test]
fn a_session_goes_on_where_it_stopped() {
    for version in BOTH {
        let node = Node::start();
        let mut listener = listener(&node);
        full_session(&node, staying(version, "c"));
        listener.gets("PUBLISH 1 q1 from/c first");
        let mut client = node.start_connect(staying(version, "c"));
        client.gets("CONNACK 0x00 present");
        client.gets("PUBREL 2");
        client.gets("PUBLISH 1 q1 to/c 1 dup");
        client.gets("PUBLISH 3 q2 to/c 3 dup");
        client.gets("PUBLISH 4 q1 to/c 4");
        client.gets("PUBLISH 5 q2 to/c 5");
        client.sends(Packet::Publish(Publish { dup: true, ..publish(7, Q2, "from/c", "first") }));
        client.gets("PUBREC 7");
        client.sends(Packet::PubRel(ack(7)));
        client.gets("PUBCOMP 7");
        node.connect("q").publishes(publish(1, Q1, "to/c", "6"));
        client.gets("PUBLISH 6 q1 to/c 6");
        listener.waits();
    }
}

/// [MQTT-3.1.2-4] of 5.0, [MQTT-3.1.2-6] of 3.1.1.
#[test]
fn a_clean_start_leaves_nothing_of_the_former_session() {
    for version in BOTH {
        let node = Node::start();
        let mut listener = listener(&node);
        full_session(&node, staying(version, "c"));
        listener.gets("PUBLISH 1 q1 from/c first");
        let mut client = node.start_connect(Connect { clean_start: true, ..staying(version, "c") });
        client.gets("CONNACK 0x00");
        client.waits();
        let mut publisher = node.connect("q");
        publisher.sends(Packet::Publish(publish(1, Q1, "to/c", "for nobody")));
        publisher.gets("PUBACK 1 0x10");
        client.sends(Packet::Publish(publish(7, Q2, "from/c", "second")));
        client.gets("PUBREC 7");
        listener.gets("PUBLISH 2 q1 from/c second");
        client.waits();
    }
}

/// [MQTT-3.1.2-6] of 3.1.1: what a clean session leaves is nobody's, neither when it ends nor later.
#[test]
fn a_clean_session_is_never_resumed() {
    let node = Node::start();
    let mut client = node.connect_with(passing(V311, "c"));
    client.subscribes(&[("to/c", options(Q1))], "0x01");
    client.vanishes();
    node.connect("p").publishes(publish(1, Q1, "to/c", "for nobody"));
    let mut client = node.start_connect(staying(V311, "c"));
    client.gets("CONNACK 0x00");
    client.waits();
}

/// [MQTT-3.1.3-2]: a session is found by its identifier, to the letter, and by nothing else.
#[test]
fn sessions_are_told_apart_by_their_identifiers() {
    let node = Node::start();
    for version in BOTH {
        for id in ["session", "Session", "session ", "sessio\u{308}n"] {
            let mut client = node.start_connect(staying(version, id));
            client.gets(if version == V311 { "CONNACK 0x00" } else { "CONNACK 0x00 present" });
            client.waits();
            client.disconnects();
        }
    }
}

/// [MQTT-3.1.4-3] of 5.0, [MQTT-3.1.4-2] of 3.1.1: in any pair of versions, the one that was there goes.
#[test]
fn the_newer_connection_of_an_identifier_stays() {
    let node = Node::start();
    for former in BOTH {
        for newer in BOTH {
            let mut first = node.connect_with(passing(former, "c"));
            let mut second = node.connect_with(passing(newer, "c"));
            if former == V500 {
                first.gets("DISCONNECT 0x8e");
            }
            first.is_closed();
            second.waits();
            second.disconnects();
        }
    }
}

/// [MQTT-3.1.4-6] of 5.0, [MQTT-3.1.4-5] of 3.1.1.
#[test]
fn what_follows_a_refused_connect_is_not_handled() {
    let node = Node::start();
    let mut listener = node.connect("l");
    listener.subscribes(&[("#", options(Q0))], "0x00");
    for (version, flags, payload) in [(V311, 0x00, &b"\x00\x00"[..]), (V500, 0x03, &b"\x00\x01c"[..])] {
        let mut bytes = connect_bytes(version as u8, flags, payload);
        let message = Packet::Publish(publish(1, Q0, "a", "x"));
        rumormq::codec::encode(&message, version, u32::MAX, &mut bytes).expect("a packet");
        let mut client = Client::open(node.address, version);
        client.sends_bytes(&bytes);
        client.gets(if version == V311 { "CONNACK 0x85" } else { "CONNACK 0x81" });
        client.is_closed();
    }
    listener.waits();
}

/// [MQTT-3.1.2-23]; [MQTT-4.1.0-1] and -2 of 3.1.1: clean session 0 outlives its connection, clean session 1 does not end
/// before it.
#[test]
fn a_session_lasts_at_least_as_long_as_its_connection() {
    let node = Node::start();
    for version in BOTH {
        for connect in [passing(version, "c"), staying(version, "d")] {
            node.connect_with(connect.clone()).vanishes();
            let mut client = node.connect_with(connect);
            client.subscribes(&[("a", options(Q1))], "0x01");
            node.after_secs(100_000_000);
            node.connect("p").publishes(publish(1, Q1, "a", "x"));
            client.gets("PUBLISH 1 q1 a x");
            client.disconnects();
        }
    }
}
