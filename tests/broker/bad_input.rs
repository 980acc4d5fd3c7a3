//! What a client may send to do harm: it is told off and closed, and nobody else notices.

use std::io::Write;

use rumormq::broker::Limits;
use rumormq::codec::packet::{Connect, Packet};

use crate::support::client::{Client, Q0, Q1, V311, V500, connect, options, publish};
use crate::support::node::Node;

/// Someone else, who must not notice anything.
struct Bystander(Client);

impl Bystander {
    fn of(node: &Node) -> Bystander {
        let mut client = node.connect("bystander");
        client.subscribes(&[("bystander", options(Q0))], "0x00");
        Bystander(client)
    }

    #[track_caller]
    fn is_well(&mut self) {
        self.0.sends(Packet::Publish(publish(1, Q0, "bystander", "well")));
        self.0.gets("PUBLISH q0 bystander well");
        self.0.waits();
    }
}

/// Bytes behind an accepted CONNECT of 5.0, and what DISCONNECT says about them.
const OFFENCES: &[(&str, &[u8], &str)] = &[
    ("packet type 0", b"\x00\x00", "0x81"),
    ("PINGREQ with flags", b"\xc1\x00", "0x81"),
    ("PINGREQ with a body", b"\xc0\x01x", "0x81"),
    ("SUBSCRIBE with other flags", b"\x80\x07\x00\x01\x00\x00\x01a\x00", "0x81"),
    ("UNSUBSCRIBE with other flags", b"\xa0\x06\x00\x01\x00\x00\x01a", "0x81"),
    ("PUBREL with other flags", b"\x60\x02\x00\x01", "0x81"),
    ("PUBACK with flags", b"\x42\x02\x00\x01", "0x81"),
    ("DISCONNECT with flags", b"\xe1\x00", "0x81"),
    ("AUTH with flags", b"\xf1\x00", "0x81"),
    ("a remaining length of five bytes", b"\x30\xff\xff\xff\xff\x01", "0x81"),
    ("a remaining length with bytes to spare", b"\xc0\x80\x00", "0x81"),
    ("PUBLISH of QoS 3", b"\x36\x06\x00\x01a\x00\x01\x00", "0x81"),
    ("PUBLISH of QoS 0 with DUP", b"\x38\x04\x00\x01a\x00", "0x81"),
    ("PUBLISH that ends in its topic", b"\x30\x03\x00\x05a", "0x81"),
    ("PUBLISH that ends before its properties", b"\x30\x03\x00\x01a", "0x81"),
    ("PUBLISH whose properties are too long", b"\x30\x05\x00\x01a\x09x", "0x81"),
    ("PUBLISH with an unknown property", b"\x30\x06\x00\x01a\x02\x7f\x00", "0x81"),
    ("PUBLISH with a property of CONNECT", b"\x30\x09\x00\x01a\x05\x11\x00\x00\x00\x01", "0x81"),
    ("PUBLISH with a property twice", b"\x30\x08\x00\x01a\x04\x01\x00\x01\x00", "0x82"),
    ("PUBLISH with a payload format 2", b"\x30\x06\x00\x01a\x02\x01\x02", "0x82"),
    ("PUBLISH without a topic", b"\x30\x03\x00\x00\x00", "0x82"),
    ("PUBLISH to a wildcard", b"\x30\x04\x00\x01#\x00", "0x90"),
    ("PUBLISH to U+0000", b"\x30\x04\x00\x01\x00\x00", "0x81"),
    ("PUBLISH to a surrogate", b"\x30\x06\x00\x03\xed\xa0\x80\x00", "0x81"),
    ("PUBLISH to bytes that are no text", b"\x30\x04\x00\x01\xff\x00", "0x81"),
    ("PUBLISH with identifier 0", b"\x32\x06\x00\x01a\x00\x00\x00", "0x82"),
    ("PUBLISH with topic alias 0", b"\x30\x07\x00\x01a\x03\x23\x00\x00", "0x94"),
    ("PUBLISH with a wildcard to respond to", b"\x30\x08\x00\x01a\x04\x08\x00\x01#", "0x90"),
    ("SUBSCRIBE without filters", b"\x82\x03\x00\x01\x00", "0x82"),
    ("SUBSCRIBE with identifier 0", b"\x82\x07\x00\x00\x00\x00\x01a\x00", "0x82"),
    ("SUBSCRIBE with QoS 3", b"\x82\x07\x00\x01\x00\x00\x01a\x03", "0x82"),
    ("SUBSCRIBE with retain handling 3", b"\x82\x07\x00\x01\x00\x00\x01a\x30", "0x82"),
    ("SUBSCRIBE with reserved options", b"\x82\x07\x00\x01\x00\x00\x01a\x40", "0x81"),
    ("SUBSCRIBE without options", b"\x82\x06\x00\x01\x00\x00\x01a", "0x81"),
    ("SUBSCRIBE with subscription identifier 0", b"\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00", "0x82"),
    (
        "SUBSCRIBE with two subscription identifiers",
        b"\x82\x0b\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00",
        "0x82",
    ),
    ("SUBSCRIBE to a share without one's own", b"\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04", "0x82"),
    ("UNSUBSCRIBE without filters", b"\xa2\x03\x00\x01\x00", "0x82"),
    ("PUBACK without identifier", b"\x40\x00", "0x81"),
    ("PUBACK with identifier 0", b"\x40\x02\x00\x00", "0x82"),
    ("PUBACK with a reason of SUBACK", b"\x40\x03\x00\x01\x01", "0x82"),
    ("DISCONNECT with a reason of CONNACK", b"\xe0\x01\x84", "0x82"),
    ("AUTH without a method agreed on", b"\xf0\x00", "0x82"),
    ("CONNACK", b"\x20\x03\x00\x00\x00", "0x82"),
    ("SUBACK", b"\x90\x04\x00\x01\x00\x00", "0x82"),
    ("UNSUBACK", b"\xb0\x04\x00\x01\x00\x00", "0x82"),
    ("PINGRESP", b"\xd0\x00", "0x82"),
];

