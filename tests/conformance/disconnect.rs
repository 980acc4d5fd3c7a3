//! PINGREQ and DISCONNECT (3.12, 3.14), and what ends a connection (4.13).

use rumormq::broker::client::Close;
use rumormq::codec::packet::{Connect, Disconnect, Packet, Properties, ReasonCode, Will};
use rumormq::topic::Topic;

use crate::support::client::{Client, Q0, Q1, V311, V500, options, publish};
use crate::support::node::Node;
use crate::{BOTH, passing, staying};

/// [MQTT-3.12.4-1].
#[test]
fn every_ping_is_answered() {
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        client.sends_bytes(b"\xc0\x00\xc0\x00\xc0\x00");
        for _ in 0..3 {
            assert_eq!(client.frame().expect("PINGRESP").bytes(), b"\xd0\x00");
        }
    }
}

/// Ends a connection in each way in which the broker does it, and gives the last packet.
fn farewells(node: &Node) -> Vec<Vec<u8>> {
    let listening = |id| {
        let mut client = node.connect_with(staying(V500, id));
        client.subscribes(&[("a", options(Q1))], "0x01");
        client
    };
    let mut taken_over = listening("c");
    let heir = listening("c");
    let mut offender = heir;
    offender.sends_bytes(b"\x00\x00");
    let mut stopped = listening("d");
    let last = |client: &mut Client| client.frame().expect("DISCONNECT").bytes().to_vec();
    let mut farewells = vec![last(&mut taken_over), last(&mut offender)];
    node.broker.close_all(Close::ShuttingDown);
    farewells.push(last(&mut stopped));
    // [MQTT-3.14.4-1], [MQTT-3.14.4-2]
    for client in [&mut taken_over, &mut offender, &mut stopped] {
        client.is_closed();
    }
    farewells
}

/// [MQTT-3.14.2-1], [MQTT-3.14.2-2], [MQTT-3.14.4-1], [MQTT-3.14.4-2]: a reason code, no Session Expiry Interval, and then
/// nothing more.
#[test]
fn the_brokers_farewell_is_its_last_word() {
    let node = Node::start();
    assert_eq!(farewells(&node), [b"\xe0\x01\x8e", b"\xe0\x01\x81", b"\xe0\x01\x8b"]);
}

/// [MQTT-3.14.4-1] of 5.0, [MQTT-3.14.4-2] of 3.1.1: a client that goes on after DISCONNECT is not heard.
#[test]
fn nothing_behind_a_disconnect_is_handled() {
    let node = Node::start();
    let mut listener = node.connect("l");
    listener.subscribes(&[("#", options(Q0))], "0x00");
    for version in BOTH {
        let mut bytes = vec![0xe0, 0x00];
        let message = Packet::Publish(publish(1, Q1, "a", "x"));
        rumormq::codec::encode(&message, version, u32::MAX, &mut bytes).expect("a packet");
        let mut client = node.connect_with(passing(version, "c"));
        client.sends_bytes(&bytes);
        client.is_closed();
    }
    listener.waits();
}

/// [MQTT-3.14.1-1].
#[test]
fn a_disconnect_with_reserved_bits_is_no_goodbye() {
    let node = Node::start();
    let mut mourner = node.connect("m");
    mourner.subscribes(&[("will", options(Q0))], "0x00");
    let will = Will {
        topic: Topic::new("will").expect("a topic name"),
        payload: b"gone",
        qos: Q0,
        retain: false,
        properties: Properties::NONE,
    };
    for version in BOTH {
        for first in [0xe1, 0xe2, 0xe4, 0xe8] {
            let mut client = node.connect_with(Connect { will: Some(will.clone()), ..passing(version, "c") });
            client.sends_bytes(&[first, 0]);
            if version == V500 {
                client.gets("DISCONNECT 0x81");
            }
            client.is_closed();
            mourner.gets("PUBLISH q0 will gone");
        }
    }
}

