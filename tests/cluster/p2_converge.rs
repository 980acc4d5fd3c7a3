//! P2: nodes that can reach each other end with the same sets.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rumormq::codec::packet::Packet;

use crate::clients::{connect, subscriber};
use crate::processes::{Process, await_converged, awaits, start_cluster};
use crate::support::client::{Client, Q0, options, subscribe, unsubscribe};

/// A generator of the numbers that a seed stands for (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn seed() -> u64 {
    let seed = std::env::var("RUMORMQ_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 0x9E37_79B9 + 1);
    println!("RUMORMQ_TEST_SEED={seed}");
    seed
}

/// Subscribes and unsubscribes at random until told to stop; gives the filters it has then. It stays connected.
fn churn(mut client: Client, mut random: Random, stop: &AtomicBool) -> (Client, BTreeSet<String>) {
    let mut filters = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let filter = format!("churn/{}/+", random.below(200));
        if random.below(2) == 0 {
            client.sends(Packet::Subscribe(subscribe(1, &[(&filter, options(Q0))])));
            filters.insert(filter);
        } else {
            client.sends(Packet::Unsubscribe(unsubscribe(1, &[&filter])));
            filters.remove(&filter);
        }
        client.frame().expect("an answer");
    }
    (client, filters)
}

/// The route table that these filters make.
fn table(wanted: &[(&Process, BTreeSet<String>)]) -> Vec<(String, Vec<String>)> {
    let filters: BTreeSet<&String> = wanted.iter().flat_map(|(_, filters)| filters).collect();
    let nodes = |filter| {
        let wanting = wanted.iter().filter(|(_, filters)| filters.contains(filter));
        wanting.map(|(node, _)| node.name().to_owned()).collect()
    };
    filters.into_iter().map(|filter| (filter.clone(), nodes(filter))).collect()
}

/// Churn on three nodes, of which one crashes and returns in between; each phase lasts for so many changes of a node.
fn churn_with_a_crash(changes: f64) {
    let seed = seed();
    let mut nodes = start_cluster(3);
    let mut n3 = nodes.pop().expect("three nodes");
    let [n1, n2] = &nodes[..] else { panic!("two more nodes") };
    let stop = AtomicBool::new(false);
    let churned = std::thread::scope(|scope| {
        let begin = |number: u64, node: &Process| {
            let client = connect(node, &format!("c{number}"));
            let stop = &stop;
            scope.spawn(move || churn(client, Random(seed + number), stop))
        };
        let (first, second) = (begin(1, n1), begin(2, n2));
        let _before = subscriber(&n3, "before", &["before/+", "churn/0/+"], Q0);
        let head = |node: &Process| node.metric("route_head_seq", &[]);
        let limit = Duration::from_secs(120);
        awaits("the churn is under way", limit, || head(n1) > changes);
        n3.kill();
        awaits("the others go on", limit, || head(n1) > 2.0 * changes);
        n3.restart();
        let third = begin(3, &n3);
        awaits("all churn", limit, || head(n1) > 3.0 * changes && head(&n3) > changes);
        stop.store(true, Ordering::Relaxed);
        [first, second, third].map(|thread| thread.join().expect("it churns to the end"))
    });
    let all = [n1, n2, &n3];
    println!("converged {:?} after the churn", await_converged(&all));
    let (_clients, filters): (Vec<Client>, Vec<BTreeSet<String>>) = churned.into_iter().unzip();
    let expected = table(&all.into_iter().zip(filters).collect::<Vec<_>>());
    for node in all {
        assert_eq!(node.routes(), expected, "on {}", node.name());
        assert_eq!(node.metric("trie_filters", &[]), expected.len() as f64, "on {}", node.name());
        assert_eq!(node.metric("divergence_detected_total", &[]), 0.0, "on {}", node.name());
    }
}

#[test]
fn p2_converge_while_subscribing_and_after_a_crash() {
    churn_with_a_crash(300.0);
}

/// `cargo test --test cluster -- --ignored p2_converge`
#[test]
#[ignore = "minutes"]
fn p2_converge_after_long_churn() {
    churn_with_a_crash(20_000.0);
}
