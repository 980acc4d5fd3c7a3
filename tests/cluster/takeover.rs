//! A session is where its client has connected last, whichever node that is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rumormq::codec::packet::{Connect, Packet, PacketId, PropertySet, Publish, QoS, Will};
use rumormq::topic::Topic;

use crate::clients::connect;
use crate::processes::{PATIENCE, Process, awaits, start_cluster};
use crate::support::client::{self, Client, Q1, Q2, ack, lasting, options, publish, subscribe_as};

/// Connects and expects CONNACK to say whether there was a session.
#[track_caller]
pub fn open(node: &Process, connect: Connect<'_>, present: bool) -> Client {
    let mut client = node.beside(|| Client::start(node.mqtt_addr(), connect));
    let frame = client.frame().expect("CONNACK");
    match frame.packet() {
        Packet::ConnAck(connack) => {
            assert_eq!((connack.reason as u8, connack.session_present), (0, present), "on {}", node.name());
        }
        other => panic!("not a CONNACK: {other:?}"),
    }
    client
}

#[track_caller]
fn resume(node: &Process, present: bool) -> Client {
    open(node, lasting("x", 1000), present)
}

#[test]
fn takeover_moves_subscriptions_and_what_was_queued() {
    let nodes = start_cluster(3);
    let mut publisher = connect(&nodes[2], "p");
    let mut x = resume(&nodes[0], false);
    x.sends(Packet::Subscribe(subscribe_as(7, "a/#", options(Q1))));
    x.gets("SUBACK 1 0x01");
    x.disconnects();
    publisher.publishes(publish(1, Q1, "a/1", "one"));
    publisher.publishes(publish(2, Q1, "a/2", "two"));
    let mut x = resume(&nodes[1], true);
    x.gets("PUBLISH 1 q1 a/1 one id=7");
    x.gets("PUBLISH 2 q1 a/2 two id=7");
    x.sends(Packet::PubAck(ack(1)));
    x.sends(Packet::PubAck(ack(2)));
    publisher.publishes(publish(3, Q1, "a/3", "three"));
    x.gets("PUBLISH 3 q1 a/3 three id=7");
    x.sends(Packet::PubAck(ack(3)));
    x.waits();
    awaits("one node has the route", PATIENCE, || {
        nodes[2].routes() == [("a/#".to_owned(), vec![nodes[1].name().to_owned()])]
    });
}

#[test]
fn takeover_ends_the_connection_elsewhere() {
    let nodes = start_cluster(2);
    let mut former = resume(&nodes[0], false);
    let mut present = resume(&nodes[1], true);
    former.gets("DISCONNECT 0x8e");
    former.is_closed();
    present.waits();
    let mut clean = open(&nodes[0], client::connect("x"), false);
    present.gets("DISCONNECT 0x8e");
    clean.waits();
    drop(clean);
    awaits("its session is over", PATIENCE, || nodes[0].metric("connections", &[]) == 0.0);
    let _fresh = resume(&nodes[1], false);
}

/// QoS 2 both ways, at each half.
#[test]
fn takeover_goes_on_with_what_was_in_flight() {
    let nodes = start_cluster(3);
    let mut publisher = connect(&nodes[2], "p");
    let mut watcher = crate::clients::subscriber(&nodes[2], "w", &["from/x"], Q2);
    let mut x = resume(&nodes[0], false);
    x.subscribes(&[("to/x", options(Q2))], "0x02");
    for (id, payload) in [(1, "a"), (2, "b")] {
        publisher.publishes(publish(id, Q2, "to/x", payload));
        x.gets(&format!("PUBLISH {id} q2 to/x {payload}"));
    }
    x.sends(Packet::PubRec(ack(1)));
    x.gets("PUBREL 1");
    x.sends(Packet::Publish(publish(9, Q2, "from/x", "mine")));
    x.gets("PUBREC 9");
    watcher.gets("PUBLISH 1 q2 from/x mine");
    let mut x = resume(&nodes[1], true);
    x.gets("PUBREL 1");
    x.gets("PUBLISH 2 q2 to/x b dup");
    x.sends(Packet::PubComp(ack(1)));
    x.sends(Packet::PubRec(ack(2)));
    x.gets("PUBREL 2");
    x.sends(Packet::Publish(Publish { dup: true, ..publish(9, Q2, "from/x", "mine") }));
    x.gets("PUBREC 9");
    let mut x = resume(&nodes[2], true);
    x.gets("PUBREL 2");
    x.sends(Packet::PubComp(ack(2)));
    x.sends(Packet::PubRel(ack(9)));
    x.gets("PUBCOMP 9");
    x.waits();
    watcher.waits();
}

