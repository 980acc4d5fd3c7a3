//! Clients of a cluster's nodes.

use std::time::{Duration, Instant};

use rumormq::codec::packet::{Packet, PacketId, Publish, QoS};

use crate::processes::Process;
use crate::support::client::{self, Client, ack, options, publish};

/// A client of 5.0 on this node, with a session that ends with its connection. On another node the same name is another
/// client's.
#[track_caller]
pub fn connect(node: &Process, name: &str) -> Client {
    let client_id = format!("{name} of {}", node.name());
    node.beside(|| Client::connect(node.mqtt_addr(), client::connect(&client_id)))
}

/// A client that wants these filters.
#[track_caller]
pub fn subscriber(node: &Process, name: &str, filters: &[&str], qos: QoS) -> Client {
    let mut client = connect(node, name);
    let wanted: Vec<_> = filters.iter().map(|filter| (*filter, options(qos))).collect();
    let reasons = vec![format!("{:#04x}", qos as u8); filters.len()].join(" ");
    client.subscribes(&wanted, &reasons);
    client
}

/// Publishes the numbers of `range`, in order, never more than `window` unacknowledged; with QoS 0 all at once.
pub fn publish_numbers(client: &mut Client, topic: &str, qos: QoS, range: std::ops::Range<u32>, window: u32) {
    let mut unacknowledged = 0;
    for number in range {
        let payload = number.to_string();
        let id = (number % 60_000 + 1) as u16;
        client.sends(Packet::Publish(publish(id, qos, topic, &payload)));
        if qos == QoS::AtMostOnce {
            continue;
        }
        unacknowledged += 1;
        if unacknowledged == window {
            await_acknowledged(client, unacknowledged);
            unacknowledged = 0;
        }
    }
    await_acknowledged(client, unacknowledged);
    client.waits();
}

/// Takes acknowledgements to their end, until so many publishes are done.
fn await_acknowledged(client: &mut Client, count: u32) {
    let mut done = 0;
    while done < count {
        let frame = client.frame().expect("an acknowledgement");
        match frame.packet() {
            Packet::PubAck(_) | Packet::PubComp(_) => done += 1,
            Packet::PubRec(received) => client.sends(Packet::PubRel(ack(received.packet_id.get()))),
            other => panic!("not an acknowledgement: {other:?}"),
        }
    }
}

/// Publishes one message of QoS 1; gives the time until its PUBACK.
#[track_caller]
pub fn time_of_puback(client: &mut Client, topic: &str, payload: &str) -> Duration {
    let began = Instant::now();
    client.publishes(publish(1, QoS::AtLeastOnce, topic, payload));
    began.elapsed()
}

/// The next message's payload as text. What its QoS asks for is answered, up to PUBREL.
#[track_caller]
pub fn message(client: &mut Client) -> String {
    loop {
        let frame = client.frame().expect("a message");
        match frame.packet() {
            Packet::Publish(publish) => {
                let payload = String::from_utf8(publish.payload.to_vec()).expect("text");
                answer(client, &publish);
                return payload;
            }
            Packet::PubRel(release) => client.sends(Packet::PubComp(ack(release.packet_id.get()))),
            other => panic!("not a message: {other:?}"),
        }
    }
}

/// Messages until one of them is `last`, which is not among them.
#[track_caller]
pub fn messages_until(client: &mut Client, last: &str) -> Vec<String> {
    let mut messages = Vec::new();
    loop {
        match message(client) {
            message if message == last => return messages,
            message => messages.push(message),
        }
    }
}

fn answer(client: &mut Client, publish: &Publish<'_>) {
    let id = publish.packet_id.map_or(0, PacketId::get);
    match publish.qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => client.sends(Packet::PubAck(ack(id))),
        QoS::ExactlyOnce => client.sends(Packet::PubRec(ack(id))),
    }
}

/// The numbers of `range` as messages.
pub fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
