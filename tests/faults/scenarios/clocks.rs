//! A node's wall clock is hours away from the others', or jumps.

use std::time::Duration;

use rumormq::codec::packet::{Packet, PropertySet, Publish};

use super::Arena;
use crate::checker::Promises;
use crate::nemesis::{Cluster, Fault, Settings};
use crate::support::client::{self, Client, Q1, options, publish};
use crate::workload::Mix;

const HOURS: i64 = 3600;

#[test]
fn clocks_that_jump() {
    let Some(arena) = Arena::open("clocks", &Settings { clocks: true, ..Settings::of_size(3) }) else {
        return;
    };
    let cluster = &arena.cluster;
    let workload = arena.workload(Mix::default());
    let nemesis = arena.nemesis();
    let mut writes = 0;
    for by_secs in [5 * HOURS, -5 * HOURS] {
        let lasting = retain(cluster, 1, "clock/lasting", "kept", Some(600));
        let step = nemesis.begins(Fault::Clock { node: 0, by_secs });
        assert_eq!(retained(cluster, 0, "clock/lasting").0, lasting, "what lasts 10 minutes");
        for node in [0, 1, 0, 2, 0, 1] {
            writes += 1;
            let last = retain(cluster, node, "clock/last", &writes.to_string(), None);
            for node in 0..cluster.size() {
                assert_eq!(retained(cluster, node, "clock/last").0, last, "the last writer wins");
            }
        }
        retain(cluster, 0, "clock/expiring", "kept", Some(600));
        for node in 0..cluster.size() {
            let (_, expiry_secs) = retained(cluster, node, "clock/expiring");
            let left = expiry_secs.expect("it expires");
            assert!((540..=600).contains(&left), "{left} s are left of 600");
        }
        // Who is started again with a clock that is behind is newer all the same.
        let before = cluster.node(0).incarnation();
        nemesis.ends(nemesis.begins(Fault::Kill { node: 0 }));
        assert!(cluster.node(0).incarnation() > before, "a later start is a higher incarnation");
        nemesis.ends(step);
        std::thread::sleep(Duration::from_millis(500));
    }
    arena.judge(workload, &Promises::default());
}

/// Publishes a retained message; gives its payload.
fn retain(cluster: &Cluster, node: usize, topic: &str, payload: &str, expiry_secs: Option<u32>) -> String {
    let mut client = connect(cluster, node, "writes");
    let set = PropertySet { message_expiry_interval_secs: expiry_secs, ..PropertySet::EMPTY };
    client.publishes(Publish { retain: true, properties: set.into(), ..publish(1, Q1, topic, payload) });
    client.disconnects();
    payload.to_owned()
}

/// The payload of a topic's retained message as a new subscriber gets it, and what is left of its time.
fn retained(cluster: &Cluster, node: usize, topic: &str) -> (String, Option<u32>) {
    let mut client = connect(cluster, node, "reads");
    client.subscribes(&[(topic, options(Q1))], "0x01");
    let frame = client.frame().expect("a retained message");
    let Packet::Publish(publish) = frame.packet() else { panic!("not a message") };
    let payload = String::from_utf8(publish.payload.to_vec()).expect("text");
    (payload, publish.properties.message_expiry_interval_secs)
}

fn connect(cluster: &Cluster, node: usize, name: &str) -> Client {
    let site = &cluster.members[node].site;
    let client_id = format!("{name} on {node}");
    let host = site.host.as_ref().expect("on a host of its own");
    host.enter(|| Client::connect(site.mqtt, client::connect(&client_id)))
}