/// A client that hops from node to node while others publish to it without pause.
fn hops(count: usize) {
    let nodes = start_cluster(3);
    let mut x = resume(&nodes[0], false);
    x.subscribes(&[("q1", options(Q1)), ("q2", options(Q2))], "0x01 0x02");
    let (over, sent) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let published = scope.spawn(|| publish_without_pause(&nodes[0], &over, &sent));
        let ends = Ends(&over);
        let mut received = Received::default();
        for hop in 1..=count {
            received.read(&mut x, 5);
            // What waits for it stays below the limit of a queue.
            while received.next[0] + 100 < sent.load(Ordering::Acquire) {
                received.read(&mut x, 1);
            }
            let node = &nodes[hop % 3];
            x = match hop % 3 {
                // Connected still, gone, or gone without a word.
                0 => resume(node, true),
                1 => {
                    x.disconnects_and_reads(&mut received);
                    resume(node, true)
                }
                _ => {
                    drop(x);
                    resume(node, true)
                }
            };
        }
        drop(ends);
        let published = published.join().expect("it publishes");
        received.read_until(&mut x, published);
        println!("{count} hops, {published} messages of each QoS, {} of QoS 1 came again", received.again);
    });
}

/// However the test goes, the publisher ends with it.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

trait Leaves {
    fn disconnects_and_reads(self, received: &mut Received);
}

impl Leaves for Client {
    fn disconnects_and_reads(mut self, received: &mut Received) {
        use rumormq::codec::packet::{Disconnect, Properties, ReasonCode};
        let reason = ReasonCode::Success;
        self.sends(Packet::Disconnect(Disconnect { reason, properties: Properties::NONE }));
        while let Some(frame) = self.frame() {
            received.note(&frame.packet());
        }
    }
}

/// Publishes numbers with QoS 1 and 2 until it is over; returns how many of each.
pub fn publish_without_pause(node: &Process, over: &AtomicBool, sent: &AtomicU32) -> u32 {
    let mut publisher = connect(node, "p");
    let mut number = 0;
    while !over.load(Ordering::Acquire) {
        let payload = number.to_string();
        publisher.sends(Packet::Publish(publish(1, Q1, "q1", &payload)));
        publisher.sends(Packet::Publish(publish(2, Q2, "q2", &payload)));
        publisher.gets_one_of(&["PUBACK 1", "PUBACK 1 0x10"]);
        publisher.gets_one_of(&["PUBREC 2", "PUBREC 2 0x10"]);
        publisher.sends(Packet::PubRel(ack(2)));
        publisher.gets("PUBCOMP 2");
        number += 1;
        sent.store(number, Ordering::Release);
    }
    number
}

/// What has come, and whether it may have.
#[derive(Default)]
pub struct Received {
    /// The next number of QoS 1 and of QoS 2.
    pub next: [u32; 2],
    /// QoS 2 messages whose PUBREL has not come, by packet identifier.
    unreleased: BTreeMap<PacketId, u32>,
    again: u32,
}

impl Received {
    fn read(&mut self, client: &mut Client, count: usize) {
        for _ in 0..count {
            self.answer(client);
        }
    }

    pub fn read_until(&mut self, client: &mut Client, published: u32) {
        while self.next != [published; 2] {
            self.answer(client);
        }
    }

    fn answer(&mut self, client: &mut Client) {
        let frame = client.frame().expect("a packet");
        if let Some(answer) = self.note(&frame.packet()) {
            client.sends(answer);
        }
    }

