//! P7: what waits for a peer has a limit, and a counter when it is reached.

use rumormq::admin::view::MemberState;
use rumormq::codec::packet::Packet;

use crate::clients::{
    connect, message, messages_until, numbers, publish_numbers, subscriber, time_of_puback,
};
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits, start_cluster};
use crate::support::client::{Q0, Q1, options, publish};

/// Bytes of memory that a node has in use.
pub fn memory(node: &Process) -> f64 {
    let page = node.page("/metrics");
    let line = page.lines().find(|line| line.starts_with("process_resident_memory_bytes "));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a process has memory")
}

#[test]
fn p7_bounded_qos_0_for_a_peer_that_does_not_read_is_dropped() {
    let nodes = start_cluster(3);
    let [n1, n2, n3] = &nodes[..] else { panic!("three nodes") };
    let mut frozen = subscriber(n3, "frozen", &["a"], Q0);
    frozen.subscribes(&[("b", options(Q1))], "0x01");
    let mut reading = subscriber(n2, "reading", &["a"], Q0);
    let mut publisher = connect(n1, "p");
    let before = memory(n1);
    n3.freeze();
    let payload = "x".repeat(64 << 10);
    for _ in 0..100 {
        for _ in 0..8 {
            publisher.sends(Packet::Publish(publish(1, Q0, "a", &payload)));
        }
        // Others get theirs.
        for _ in 0..8 {
            assert_eq!(message(&mut reading).len(), payload.len());
        }
    }
    let dropped = n1.metric("forward_dropped_total", &[&format!("peer=\"{}\"", n3.name())]);
    let growth = (memory(n1) - before) / f64::from(1 << 20);
    println!("{dropped} of 800 messages dropped, {growth} MiB more memory in use");
    assert!(dropped > 400.0);
    assert!(growth < 40.0, "{growth} MiB");
    n3.thaw();
    await_converged(&[n1, n2, n3]);
    // Its client gets of what was on its way as much as it takes, and what comes now.
    time_of_puback(&mut publisher, "b", "last");
    let received = messages_until(&mut frozen, "last").len() as f64;
    assert!(received > 0.0 && received <= 800.0 - dropped, "{received}");
}

#[test]
fn p7_bounded_the_buffer_for_a_dead_node_drops_its_oldest() {
    let limit = 500;
    let launch = |name| Launch::new(name).flag("--forward-buffer-messages", &limit.to_string());
    let n1 = launch("n1").start();
    let n2 = launch("n2").join(n1.cluster_addr()).start();
    await_converged(&[&n1, &n2]);
    let mut away = subscriber(&n2, "s", &["a"], Q1);
    let mut publisher = connect(&n1, "p");
    n2.freeze();
    awaits("it is dead", PATIENCE, || n1.state_of(n2.name()) == Some(MemberState::Dead));
    publish_numbers(&mut publisher, "a", Q1, 0..1200, 100);
    assert_eq!(n1.metric("forward_unacked", &[]), f64::from(limit));
    assert_eq!(n1.metric("forward_dropped_total", &["reason=\"overflow\""]), 700.0);
    n2.thaw();
    // One more in the buffer would drop another one.
    awaits("it has them", PATIENCE, || n1.metric("forward_unacked", &[]) == 0.0);
    publisher.publishes(publish(1, Q1, "a", "last"));
    let mut received = messages_until(&mut away, "last");
    // Those that were on their way to it when it stood still arrive, too.
    let newest = received.split_off(received.len() - limit as usize);
    println!("{} messages were under way", received.len());
    assert_eq!(newest, numbers(700..1200), "the newest, in order, each once");
    assert_eq!(received, numbers(0..received.len() as u32), "and the oldest");
    await_converged(&[&n1, &n2]);
}

/// While it is not known to be dead, publishers are slowed down, and up to twice the limit nothing is dropped.
#[test]
fn p7_bounded_the_buffer_for_a_live_node_slows_publishers() {
    let launch = |name| Launch::new(name).flag("--forward-buffer-messages", "50");
    let n1 = launch("n1").start();
    let n2 = launch("n2").join(n1.cluster_addr()).start();
    await_converged(&[&n1, &n2]);
    let mut away = subscriber(&n2, "s", &["a"], Q1);
    let mut publisher = connect(&n1, "p");
    n2.freeze();
    for number in 0..80 {
        let payload = number.to_string();
        publisher.sends(Packet::Publish(publish(number + 1, Q1, "a", &payload)));
    }
    awaits("all are in the buffer", PATIENCE, || n1.metric("forward_unacked", &[]) == 80.0);
    n2.thaw();
    for number in 0..80 {
        assert_eq!(message(&mut away), number.to_string());
        publisher.gets(&format!("PUBACK {}", number + 1));
    }
    assert_eq!(n1.metric("forward_dropped_total", &[]), 0.0);
}

/// The largest message that a client may send reaches clients of other nodes.
#[test]
fn p7_bounded_large_messages_arrive_on_other_nodes() {
    let size = (15 << 20) - 1024;
    let launch = |name| Launch::new(name).flag("--max-packet-size", "15MiB");
    let n1 = launch("n1").start();
    let n2 = launch("n2").join(n1.cluster_addr()).start();
    await_converged(&[&n1, &n2]);
    let mut client = subscriber(&n2, "s", &["a"], Q1);
    let mut publisher = connect(&n1, "p");
    let payload = "x".repeat(size);
    for _ in 0..3 {
        time_of_puback(&mut publisher, "a", &payload);
        assert_eq!(message(&mut client).len(), size);
    }
    assert_eq!(n1.metric("forward_resent_total", &[]), 0.0, "the link holds");
}
