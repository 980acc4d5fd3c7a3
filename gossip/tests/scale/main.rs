//! What a change, a join and a split cost in clusters of 10, 100 and 1,000 nodes: time, and bytes for each node.
//!
//! The nodes are real ([`rumormq_gossip::Node`], the code that brokers run), the rest is a model: one queue of events instead of
//! sockets, links with a round trip of 1 ms on which now and then a message is held up as a TCP segment that was lost, and a
//! membership that tells everybody of joins and deaths some time later. Bytes are those of the frames on links, handshakes,
//! pings, digests and acknowledgements included. Not included: sealing (18 bytes for up to 64 KiB), TCP and IP headers, and the membership's own gossip,
//! which in a real cluster is chitchat's and costs bytes and time of its own.
//!
//! - `cargo test -p rumormq-gossip --test scale` runs few nodes for a short time, and holds them to their bounds;
//! - `cargo test --release -p rumormq-gossip --test scale table -- --ignored --nocapture` runs all, keeps the figures, prints the table
//!   of the README and draws `gossip/scale.svg`. A thousand nodes take 20 minutes and 6 GB: `NODES=10,100` leaves
//!   theirs as they were.

mod plot;
#[path = "../simulation/random.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod random;
mod scenario;
mod traffic;
mod world;

use std::time::Duration;

use scenario::{Figures, Plan, run};

#[test]
fn ten_nodes_stay_within_their_bounds() {
    let figures = run(&Plan::short(10));
    figures.print();
    assert_bounds(&figures);
}

/// Few for a grid, which is what they have all the same.
#[test]
fn a_small_grid_stays_within_its_bounds() {
    let figures = run(&Plan { full_mesh_up_to: 10, ..Plan::short(24) });
    figures.print();
    assert!(figures.links_mean <= 16.0, "{} links", figures.links_mean);
    assert_bounds(&figures);
}

/// `cargo test --release -p rumormq-gossip --test scale hundred -- --ignored`
#[test]
#[ignore = "a minute without optimisation"]
fn a_hundred_nodes_stay_within_their_bounds() {
    let figures = run(&Plan::short(100));
    figures.print();
    assert!(figures.links_most <= 50, "{} links", figures.links_most);
    assert_bounds(&figures);
}

/// Bytes and counts only: these do not depend on the machine.
fn assert_bounds(figures: &Figures) {
    let nodes = figures.nodes as f64;
    // A change is some 60 bytes, and everybody has it about once. So it is with the acknowledgement that goes back.
    assert!(figures.one_change.copies <= 1.3, "{} copies of a change a node", figures.one_change.copies);
    assert!(figures.one_change.bytes <= 500.0, "{} bytes a node for one change", figures.one_change.bytes);
    assert!(figures.one_change.acks <= 2.2, "{} acknowledgements a node", figures.one_change.acks);
    assert!(figures.busy.bytes_a_change <= 500.0, "{} bytes a node and change", figures.busy.bytes_a_change);
    // A digest a round to each of the links of a small cluster, a beat on those of a large one.
    assert!(figures.idle_bytes_a_second <= 30_000.0, "{} bytes a second", figures.idle_bytes_a_second);
    // What the joiner learns of each lane, from two or three others, with the lane itself.
    assert!(figures.join.bytes_joiner <= 100_000.0 + 5_000.0 * nodes, "{} bytes", figures.join.bytes_joiner);
    assert!(
        figures.heal.bytes_a_change <= 1_000.0,
        "{} bytes a node and change",
        figures.heal.bytes_a_change
    );
    assert_eq!(figures.settle_timeouts, 0, "a change was not acknowledged by everybody in time");
    assert_eq!(figures.divergence_detected, 0);
}

/// Runs what is asked for, keeps its figures, and makes the table and the picture of all that are kept.
#[test]
#[ignore = "takes minutes and gigabytes"]
fn table() {
    let variable = |name: &str| std::env::var(name).ok();
    let sizes = variable("NODES").unwrap_or_else(|| "10,100,1000".to_owned());
    let split = variable("SPLIT_SECS").and_then(|secs| secs.parse().ok()).unwrap_or(600);
    for nodes in sizes.split(',').map(|size| size.parse().expect("NODES=10,100")) {
        let figures = run(&Plan::long(nodes, Duration::from_secs(split)));
        figures.print();
        let text = serde_json::to_string_pretty(&figures).expect("figures can be written");
        std::fs::write(kept(nodes), text + "\n").expect("there is room for figures");
    }
    let all = [10, 100, 1000].map(|nodes| -> Figures {
        let text = std::fs::read_to_string(kept(nodes)).expect("figures of this size have been kept");
        serde_json::from_str(&text).expect("these are figures")
    });
    println!("\n{}", scenario::markdown(&all));
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/scale.svg");
    std::fs::write(picture, plot::svg(&all)).expect("the picture can be written");
}

fn kept(nodes: usize) -> String {
    format!("{}/tests/scale/figures/{nodes}.json", env!("CARGO_MANIFEST_DIR"))
}
