//! A cluster in the middle of an upgrade: nodes that speak version 2 of the link protocol beside one that speaks only
//! version 1, built from the last commit that did.
//!
//! `RUMORMQ_VERSION_1` names the command of that build; `.ci/run` makes it with `tests/cluster/version_1`. Without it these
//! tests are skipped, unless `RUMORMQ_REQUIRE_CLIENTS=1`; they are where it is set and empty, for want of the history.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rumormq::cluster::link::hello::{Addresses, Hello, ProtocolRange};
use rumormq::cluster::link::preamble::Preamble;
use rumormq::cluster::link::{frame, kind};
use rumormq::codec::packet::QoS;
use rumormq::codec::packet::{Packet, Publish};
use rumormq_gossip::{Incarnation, NodeName, ReplicaId};

use crate::clients::{connect, message, numbers, publish_numbers, subscriber, time_of_puback};
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits};
use crate::retained::found;
use crate::support::client::{Client, Q0, Q1, Q2, ack, lasting, options, publish};
use crate::takeover::open;

const COOKIE: &str = "a secret for tests only";

/// The command that speaks version 1. None, after saying so, where it was not built; then the test is to end.
fn version_1() -> Option<String> {
    let command = std::env::var("RUMORMQ_VERSION_1").ok();
    if command.as_deref() == Some("") {
        eprintln!("SKIPPED: the history does not go back to version 1");
        return None;
    }
    if command.is_none() {
        let required = std::env::var("RUMORMQ_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
        assert!(!required, "RUMORMQ_VERSION_1 is required: tests/cluster/version_1 builds it");
        eprintln!("SKIPPED: no RUMORMQ_VERSION_1");
    }
    command
}

/// Starts a node of version 1. Where two links to a peer cross, that may take its own answers on the one for those of another
/// node with its name, and end; its operator would start it again.
fn persistently<R>(mut start: impl FnMut() -> R) -> R {
    for _ in 0..2 {
        if let Ok(started) = catch_unwind(AssertUnwindSafe(&mut start)) {
            return started;
        }
    }
    start()
}

/// Two nodes of now, the first and the last, and one of version 1.
fn start_mixed(command: &str) -> [Process; 3] {
    let one = Launch::new("n1").cookie(COOKIE).start();
    let old = Launch::new("n2").cookie(COOKIE).command(command).join(one.cluster_addr());
    let old = persistently(|| old.clone().start());
    let three = Launch::new("n3").cookie(COOKIE).join(old.cluster_addr()).start();
    await_converged(&[&one, &old, &three]);
    assert!(
        one.has_logged(&["link up", "n2@", "protocol=1"])
            && one.has_logged(&["link up", "n3@", "protocol=3"])
    );
    [one, old, three]
}

/// Each node publishes with each QoS to a subscriber on each other node.
fn forwards_run(nodes: &[&Process]) {
    for (from, qos) in nodes.iter().flat_map(|node| [Q0, Q1, Q2].map(|qos| (node, qos))) {
        let topic = format!("from/{}/{}", from.name(), qos as u8);
        let others = nodes.iter().filter(|node| node.name() != from.name());
        let mut subscribers: Vec<Client> =
            others.map(|node| subscriber(node, &topic, &[&topic], qos)).collect();
        publish_numbers(&mut connect(from, "p"), &topic, qos, 0..100, 20);
        for client in &mut subscribers {
            let got: Vec<String> = (0..100).map(|_| message(client)).collect();
            assert_eq!(got, numbers(0..100), "{topic}");
        }
    }
}

/// A session with a queue moves from one node to another.
fn takeover_moves(from: &Process, to: &Process, publisher: &Process, id: &str) {
    let mut x = open(from, lasting(id, 1000), false);
    let topic = format!("to/{id}");
    x.subscribes(&[(&topic, options(Q2))], "0x02");
    x.disconnects();
    let mut publisher = connect(publisher, "p");
    publisher.publishes(publish(1, Q1, &topic, "one"));
    publisher.publishes(publish(2, Q2, &topic, "two"));
    let mut x = open(to, lasting(id, 1000), true);
    x.gets(&format!("PUBLISH 1 q1 {topic} one"));
    x.gets(&format!("PUBLISH 2 q2 {topic} two"));
    x.sends(Packet::PubAck(ack(1)));
    x.sends(Packet::PubRec(ack(2)));
    x.gets("PUBREL 2");
    x.sends(Packet::PubComp(ack(2)));
    publisher.publishes(publish(3, Q1, &topic, "three"));
    assert_eq!(message(&mut x), "three");
}

/// Members of one group on all nodes share what one of them publishes, each message once.
fn groups_share(nodes: &[&Process], publisher: &Process, filter: &str, topic: &str) {
    let marker = |node: &Process| format!("marker/{topic}/{}", node.name());
    let join = |node: &&Process| subscriber(node, topic, &[filter, &marker(node)], Q1);
    let mut members: Vec<Client> = nodes.iter().map(join).collect();
    publish_numbers(&mut connect(publisher, "p"), topic, Q1, 0..30, 5);
    // What a member got is what comes before its marker: the messages are acknowledged, so sessions have them.
    let mut all: Vec<u32> = Vec::new();
    for (node, client) in nodes.iter().zip(&mut members) {
        time_of_puback(&mut connect(node, "marker"), &marker(node), "done");
        let got = crate::clients::messages_until(client, "done");
        assert!(!got.is_empty(), "{} gets its share", node.name());
        all.extend(got.iter().map(|number| number.parse::<u32>().expect("a number")));
    }
    all.sort_unstable();
    assert_eq!(all, (0..30).collect::<Vec<_>>());
}

fn retained_spreads(from: &Process, to: &[&Process], topic: &str) {
    let set =
        |payload: &'static str| Publish { retain: true, ..publish(1, QoS::AtLeastOnce, topic, payload) };
    connect(from, "retaining").publishes(set("kept"));
    for node in to {
        awaits("it is retained", PATIENCE, || found(node, topic).get(topic).is_some_and(|it| it == "kept"));
    }
    connect(from, "retaining").publishes(set(""));
    for node in to {
        awaits("it is cleared", PATIENCE, || found(node, topic).is_empty());
    }
}

#[test]
fn mixed_versions_do_everything_together() {
    let Some(command) = version_1() else { return };
    let [one, mut old, three] = start_mixed(&command);
    let everything = |one: &Process, old: &Process, three: &Process, round: &str| {
        forwards_run(&[one, old, three]);
        takeover_moves(one, old, three, &format!("{round}-1"));
        takeover_moves(old, three, one, &format!("{round}-2"));
        takeover_moves(old, one, old, &format!("{round}-3"));
        groups_share(&[one, old, three], one, "$share/g/s/#", &format!("s/{round}/1"));
        groups_share(&[one, old, three], old, "$share/g/s/#", &format!("s/{round}/2"));
        retained_spreads(old, &[one, three], &format!("r/{round}/1"));
        retained_spreads(one, &[old, three], &format!("r/{round}/2"));
        await_converged(&[one, old, three]);
    };
    everything(&one, &old, &three, "first");

    // What waits for the old node while it is away, and for others while it is back.
    let mut publisher = connect(&one, "until the end");
    old.kill();
    let mut client = subscriber(&three, "c", &["while/away"], Q1);
    time_of_puback(&mut publisher, "while/away", "x");
    assert_eq!(message(&mut client), "x");
    persistently(|| old.restart());
    await_converged(&[&one, &old, &three]);
    everything(&one, &old, &three, "second");

    // The upgrade ends: the session it has moves away, and the node comes back as one of now.
    let mut x = open(&old, lasting("moves", 1000), false);
    x.subscribes(&[("moves", options(Q1))], "0x01");
    x.disconnects();
    time_of_puback(&mut publisher, "moves", "before");
    let mut x = open(&three, lasting("moves", 1000), true);
    assert_eq!(message(&mut x), "before");
    old.terminate();
    assert!(old.wait().success());
    old.restart_with(Launch::present_command);
    await_converged(&[&one, &old, &three]);
    awaits("it speaks version 3", PATIENCE, || one.has_logged(&["link up", "n2@", "protocol=3"]));
    time_of_puback(&mut connect(&old, "p"), "moves", "after");
    assert_eq!(message(&mut x), "after");
    for node in [&one, &old, &three] {
        for reason in ["link_protocol", "link_malformed", "link_hello", "malformed"] {
            assert_eq!(node.rejected(reason), 0.0, "{reason} on {}", node.name());
        }
        assert_eq!(node.metric("divergence_detected_total", &[]), 0.0, "on {}", node.name());
    }
}

/// Connects as a peer that speaks these versions, and greets.
fn greet(node: &Process, protocol: ProtocolRange) -> TcpStream {
    let hello = Hello {
        cluster: "rumormq".to_owned(),
        protocol,
        replica: ReplicaId {
            name: NodeName::parse("n9@127.0.0.1").expect("a name"),
            incarnation: Incarnation(1),
        },
        addresses: Addresses { cluster: "127.0.0.1:9".to_owned(), mqtt: None, http: None },
        gossip: postcard::to_stdvec(&rumormq_gossip::Digest::default()).expect("it can be written"),
        forwards_received: BTreeMap::new(),
        wall_clock_ms: 0,
    };
    let mut bytes = Preamble::Plain.bytes().to_vec();
    frame::append(&mut bytes, kind::HELLO, false, |out| hello.encode(out)).expect("it fits");
    let mut stream = TcpStream::connect(node.cluster_addr()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    stream.write_all(&bytes).expect("it reads");
    stream
}

/// A later version says more than this one knows: in frames that it marks as needless, and behind what is known of others.
#[test]
fn what_a_later_version_adds_is_passed_over() {
    let node = Launch::new("n1").start();
    let mut stream = greet(&node, ProtocolRange { min: 1, max: 9 });
    let ping = |stream: &mut TcpStream, unknown: u8, skip: bool| {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, unknown, skip, |out| out.extend_from_slice(b"of a later version"))
            .expect("it fits");
        // 300 as postcard writes it, and a field that is not known.
        frame::append(&mut bytes, kind::PING, false, |out| out.extend_from_slice(&[0xac, 2, 7, 7]))
            .expect("it fits");
        stream.write_all(&bytes).expect("it reads");
    };
    ping(&mut stream, 200, true);
    let mut answers = Vec::new();
    let pong = [&[2, 0, 0, 0, kind::PONG, 0][..], &[0xac, 2]].concat();
    while !answers.windows(pong.len()).any(|window| window == pong) {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).expect("the link is up");
        assert!(count > 0, "the link is up");
        answers.extend_from_slice(&buffer[..count]);
    }
    awaits("the link is up", PATIENCE, || node.has_logged(&["link up", "n9@", "protocol=3"]));
    ping(&mut stream, 200, false);
    awaits("it is counted", PATIENCE, || node.rejected("link_protocol") == 1.0);
    awaits("it is told", PATIENCE, || node.has_logged(&["the peer sent a frame of unknown type 200"]));
}

/// Nodes that have no version in common tell each other, and the rest of the cluster does not notice.
#[test]
fn no_common_version_is_told_to_both() {
    let one = Launch::new("n1").start();
    let two = Launch::new("n2").join(one.cluster_addr()).start();
    await_converged(&[&one, &two]);
    let mut stream = greet(&one, ProtocolRange { min: 4, max: 9 });
    // It says what it speaks before it closes, so that its peer knows, too.
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it closes");
    let (frame, _) = frame::Frame::parse(&answer[Preamble::LEN..]).expect("a frame").expect("a whole one");
    assert_eq!(Hello::decode(frame.body).expect("a greeting").protocol, ProtocolRange { min: 1, max: 3 });
    awaits("it is counted", PATIENCE, || one.rejected("link_no_common_protocol") == 1.0);
    awaits("it is told", PATIENCE, || {
        one.has_logged(&["WARN", "the peer speaks protocol 4 to 9, this node 1 to 3"])
    });
    await_converged(&[&one, &two]);
    let mut client = subscriber(&two, "c", &["t"], Q1);
    time_of_puback(&mut connect(&one, "p"), "t", "x");
    assert_eq!(message(&mut client), "x");
}
