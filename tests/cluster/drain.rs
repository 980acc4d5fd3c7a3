//! A node that is drained hands over what it has, and leaves when it has nothing left.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rumormq::codec::packet::{Connect, Packet, PropertySet, Will};
use rumormq::topic::Topic;

use crate::clients::{connect, message, subscriber, time_of_puback};
use crate::leave::{http, names, rumormq};
use crate::processes::{PATIENCE, Process, awaits, start_cluster, start_cluster_with};
use crate::support::client::{Client, Q0, Q1, Q2, V311, lasting, options, publish};
use crate::takeover::{Ends, Received, open, publish_without_pause};

/// What `rumormq leave --drain` does, at this rate and after such a grace.
fn drain(http: &str, rate: &str, grace: &str) -> (Option<i32>, String) {
    rumormq(&["leave", "--drain", "--rate", rate, "--grace", grace, "--http", http])
}

fn readyz(node: &Process) -> u16 {
    // A request that changes nothing: what is asked for is the status.
    let answer = ureq::get(format!("http://{}/readyz", http(node))).call();
    match answer {
        Ok(answer) => answer.status().as_u16(),
        Err(ureq::Error::StatusCode(status)) => status,
        Err(error) => panic!("{error}"),
    }
}

/// Everything from now until the connection ends; the server that a 5.0 client is sent to.
fn read_to_the_end(client: &mut Client, received: &mut Received) -> Option<String> {
    let mut reference = None;
    while let Some(frame) = client.frame() {
        if let Packet::Disconnect(disconnect) = frame.packet() {
            assert_eq!(disconnect.reason as u8, 0x9D, "it has moved");
            reference = disconnect.properties.server_reference.map(str::to_owned);
        }
        if let Some(answer) = received.note(&frame.packet()) {
            // It may be gone already.
            let _ = client.try_sends(answer);
        }
    }
    reference
}

/// Subscribes to what is published without a pause.
fn listens(node: &Process, connect: Connect<'_>) -> Client {
    let mut client = open(node, connect, false);
    client.subscribes(&[("q1", options(Q1)), ("q2", options(Q2))], "0x01 0x02");
    client
}

/// Clients with and without a connection, live publishers on all nodes: nothing is lost, nothing comes twice that must not, and
/// everybody finds another node.
#[test]
fn a_drained_node_loses_nothing() {
    const CLIENTS: usize = 8;
    let mut nodes = start_cluster_with(3, |launch| launch.flag("--max-queued-messages", "1000000"));
    let others: Vec<Process> = nodes.drain(..2).collect();
    let mut leaving = nodes.pop().expect("three nodes");
    let (over, sent) = (AtomicBool::new(false), AtomicU32::new(0));
    let ids: Vec<String> = (0..CLIENTS).map(|number| format!("c{number}")).collect();
    let mut connected: Vec<Client> = ids.iter().map(|id| listens(&leaving, lasting(id, 1000))).collect();
    let old = Connect { version: V311, clean_start: false, ..lasting("old", 0) };
    let mut old_client =
        open(&leaving, Connect { properties: rumormq::codec::packet::Properties::NONE, ..old }, false);
    old_client.subscribes(&[("q1", options(Q1)), ("q2", options(Q2))], "0x01 0x02");
    for number in 0..CLIENTS {
        listens(&leaving, lasting(&format!("away{number}"), 1000)).disconnects();
    }
    let address = http(&leaving);
    std::thread::scope(|scope| {
        let ends = Ends(&over);
        let published = scope.spawn(|| publish_without_pause(&others[0], &over, &sent));
        awaits("messages are under way", PATIENCE, || sent.load(Ordering::Acquire) > 20);
        let began = Instant::now();
        let command = scope.spawn(move || drain(&address, "20", "0.5"));
        awaits("it is not ready", PATIENCE, || readyz(&leaving) == 503);
        // Whoever comes during the grace is let in.
        let mut late = open(&leaving, lasting("late", 1000), false);
        late.subscribes(&[("late", options(Q1))], "0x01");
        late.disconnects();
        let resumed: Vec<_> = connected
            .drain(..)
            .zip(&ids)
            .map(|(mut client, id)| {
                let others = &others;
                scope.spawn(move || {
                    let mut received = Received::default();
                    let reference = read_to_the_end(&mut client, &mut received).expect("another server");
                    let node = others.iter().find(|node| node.mqtt_addr().to_string() == reference);
                    (open(node.expect("one of the others"), lasting(id, 1000), true), received)
                })
            })
            .collect();
        let mut old_received = Received::default();
        assert_eq!(read_to_the_end(&mut old_client, &mut old_received), None, "3.1.1 has no way to say it");
        let mut clients: Vec<(Client, Received)> =
            resumed.into_iter().map(|thread| thread.join().expect("it finds another")).collect();
        let (code, says) = command.join().expect("it ends");
        assert_eq!(code, Some(0), "{says}");
        assert!(says.starts_with("n3@127.0.0.1 has left its cluster\n"), "{says}");
        println!(
            "drained in {:?}, with {} messages of each QoS so far\n{says}",
            began.elapsed(),
            sent.load(Ordering::Acquire)
        );
        assert_eq!(leaving.wait().code(), Some(0), "a clean end");
        // Some after it has left, too.
        let so_far = sent.load(Ordering::Acquire);
        awaits("more is published", PATIENCE, || sent.load(Ordering::Acquire) > so_far + 20);
        drop(ends);
        let published = published.join().expect("it publishes");
        let old = Connect { version: V311, clean_start: false, ..lasting("old", 0) };
        let old = Connect { properties: rumormq::codec::packet::Properties::NONE, ..old };
        clients.push((open(&others[0], old, true), old_received));
        for number in 0..CLIENTS {
            let id = format!("away{number}");
            clients.push((open(&others[number % 2], lasting(&id, 1000), true), Received::default()));
        }
        for (number, (client, received)) in clients.iter_mut().enumerate() {
            println!("client {number} of {}, {} each", CLIENTS * 2 + 1, published);
            received.read_until(client, published);
        }
        time_of_puback(&mut connect(&others[0], "late's friend"), "late", "x");
        assert_eq!(message(&mut open(&others[1], lasting("late", 1000), true)), "x");
    });
    for node in &others {
        assert_eq!(names(node).len(), 2, "it has left");
        assert_eq!(node.metric("messages_dropped_total", &["reason=\"queue_full\""]), 0.0);
    }
}

