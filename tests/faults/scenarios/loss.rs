//! Packets are lost at random: SUBACK means routed all the same, and nobody is taken for dead.

use std::time::{Duration, Instant};

use rumormq::codec::packet::Packet;

use super::figures::percentile;
use super::{Arena, minutes};
use crate::checker::Promises;
use crate::nemesis::{Cluster, Fault, Settings};
use crate::processes::{Process, awaits};
use crate::support::client::{self, Client, Q1, options, subscribe};
use crate::workload::Mix;

/// Longest that a route may take to be known everywhere, whatever is lost.
const KNOWN_MAX: Duration = Duration::from_secs(60);
/// Between two subscriptions that are measured.
const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn loss_of_30_percent() {
    loses(30, Duration::from_secs(6));
}

#[test]
#[ignore = "10 minutes"]
fn long_loss_of_0_percent() {
    loses(0, minutes(10.0));
}

#[test]
#[ignore = "10 minutes"]
fn long_loss_of_10_percent() {
    loses(10, minutes(10.0));
}

#[test]
#[ignore = "10 minutes"]
fn long_loss_of_30_percent() {
    loses(30, minutes(10.0));
}

fn loses(percent: u8, time: Duration) {
    let Some(arena) = Arena::open(&format!("loss-{percent}"), &Settings::of_size(5)) else { return };
    let workload = arena.workload(Mix::default());
    let nemesis = arena.nemesis();
    let deaths = || arena.cluster.metric("member_transitions_total", &["to=\"dead\""]);
    let deaths_before = deaths();
    let loss = nemesis.begins(Fault::Loss { percent });
    let end = Instant::now() + time;
    let mut routes = Vec::new();
    while Instant::now() < end {
        let number = routes.len();
        routes.push(NewRoute::measure(&arena.cluster, number % arena.cluster.size(), number));
        std::thread::sleep(PAUSE);
    }
    nemesis.ends(loss);
    report(percent, &routes);
    assert_eq!(deaths(), deaths_before, "live nodes were taken for dead");
    arena.judge(workload, &Promises { no_disconnects: true, no_exemptions: true });
}

/// How a new subscription came to be known.
struct NewRoute {
    suback: Duration,
    /// Until all nodes showed it.
    known: Duration,
    /// Whether the SUBACK said that a node may not know of it.
    unconfirmed: bool,
}

impl NewRoute {
    /// Subscribes on one node, and asks all.
    fn measure(cluster: &Cluster, at: usize, number: usize) -> NewRoute {
        let filter = format!("measured/{number}");
        let site = &cluster.members[at].site;
        let client_id = format!("measures {number}");
        let host = site.host.as_ref().expect("on a host of its own");
        let mut client = host.enter(|| Client::connect(site.mqtt, client::connect(&client_id)));
        let began = Instant::now();
        client.sends(Packet::Subscribe(subscribe(1, &[(&filter, options(Q1))])));
        let (suback, unconfirmed, known) = std::thread::scope(|scope| {
            let known = scope.spawn(|| {
                for node in 0..cluster.size() {
                    awaits("a route is known", KNOWN_MAX, || shows(&cluster.node(node), &filter));
                }
                began.elapsed()
            });
            let frame = client.frame().expect("SUBACK");
            let suback = began.elapsed();
            let Packet::SubAck(answer) = frame.packet() else { panic!("not a SUBACK") };
            let unconfirmed = answer.properties.reason_string.is_some();
            if !unconfirmed {
                for node in 0..cluster.size() {
                    assert!(shows(&cluster.node(node), &filter), "SUBACK, and no route on n{}", node + 1);
                }
            }
            (suback, unconfirmed, known.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        client.disconnects();
        NewRoute { suback, known, unconfirmed }
    }
}

fn shows(node: &Process, filter: &str) -> bool {
    node.matches(filter).iter().any(|(shown, _)| shown == filter)
}

fn report(percent: u8, routes: &[NewRoute]) {
    let times = |time: fn(&NewRoute) -> Duration| {
        let mut times: Vec<Duration> = routes.iter().map(time).collect();
        format!(
            "p50 {:?}, p99 {:?}, longest {:?}",
            percentile(&mut times, 0.5),
            percentile(&mut times, 0.99),
            percentile(&mut times, 1.0)
        )
    };
    println!("loss of {percent} %: {} new subscriptions", routes.len());
    println!("  SUBACK: {}", times(|route| route.suback));
    println!("  known on all nodes: {}", times(|route| route.known));
    println!(
        "  SUBACKs before that, which said so: {}",
        routes.iter().filter(|route| route.unconfirmed).count()
    );
}
