//! CONNECT and what may go wrong before and with it.

use std::time::{Duration, Instant};

use rumormq::broker::Limits;
use rumormq::codec::packet::{Connect, Packet, Properties, PropertySet, ReasonCode, Will};
use rumormq::topic::Topic;

use crate::support::client::{
    Client, Q0, Q1, V310, V311, V500, connect, lasting, options, publish, subscribe,
};
use crate::support::node::Node;

#[test]
fn every_version_is_welcome() {
    let node = Node::start();
    for version in [V310, V311, V500] {
        let mut client = node.start_connect(Connect { version, ..connect("c") });
        client.gets("CONNACK 0x00");
        client.waits();
        client.disconnects();
    }
}

#[test]
fn connack_announces_the_limits() {
    let node = Node::with(Limits { max_packet_size: 1000, topic_alias_maximum: 7, ..Limits::default() });
    let mut client = node.start_connect(connect("c"));
    let frame = client.frame().expect("CONNACK");
    let Packet::ConnAck(connack) = frame.packet() else { panic!("not a CONNACK") };
    assert_eq!(connack.properties.maximum_packet_size.map(u32::from), Some(1000));
    assert_eq!(connack.properties.topic_alias_maximum, Some(7));
    assert!(connack.properties.receive_maximum.is_some());
    assert_eq!(connack.properties.assigned_client_identifier, None);
    assert_eq!(connack.properties.session_expiry_interval_secs, None);
}

#[test]
fn a_lifetime_above_the_limit_is_lowered_and_told() {
    let node = Node::with(Limits { max_session_expiry: Duration::from_secs(100), ..Limits::default() });
    node.start_connect(lasting("a", 99)).gets("CONNACK 0x00");
    node.start_connect(lasting("b", 101)).gets("CONNACK 0x00 expiry=100");
    node.start_connect(lasting("c", u32::MAX)).gets("CONNACK 0x00 expiry=100");
}

/// [MQTT-3.2.2-16].
#[test]
fn a_client_without_identifier_is_assigned_one() {
    let node = Node::start();
    let assigned = || {
        let mut client = node.start_connect(connect(""));
        let frame = client.frame().expect("CONNACK");
        let Packet::ConnAck(connack) = frame.packet() else { panic!("not a CONNACK") };
        let id = connack.properties.assigned_client_identifier.expect("an identifier").to_owned();
        (client, id)
    };
    let ((mut first, first_id), (_second, second_id)) = (assigned(), assigned());
    assert_ne!(first_id, second_id);
    // It is an identifier like any other.
    let _third = node.connect(&first_id);
    first.gets("DISCONNECT 0x8e");
    first.is_closed();
}

/// [MQTT-3.1.3-7], [MQTT-3.1.3-8] of 3.1.1.
#[test]
fn the_old_protocol_wants_a_clean_session_without_identifier() {
    let node = Node::start();
    node.start_connect(Connect { version: V311, ..connect("") }).gets("CONNACK 0x00");
    let mut refused = node.start_connect(Connect { version: V311, clean_start: false, ..connect("") });
    refused.gets("CONNACK 0x85");
    refused.is_closed();
}

#[test]
fn an_identifier_has_a_limit() {
    let node = Node::with(Limits { max_client_id_len: 10, ..Limits::default() });
    node.start_connect(connect("0123456789")).gets("CONNACK 0x00");
    let mut refused = node.start_connect(connect("0123456789a"));
    refused.gets("CONNACK 0x85");
    refused.is_closed();
}

/// [MQTT-3.1.2-4], [MQTT-3.1.2-5], [MQTT-3.1.2-6], [MQTT-3.2.2-2], [MQTT-3.2.2-3].
#[test]
fn session_present_says_whether_the_session_goes_on() {
    let node = Node::start();
    let attempt = |connect, answer: &str| {
        let mut client = node.start_connect(connect);
        client.gets(answer);
        client.disconnects();
    };
    attempt(lasting("c", 100), "CONNACK 0x00");
    attempt(lasting("c", 100), "CONNACK 0x00 present");
    attempt(Connect { clean_start: true, ..lasting("c", 100) }, "CONNACK 0x00");
    attempt(lasting("c", 0), "CONNACK 0x00 present");
    attempt(lasting("c", 100), "CONNACK 0x00");
    let old = |clean_start| Connect { version: V311, clean_start, ..connect("old") };
    attempt(old(false), "CONNACK 0x00");
    attempt(old(false), "CONNACK 0x00 present");
    attempt(old(true), "CONNACK 0x00");
    attempt(old(false), "CONNACK 0x00");
}