/// [MQTT-4.13.1-1], [MQTT-4.13.2-1] of 5.0, [MQTT-4.8.0-1] of 3.1.1, and the statements about each packet's form: in both
/// versions, with what 5.0 is told.
#[test]
fn an_offence_ends_the_connection_in_either_version() {
    let node = Node::start();
    let offences: &[(&str, &[u8], &[u8], &str)] = &[
        ("PUBLISH with QoS 3", b"\x36\x05\x00\x01a\x00\x01", b"\x36\x06\x00\x01a\x00\x01\x00", "0x81"),
        ("PUBLISH to a wildcard", b"\x30\x03\x00\x01+", b"\x30\x04\x00\x01+\x00", "0x90"),
        ("PUBLISH to no text", b"\x30\x03\x00\x01\xff", b"\x30\x04\x00\x01\xff\x00", "0x81"),
        (
            "PUBLISH to a surrogate",
            b"\x30\x05\x00\x03\xed\xa0\x80",
            b"\x30\x06\x00\x03\xed\xa0\x80\x00",
            "0x81",
        ),
        ("PUBLISH to U+0000", b"\x30\x03\x00\x01\x00", b"\x30\x04\x00\x01\x00\x00", "0x81"),
        ("PUBLISH to nothing", b"\x30\x02\x00\x00", b"\x30\x03\x00\x00\x00", "0x82"),
        ("PUBLISH with identifier 0", b"\x32\x05\x00\x01a\x00\x00", b"\x32\x06\x00\x01a\x00\x00\x00", "0x82"),
        ("PUBREL with other flags", b"\x60\x02\x00\x01", b"\x60\x02\x00\x01", "0x81"),
        (
            "SUBSCRIBE with other flags",
            b"\x80\x06\x00\x01\x00\x01a\x00",
            b"\x80\x07\x00\x01\x00\x00\x01a\x00",
            "0x81",
        ),
        (
            "SUBSCRIBE with identifier 0",
            b"\x82\x06\x00\x00\x00\x01a\x00",
            b"\x82\x07\x00\x00\x00\x00\x01a\x00",
            "0x82",
        ),
        ("SUBSCRIBE to nothing", b"\x82\x02\x00\x01", b"\x82\x03\x00\x01\x00", "0x82"),
        (
            "SUBSCRIBE to no text",
            b"\x82\x06\x00\x01\x00\x01\xff\x00",
            b"\x82\x07\x00\x01\x00\x00\x01\xff\x00",
            "0x81",
        ),
        (
            "SUBSCRIBE with reserved bits",
            b"\x82\x06\x00\x01\x00\x01a\x80",
            b"\x82\x07\x00\x01\x00\x00\x01a\x80",
            "0x81",
        ),
        (
            "SUBSCRIBE with QoS 3",
            b"\x82\x06\x00\x01\x00\x01a\x03",
            b"\x82\x07\x00\x01\x00\x00\x01a\x03",
            "0x82",
        ),
        (
            "UNSUBSCRIBE with other flags",
            b"\xa0\x05\x00\x01\x00\x01a",
            b"\xa0\x06\x00\x01\x00\x00\x01a",
            "0x81",
        ),
        ("UNSUBSCRIBE from nothing", b"\xa2\x02\x00\x01", b"\xa2\x03\x00\x01\x00", "0x82"),
        (
            "UNSUBSCRIBE from no text",
            b"\xa2\x05\x00\x01\x00\x01\xff",
            b"\xa2\x06\x00\x01\x00\x00\x01\xff",
            "0x81",
        ),
        ("PINGREQ with flags", b"\xc4\x00", b"\xc4\x00", "0x81"),
    ];
    for (offence, old, new, reason) in offences {
        println!("{offence}");
        let mut client = node.connect_with(passing(V311, "c"));
        client.sends_bytes(old);
        client.is_closed();
        let mut client = node.connect_with(passing(V500, "c"));
        client.sends_bytes(new);
        client.gets(&format!("DISCONNECT {reason}"));
        client.is_closed();
    }
}

/// [MQTT-4.8.0-2] of 3.1.1: what cannot be handled for now ends the connection on which it came.
#[test]
fn who_cannot_be_served_is_closed() {
    let node = Node::with(rumormq::broker::Limits { max_sessions: 1, ..Default::default() });
    let _only = node.connect("only");
    let mut refused = node.start_connect(passing(V311, "c"));
    refused.gets("CONNACK 0x88");
    refused.is_closed();
    let mut refused = node.start_connect(passing(V500, "c"));
    refused.gets("CONNACK 0x97");
    refused.is_closed();
}

/// 3.14.2.1: any reason a client may give ends the connection in peace.
#[test]
fn a_client_may_say_why_it_goes() {
    let node = Node::start();
    for reason in [ReasonCode::Success, ReasonCode::DisconnectWithWill, ReasonCode::PacketTooLarge] {
        let mut client = node.connect_with(passing(V500, "c"));
        client.sends(Packet::Disconnect(Disconnect { reason, properties: Properties::NONE }));
        client.is_closed();
    }
}
