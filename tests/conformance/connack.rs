//! CONNACK (3.2).

use rumormq::broker::Limits;
use rumormq::codec::packet::{Connect, Packet, PropertySet, Publish};

use crate::support::client::{Client, Q0, Q1, Q2, V311, V500, options, publish};
use crate::support::node::Node;
use crate::{BOTH, passing, staying};

/// The second and third byte of the body: flags and code.
fn flags_and_code(mut client: Client) -> [u8; 2] {
    let frame = client.frame().expect("CONNACK");
    let &[0x20, _, flags, code, ..] = frame.bytes() else { panic!("not a CONNACK: {:x?}", frame.bytes()) };
    client.vanishes();
    [flags, code]
}

/// [MQTT-3.2.2-1] to [MQTT-3.2.2-3] and [MQTT-3.2.2-6] of 5.0, [MQTT-3.2.2-1] to [MQTT-3.2.2-4] of 3.1.1.
#[test]
fn session_present_is_the_only_flag() {
    let node = Node::with(Limits { max_client_id_len: 9, ..Limits::default() });
    for version in BOTH {
        let answer = |connect| flags_and_code(node.start_connect(connect));
        let id = if version == V311 { "old" } else { "new" };
        assert_eq!(answer(passing(version, id)), [0, 0]);
        assert_eq!(answer(staying(version, id)), [0, 0]);
        assert_eq!(answer(staying(version, id)), [1, 0]);
        assert_eq!(answer(Connect { clean_start: true, ..staying(version, id) }), [0, 0]);
        assert_eq!(answer(staying(version, id)), [u8::from(version == V500), 0]);
        let refused = if version == V311 { 2 } else { 0x85 };
        assert_eq!(answer(staying(version, "0123456789")), [0, refused]);
    }
    // The session is there; the one who asks for it is not accepted.
    let set = PropertySet { authentication_method: Some("none such"), ..PropertySet::EMPTY };
    let asks = Connect { properties: set.into(), ..staying(V500, "new") };
    assert_eq!(flags_and_code(node.start_connect(asks)), [0, 0x8c]);
}

/// [MQTT-3.2.0-1], [MQTT-3.2.0-2]: before the retained and the waiting messages, and once.
#[test]
fn connack_comes_first_and_once() {
    for version in BOTH {
        let node = Node::start();
        let mut client = node.connect_with(staying(version, "c"));
        client.subscribes(&[("a/#", options(Q1))], "0x01");
        client.vanishes();
        let mut publisher = node.connect("p");
        for n in 0..20 {
            publisher.publishes(Publish { retain: true, ..publish(1, Q1, &format!("a/{n}"), "x") });
        }
        let mut client = node.start_connect(staying(version, "c"));
        client.gets("CONNACK 0x00 present");
        client.sends(Packet::Subscribe(crate::support::client::subscribe(1, &[("a/+", options(Q0))])));
        let mut messages = 0;
        while messages < 40 {
            match client.frame().expect("open").packet() {
                Packet::Publish(_) => messages += 1,
                Packet::SubAck(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        client.waits();
        client.disconnects();
        node.start_connect(passing(version, "c")).gets("CONNACK 0x00");
    }
}

/// [MQTT-3.2.2-9], [MQTT-3.2.2-10], [MQTT-3.2.2-12], [MQTT-3.2.2-13]: there is no QoS and no retained message that is not
/// supported, so none of the properties that say so.
#[test]
fn nothing_is_said_to_be_missing_that_is_there() {
    let node = Node::start();
    let mut client = node.start_connect(passing(V500, "c"));
    let frame = client.frame().expect("CONNACK");
    let Packet::ConnAck(connack) = frame.packet() else { panic!("not a CONNACK") };
    let set = &connack.properties;
    assert_eq!(set.maximum_qos, None);
    assert!(set.retain_available != Some(false));
    assert!(set.wildcard_subscription_available != Some(false));
    assert!(set.subscription_identifiers_available != Some(false));
    client.subscribes(&[("a", options(Q0)), ("b", options(Q1)), ("c/#", options(Q2))], "0x00 0x01 0x02");
}

/// [MQTT-3.1.2-28], [MQTT-4.12.0-6]: nor is anything said that answers a question which was not put.
#[test]
fn nothing_is_answered_that_was_not_asked() {
    let node = Node::start();
    for asked in [None, Some(false)] {
        let set = PropertySet { request_response_information: asked, ..PropertySet::EMPTY };
        let mut client = node.start_connect(Connect { properties: set.into(), ..passing(V500, "c") });
        let frame = client.frame().expect("CONNACK");
        let Packet::ConnAck(connack) = frame.packet() else { panic!("not a CONNACK") };
        let set = &connack.properties;
        assert_eq!(set.response_information, None);
        assert_eq!((set.authentication_method, set.authentication_data), (None, None));
        assert_eq!((set.reason_string, set.server_reference), (None, None));
        client.waits();
    }
}

/// [MQTT-3.2.2-7] of 5.0, [MQTT-3.2.2-5] of 3.1.1.
#[test]
fn a_refusal_ends_the_connection() {
    let node = Node::with(Limits { max_client_id_len: 9, ..Limits::default() });
    for version in BOTH {
        let mut client = node.start_connect(passing(version, "0123456789"));
        client.gets("CONNACK 0x85");
        let _ = client.try_sends(Packet::PingReq);
        client.is_closed();
    }
}

/// [MQTT-3.2.2-6] of 3.1.1: it has no word for a packet that is too large, say; then it is closed without one.
#[test]
fn what_no_return_code_says_is_said_by_closing() {
    let node = Node::start();
    let mut client = Client::open(node.address, V311);
    // A will QoS of 3.
    client.sends_bytes(b"\x10\x13\x00\x04MQTT\x04\x1e\x00\x00\x00\x01c\x00\x01w\x00\x01x");
    client.is_closed();
}