/// [MQTT-3.1.4-3].
#[test]
fn a_second_connection_takes_over_and_the_first_is_told() {
    let node = Node::start();
    let mut first = node.connect_with(lasting("c", 100));
    first.subscribes(&[("a", options(Q1))], "0x01");
    let mut second = node.start_connect(lasting("c", 100));
    second.gets("CONNACK 0x00 present");
    first.gets("DISCONNECT 0x8e");
    first.is_closed();
    node.connect("p").publishes(publish(1, Q1, "a", "still subscribed"));
    second.gets("PUBLISH 1 q1 a still subscribed");
    // A clean one gets nothing of the session.
    let mut third = node.start_connect(connect("c"));
    third.gets("CONNACK 0x00");
    second.gets("DISCONNECT 0x8e");
    second.is_closed();
    node.connect("p").publishes(publish(1, Q1, "a", "for nobody"));
    third.waits();
}

/// A session without an expiry lasts as long as its connection, so the one that ends that connection cannot have it
/// [MQTT-3.1.2-6 of 3.1.1].
#[test]
fn a_session_without_an_expiry_is_not_taken_over() {
    let node = Node::start();
    let mut first = node.connect_with(Connect { clean_start: false, ..connect("c") });
    first.subscribes(&[("a", options(Q1))], "0x01");
    let mut second = node.start_connect(lasting("c", 100));
    second.gets("CONNACK 0x00");
    first.gets("DISCONNECT 0x8e");
    node.connect("p").publishes(publish(1, Q1, "a", "for nobody"));
    second.waits();
}

#[test]
fn the_old_protocol_learns_of_a_takeover_by_the_end() {
    let node = Node::start();
    let mut first = node.connect_v311("c");
    let mut second = node.connect("c");
    first.is_closed();
    second.waits();
}

/// Whatever the order in which their tasks run, of many connections with one identifier the broker keeps one, and
/// nothing is left of the others.
#[test]
fn a_race_for_one_identifier_has_one_winner_and_leaves_nothing() {
    let node = Node::start();
    std::thread::scope(|scope| {
        for racer in 0..4u32 {
            let node = &node;
            scope.spawn(move || {
                for round in 0..60u32 {
                    let clean_start = (racer + round) % 3 == 0;
                    let expiry_secs = (racer + round) % 2;
                    let connect = Connect { clean_start, ..lasting("c", expiry_secs) };
                    let mut client = Client::start(node.address, connect);
                    let _ = client.try_sends(Packet::Subscribe(subscribe(1, &[("race/+", options(Q1))])));
                    if round % 4 == 0 {
                        client.frame();
                    }
                    client.vanishes();
                }
            });
        }
    });
    let mut last = node.connect_with(lasting("c", 0));
    last.subscribes(&[("race/+", options(Q1))], "0x01");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q1, "race/1", "once"));
    loop {
        let frame = last.frame().expect("a message");
        if matches!(frame.packet(), Packet::Publish(publish) if publish.payload == b"once") {
            break;
        }
    }
    last.waits();
    last.disconnects();
    node.after_secs(2);
    publisher.sends(Packet::Publish(publish(2, Q1, "race/1", "for nobody")));
    publisher.gets("PUBACK 2 0x10");
    node.awaits("one connection left", || node.broker.metrics.connections.get() == 1);
}

/// [MQTT-3.1.2-22].
#[test]
fn silence_beyond_the_keep_alive_ends_the_connection() {
    let node = Node::start();
    let keep_alive_secs = 1;
    let begin = Instant::now();
    let mut silent = node.connect_with(Connect { keep_alive_secs, ..connect("silent") });
    let mut old = node.connect_with(Connect { keep_alive_secs, version: V311, ..connect("old") });
    let mut listener = node.connect_with(Connect { keep_alive_secs, ..connect("listener") });
    listener.subscribes(&[("a", options(Q0))], "0x00");
    let mut unbound = node.connect("unbound");
    // What it gets is no sign of life of its own.
    let mut publisher = node.connect("publisher");
    while begin.elapsed() < Duration::from_millis(1200) {
        publisher.publishes(publish(1, Q0, "a", "x"));
        listener.gets("PUBLISH q0 a x");
    }
    silent.gets("DISCONNECT 0x8d");
    silent.is_closed();
    assert!(begin.elapsed() >= Duration::from_millis(1500), "after {:?}", begin.elapsed());
    old.is_closed();
    listener.gets("DISCONNECT 0x8d");
    listener.is_closed();
    assert!(begin.elapsed() < Duration::from_secs(6), "after {:?}", begin.elapsed());
    unbound.waits();
}

#[test]
fn signs_of_life_keep_a_connection() {
    let node = Node::start();
    let begin = Instant::now();
    let mut client = node.connect_with(Connect { keep_alive_secs: 1, ..connect("c") });
    while begin.elapsed() < Duration::from_millis(2000) {
        client.waits();
        std::thread::sleep(Duration::from_millis(50));
    }
    client.waits();
}

