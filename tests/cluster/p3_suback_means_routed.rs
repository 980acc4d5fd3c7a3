//! P3: SUBACK is sent once every live member that can be reached has the route.

use std::time::{Duration, Instant};

use rumormq::codec::packet::{Packet, Publish, QoS};

use crate::clients::{connect, subscriber};
use crate::processes::{Launch, Process, await_converged, start_cluster};
use crate::support::client::{Client, Frame, Q0, Q1, options, publish, subscribe};
use crate::support::describe::describe;

fn suback_timeouts(nodes: &[Process]) -> f64 {
    nodes.iter().map(|node| node.metric("suback_timeouts_total", &[])).sum()
}

/// Publishes on one node in the moment of the SUBACK on another one.
fn trials(count: usize) {
    let nodes = start_cluster(3);
    let mut subscribers: Vec<Client> = nodes.iter().map(|node| connect(node, "subscriber")).collect();
    let mut rivals: Vec<Client> = nodes.iter().map(|node| connect(node, "rival")).collect();
    let mut publishers: Vec<Client> = nodes.iter().map(|node| connect(node, "publisher")).collect();
    let mut slowest = Duration::ZERO;
    for trial in 0..count {
        let here = trial % 3;
        let there = (here + 1 + trial / 3 % 2) % 3;
        let (publisher, subscriber) = (&mut publishers[there], &mut subscribers[here]);
        let own = format!("own/{trial}/x");
        // Wanted by another client a moment before, whose SUBACK may still wait.
        let shared = format!("shared/{trial}/x");
        let shared_filter = format!("shared/{trial}/+");
        let with_rival = trial % 3 == 0;
        if trial % 2 == 0 {
            // The publisher has matched these topics before, in vain.
            publisher.publishes(publish(1, Q0, &own, "early"));
            publisher.publishes(publish(1, Q0, &shared, "early"));
        }
        if with_rival {
            rivals[here].sends(Packet::Subscribe(subscribe(1, &[(&shared_filter, options(Q0))])));
        }
        let mut filters = vec![(own.as_str(), options(Q1))];
        filters.extend(with_rival.then_some((shared_filter.as_str(), options(Q1))));
        let began = Instant::now();
        subscriber.subscribes(&filters, if with_rival { "0x01 0x01" } else { "0x01" });
        slowest = slowest.max(began.elapsed());

        let qos = if trial % 4 < 2 { Q0 } else { Q1 };
        publisher.sends(Packet::Publish(Publish { packet_id: None, ..publish(1, Q0, &own, "x") }));
        if with_rival {
            publisher.sends(Packet::Publish(publish(2, qos, &shared, "x")));
        }
        subscriber.gets(&format!("PUBLISH q0 {own} x"));
        if with_rival {
            let shared_message = subscriber.frame().expect("a message");
            assert!(describe(&shared_message.packet()).ends_with(&format!("{shared} x")));
            // Nobody owes it the message: its SUBSCRIBE may have been read later than the other client's.
            while !is_suback(&rivals[here].frame().expect("SUBACK")) {}
            if let Packet::Publish(Publish { packet_id: Some(id), .. }) = shared_message.packet() {
                subscriber.sends(Packet::PubAck(crate::support::client::ack(id.get())));
            }
            if qos == QoS::AtLeastOnce {
                publishers[there].gets("PUBACK 2");
            }
        }
    }
    println!("{count} trials, slowest SUBACK {slowest:?}");
    assert_eq!(suback_timeouts(&nodes), 0.0);
}

fn is_suback(frame: &Frame) -> bool {
    matches!(frame.packet(), Packet::SubAck(_))
}

#[test]
fn p3_suback_means_routed_to_every_node() {
    trials(300);
}

/// `cargo test --test cluster -- --ignored p3_suback`
#[test]
#[ignore = "a minute"]
fn p3_suback_means_routed_ten_thousand_times() {
    trials(10_000);
}

/// The time until SUBACK, and whether it says that a node does not have the route.
fn time_of_suback(client: &mut Client, filter: &str) -> (Duration, bool) {
    let began = Instant::now();
    client.sends(Packet::Subscribe(subscribe(1, &[(filter, options(Q1))])));
    let frame = client.frame().expect("SUBACK");
    let Packet::SubAck(suback) = frame.packet() else { panic!("not a SUBACK") };
    (began.elapsed(), suback.properties.reason_string.is_some())
}

#[test]
fn p3_suback_means_routed_or_says_that_it_is_not() {
    let nodes = start_cluster(3);
    let [n1, n2, n3] = &nodes[..] else { panic!("three nodes") };
    let mut client = connect(n1, "c");
    n3.freeze();
    // What answered a ping within the last second counts as answering; from then on it is silent.
    let (took, warned) = time_of_suback(&mut client, "a");
    println!("SUBACK beside a node that has just fallen silent: {took:?}");
    assert!(took > Duration::from_millis(400) && took < Duration::from_millis(2500), "{took:?}");
    assert!(warned, "the client is told");
    assert_eq!(suback_timeouts(&nodes[..1]), 1.0);
    let (took, _) = time_of_suback(&mut client, "b");
    println!("the next one: {took:?}");
    assert!(took < Duration::from_millis(300), "nobody waits for it again: {took:?}");
    // To those that answer, it is routed.
    connect(n2, "p").publishes(publish(1, Q1, "b", "x"));
    client.gets("PUBLISH 1 q1 b x");

    n3.thaw();
    println!("caught up after {:?}", await_converged(&[n1, n2, n3]));
    let timeouts = suback_timeouts(&nodes);
    let (took, warned) = time_of_suback(&mut client, "c");
    assert!(!warned, "everybody has it: {took:?}");
    connect(n3, "p").publishes(publish(1, Q1, "c", "x"));
    client.gets("PUBLISH 2 q1 c x");
    assert_eq!(suback_timeouts(&nodes), timeouts);
}

/// A node is ready when it has what there was, and what its clients then want is known everywhere: also on nodes that it did
/// not join by, and that it may have no link with yet.
#[test]
fn p3_suback_means_routed_on_a_node_that_has_just_joined() {
    let nodes = start_cluster(3);
    let [n1, n2, n3] = &nodes[..] else { panic!("three nodes") };
    let mut old = subscriber(n1, "old", &["before"], Q0);
    for round in 0..3 {
        let late = Launch::new(&format!("late{round}")).join(n3.cluster_addr()).start();
        let mut new = subscriber(&late, "new", &["after"], Q0);
        for node in [n1, n2, n3] {
            connect(node, "p").publishes(publish(1, Q0, "after", "x"));
            new.gets("PUBLISH q0 after x");
        }
        connect(&late, "p").publishes(publish(1, Q0, "before", "x"));
        old.gets("PUBLISH q0 before x");
        for node in [&late, n1, n2, n3] {
            assert_eq!(node.metric("suback_timeouts_total", &[]), 0.0, "on {}", node.name());
        }
    }
}
