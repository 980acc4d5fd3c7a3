//! P1: a node joins by any one live member, and finds the rest by itself.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::clients::{connect, message, subscriber, time_of_puback};
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits, start_cluster};
use crate::support::client::Q1;

#[test]
fn p1_join_anywhere_a_chain_of_seeds_becomes_a_mesh() {
    let one = Launch::new("n1").start();
    let two = Launch::new("n2").join(one.cluster_addr()).start();
    let three = Launch::new("n3").join(two.cluster_addr()).start();
    await_converged(&[&one, &two, &three]);
    println!("three nodes converged {:?} after the last ready line", three.ready_at().elapsed());
}

#[test]
fn p1_join_anywhere_a_node_without_seeds_is_a_cluster_of_one() {
    let began = Instant::now();
    let node = Launch::new("alone").start();
    assert!(began.elapsed() < Duration::from_secs(5), "it waits for nobody");
    await_converged(&[&node]);
    let mut client = subscriber(&node, "c", &["a"], Q1);
    time_of_puback(&mut connect(&node, "p"), "a", "x");
    assert_eq!(message(&mut client), "x");
}

/// Nobody can be reached at first: the node serves alone, and joins when its seed appears.
#[test]
fn p1_join_anywhere_seeds_may_come_later() {
    let seed = free_address();
    let early = Launch::new("early").join(seed).flag("--join-grace", "300ms").start();
    await_converged(&[&early]);
    let mut client = subscriber(&early, "c", &["a"], Q1);
    let late = Launch::new("late").cluster_addr(seed).start();
    let took = await_converged(&[&early, &late]);
    println!("joined {took:?} after the seed was ready");
    time_of_puback(&mut connect(&late, "p"), "a", "x");
    assert_eq!(message(&mut client), "x");
}

/// One list of seeds for all nodes names each node, too.
#[test]
fn p1_join_anywhere_a_seed_may_be_the_node_itself() {
    let own = free_address();
    let began = Instant::now();
    let first = Launch::new("first").cluster_addr(own).join(own).start();
    println!("a node whose only seed is itself was ready after {:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE / 2, "there is nobody to wait for");
    let address = free_address();
    let second = Launch::new("second").cluster_addr(address).join(address).join(own).start();
    await_converged(&[&first, &second]);
}

#[test]
fn p1_join_anywhere_a_dead_seed_beside_a_live_one_does_no_harm() {
    let one = Launch::new("n1").start();
    let two = Launch::new("n2").join(free_address()).join(one.cluster_addr()).start();
    await_converged(&[&one, &two]);
}

#[test]
fn p1_join_anywhere_by_name_and_by_ipv6() {
    let one = Launch::new("n1").start();
    let by_name = format!("localhost:{}", one.cluster_addr().port());
    let two = Launch::new("n2").flag("--join", &by_name).start();
    await_converged(&[&one, &two]);
    let one = Launch::ipv6("n1").start();
    let two = Launch::ipv6("n2").join(one.cluster_addr()).start();
    await_converged(&[&one, &two]);
    let mut client = subscriber(&one, "c", &["a"], Q1);
    time_of_puback(&mut connect(&two, "p"), "a", "x");
    assert_eq!(message(&mut client), "x");
}

/// The seed restarts without seeds of its own: those who know it find it again.
#[test]
fn p1_join_anywhere_a_restarted_seed_is_found_again() {
    let mut seed = Launch::new("seed").start();
    let others = ["n2", "n3"].map(|name| Launch::new(name).join(seed.cluster_addr()).start());
    let all = |seed: &Process| await_converged(&[seed, &others[0], &others[1]]);
    all(&seed);
    seed.kill();
    seed.restart();
    println!("found again {:?} after it was ready", all(&seed));
}

/// Five nodes at once, all with the same seed.
#[test]
fn p1_join_anywhere_at_the_same_time() {
    let seed = Launch::new("n1").start();
    let address = seed.cluster_addr();
    let mut nodes: Vec<Process> = std::thread::scope(|scope| {
        let starts: Vec<_> = ["n2", "n3", "n4", "n5"]
            .map(|name| scope.spawn(move || Launch::new(name).join(address).start()))
            .into_iter()
            .collect();
        starts.into_iter().map(|start| start.join().expect("it starts")).collect()
    });
    nodes.push(seed);
    println!("five nodes converged after {:?}", await_converged(&nodes.iter().collect::<Vec<_>>()));
    awaits("no link is dialled twice for long", PATIENCE, || {
        nodes.iter().all(|node| node.metric("link_up", &[]) == 4.0)
    });
}

/// `cargo test --test cluster -- --ignored p1_`
#[test]
#[ignore = "twelve processes"]
fn p1_join_anywhere_twelve_nodes() {
    let nodes = start_cluster(12);
    let last = &nodes[11];
    println!("twelve nodes converged {:?} after the last ready line", last.ready_at().elapsed());
    let mut client = subscriber(last, "c", &["a/+"], Q1);
    for node in &nodes {
        assert_eq!(node.routes().len(), 1, "on {}", node.name());
        time_of_puback(&mut connect(node, "p"), "a/b", node.name());
        assert_eq!(message(&mut client), node.name());
    }
}

/// An address that nobody has at the moment.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}
