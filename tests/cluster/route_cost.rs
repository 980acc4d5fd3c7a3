//! What a route costs: as much as it says, however many there are.

use std::time::{Duration, Instant};

use rumormq::codec::packet::Packet;

use crate::clients::{connect, subscriber};
use crate::processes::{PATIENCE, Process, await_converged, awaits, start_cluster};
use crate::support::client::{Client, Q0, options, subscribe};

/// Filters in one SUBSCRIBE.
const BATCH: usize = 200;
/// SUBSCRIBE packets whose SUBACK is awaited at a time.
const WINDOW: usize = 16;

/// Subscribes to so many filters, as fast as the node takes them. Returns at the last SUBACK.
fn subscribe_many(client: &mut Client, count: usize) {
    let filters: Vec<String> = (0..count).map(|number| format!("site/{number:06}/+/state")).collect();
    let mut unanswered = 0;
    for batch in filters.chunks(BATCH) {
        let wanted: Vec<_> = batch.iter().map(|filter| (filter.as_str(), options(Q0))).collect();
        client.sends(Packet::Subscribe(subscribe(1, &wanted)));
        unanswered += 1;
        if unanswered == WINDOW {
            client.frame().expect("SUBACK");
            unanswered -= 1;
        }
    }
    for _ in 0..unanswered {
        client.frame().expect("SUBACK");
    }
}

/// Bytes of deltas that one more route costs `node` for each of its `peers`.
fn bytes_of_a_route(node: &Process, client: &mut Client, peers: f64, number: usize) -> f64 {
    let sent = || node.metric("delta_bytes_total", &["direction=\"out\""]);
    let before = sent();
    client.subscribes(&[(&format!("measured/{number:03}/+/state"), options(Q0))], "0x00");
    (sent() - before) / peers
}

fn route_cost(count: usize) {
    let nodes = start_cluster(3);
    let [n1, n2, n3] = &nodes[..] else { panic!("three nodes") };
    let mut probe = connect(n1, "probe");
    println!("the first route costs {} bytes a peer", bytes_of_a_route(n1, &mut probe, 2.0, 0));
    // Numbers of changes grow longer with time; what counts here is the number of routes.
    let mut client = connect(n1, "churn");
    subscribe_many(&mut client, count);
    drop(client);
    awaits("the client's routes go", PATIENCE, || n1.metric("trie_filters", &[]) == 1.0);
    await_converged(&[n1, n2, n3]);
    let empty = bytes_of_a_route(n1, &mut probe, 2.0, 1);
    println!("a route costs {empty} bytes a peer when there are no others");
    assert!(empty > 0.0 && empty <= 1024.0);

    let mut client = connect(n1, "many");
    let began = Instant::now();
    subscribe_many(&mut client, count);
    println!("{count} subscriptions in {:?}", began.elapsed());
    let known = |node: &Process| node.metric("routes", &[&format!("origin=\"{}\"", n1.name())]);
    let limit = Duration::from_secs(2);
    let took = awaits("the others know them", limit, || {
        known(n2) == (count + 2) as f64 && known(n3) == (count + 2) as f64
    });
    println!("known on the other nodes {took:?} after the last SUBACK");
    assert_eq!(n1.metric("suback_timeouts_total", &[]), 0.0);
    await_converged(&[n1, n2, n3]);

    assert!(n2.routes() == n1.routes() && n3.routes() == n1.routes(), "the tables are equal");

    let full = bytes_of_a_route(n1, &mut probe, 2.0, 2);
    println!("a route costs {full} bytes a peer beside {count} others");
    assert!(full <= 1024.0);
    assert!((full - empty).abs() <= 0.05 * empty, "{empty} bytes at first, {full} now");

    // Who joins then gets them all.
    let late = crate::processes::Launch::new("late").join(n2.cluster_addr()).start();
    assert_eq!(known(&late), (count + 3) as f64, "a node is ready when it has them");
    // And a burst of removes leaves nothing behind.
    drop(client);
    awaits("the client's routes go", PATIENCE, || {
        [n1, n2, n3, &late].iter().all(|node| node.metric("trie_filters", &[]) == 3.0)
    });
}

#[test]
fn a_route_costs_the_same_beside_many_others() {
    route_cost(20_000);
}

/// `cargo test --test cluster -- --ignored a_route_costs`
#[test]
#[ignore = "tens of seconds"]
fn a_route_costs_the_same_beside_a_hundred_thousand_others() {
    route_cost(100_000);
}

/// Clients that come and go with the same filters cost nothing on other nodes.
#[test]
fn a_second_subscriber_costs_nothing() {
    let nodes = start_cluster(2);
    let _first = subscriber(&nodes[0], "first", &["a/+"], Q0);
    await_converged(&[&nodes[0], &nodes[1]]);
    let written = || nodes[0].metric("route_head_seq", &[]);
    let before = written();
    for number in 0..10 {
        drop(subscriber(&nodes[0], &format!("c{number}"), &["a/+"], Q0));
    }
    assert_eq!(written(), before);
}