    pub fn note(&mut self, packet: &Packet<'_>) -> Option<Packet<'static>> {
        match packet {
            Packet::Publish(publish) => {
                let id = publish.packet_id.expect("QoS 1 or 2");
                let number: u32 =
                    std::str::from_utf8(publish.payload).expect("text").parse().expect("a number");
                match publish.qos {
                    QoS::ExactlyOnce => {
                        if self.unreleased.get(&id) == Some(&number) {
                            assert!(publish.dup);
                        } else {
                            assert_eq!(number, self.next[1], "QoS 2, none missing and none twice");
                            self.next[1] += 1;
                            assert_eq!(self.unreleased.insert(id, number), None);
                        }
                        Some(Packet::PubRec(ack(id.get())))
                    }
                    _ => {
                        if number < self.next[0] {
                            assert!(publish.dup, "QoS 1 message {number} again, after {}", self.next[0]);
                            self.again += 1;
                        } else {
                            assert_eq!(number, self.next[0], "QoS 1, none missing");
                            self.next[0] += 1;
                        }
                        Some(Packet::PubAck(ack(id.get())))
                    }
                }
            }
            Packet::PubRel(release) => {
                self.unreleased.remove(&release.packet_id);
                Some(Packet::PubComp(ack(release.packet_id.get())))
            }
            Packet::Disconnect(_) => None,
            other => panic!("not expected: {other:?}"),
        }
    }
}

#[test]
fn takeover_under_load_loses_nothing_in_20_hops() {
    hops(20);
}

#[test]
#[ignore = "long"]
fn takeover_under_load_loses_nothing_in_200_hops() {
    hops(200);
}

fn with_will(delay_secs: Option<u32>) -> Connect<'static> {
    let properties = PropertySet { will_delay_interval_secs: delay_secs, ..PropertySet::EMPTY }.into();
    let topic = Topic::new("will").expect("a topic name");
    let will = Will { topic, payload: b"gone", qos: Q1, retain: false, properties };
    Connect { will: Some(will), ..lasting("x", 1000) }
}

/// A will without delay goes out when another node takes the client over, once; a delayed one does not [MQTT-3.1.3-9].
#[test]
fn takeover_calls_off_a_delayed_will_and_no_other() {
    let nodes = start_cluster(3);
    let mut watcher = crate::clients::subscriber(&nodes[2], "w", &["will"], Q1);
    let mut x = open(&nodes[0], with_will(None), false);
    let second = open(&nodes[1], with_will(Some(1)), true);
    x.gets("DISCONNECT 0x8e");
    watcher.gets("PUBLISH 1 q1 will gone");
    watcher.sends(Packet::PubAck(ack(1)));
    // Gone without a word, and back elsewhere within the delay.
    second.vanishes();
    let third = resume(&nodes[0], true);
    std::thread::sleep(Duration::from_millis(1500)); // Until the will would have been due.
    watcher.waits();
    third.vanishes();
    open(&nodes[1], with_will(Some(1)), true).vanishes();
    watcher.gets("PUBLISH 2 q1 will gone");
}

/// A clean start leaves nothing of the session, wherever it was.
#[test]
fn takeover_by_a_clean_start_discards_the_session() {
    let nodes = start_cluster(2);
    let mut x = resume(&nodes[0], false);
    x.subscribes(&[("a", options(Q1))], "0x01");
    x.disconnects();
    let mut publisher = connect(&nodes[0], "p");
    publisher.publishes(publish(1, Q1, "a", "for the old one"));
    open(&nodes[1], Connect { clean_start: true, ..lasting("x", 1000) }, false).disconnects();
    awaits("nobody wants it any more", PATIENCE, || nodes[1].routes().is_empty());
    let mut x = resume(&nodes[0], true);
    x.waits();
}