/// [MQTT-4.13.1-1].
#[test]
fn each_offence_is_named_and_ends_the_connection() {
    let node = Node::start();
    let mut bystander = Bystander::of(&node);
    for (offence, bytes, reason) in OFFENCES {
        println!("{offence}");
        let mut client = node.connect("offender");
        client.sends_bytes(bytes);
        client.gets(&format!("DISCONNECT {reason}"));
        client.is_closed();
        bystander.is_well();
    }
}

/// 3.1.1 has no words for it, and closes.
#[test]
fn the_old_protocol_just_ends() {
    let node = Node::start();
    let mut bystander = Bystander::of(&node);
    let offences: &[(&str, &[u8])] = &[
        ("packet type 0", b"\x00\x00"),
        ("packet type 15", b"\xf0\x00"),
        ("PINGREQ with flags", b"\xc1\x00"),
        ("SUBSCRIBE with other flags", b"\x80\x06\x00\x01\x00\x01a\x00"),
        ("SUBSCRIBE with options of 5.0", b"\x82\x06\x00\x01\x00\x01a\x04"),
        ("SUBSCRIBE without filters", b"\x82\x02\x00\x01"),
        ("UNSUBSCRIBE without filters", b"\xa2\x02\x00\x01"),
        ("PUBLISH of QoS 3", b"\x36\x05\x00\x01a\x00\x01"),
        ("PUBLISH to a wildcard", b"\x30\x03\x00\x01#"),
        ("PUBLISH without a topic", b"\x30\x02\x00\x00"),
        ("PUBLISH with identifier 0", b"\x32\x05\x00\x01a\x00\x00"),
        ("PUBACK with a reason", b"\x40\x03\x00\x01\x00"),
        ("PUBREL with other flags", b"\x60\x02\x00\x01"),
        ("DISCONNECT with a reason", b"\xe0\x01\x00"),
        ("PINGRESP", b"\xd0\x00"),
        ("a remaining length of five bytes", b"\x30\xff\xff\xff\xff\x01"),
    ];
    for (offence, bytes) in offences {
        println!("{offence}");
        let mut client = node.connect_v311("offender");
        client.sends_bytes(bytes);
        client.is_closed();
        bystander.is_well();
    }
}

/// Told before the packet is there: nobody has to send it, or to hold it.
#[test]
fn a_packet_above_the_limit_is_refused_at_its_header() {
    let node = Node::with(Limits { max_packet_size: 1000, ..Limits::default() });
    let mut bystander = Bystander::of(&node);
    let mut client = node.connect("c");
    let payload = "x".repeat(1000 - 7);
    client.publishes(publish(1, Q0, "a", &payload));
    client.sends_bytes(b"\x30\xe6\x07"); // 998 and the header's 3
    client.gets("DISCONNECT 0x95");
    client.is_closed();
    let mut old = node.connect_v311("c");
    old.sends_bytes(b"\x30\xff\xff\xff\x7f");
    old.is_closed();
    let mut stranger = Client::open(node.address, V500);
    stranger.sends_bytes(b"\x10\xff\xff\xff\x7f");
    stranger.is_closed();
    bystander.is_well();
}

/// An offence does not undo what was said before it.
#[test]
fn what_came_before_the_offence_counts() {
    let node = Node::start();
    let mut listener = node.connect("l");
    listener.subscribes(&[("a", options(Q0))], "0x00");
    let mut client = node.connect("c");
    let mut bytes = Vec::new();
    let packet = Packet::Publish(publish(1, Q1, "a", "before"));
    rumormq::codec::encode(&packet, V500, u32::MAX, &mut bytes).expect("a packet");
    bytes.extend_from_slice(b"\x00\x00");
    rumormq::codec::encode(&packet, V500, u32::MAX, &mut bytes).expect("a packet");
    client.sends_bytes(&bytes);
    client.gets("PUBACK 1");
    client.gets("DISCONNECT 0x81");
    client.is_closed();
    listener.gets("PUBLISH q0 a before");
    listener.waits();
}

