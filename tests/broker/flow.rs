//! Many messages, large messages, slow clients.

use std::sync::Arc;

use rumormq::broker::Limits;
use rumormq::codec::packet::{Packet, Publish, QoS};
use rumormq::session::SessionLimits;

use crate::support::client::{Client, Q0, Q1, Q2, ack, options, publish};
use crate::support::node::Node;

/// Reads messages whose payloads count from `from` up, acknowledging each; gives their number when `until` comes.
fn counts(client: &mut Client, from: u32, until: u32) {
    for expected in from..until {
        let frame = client.frame().expect("a message");
        let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH: {:?}", frame.packet()) };
        assert_eq!(publish.payload[..4], expected.to_be_bytes(), "out of order");
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => client.sends(Packet::PubAck(ack(id.get()))),
            (QoS::ExactlyOnce, Some(id)) => {
                client.sends(Packet::PubRec(ack(id.get())));
                client.gets(&format!("PUBREL {id}"));
                client.sends(Packet::PubComp(ack(id.get())));
            }
            _ => {}
        }
    }
}

/// [MQTT-4.6.0-5].
#[test]
fn many_small_messages_arrive_in_order() {
    const MESSAGES: u32 = 5000;
    // The publisher does not wait for the subscribers.
    let session = SessionLimits { max_queued_messages: MESSAGES as usize, ..SessionLimits::default() };
    let node = Node::with(Limits { session: Arc::new(session), ..Limits::default() });
    let mut subscribers = ["a", "b"].map(|id| {
        let mut client = node.connect(id);
        client.subscribes(&[("count/+", options(Q1))], "0x01");
        client
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = node.connect("p");
            for batch in 0..MESSAGES / 500 {
                for n in batch * 500..(batch + 1) * 500 {
                    let payload = n.to_be_bytes();
                    publisher.sends(Packet::Publish(Publish {
                        payload: &payload,
                        ..publish(n as u16 % 500 + 1, Q1, "count/x", "")
                    }));
                }
                for n in 1..=500 {
                    publisher.gets(&format!("PUBACK {n}"));
                }
            }
        });
        for client in &mut subscribers {
            scope.spawn(|| counts(client, 0, MESSAGES));
        }
    });
}

#[test]
fn qos_2_arrives_once_and_in_order() {
    const MESSAGES: u32 = 300;
    let node = Node::start();
    let mut subscriber = node.connect("s");
    subscriber.subscribes(&[("count", options(Q2))], "0x02");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = node.connect("p");
            for n in 0..MESSAGES {
                let payload = n.to_be_bytes();
                publisher.publishes(Publish { payload: &payload, ..publish(n as u16 + 1, Q2, "count", "") });
            }
        });
        // One after the other, so that nothing stands between a PUBREC and its PUBREL.
        scope.spawn(|| {
            for expected in 0..MESSAGES {
                let frame = loop {
                    let frame = subscriber.frame().expect("open");
                    match frame.packet() {
                        Packet::PubRel(rel) => subscriber.sends(Packet::PubComp(ack(rel.packet_id.get()))),
                        _ => break frame,
                    }
                };
                let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH") };
                assert_eq!(publish.payload, expected.to_be_bytes());
                let id = publish.packet_id.expect("QoS 2").get();
                subscriber.sends(Packet::PubRec(ack(id)));
            }
        });
    });
}

#[test]
fn large_payloads_arrive_whole() {
    let node = Node::with(Limits { max_packet_size: 2 << 20, ..Limits::default() });
    let mut payload: Vec<u8> = (0..1u32 << 20).map(|at| (at ^ at >> 8) as u8).collect();
    let mut subscribers = ["a", "b"].map(|id| {
        let mut client = node.connect(id);
        client.subscribes(&[("large", options(Q1))], "0x01");
        client
    });
    let mut publisher = node.connect("p");
    for size in [1 << 20, 70_000, 65_536, 2049, 2048, 2047, 1, 1 << 20] {
        payload[0] = size as u8;
        let payload = &payload[..size];
        publisher.publishes(Publish { payload, ..publish(1, Q1, "large", "") });
        for client in &mut subscribers {
            let frame = client.frame().expect("a message");
            let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH") };
            assert!(publish.payload == payload, "{size} bytes altered");
            client.sends(Packet::PubAck(ack(publish.packet_id.expect("QoS 1").get())));
        }
    }
}

