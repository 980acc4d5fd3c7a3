//! What a look at a large cluster costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq_gossip::{Incarnation, NodeName};

use super::super::cluster_config;
use super::render;
use crate::broker::{Broker, Limits};
use crate::cluster::Cluster;
use crate::cluster::link::hello::Addresses;
use crate::config::Config;
use crate::store::Identity;
use crate::topic::Topic;

/// In a release build, on one core: `cargo test --release --lib a_scrape -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn a_scrape_of_a_hundred_peers_and_a_million_routes_takes_less_than_50_ms() {
    const PEERS: usize = 100;
    const ROUTES: usize = 1_000_000;
    let config = Config::default();
    let node = NodeName::parse("n@127.0.0.1").expect("a name");
    let start = Identity { node, incarnation: Incarnation(1), peers: Vec::new() };
    let address = "127.0.0.1:7883".parse().expect("an address");
    let broker = Arc::new(Broker::new(Limits::default()));
    let cluster = cluster_config(&config, &start, Addresses::default(), address).expect("valid");
    let cluster = Arc::new(Cluster::new(cluster, broker.cluster_host()));
    broker.join(cluster.clone());
    for peer in 0..PEERS {
        let routes = (0..ROUTES / PEERS).map(|n| format!("building/{peer}/room/{n}/temperature"));
        cluster.merge_peer(&format!("peer{peer}@10.0.0.{peer}"), routes);
    }
    assert_eq!(broker.filter_count(), ROUTES);

    let mut scrapes: Vec<Duration> = Vec::new();
    let mut stalls: Vec<Duration> = Vec::new();
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let scrape = |_| {
                let began = cpu_time();
                assert!(render(&broker, &cluster).len() > 100 * PEERS);
                cpu_time() - began
            };
            (0..50).map(scrape).collect::<Vec<_>>()
        });
        // Meanwhile, what publishes and subscriptions ask of the same tables.
        let topic = Topic::new("building/7/room/7/temperature").expect("a topic");
        while !scraper.is_finished() {
            let began = Instant::now();
            assert_eq!(broker.matching_filters(topic).len(), 1);
            let _ = cluster.visible_replicas([]);
            stalls.push(began.elapsed());
        }
        scrapes = scraper.join().expect("no panic");
    });
    scrapes.sort_unstable();
    stalls.sort_unstable();
    let (median, slowest) = (scrapes[scrapes.len() / 2], scrapes[scrapes.len() - 1]);
    println!("a scrape: median {median:?}, slowest {slowest:?} of CPU");
    let at = |share: f64| stalls[((stalls.len() - 1) as f64 * share) as usize];
    println!("traffic beside it: p50 {:?}, p99.9 {:?}, longest {:?}", at(0.5), at(0.999), at(1.0));
    assert!(median < Duration::from_millis(50), "{median:?}");
}

/// What this thread has computed: others may keep the machine busy.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux system");
    let nanos = text.split(' ').next().and_then(|text| text.parse().ok()).expect("nanoseconds");
    Duration::from_nanos(nanos)
}
