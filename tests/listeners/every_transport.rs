//! What holds of MQTT holds over every transport.

use std::sync::Arc;
use std::time::Duration;

use rumormq::broker::Limits;
use rumormq::broker::client::Close;
use rumormq::codec::packet::{Connect, Packet, Properties, QoS, Will};
use rumormq::session::SessionLimits;
use rumormq::topic::Topic;

use crate::support::client::{Client, Q0, Q1, Q2, V500, ack, connect, options, publish};
use crate::transport::{AnyClient, Listening, TRANSPORTS, Transport};

/// Expects the message that `line` describes, and does what its QoS asks for.
#[track_caller]
fn receives(client: &mut AnyClient, id: u16, qos: QoS, line: &str) {
    client.gets(line);
    match qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => client.sends(Packet::PubAck(ack(id))),
        QoS::ExactlyOnce => {
            client.sends(Packet::PubRec(ack(id)));
            client.gets(&format!("PUBREL {id}"));
            client.sends(Packet::PubComp(ack(id)));
        }
    }
}

pub fn bytes_of(packets: &[Packet<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        rumormq::codec::encode(packet, V500, u32::MAX, &mut bytes).expect("packets of 5.0");
    }
    bytes
}

pub fn with_will(client_id: &str) -> Connect<'_> {
    let topic = Topic::new("wills/w").expect("a topic name");
    let will = Will { qos: Q1, retain: false, topic, payload: b"gone", properties: Properties::NONE };
    Connect { will: Some(will), ..connect(client_id) }
}

#[test]
fn every_qos_between_any_two() {
    let listening = Listening::start();
    for to in TRANSPORTS {
        let mut subscriber = listening.connect(to, connect("subscriber"));
        subscriber.subscribes(&[("t", options(Q2))], "0x02");
        let mut id = 0;
        for from in TRANSPORTS {
            let mut publisher = listening.connect(from, connect("publisher"));
            for qos in [Q0, Q1, Q2] {
                publisher.publishes(publish(1, qos, "t", "payload"));
                let expected = match qos {
                    QoS::AtMostOnce => "PUBLISH q0 t payload".to_owned(),
                    _ => {
                        id += 1;
                        format!("PUBLISH {id} q{} t payload", qos as u8)
                    }
                };
                receives(&mut subscriber, id, qos, &expected);
            }
            publisher.disconnects();
        }
        subscriber.disconnects();
    }
}

#[test]
fn large_payloads_arrive_whole() {
    let listening = Listening::start();
    let payload: String = (0..900 << 10).map(|n: u32| char::from(b'a' + (n % 25) as u8)).collect();
    for transport in TRANSPORTS {
        let mut client = listening.connect(transport, connect("both"));
        client.subscribes(&[("t", options(Q1))], "0x01");
        client.sends(Packet::Publish(publish(1, Q1, "t", &payload)));
        let frames = [client.frame(), client.frame()].map(|frame| frame.expect("a packet"));
        let got = frames.iter().find_map(|frame| match frame.packet() {
            Packet::Publish(publish) => Some(publish.payload.to_vec()),
            _ => None,
        });
        assert!(got.as_deref() == Some(payload.as_bytes()), "{transport:?}");
        client.disappears();
    }
}

#[test]
fn packets_may_come_in_any_pieces() {
    let listening = Listening::start();
    for transport in TRANSPORTS {
        let mut client = listening.connect(transport, connect("trickle"));
        client.subscribes(&[("t", options(Q0))], "0x00");
        let payloads: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let packets: Vec<_> =
            payloads.iter().map(|payload| Packet::Publish(publish(0, Q0, "t", payload))).collect();
        let bytes = bytes_of(&packets);
        for byte in &bytes {
            client.sends_bytes(&[*byte]);
        }
        client.sends_bytes(&bytes);
        for number in (0..20).chain(0..20) {
            client.gets(&format!("PUBLISH q0 t {number}"));
        }
        client.disconnects();
    }
}