/// Whoever is last has the client, and nobody else.
#[test]
fn takeover_of_connects_at_the_same_time_ends_with_one() {
    let nodes = start_cluster(3);
    let mut first = resume(&nodes[0], false);
    first.subscribes(&[("a", options(Q1))], "0x01");
    first.disconnects();
    for round in 0..20_u16 {
        let clients: Vec<Client> = std::thread::scope(|scope| {
            let start =
                |node| scope.spawn(move || Client::start(Process::mqtt_addr(node), lasting("x", 1000)));
            let started: Vec<_> = nodes.iter().map(start).collect();
            started.into_iter().map(|client| client.join().expect("it connects")).collect()
        });
        let total =
            || nodes.iter().map(|node| node.metric("sessions", &["state=\"connected\""])).sum::<f64>();
        let wanted = |node: &Process| node.matches("a").first().map_or(0, |(_, nodes)| nodes.len());
        // The publisher of this test is never connected at the same time.
        awaits("one connection is left", PATIENCE, || total() == 1.0);
        awaits("one node has the session", PATIENCE, || nodes.iter().all(|node| wanted(node) == 1));
        let payload = round.to_string();
        let mut publisher = connect(&nodes[usize::from(round % 3)], "p");
        publisher.publishes(publish(1, Q1, "a", &payload));
        publisher.disconnects();
        let mut alive = 0;
        for mut client in clients {
            let Some(frame) = client.frame() else { continue };
            if matches!(frame.packet(), Packet::ConnAck(connack) if connack.reason as u8 != 0) {
                continue;
            }
            match client.frame().as_ref().map(|frame| frame.packet()) {
                Some(Packet::Publish(publish)) => {
                    assert_eq!(publish.payload, payload.as_bytes(), "none before is missing or left");
                    let id = publish.packet_id.expect("QoS 1").get();
                    client.sends(Packet::PubAck(ack(id)));
                    client.disconnects();
                    alive += 1;
                }
                Some(Packet::Disconnect(disconnect)) => assert_eq!(disconnect.reason as u8, 0x8e),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(alive, 1);
    }
}

/// Both sides of a partition accept the client. When it heals, the newer connection stays, and has what the older session
/// had not sent, once.
#[test]
fn takeover_after_a_partition_ends_with_one_and_hands_over_what_waits() {
    let Some(nodes) = crate::p5_partitions::hosts::<2>() else { return };
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two nodes") };
    let mut older = resume(n2, false);
    older.subscribes(&[("a", options(Q2))], "0x02");
    older.disconnects();
    let mut publisher = connect(n2, "p");
    publisher.publishes(publish(1, Q2, "a", "before"));
    host.isolate();
    let mut newer = resume(n1, false);
    newer.subscribes(&[("a", options(Q2))], "0x02");
    let mut other = connect(n1, "p");
    // Goes to both sessions: to the older one when the partition has healed.
    other.publishes(publish(1, Q2, "a", "to both"));
    newer.gets("PUBLISH 1 q2 a to both");
    newer.sends(Packet::PubRec(ack(1)));
    newer.gets("PUBREL 1");
    newer.sends(Packet::PubComp(ack(1)));
    publisher.publishes(publish(2, Q2, "a", "meanwhile"));
    host.heal();
    for (id, payload) in [(2, "before"), (3, "meanwhile")] {
        newer.gets(&format!("PUBLISH {id} q2 a {payload}"));
    }
    for id in [2, 3] {
        newer.sends(Packet::PubRec(ack(id)));
        newer.gets(&format!("PUBREL {id}"));
        newer.sends(Packet::PubComp(ack(id)));
    }
    awaits("the older one is gone", PATIENCE, || n2.metric("sessions", &["state=\"disconnected\""]) == 0.0);
    newer.waits();
}

/// A client that goes on with an older copy of its session cannot know that it is one: what it has subscribed to on the other
/// side it has once the sides meet, and what came for that there; what it has unsubscribed from since, it has not.
#[test]
fn takeover_after_a_partition_has_the_subscriptions_of_both_sides() {
    let Some(nodes) = crate::p5_partitions::hosts::<2>() else { return };
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two nodes") };
    let mut x = resume(n1, false);
    x.subscribes(&[("a", options(Q2))], "0x02");
    x.disconnects();
    host.isolate();
    let mut x = resume(n2, false);
    x.subscribes(&[("b", options(Q2)), ("c", options(Q2))], "0x02 0x02");
    x.disconnects();
    let mut x = resume(n1, true);
    x.unsubscribes("c", "0x11");
    let mut publisher = connect(n2, "p");
    publisher.publishes(publish(1, Q2, "b", "meanwhile"));
    host.heal();
    let acknowledge = |x: &mut Client, id: u16| {
        x.sends(Packet::PubRec(ack(id)));
        x.gets(&format!("PUBREL {id}"));
        x.sends(Packet::PubComp(ack(id)));
    };
    x.gets("PUBLISH 1 q2 b meanwhile");
    acknowledge(&mut x, 1);
    publisher.publishes(publish(2, Q2, "b", "after"));
    publisher.publishes(publish(3, Q2, "c", "unwanted"));
    publisher.publishes(publish(4, Q2, "a", "on n1"));
    x.gets("PUBLISH 2 q2 b after");
    x.gets("PUBLISH 3 q2 a on n1");
    [2, 3].into_iter().for_each(|id| acknowledge(&mut x, id));
    awaits("the other one is gone", PATIENCE, || n2.metric("sessions", &["state=\"disconnected\""]) == 0.0);
    x.waits();
}

/// A client that was told of a new session, and lost its connection before it could hear of that, is told so again.
#[test]
fn takeover_tells_a_client_again_that_it_has_no_session() {
    let Some(nodes) = crate::p5_partitions::hosts::<2>() else { return };
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two nodes") };
    let mut x = resume(n1, false);
    x.subscribes(&[("a", options(Q1))], "0x01");
    x.disconnects();
    host.isolate();
    for _ in 0..2 {
        drop(resume(n2, false));
    }
    let mut x = resume(n2, false);
    x.subscribes(&[("a", options(Q1))], "0x01");
    drop(x);
    drop(resume(n2, true));
}

/// A client that was gone before it could hear of its new session has the older one, wherever it connects next.
#[test]
fn takeover_by_a_connection_that_comes_to_nothing_loses_nothing() {
    let Some(nodes) = crate::p5_partitions::hosts::<2>() else { return };
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two nodes") };
    let mut publisher = connect(n2, "p");
    for (round, next) in [n1, n2].into_iter().enumerate() {
        let mut x = resume(n2, round > 0);
        x.subscribes(&[("a", options(Q1))], "0x01");
        x.disconnects();
        host.isolate();
        drop(resume(n1, false));
        publisher.publishes(publish(1, Q1, "a", "meanwhile"));
        host.heal();
        awaits("the session has gone where its client was", PATIENCE, || {
            n1.metric("sessions", &["state=\"disconnected\""]) == 1.0
                && n2.metric("sessions", &["state=\"disconnected\""]) == 0.0
        });
        let mut x = resume(next, true);
        let frame = x.frame().expect("a message");
        let Packet::Publish(publish) = frame.packet() else { panic!("{:?}", frame.packet()) };
        assert_eq!(publish.payload, b"meanwhile");
        let id = publish.packet_id.expect("QoS 1").get();
        x.sends(Packet::PubAck(ack(id)));
        x.disconnects();
    }
}

/// The same where the older one is connected: it is told.
#[test]
fn takeover_after_a_partition_tells_the_older_connection() {
    let Some(nodes) = crate::p5_partitions::hosts::<2>() else { return };
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two nodes") };
    let mut older = resume(n2, false);
    host.isolate();
    let began = std::time::Instant::now();
    let mut newer = resume(n1, false);
    let took = began.elapsed();
    println!("connected after {took:?}");
    assert!(took < Duration::from_millis(2300), "{took:?}");
    host.heal();
    older.gets("DISCONNECT 0x8e");
    newer.waits();
}

/// The node that has the session stands still.
#[test]
fn takeover_costs_no_more_than_its_timeout_where_the_owner_is_silent() {
    let nodes = start_cluster(3);
    let former = resume(&nodes[0], false);
    nodes[0].freeze();
    let began = std::time::Instant::now();
    let mut present = resume(&nodes[1], false);
    let took = began.elapsed();
    println!("{took:?}");
    assert!(took < Duration::from_millis(2300), "{took:?}");
    present.subscribes(&[("a", options(Q1))], "0x01");
    nodes[0].thaw();
    let mut former = former;
    former.gets("DISCONNECT 0x8e");
    let mut publisher = connect(&nodes[0], "p");
    publisher.publishes(publish(1, Q1, "a", "still here"));
    present.gets("PUBLISH 1 q1 a still here");
}

/// As tools do it that clear a session: a clean start, and gone again before anybody else may have noticed.
#[test]
fn clean_start_that_is_soon_over_ends_the_session_elsewhere() {
    let nodes = start_cluster(3);
    for round in 0..20 {
        let mut x = resume(&nodes[0], false);
        x.subscribes(&[("a", options(Q1))], "0x01");
        x.disconnects();
        open(&nodes[1], client::connect("x"), false).disconnects();
        awaits(&format!("the session is over, round {round}"), PATIENCE, || {
            nodes[0].metric("sessions", &["state=\"disconnected\""]) == 0.0
        });
    }
}