/// [MQTT-3.1.2-1]: who does not speak MQTT is not told anything.
#[test]
fn another_protocol_name_is_not_answered() {
    let node = Node::start();
    let mut client = Client::open(node.address, V500);
    client.sends_bytes(b"\x10\x0e\x00\x04mqtt\x05\x02\x00\x00\x00\x00\x01c");
    client.is_closed();
    let mut client = Client::open(node.address, V500);
    client.sends_bytes(b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n");
    client.is_closed();
}

/// [MQTT-3.1.2-2].
#[test]
fn a_level_that_is_not_spoken_here_is_told_so() {
    let node = Node::start();
    let mut newer = Client::open(node.address, V500);
    newer.sends_bytes(b"\x10\x0e\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x01c");
    newer.gets("CONNACK 0x84");
    newer.is_closed();
    let mut older = Client::open(node.address, V311);
    older.sends_bytes(b"\x10\x0d\x00\x04MQTT\x03\x02\x00\x00\x00\x01c");
    older.gets("CONNACK 0x84");
    older.is_closed();
}

/// [MQTT-3.1.2-3].
#[test]
fn the_reserved_flag_is_checked() {
    let node = Node::start();
    let mut client = Client::open(node.address, V500);
    client.sends_bytes(b"\x10\x0e\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01c");
    client.gets("CONNACK 0x81");
    client.is_closed();
    let mut client = Client::open(node.address, V311);
    client.sends_bytes(b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01c");
    client.is_closed();
}

/// [MQTT-3.1.0-2].
#[test]
fn a_second_connect_is_a_protocol_error() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.sends(Packet::Connect(Box::new(connect("c"))));
    client.gets("DISCONNECT 0x82");
    client.is_closed();
    let mut old = node.connect_v311("c");
    old.sends(Packet::Connect(Box::new(Connect { version: V311, ..connect("c") })));
    old.is_closed();
}

/// [MQTT-3.1.0-1], [MQTT-3.14.0-1]: no DISCONNECT either.
#[test]
fn anything_before_connect_ends_the_connection() {
    let node = Node::start();
    let first_words = [
        Packet::PingReq,
        Packet::Publish(publish(1, Q1, "a", "x")),
        Packet::Subscribe(subscribe(1, &[("a", options(Q0))])),
    ];
    for packet in first_words {
        let mut client = Client::open(node.address, V500);
        client.sends(packet);
        client.is_closed();
    }
}

#[test]
fn who_does_not_connect_in_time_is_closed() {
    let connect_timeout = Duration::from_millis(300);
    let node = Node::with(Limits { connect_timeout, ..Limits::default() });
    let begin = Instant::now();
    let mut silent = Client::open(node.address, V500);
    let mut dawdler = Client::open(node.address, V500);
    // A CONNECT that comes byte by byte is no excuse.
    for byte in b"\x10\x0e\x00\x04MQTT" {
        dawdler.sends_bytes(&[*byte]);
        std::thread::sleep(Duration::from_millis(10));
    }
    silent.is_closed();
    dawdler.is_closed();
    assert!(
        (connect_timeout..20 * connect_timeout).contains(&begin.elapsed()),
        "after {:?}",
        begin.elapsed()
    );
}

#[test]
fn what_follows_connect_at_once_is_handled_after_it() {
    let node = Node::start();
    let mut client = node.start_connect(connect("c"));
    client.sends(Packet::Subscribe(subscribe(1, &[("a", options(Q1))])));
    client.sends(Packet::Publish(publish(5, Q1, "a", "x")));
    client.gets("CONNACK 0x00");
    client.gets("SUBACK 1 0x01");
    client.gets_all_of(&["PUBLISH 1 q1 a x", "PUBACK 5"]);
}

/// [MQTT-3.1.4-6].
#[test]
fn nothing_behind_a_refused_connect_is_handled() {
    let node = Node::with(Limits { max_client_id_len: 3, ..Limits::default() });
    let mut listener = node.connect("l");
    listener.subscribes(&[("#", options(Q0))], "0x00");
    let mut refused = node.start_connect(connect("long"));
    let _ = refused.try_sends(Packet::Publish(publish(1, Q0, "a", "x")));
    refused.gets("CONNACK 0x85");
    refused.is_closed();
    listener.waits();
}

/// [MQTT-4.12.0-1].
#[test]
fn an_authentication_method_is_refused() {
    let node = Node::start();
    let properties = PropertySet { authentication_method: Some("SCRAM-SHA-256"), ..PropertySet::EMPTY };
    let mut client = node.start_connect(Connect { properties: properties.into(), ..connect("c") });
    client.gets("CONNACK 0x8c");
    client.is_closed();
}

/// Sockets count, not clients: who has not said CONNECT yet takes a place, too.
#[test]
fn a_full_broker_says_so() {
    let node = Node::with(Limits { max_connections: 2, ..Limits::default() });
    let first = node.connect("a");
    let mut silent = Client::open(node.address, V500);
    silent.sends_bytes(b"\x10");
    for version in [V500, V311] {
        let mut refused = node.start_connect(Connect { version, ..connect("b") });
        refused.gets(if version == V500 { "CONNACK 0x89" } else { "CONNACK 0x88" });
        refused.is_closed();
    }
    assert_eq!(node.broker.metrics.connects.with_label_values(&["full"]).get(), 2);
    first.disconnects();
    let is_accepted = || {
        let mut client = node.start_connect(connect("b"));
        let answer = client.frame().expect("CONNACK");
        matches!(answer.packet(), Packet::ConnAck(connack) if connack.reason == ReasonCode::Success)
    };
    node.awaits("a place", is_accepted);
}

/// What a client may send before it is known is less than afterwards.
#[test]
fn a_connect_is_bounded() {
    let node = Node::with(Limits { max_connect_size: 2000, ..Limits::default() });
    let will = vec![b'x'; 3000];
    let will = Will {
        topic: Topic::new("t").expect("a topic"),
        payload: &will,
        qos: Q0,
        retain: false,
        properties: Properties::NONE,
    };
    let mut large = node.start_connect(Connect { will: Some(will), ..connect("c") });
    large.gets("CONNACK 0x95");
    large.is_closed();
    let mut client = node.connect("c");
    client.publishes(publish(1, Q1, "t", &"x".repeat(5000)));
}

/// Clients that begin a CONNECT and do not end it share what they may hold, and give it back.
#[test]
fn unfinished_connects_share_their_memory() {
    let limits = Limits { max_connecting_bytes: 64 << 10, ..Limits::default() };
    let node = Node::with(limits);
    // A CONNECT of 100,000 bytes, of which 50,000 come.
    let mut begun = b"\x10\xa0\x8d\x06\x00\x04MQTT\x05\x02\x00\x00".to_vec();
    begun.resize(50_000, 0);
    let begin = || {
        let mut client = Client::open(node.address, V500);
        client.sends_bytes(&begun);
        client
    };
    let first = begin();
    let held = || node.broker.connecting.held();
    node.awaits("the first to be read", || held() >= 50_000);
    begin().is_closed();
    assert!(held() <= 64 << 10);
    node.connect("small").waits();
    drop(first);
    node.awaits("the memory of the first", || held() == 0);
    let _third = begin();
    node.awaits("the third to be read", || held() >= 50_000);
}

/// [MQTT-3.1.2-22]: bytes are no packets.
#[test]
fn a_packet_that_dribbles_is_no_sign_of_life() {
    let node = Node::start();
    let begin = Instant::now();
    let mut client = node.connect_with(Connect { keep_alive_secs: 1, ..connect("c") });
    client.sends_bytes(b"\x30\x7f");
    client.stream().set_nonblocking(true).expect("a socket");
    let mut byte = [0; 16];
    while let Err(error) = std::io::Read::read(&mut client.stream(), &mut byte) {
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        assert!(begin.elapsed() < Duration::from_secs(6), "kept alive");
        let _ = std::io::Write::write(&mut client.stream(), b"x");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(byte[..3], [0xE0, 1, 0x8D], "DISCONNECT");
    assert!(begin.elapsed() >= Duration::from_millis(1500));
}

/// [MQTT-3.1.2-24] leaves no way to say yes, so the answer is no.
#[test]
fn a_client_that_cannot_take_a_connack_is_not_connected() {
    let node = Node::start();
    let properties = PropertySet { maximum_packet_size: std::num::NonZeroU32::new(8), ..PropertySet::EMPTY };
    let mut client = node.start_connect(Connect { properties: properties.into(), ..connect("c") });
    client.gets("CONNACK 0x95");
    client.is_closed();
    assert_eq!(node.broker.metrics.connections.get(), 0);
}

#[test]
fn connections_are_counted() {
    let node = Node::start();
    let connections = || node.broker.metrics.connections.get();
    let a = node.connect("a");
    let b = node.connect("b");
    assert_eq!(connections(), 2);
    let mut refused = node.start_connect(Connect { version: V311, clean_start: false, ..connect("") });
    refused.gets("CONNACK 0x85");
    let _a_again = node.connect("a");
    drop(a);
    b.disconnects_with(ReasonCode::DisconnectWithWill, None);
    node.awaits("one connection left", || connections() == 1);
}