#[test]
fn a_reader_who_stops_is_dropped_for_and_goes_on() {
    let session = SessionLimits { max_outbox_bytes: 64 << 10, ..SessionLimits::default() };
    let limits = Limits { session: Arc::new(session), ..Limits::default() };
    for transport in TRANSPORTS {
        let listening = Listening::with(limits.clone());
        let mut slow = listening.connect(transport, connect("slow"));
        slow.subscribes(&[("t", options(Q0)), ("last", options(Q1))], "0x00 0x01");
        let mut publisher = listening.connect(Transport::Tcp, connect("fast"));
        let dropped = || {
            let reasons = &listening.node.broker.metrics.messages_dropped;
            reasons.with_label_values(&["slow_consumer"]).get()
        };
        let padding = "x".repeat(8 << 10);
        let mut sent = 0;
        while dropped() == 0 {
            for _ in 0..64 {
                publisher.sends(Packet::Publish(publish(0, Q0, "t", &format!("{sent:>8}{padding}"))));
                sent += 1;
            }
            publisher.waits();
            assert!(sent < 100_000, "{transport:?} takes everything");
        }
        publisher.publishes(publish(1, Q1, "last", "last"));
        let mut before = None;
        loop {
            let frame = slow.frame().expect("a message");
            let Packet::Publish(publish) = frame.packet() else { panic!("{transport:?}: not a message") };
            if publish.payload == b"last" {
                break;
            }
            let number: u32 = std::str::from_utf8(&publish.payload[..8]).unwrap().trim().parse().unwrap();
            assert!(before < Some(number), "{transport:?}: {number} after {before:?}");
            before = Some(number);
        }
        slow.sends(Packet::PubAck(ack(1)));
        slow.waits();
    }
}

#[test]
fn who_goes_without_a_word_leaves_a_will() {
    let listening = Listening::start();
    let mut mourner = listening.connect(Transport::Tcp, connect("mourner"));
    mourner.subscribes(&[("wills/#", options(Q0))], "0x00");
    for transport in TRANSPORTS {
        listening.connect(transport, with_will("abrupt")).disappears();
        mourner.gets("PUBLISH q0 wills/w gone");
        // The end of TLS or of the WebSocket is none of MQTT.
        listening.connect(transport, with_will("half polite")).vanishes();
        mourner.gets("PUBLISH q0 wills/w gone");
        listening.connect(transport, with_will("polite")).disconnects();
        mourner.waits();
    }
}

#[test]
fn last_words_arrive() {
    let listening = Listening::start();
    for transport in TRANSPORTS {
        let mut first = listening.connect(transport, connect("taken over"));
        let mut second = listening.connect(transport, connect("taken over"));
        first.gets("DISCONNECT 0x8e");
        first.is_closed();
        // A second CONNECT in the same bytes as something that is answered.
        second.sends_bytes(&bytes_of(&[Packet::PingReq, Packet::Connect(Box::new(connect("again")))]));
        second.gets("PINGRESP");
        second.gets("DISCONNECT 0x82");
        second.is_closed();
        let mut third = Client::over(listening.open(transport), V500);
        let connects = ["third", "third"].map(|id| Packet::Connect(Box::new(connect(id))));
        third.sends_bytes(&bytes_of(&connects));
        third.gets("CONNACK 0x00");
        third.gets("DISCONNECT 0x82");
        third.is_closed();
    }
    let mut left =
        TRANSPORTS.map(|transport| listening.connect(transport, connect(&format!("{transport:?}"))));
    listening.node.broker.close_all(Close::ShuttingDown);
    for client in &mut left {
        client.gets("DISCONNECT 0x8b");
        client.is_closed();
    }
}

#[test]
fn silence_is_noticed() {
    let listening =
        Listening::with(Limits { connect_timeout: Duration::from_millis(500), ..Limits::default() });
    let silent = TRANSPORTS.map(|transport| Client::over(listening.open(transport), V500));
    let short = TRANSPORTS.map(|transport| {
        let id = format!("{transport:?}");
        listening.connect(transport, Connect { keep_alive_secs: 1, ..connect(&id) })
    });
    for mut client in silent {
        client.is_closed();
    }
    for mut client in short {
        client.gets("DISCONNECT 0x8d");
        client.is_closed();
    }
}
