//! What a bridge has to do, whatever the other broker speaks.

use std::net::SocketAddr;
use std::path::PathBuf;

use rumormq::codec::packet::{Packet, Publish, QoS};

use crate::certificates::Authority;
use crate::mosquitto::Mosquitto;
use crate::processes::{Launch, PATIENCE, Process, awaits};
use crate::support::client::{Client, Q0, Q1, Q2, ack, connect, lasting, options, publish, subscribe};

/// A configuration file that is there until the test ends.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &str) -> File {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("bridge-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, content).expect("a writable target directory");
        File(path)
    }

    fn launch(&self) -> Launch {
        Launch::new("n1").flag("--config", &self.0.display().to_string())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn bridge(name: &str, address: &str, rest: &str) -> File {
    File::new(name, &format!("[[bridge]]\nname = \"b\"\naddress = \"{address}\"\n{rest}"))
}

fn await_up(node: &Process) {
    awaits("the bridge is up", PATIENCE, || node.metric("bridge_up", &["bridge=\"b\""]) == 1.0);
}

fn client(address: SocketAddr, id: &str) -> Client {
    Client::connect(address, connect(id))
}

/// Publishes the numbers of `range` with QoS 1, each when the one before is acknowledged.
fn publish_numbers(client: &mut Client, topic: &str, range: std::ops::Range<u16>) {
    for number in range {
        client.publishes(publish(number + 1, Q1, topic, &number.to_string()));
    }
}

/// Takes messages until each of the numbers below `count` has come at least once.
fn await_numbers(client: &mut Client, count: usize) {
    let mut missing: std::collections::BTreeSet<usize> = (0..count).collect();
    while !missing.is_empty() {
        let frame = client.frame().expect("open");
        let Packet::Publish(publish) = frame.packet() else { continue };
        if let Some(id) = publish.packet_id {
            client.sends(Packet::PubAck(ack(id.get())));
        }
        let number = std::str::from_utf8(publish.payload).expect("a number").parse().expect("a number");
        missing.remove(&number);
    }
}

/// Waits until the bridge's subscription is made at Mosquitto: what is published there comes here.
fn await_inward(far: &mut Client, near: &mut Client, topic: &str, renamed: &str) {
    let mut came = false;
    awaits("messages come in", PATIENCE, || {
        far.publishes(publish(1, Q0, topic, "probe"));
        near.sends(Packet::PingReq);
        loop {
            let frame = near.frame().expect("open");
            match frame.packet() {
                Packet::PingResp => break came,
                Packet::Publish(publish) => {
                    assert_eq!(publish.topic.map(|topic| topic.as_str()), Some(renamed));
                    came = true;
                }
                other => panic!("{other:?}"),
            }
        }
    });
    // Those on their way still.
    far.publishes(publish(1, Q0, topic, "last"));
    takes_until(near, |packet| carries(packet, "last"));
}

const TOPICS: &str = "topics = [{ filter = \"out/#\", direction = \"out\", qos = 2, remote_prefix = \"r/\" }, \
                      { filter = \"in/#\", direction = \"in\", qos = 2, local_prefix = \"l/\" }, \
                      { filter = \"both/#\", direction = \"both\", qos = 1 }]";

fn passes_on(version: u8) {
    let Some(mosquitto) = Mosquitto::start(&format!("v{version}"), "") else { return };
    let file = bridge(
        &format!("v{version}"),
        &mosquitto.address().to_string(),
        &format!("version = {version}\n{TOPICS}"),
    );
    let mark = if version == 5 { " rumormq-bridge:rumormq" } else { "" };
    let node = file.launch().start();
    await_up(&node);
    let (mut near, mut far) = (client(node.mqtt_addr(), "near"), client(mosquitto.address(), "far"));
    far.subscribes(&[("r/#", options(Q2)), ("both/#", options(Q1))], "0x02 0x01");
    near.subscribes(&[("l/#", options(Q2)), ("both/#", options(Q1))], "0x02 0x01");
    for qos in [Q0, Q1, Q2] {
        near.publishes(publish(1, qos, "out/a", "x"));
        takes(&mut far, qos, "r/out/a", &format!("x{mark}"));
    }
    await_inward(&mut far, &mut near, "in/a", "l/in/a");
    for qos in [Q0, Q1, Q2] {
        far.publishes(publish(1, qos, "in/b", "x"));
        takes(&mut near, qos, "l/in/b", "x rumormq-bridge:>rumormq");
    }
    // Not back to where it came from.
    near.sends(Packet::Publish(publish(1, Q1, "both/a", "mine")));
    near.gets_all_of(&["PUBACK 1", "PUBLISH 3 q1 both/a mine"]);
    near.sends(Packet::PubAck(ack(3)));
    takes(&mut far, Q1, "both/a", &format!("mine{mark}"));
    far.sends(Packet::Publish(publish(1, Q0, "both/b", "theirs")));
    far.gets("PUBLISH q0 both/b theirs");
    takes(&mut near, Q0, "both/b", "theirs rumormq-bridge:>rumormq");
    near.waits();
    far.waits();
    // Retained here, retained there.
    near.publishes(Publish { retain: true, ..publish(1, Q1, "out/r", "kept") });
    takes(&mut far, Q1, "r/out/r", &format!("kept{mark}"));
    let mut later = client(mosquitto.address(), "later");
    later.subscribes(&[("r/out/r", options(Q0))], "0x00");
    later.gets(&format!("PUBLISH q0 r/out/r kept retain{mark}"));
}

/// A message comes and is acknowledged to the end.
#[track_caller]
fn takes(client: &mut Client, qos: QoS, topic: &str, rest: &str) {
    let frame = client.frame().expect("open");
    let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH: {:?}", frame.packet()) };
    let line = crate::support::describe::describe(&frame.packet());
    assert!(line.ends_with(&format!("q{} {topic} {rest}", qos as u8)), "{line}");
    let id = publish.packet_id.map_or(0, |id| id.get());
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

#[test]
fn messages_go_both_ways_in_5_0() {
    passes_on(5);
}

#[test]
fn messages_go_both_ways_in_3_1_1() {
    passes_on(4);
}

/// QoS 1 both ways while Mosquitto restarts twice; and what it has for a node that is away comes when that is back.
#[test]
fn restarts_of_either_side_lose_nothing() {
    let Some(mut mosquitto) = Mosquitto::start("restarts", "max_queued_messages 0") else { return };
    let topics = "topics = [{ filter = \"out\", direction = \"out\", qos = 1 }, { filter = \"in\", direction = \"in\", qos = 1 }]";
    let file = bridge("restarts", &mosquitto.address().to_string(), topics);
    let mut node = file.launch().start();
    await_up(&node);
    let address = mosquitto.address();
    let mut near = client(node.mqtt_addr(), "near");
    near.subscribes(&[("in", options(Q1))], "0x01");
    let mut far = Client::connect(address, lasting("far", 1000));
    far.subscribes(&[("out", options(Q1))], "0x01");
    await_inward(&mut client(address, "probe"), &mut near, "in", "in");
    let mut publisher = client(node.mqtt_addr(), "p");
    publish_numbers(&mut publisher, "out", 0..100);
    publish_numbers(&mut client(address, "p"), "in", 0..100);
    mosquitto.restart();
    publish_numbers(&mut publisher, "out", 100..200);
    await_up(&node);
    publish_numbers(&mut client(address, "p"), "in", 100..200);
    mosquitto.restart();
    publish_numbers(&mut publisher, "out", 200..300);
    await_numbers(&mut Client::connect(address, lasting("far", 1000)), 300);
    publish_numbers(&mut client(address, "p"), "in", 200..300);
    await_numbers(&mut near, 300);
    // Now this side.
    node.kill();
    node.wait();
    publish_numbers(&mut client(address, "p"), "in", 0..50);
    node.restart();
    let mut near = client(node.mqtt_addr(), "near");
    // What waits on the other side may come before SUBACK.
    near.sends(Packet::Subscribe(subscribe(1, &[("in", options(Q1))])));
    takes_until(&mut near, |packet| matches!(packet, Packet::SubAck(_)));
    publish_numbers(&mut client(address, "p"), "in", 50..60);
    takes_until(&mut near, |packet| carries(packet, "59"));
}

fn carries(packet: &Packet<'_>, payload: &str) -> bool {
    matches!(packet, Packet::Publish(publish) if publish.payload == payload.as_bytes())
}

/// Takes what comes, up to this packet.
fn takes_until(client: &mut Client, is_last: impl Fn(&Packet<'_>) -> bool) {
    loop {
        let frame = client.frame().expect("open");
        let packet = frame.packet();
        if let Packet::Publish(publish) = &packet
            && let Some(id) = publish.packet_id
        {
            client.sends(Packet::PubAck(ack(id.get())));
        }
        if is_last(&packet) {
            return;
        }
    }
}

#[test]
fn tls_with_certificates_on_both_sides() {
    let authority = Authority::new();
    let (server, own) = (authority.server(), authority.client("bridge"));
    let tls_port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port();
    let ca = authority.certificate();
    let lines = format!(
        "listener {tls_port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
        ca.display(),
        server.certificate.display(),
        server.key.display()
    );
    let Some(mosquitto) = Mosquitto::start("tls", &lines) else { return };
    let rest = format!(
        "tls_ca_file = \"{}\"\ntls_certificate_file = \"{}\"\ntls_key_file = \"{}\"\n{TOPICS}",
        ca.display(),
        own.certificate.display(),
        own.key.display()
    );
    let file = bridge("tls", &format!("localhost:{tls_port}"), &rest);
    let node = file.launch().start();
    await_up(&node);
    let (mut near, mut far) = (client(node.mqtt_addr(), "near"), client(mosquitto.address(), "far"));
    far.subscribes(&[("r/#", options(Q1))], "0x01");
    near.publishes(publish(1, Q1, "out/a", "x"));
    takes(&mut far, Q1, "r/out/a", "x rumormq-bridge:rumormq");
    // More than a TLS record, and than a pipe takes at once.
    let large = "x".repeat(300_000);
    near.publishes(publish(1, Q1, "out/a", &large));
    takes(&mut far, Q1, "r/out/a", "[300000 bytes] rumormq-bridge:rumormq");
}

/// Mosquitto has a bridge to the node, which has one to it, for the same topics.
#[test]
fn bridges_both_ways_do_not_run_in_circles() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port();
    let lines = format!(
        "connection back\naddress 127.0.0.1:{port}\ntopic t/# both 1\nbridge_protocol_version mqttv50\nrestart_timeout 1\n"
    );
    let Some(mosquitto) = Mosquitto::start("circle", &lines) else { return };
    let topics = "topics = [{ filter = \"t/#\", direction = \"both\", qos = 1 }]";
    let file = bridge("circle", &mosquitto.address().to_string(), topics);
    let node = file.launch().mqtt_addr(([127, 0, 0, 1], port).into()).start();
    await_up(&node);
    awaits("Mosquitto's bridge", PATIENCE, || node.metric("subscriptions", &[]) >= 2.0);
    let mut near = client(node.mqtt_addr(), "near");
    near.publishes(publish(1, Q1, "t/1", "x"));
    awaits("the circle is noticed", PATIENCE, || {
        node.metric("bridge_dropped_total", &["bridge=\"b\"", "reason=\"loop\""]) > 0.0
    });
    let passed = |direction: &str| {
        node.metric("bridge_messages_total", &["bridge=\"b\"", &format!("direction=\"{direction}\"")])
    };
    let quiet = std::cell::Cell::new((0, 0.0));
    awaits("silence", PATIENCE, || {
        let (looks, last) = quiet.get();
        let now = passed("in") + passed("out");
        quiet.set((if now == last { looks + 1 } else { 0 }, now));
        looks > 50
    });
    assert!(quiet.get().1 < 8.0, "{quiet:?}");
}
