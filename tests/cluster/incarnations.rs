//! Which start of a node counts.

use std::collections::BTreeMap;

use rumormq::cluster::link::handshake::{Credentials, shake_hands};
use rumormq::cluster::link::hello::{Addresses, Hello, ProtocolRange};
use rumormq_gossip::{Digest, Incarnation, NodeName, ReplicaId};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::processes::{Launch, await_converged};

fn replica(name: &str, incarnation: u64) -> ReplicaId {
    ReplicaId { name: NodeName::parse(name).expect("a name"), incarnation: Incarnation(incarnation) }
}

/// Greets whoever connects next as a peer that remembers these starts; gives the greeting of the other end.
fn greet(runtime: &Runtime, listener: &TcpListener, remembered: &[ReplicaId]) -> Hello {
    let gossip = Digest {
        applied: remembered.iter().map(|replica| (replica.clone(), Vec::new())).collect(),
        ..Digest::default()
    };
    let hello = Hello {
        cluster: "rumormq".to_owned(),
        protocol: ProtocolRange { min: 1, max: 1 },
        replica: replica("peer@127.0.0.1", 1),
        addresses: Addresses { cluster: "127.0.0.1:9".to_owned(), mqtt: None, http: None },
        gossip: postcard::to_stdvec(&gossip).expect("it can be written"),
        forwards_received: BTreeMap::new(),
        wall_clock_ms: 0,
    };
    runtime.block_on(async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let credentials = Credentials { cluster: "rumormq".to_owned(), psks: Vec::new(), tls: None };
        shake_hands(stream, false, &credentials, || hello).await.expect("a greeting").hello
    })
}

/// A machine whose clock was set back starts its node again: others would take it for an earlier start.
#[test]
fn a_start_with_a_clock_that_is_behind_counts_as_the_latest() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let seed = listener.local_addr().expect("bound");
    let node = std::thread::spawn(move || Launch::new("n1").join(seed).flag("--join-grace", "3s").start());
    let first = greet(&runtime, &listener, &[]).replica;
    let ahead = first.incarnation.0 + 1_000_000;
    // What nobody can have started as says nothing.
    let remembered = [first.incarnation.0 - 1, ahead, Incarnation::MAX_HEARSAY.0 + 1, u64::MAX];
    let remembered = remembered.map(|incarnation| replica("n1@127.0.0.1", incarnation));
    assert_eq!(greet(&runtime, &listener, &remembered).replica, first, "it learns of the other start here");
    assert_eq!(greet(&runtime, &listener, &[]).replica, replica("n1@127.0.0.1", ahead + 1));
    let node = node.join().expect("it starts");
    assert_eq!(node.incarnation(), ahead + 1);
    // Others get to know it under this incarnation, by gossip and by links.
    let other = Launch::new("n2").join(node.cluster_addr()).start();
    await_converged(&[&node, &other]);
}

/// A name that is taken: the newcomer ends and says so, and whoever was there goes on.
#[test]
fn a_name_that_is_taken_is_refused_to_newcomers() {
    let one = Launch::new("n1").start();
    let two = Launch::new("n2").join(one.cluster_addr()).start();
    await_converged(&[&one, &two]);
    let before = one.incarnation();
    // By itself, and by a third one.
    for seed in [&one, &two] {
        let (code, says) = Launch::new("n1").join(seed.cluster_addr()).fails();
        assert_eq!(code, Some(2), "{says}");
        let both = format!("n1@127.0.0.1#{before} lives already, says the node at {}", seed.cluster_addr());
        assert!(says.contains(&both), "{says}");
    }
    await_converged(&[&one, &two]);
    assert_eq!(one.incarnation(), before);
}
