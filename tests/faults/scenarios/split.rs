//! A cluster falls into two parts, which both serve, and becomes one again.

use std::time::{Duration, Instant};

use super::figures::acknowledged_rate;
use super::{Arena, minutes, nobody_moves};
use crate::checker::Promises;
use crate::nemesis::{Cluster, Fault, Settings};
use crate::processes::awaits;
use crate::support::client::{self, Client, Q1, options};

/// New routes on each side of the split, beside those of the load.
const NEW_ROUTES: usize = 200;
/// Longest that a short run waits for all routes.
const CONVERGED_MAX: Duration = Duration::from_secs(10);
/// What a change of the routes may cost on its way to one node, its share of frames and of requests included.
const BYTES_PER_CHANGE: u64 = 400;
/// What a heal may cost beside the changes: greetings, and who has what.
const BYTES_PER_HEAL: u64 = 256 << 10;

#[test]
fn split_of_five_nodes() {
    splits(Duration::from_secs(6), CONVERGED_MAX);
}

#[test]
#[ignore = "1 minute"]
fn long_split_of_five_nodes() {
    splits(minutes(1.0), Duration::from_secs(2));
}

fn splits(time: Duration, converged_max: Duration) {
    let Some(arena) = Arena::open("split", &Settings::of_size(5)) else { return };
    let cluster = &arena.cluster;
    let workload = arena.workload(nobody_moves());
    let (left, right) = (vec![0, 1], vec![2, 3, 4]);
    let nemesis = arena.nemesis();
    let began = arena.recorder.now();
    let split = nemesis.begins(Fault::Split { side: left.clone() });
    let until = Instant::now() + time;
    let _subscribers = [subscribe_to_many(cluster, 0), subscribe_to_many(cluster, 2)];
    std::thread::sleep(until.saturating_duration_since(Instant::now()));

    let heads = cluster.heads();
    let changes = cluster.lacking(&heads).expect("all nodes live");
    let bytes_before = cluster.metric("delta_bytes_total", &["direction=\"in\""]);
    nemesis.ends(split);
    let took =
        awaits("all routes are known everywhere", converged_max, || cluster.lacking(&heads) == Some(0));
    let bytes = cluster.metric("delta_bytes_total", &["direction=\"in\""]) - bytes_before;
    println!("routes converged {took:?} after the heal: {changes} changes to bring, {bytes} bytes of deltas");
    let allowed = changes * BYTES_PER_CHANGE + BYTES_PER_HEAL;
    assert!(bytes <= allowed as f64, "{bytes} bytes for {changes} changes");

    let history = arena.judge(workload, &Promises { no_disconnects: true, no_exemptions: true });
    for side in [left, right] {
        let rate = acknowledged_rate(&history, &side, began, time);
        println!(
            "{} nodes by themselves acknowledged {rate:.0} publishes of QoS 1 and 2 a second",
            side.len()
        );
    }
}

fn subscribe_to_many(cluster: &Cluster, node: usize) -> Client {
    let site = &cluster.members[node].site;
    let client_id = format!("many on {node}");
    let host = site.host.as_ref().expect("on a host of its own");
    let mut client = host.enter(|| Client::connect(site.mqtt, client::connect(&client_id)));
    for number in 0..NEW_ROUTES {
        let filter = format!("split/{node}/{number}");
        client.sends(rumormq::codec::packet::Packet::Subscribe(client::subscribe(
            1,
            &[(&filter, options(Q1))],
        )));
        client.frame().expect("SUBACK");
    }
    client
}