/// A connection cut anywhere within a packet.
#[test]
fn truncated_packets_are_forgotten() {
    let node = Node::start();
    let mut bystander = Bystander::of(&node);
    let mut packets = Vec::new();
    for packet in [
        Packet::Connect(Box::new(connect("offender"))),
        Packet::Publish(publish(1, Q1, "bystander", "must not arrive")),
    ] {
        let mut bytes = Vec::new();
        rumormq::codec::encode(&packet, V500, u32::MAX, &mut bytes).expect("a packet");
        packets.push(bytes);
    }
    for end in 0..packets[0].len() {
        let mut client = Client::open(node.address, V500);
        client.sends_bytes(&packets[0][..end]);
        client.vanishes();
    }
    for end in 0..packets[1].len() {
        let mut client = node.connect("offender");
        client.sends_bytes(&packets[1][..end]);
        client.vanishes();
    }
    bystander.is_well();
    assert_eq!(node.broker.metrics.connections.get(), 1);
}

#[test]
fn a_trickle_is_served_like_a_stream() {
    let node = Node::start();
    let mut bytes = Vec::new();
    for packet in [
        Packet::Connect(Box::new(connect("c"))),
        Packet::Subscribe(crate::support::client::subscribe(1, &[("a", options(Q1))])),
        Packet::Publish(publish(1, Q1, "a", &"x".repeat(300))),
        Packet::PingReq,
    ] {
        rumormq::codec::encode(&packet, V500, u32::MAX, &mut bytes).expect("a packet");
    }
    let mut client = Client::open(node.address, V500);
    for byte in bytes {
        client.sends_bytes(&[byte]);
    }
    client.gets("CONNACK 0x00");
    client.gets("SUBACK 1 0x01");
    client.gets_all_of(&["PUBLISH 1 q1 a [300 bytes]", "PUBACK 1"]);
    client.gets("PINGRESP");
}

/// A small generator of its own, so that a printed seed is all it takes to see a failure again.
struct Random(u64);

impl Random {
    /// `RUMORMQ_TEST_SEED`, or the time.
    fn seeded() -> Random {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let given = std::env::var("RUMORMQ_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or(now.as_nanos() as u64);
        println!("RUMORMQ_TEST_SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn random_bytes_harm_nobody() {
    let node = Node::start();
    let mut bystander = Bystander::of(&node);
    let mut random = Random::seeded();
    for round in 0..300 {
        let client = match round % 3 {
            0 => Client::open(node.address, V500),
            1 => node.connect("offender"),
            _ => node.connect_v311("offender"),
        };
        let len = 1 + random.below(5000);
        // The broker may close before it has all of it.
        let _ = client.stream().write_all(&random.bytes(len));
        client.disappears();
        if round % 20 == 0 {
            bystander.is_well();
        }
    }
    bystander.is_well();
    node.awaits("the others to be gone", || node.broker.metrics.connections.get() == 1);
}

/// Nearer to the truth than random bytes: real packets with a few bytes changed.
#[test]
fn damaged_packets_harm_nobody() {
    let node = Node::start();
    let mut bystander = Bystander::of(&node);
    let mut random = Random::seeded();
    let mut valid = Vec::new();
    for version in [V311, V500] {
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for packet in [
            Packet::Connect(Box::new(Connect { version, ..connect("offender") })),
            Packet::Subscribe(crate::support::client::subscribe(
                1,
                &[("o/#", options(Q1)), ("+", options(Q0))],
            )),
            Packet::Publish(publish(1, Q1, "o/1", "some payload")),
            Packet::Publish(publish(2, crate::support::client::Q2, "o/2", "some payload")),
            Packet::PubRel(crate::support::client::ack(2)),
            Packet::PubAck(crate::support::client::ack(1)),
            Packet::Unsubscribe(crate::support::client::unsubscribe(2, &["o/#"])),
            Packet::PingReq,
        ] {
            starts.push(bytes.len());
            rumormq::codec::encode(&packet, version, u32::MAX, &mut bytes).expect("a packet");
        }
        valid.push((version, bytes, starts[1]));
    }
    for round in 0..400 {
        let (version, bytes, after_connect) = &valid[round % 2];
        let mut bytes = bytes.clone();
        let from = if round % 4 < 2 { *after_connect } else { 0 };
        for _ in 0..=random.below(3) {
            let at = from + random.below(bytes.len() - from);
            bytes[at] = random.next() as u8;
        }
        let client = Client::open(node.address, *version);
        let _ = client.stream().write_all(&bytes);
        client.disappears();
        if round % 40 == 0 {
            bystander.is_well();
        }
    }
    bystander.is_well();
    node.awaits("the others to be gone", || node.broker.metrics.connections.get() == 1);
}