fn with_will(id: &str, delay_secs: u32) -> Connect<'_> {
    let properties = PropertySet { will_delay_interval_secs: Some(delay_secs), ..PropertySet::EMPTY }.into();
    let topic = Topic::new("will").expect("a topic name");
    let will = Will { topic, payload: id.as_bytes(), qos: Q1, retain: false, properties };
    Connect { will: Some(will), ..lasting(id, 1000) }
}

/// What waits for its time waits on at another node: wills, which a client that comes back calls off, and delayed publishes.
#[test]
fn what_waits_goes_along() {
    let mut nodes = start_cluster_with(2, |launch| launch.flag("--max-delayed-messages", "100"));
    let mut leaving = nodes.pop().expect("two nodes");
    let mut watcher = subscriber(&nodes[0], "w", &["will", "later"], Q1);
    open(&leaving, with_will("back", 4), false).vanishes();
    open(&leaving, with_will("gone", 4), false).vanishes();
    let mut publisher = connect(&leaving, "p");
    publisher.sends(Packet::Publish(publish(1, Q1, "$delayed/5/later", "x")));
    publisher.gets_one_of(&["PUBACK 1", "PUBACK 1 0x10"]);
    let (code, says) = drain(&http(&leaving), "100", "0");
    assert_eq!(code, Some(0), "{says}");
    assert!(leaving.wait().success());
    let _back = open(&nodes[0], lasting("back", 1000), true);
    let mut got = [message(&mut watcher), message(&mut watcher)];
    got.sort();
    assert_eq!(got, ["gone", "x"]);
    watcher.waits();
}

/// Clients with QoS 0 subscriptions and sessions that end with them are moved as well.
#[test]
fn nobody_is_let_in_while_others_are_sent_away() {
    let mut nodes = start_cluster(2);
    let mut leaving = nodes.pop().expect("two nodes");
    let mut clients: Vec<Client> =
        (0..30).map(|number| subscriber(&leaving, &format!("c{number}"), &["t"], Q0)).collect();
    let address = http(&leaving);
    let command = std::thread::spawn(move || drain(&address, "20", "0"));
    let mut refused = Client::start(leaving.mqtt_addr(), lasting("x", 100));
    while !refused.frame().is_some_and(|frame| {
        let Packet::ConnAck(connack) = frame.packet() else { panic!("not a CONNACK") };
        let reference = nodes[0].mqtt_addr().to_string();
        let is_refused = connack.reason as u8 == 0x9C;
        assert!(!is_refused || connack.properties.server_reference == Some(reference.as_str()));
        is_refused
    }) {
        refused = Client::start(leaving.mqtt_addr(), lasting("x", 100));
    }
    let began = Instant::now();
    for client in &mut clients {
        client.gets_one_of(&["DISCONNECT 0x9d"]);
    }
    assert!(began.elapsed() > Duration::from_millis(500), "not all at once, but in {:?}", began.elapsed());
    assert_eq!(command.join().expect("it ends").0, Some(0));
    assert!(leaving.wait().success());
}

#[test]
fn a_drain_is_cut_short_by_a_leave_or_a_stop() {
    let mut nodes = start_cluster(3);
    for word in ["leave", "stop"] {
        let mut node = nodes.pop().expect("three nodes");
        let _client = subscriber(&node, "c", &["t"], Q1);
        let address = http(&node);
        let command = std::thread::spawn(move || drain(&address, "1", "3600"));
        awaits("it is not ready", PATIENCE, || readyz(&node) == 503);
        match word {
            "leave" => {
                assert_eq!(rumormq(&["leave", "--http", &http(&node)]).0, Some(0));
                assert!(node.wait().success());
                awaits("it has left", PATIENCE, || names(&nodes[0]).len() == 2);
            }
            _ => {
                node.terminate();
                assert!(node.wait().success());
                assert_eq!(names(&nodes[0]).len(), 2, "it may come back");
            }
        }
        let (code, says) = command.join().expect("it ends");
        assert_eq!(code, Some(1), "{says}");
        assert!(says.contains("has ended before it was drained, with 1 clients"), "{says}");
    }
    // Alone, there is nowhere to go.
    let (code, says) = drain(&http(&nodes[0]), "1", "0");
    assert_eq!(code, Some(1), "{says}");
    assert!(says.contains("no other live node"), "{says}");
    assert_eq!(readyz(&nodes[0]), 200);
}
