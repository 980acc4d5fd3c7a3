//! Clusters too large for a full mesh. A setting makes a small one large.

use std::collections::BTreeSet;

use rumormq::admin::view::{LinkKind, MemberState};
use rumormq_gossip::NodeName;
use rumormq_gossip::mesh::neighbours;

use crate::clients::{connect, message, subscriber, time_of_puback};
use crate::processes::{Launch, PATIENCE, Process, awaits};
use crate::support::client::{Q0, Q1, publish};
use rumormq::codec::packet::Packet;

/// Nodes of which each joins one before it, once each of them knows all and reaches all over at most one other.
fn start_grid(size: usize, full_mesh_up_to: usize) -> Vec<Process> {
    let mut nodes: Vec<Process> = Vec::new();
    for number in 1..=size {
        let launch =
            Launch::new(&format!("n{number}")).flag("--full-mesh-up-to", &full_mesh_up_to.to_string());
        let launch = match nodes.get(number / 2) {
            Some(seed) => launch.join(seed.cluster_addr()),
            None => match nodes.last() {
                Some(last) => launch.join(last.cluster_addr()),
                None => launch,
            },
        };
        nodes.push(launch.start());
    }
    // Many processes share few cores.
    let patience = PATIENCE * (1 + size as u32 / 16);
    let took =
        awaits("everybody reaches everybody", patience, || nodes.iter().all(|node| reaches_all(node, size)));
    println!("{size} nodes reach each other {took:?} after the last one was ready");
    nodes
}

fn reaches_all(node: &Process, size: usize) -> bool {
    let Some(view) = node.try_cluster() else { return false };
    let live = view.members.iter().filter(|member| member.state == MemberState::Alive);
    view.converged && live.filter(|member| member.link != LinkKind::None).count() == size
}

fn links(node: &Process) -> BTreeSet<String> {
    let view = node.try_cluster().expect("it answers");
    let linked = view.members.into_iter().filter(|member| member.link == LinkKind::Direct);
    linked.map(|member| member.name).collect()
}

/// The links that the grid gives to each.
fn grid(nodes: &[Process]) -> Vec<BTreeSet<String>> {
    let names: Vec<NodeName> =
        nodes.iter().map(|node| NodeName::parse(node.name()).expect("is a name")).collect();
    let others = |me: &NodeName| names.iter().filter(|name| *name != me).collect();
    names
        .iter()
        .map(|me| neighbours(me, &others(me)).iter().map(|name| name.as_str().to_owned()).collect())
        .collect()
}

#[test]
fn a_large_cluster_routes_between_nodes_without_a_link() {
    let nodes = start_grid(8, 4);
    let grid = grid(&nodes);
    let unlinked = |here: usize| {
        (0..nodes.len()).find(|there| *there != here && !grid[here].contains(nodes[*there].name()))
    };
    let pairs: Vec<(usize, usize)> =
        (0..nodes.len()).filter_map(|here| Some((here, unlinked(here)?))).collect();
    assert!(!pairs.is_empty(), "not all are to be linked");
    for (trial, (here, there)) in pairs.into_iter().enumerate() {
        let topic = format!("grid/{trial}");
        let mut publisher = connect(&nodes[there], "publisher");
        // SUBACK means routed, over one node in between, too.
        let mut wants = subscriber(&nodes[here], &format!("subscriber {trial}"), &[&topic], Q1);
        time_of_puback(&mut publisher, &topic, "sure");
        assert_eq!(message(&mut wants), "sure");
        // Whoever sends to somebody gets a link with him.
        awaits("a link for the publishes", PATIENCE, || links(&nodes[there]).contains(nodes[here].name()));
        publisher.sends(Packet::Publish(publish(2, Q0, &topic, "fast")));
        assert_eq!(message(&mut wants), "fast");
    }
    let timeouts: f64 = nodes.iter().map(|node| node.metric("suback_timeouts_total", &[])).sum();
    assert_eq!(timeouts, 0.0);
}

#[test]
fn links_beside_the_grid_end_after_a_while() {
    let nodes = start_grid(8, 4);
    let grid = grid(&nodes);
    assert!(grid.iter().any(|links| links.len() < nodes.len() - 1));
    let took = awaits("only the grid is linked", 12 * PATIENCE, || {
        nodes.iter().zip(&grid).all(|(node, grid)| links(node) == *grid)
    });
    println!("only the grid is linked after {took:?}");
    // Nobody is missed by that.
    assert!(nodes.iter().all(|node| reaches_all(node, nodes.len())));
}

/// `cargo test --test cluster -- --ignored more_nodes_than --nocapture`
#[test]
#[ignore = "66 processes"]
fn more_nodes_than_a_full_mesh_has() {
    let nodes = start_grid(66, 64);
    let grid = grid(&nodes);
    awaits("the grid replaces the full mesh", 4 * PATIENCE, || {
        nodes.iter().zip(&grid).all(|(node, grid)| links(node) == *grid)
    });
    let most = nodes.iter().map(|node| links(node).len()).max().unwrap_or(0);
    println!("{most} links at most");
    assert!(most < 45);
    let (here, there) =
        (0, (1..66).find(|there| !grid[0].contains(nodes[*there].name())).expect("has no link"));
    let mut wants = subscriber(&nodes[here], "subscriber", &["far/away"], Q1);
    let took = time_of_puback(&mut connect(&nodes[there], "publisher"), "far/away", "x");
    assert_eq!(message(&mut wants), "x");
    println!("PUBACK after {took:?}");
    let timeouts: f64 = nodes.iter().map(|node| node.metric("suback_timeouts_total", &[])).sum();
    assert_eq!(timeouts, 0.0);
}