/// Whatever way the bytes are cut, the packets are the same: small ones, and large ones that are read in another way.
#[test]
fn packets_may_come_in_pieces() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("a", options(Q0))], "0x00");
    let small = (0..40).map(|n| n * 7);
    let sizes: Vec<usize> =
        small.clone().chain([16_000, 3, 16_400, 70_000, 0, 66_000]).chain(small).collect();
    let mut bytes = Vec::new();
    for (n, &size) in sizes.iter().enumerate() {
        let payload = vec![n as u8; size];
        let packet = Packet::Publish(Publish { payload: &payload, ..publish(1, Q0, "a", "") });
        rumormq::codec::encode(&packet, crate::support::client::V500, u32::MAX, &mut bytes)
            .expect("a packet");
    }
    for piece in [11, 127, 1000, 5003, 16_384, 65_537, usize::MAX] {
        for chunk in bytes.chunks(piece) {
            client.sends_bytes(chunk);
        }
        for (n, &size) in sizes.iter().enumerate() {
            let frame = client.frame().expect("a message");
            let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH") };
            assert!(publish.payload == vec![n as u8; size], "packet {n} in pieces of {piece} bytes");
        }
    }
}

fn small_outbox() -> Limits {
    let session =
        SessionLimits { max_outbox_bytes: 100_000, max_queued_messages: 50, ..SessionLimits::default() };
    Limits { session: Arc::new(session), ..Limits::default() }
}

/// Who does not read loses QoS 0 messages and is not waited for; others lose nothing.
#[test]
fn a_slow_consumer_does_not_slow_others() {
    const MESSAGES: u32 = 3000;
    let node = Node::with(small_outbox());
    let mut slow = node.connect("slow");
    let mut quick = node.connect("quick");
    for client in [&mut slow, &mut quick] {
        client.subscribes(&[("count", options(Q0))], "0x00");
    }
    let mut publisher = node.connect("p");
    let mut payload = vec![b'x'; 10_000];
    for n in 0..MESSAGES {
        payload[..4].copy_from_slice(&n.to_be_bytes());
        publisher.publishes(Publish { payload: &payload, ..publish(1, Q0, "count", "") });
        counts(&mut quick, n, n + 1);
    }
    let dropped = node.broker.metrics.messages_dropped.with_label_values(&["slow_consumer"]);
    node.awaits("dropped messages", || dropped.get() > 0);
    // What it gets is whole and in order, and once it reads it is served again.
    slow.sends(Packet::PingReq);
    let mut last = None;
    let mut count = 0;
    loop {
        let frame = slow.frame().expect("open");
        let Packet::Publish(publish) = frame.packet() else { break };
        let n = u32::from_be_bytes(publish.payload[..4].try_into().expect("four bytes"));
        assert!(last < Some(n), "{n} after {last:?}");
        last = Some(n);
        count += 1;
    }
    // A batch is counted when it has been written.
    node.awaits("each is sent or counted", || count + dropped.get() == u64::from(MESSAGES));
    publisher.publishes(publish(1, Q0, "count", "again"));
    slow.gets("PUBLISH q0 count again");
}

/// QoS 1 messages wait in the queue until the socket takes them, and no acknowledgement is needed to go on.
#[test]
fn queued_messages_follow_when_the_socket_drains() {
    const MESSAGES: u32 = 40;
    let node = Node::with(small_outbox());
    let mut slow = node.connect("slow");
    slow.subscribes(&[("fill", options(Q0)), ("count", options(Q1))], "0x00 0x01");
    let mut publisher = node.connect("p");
    let filling = vec![b'x'; 50_000];
    let dropped = node.broker.metrics.messages_dropped.with_label_values(&["slow_consumer"]);
    while dropped.get() == 0 {
        publisher.publishes(Publish { payload: &filling, ..publish(1, Q0, "fill", "") });
    }
    for n in 0..MESSAGES {
        let payload = n.to_be_bytes();
        publisher.publishes(Publish { payload: &payload, ..publish(1, Q1, "count", "") });
    }
    let mut expected = 0;
    while expected < MESSAGES {
        let frame = slow.frame().expect("open");
        let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH") };
        if publish.qos == Q1 {
            assert_eq!(publish.payload, expected.to_be_bytes());
            expected += 1;
        }
    }
}

/// A client that asks and does not listen is not read from until it listens: its answers must not pile up here.
#[test]
fn unread_answers_stop_the_reading() {
    let node = Node::with(small_outbox());
    let client = node.connect("c");
    client.stream().set_write_timeout(Some(std::time::Duration::from_millis(300))).expect("above zero");
    let pings = [0xC0, 0].repeat(32 << 10);
    let mut written = 0;
    loop {
        // A write may have ended within a packet.
        match std::io::Write::write(&mut client.stream(), &pings[written % 2..]) {
            Ok(count) => written += count,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                break;
            }
        }
        assert!(written < 256 << 20, "the broker reads on and on");
    }
    // Now it listens, and gets an answer to every whole question.
    let mut answers = 0;
    let mut client = client;
    while answers < written / 2 {
        client.gets("PINGRESP");
        answers += 1;
    }
}
