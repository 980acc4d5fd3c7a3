//! Clusters that meet: nodes that knew nothing of each other, or have forgotten, become one.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use crate::clients::{connect, message, subscriber, time_of_puback};
use crate::identity::Disk;
use crate::processes::netns::{Namespace, Network};
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits, start_cluster_with};
use crate::support::client::Q1;

const COOKIE: &str = "a secret for tests only";

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}

/// What one publishes the other's client gets, both ways.
#[track_caller]
fn are_one(nodes: &[&Process]) {
    await_converged(nodes);
    for (number, node) in nodes.iter().enumerate() {
        let topic = format!("t/{number}");
        let mut client = subscriber(node, &format!("of {number}"), &[&topic], Q1);
        for other in nodes {
            time_of_puback(&mut connect(other, "p"), &topic, other.name());
            assert_eq!(message(&mut client), other.name());
        }
    }
}

/// Each names the other, and neither is there before the other.
#[test]
fn two_nodes_that_name_each_other_become_one_cluster() {
    let addresses = [free_address(), free_address()];
    let nodes: Vec<Process> = std::thread::scope(|scope| {
        let start = |own: usize| {
            let launch = Launch::new(&format!("n{}", own + 1));
            launch.cluster_addr(addresses[own]).join(addresses[1 - own]).start()
        };
        let both: Vec<_> = [0, 1].map(|own| scope.spawn(move || start(own))).into();
        both.into_iter().map(|one| one.join().expect("it starts")).collect()
    });
    are_one(&[&nodes[0], &nodes[1]]);
}

/// Two clusters that both have clients and routes of their own, and a newcomer that names a member of each.
#[test]
fn a_newcomer_that_names_two_clusters_makes_them_one() {
    let named = |prefix: &'static str| {
        let first = Launch::new(&format!("{prefix}1")).start();
        let second = Launch::new(&format!("{prefix}2")).join(first.cluster_addr()).start();
        [first, second]
    };
    let (left, right) = (named("l"), named("r"));
    let mut clients = [subscriber(&left[0], "l", &["both"], Q1), subscriber(&right[1], "r", &["both"], Q1)];
    let newcomer = Launch::new("n").join(left[1].cluster_addr()).join(right[0].cluster_addr()).start();
    let all = [&left[0], &left[1], &right[0], &right[1], &newcomer];
    await_converged(&all);
    for node in all {
        time_of_puback(&mut connect(node, "p"), "both", node.name());
        clients.iter_mut().for_each(|client| assert_eq!(message(client), node.name()));
    }
}

/// A cluster of one is told whom to join when it is started again.
#[test]
fn a_cluster_of_one_joins_another_later() {
    let nodes = start_cluster_with(1, |launch| launch);
    let mut alone = Launch::new("alone").start();
    let _client = subscriber(&nodes[0], "c", &["x"], Q1);
    alone.terminate();
    alone.wait();
    alone.restart_with(|launch| launch.join(nodes[0].cluster_addr()));
    are_one(&[&nodes[0], &alone]);
}

/// The file of names of one host.
struct Names(PathBuf);

impl Names {
    fn of(host: &Namespace, text: &str) -> Names {
        let directory = PathBuf::from("/etc/netns").join(host.name());
        fs::create_dir_all(&directory).expect("root may");
        fs::write(directory.join("hosts"), text).expect("root may");
        Names(directory)
    }

    /// The file stays the same, for it is mounted.
    fn change(&self, text: &str) {
        fs::write(self.0.join("hosts"), text).expect("root may");
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The name leads nowhere at first, then to several addresses, of which only the last one is a node's.
#[test]
fn a_seed_by_name_is_found_when_the_name_changes() {
    let Some(network) = Network::new() else { return };
    let hosts: Vec<Arc<Namespace>> = (0..2).map(|_| network.host()).collect();
    let names = Names::of(&hosts[1], "127.0.0.1 localhost\n10.77.9.9 seed.example\n");
    let port = |host: &Namespace| SocketAddr::new(host.address(), 7883);
    let n1 = Launch::within(&hosts[0], "n1").cookie(COOKIE).cluster_addr(port(&hosts[0])).start();
    let launch = Launch::within(&hosts[1], "n2").cookie(COOKIE).cluster_addr(port(&hosts[1]));
    let n2 = launch.flag("--join", "seed.example:7883").flag("--join-grace", "1s").start();
    let mut client = subscriber(&n2, "c", &["t"], Q1);
    time_of_puback(&mut connect(&n2, "p"), "t", "alone");
    assert_eq!(message(&mut client), "alone");

    let own = hosts[1].address();
    names.change(&format!(
        "127.0.0.1 localhost\n{own} seed.example\n10.77.9.9 seed.example\n{} seed.example\n",
        hosts[0].address()
    ));
    println!("converged {:?} after the change", await_converged(&[&n1, &n2]));
    time_of_puback(&mut connect(&n1, "p"), "t", "together");
    assert_eq!(message(&mut client), "together");
}

/// No seed leads from one half to the other: what they have met before does. Clients notice nothing.
#[test]
fn two_halves_that_have_forgotten_each_other_become_one_again() {
    let Some(network) = Network::new() else { return };
    let disk = Disk::new("halves");
    let hosts: Vec<Arc<Namespace>> = (0..4).map(|_| network.host()).collect();
    let mut nodes: Vec<Process> = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let dir = disk.of(&number.to_string());
        let launch = Launch::within(host, &format!("n{number}")).cookie(COOKIE).flag("--forget-after", "2s");
        let launch = launch.flag("--data-dir", dir.to_str().expect("a readable path"));
        nodes.push(match nodes.last() {
            Some(last) => launch.join(last.cluster_addr()).start(),
            None => launch.start(),
        });
    }
    await_converged(&nodes.iter().collect::<Vec<_>>());
    for node in &mut nodes {
        node.terminate();
        node.wait();
    }
    std::thread::scope(|scope| {
        for node in &mut nodes {
            scope.spawn(|| node.restart_with(Launch::without_seeds));
        }
    });
    let all: Vec<&Process> = nodes.iter().collect();
    await_converged(&all);
    let mut clients = [subscriber(all[0], "left", &["both"], Q1), subscriber(all[3], "right", &["both"], Q1)];
    for left in [0, 1] {
        for right in [2, 3] {
            hosts[left].separate(&hosts[right]);
        }
    }
    let forgotten = |node: &&Process| node.cluster().members.len() == 2;
    awaits("each half forgets the other", 2 * PATIENCE, || all.iter().all(forgotten));
    hosts.iter().for_each(|host| host.heal());
    let whole = |node: &&Process| node.cluster().members.len() == 4;
    println!("met again {:?} after the split", awaits("they meet", 4 * PATIENCE, || all.iter().all(whole)));
    await_converged(&all);
    for node in &all {
        awaits("all routes are back", PATIENCE, || {
            node.matches("both").first().is_some_and(|(_, nodes)| nodes.len() == 2)
        });
        time_of_puback(&mut connect(node, "p"), "both", node.name());
        clients.iter_mut().for_each(|client| assert_eq!(message(client), node.name()));
    }
}
