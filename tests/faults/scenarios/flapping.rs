//! The network falls apart and heals, again and again.

use std::time::Duration;

use super::{Arena, minutes};
use crate::checker::Promises;
use crate::nemesis::{Fault, Schedule, Settings};
use crate::processes::awaits;
use crate::workload::Mix;

/// Off for so long, and on for so long.
const EVERY: Duration = Duration::from_secs(2);
/// From the last heal until all routes are known everywhere.
const CONVERGED_MAX: Duration = Duration::from_secs(5);
/// What a node may have in use more than before, in MiB: allocators keep what they once had.
const GROWTH_MAX_MIB: f64 = 48.0;

#[test]
fn flapping_network() {
    flaps(4 * EVERY);
}

#[test]
#[ignore = "2 minutes"]
fn long_flapping_network() {
    flaps(minutes(2.0));
}

fn flaps(time: Duration) {
    let Some(arena) = Arena::open("flapping", &Settings::of_size(5)) else { return };
    let cluster = &arena.cluster;
    let workload = arena.workload(Mix::default());
    let before = cluster.resident_mib();
    arena.nemesis().carries_out(&Schedule::flapping(&Fault::Split { side: vec![0, 1] }, EVERY, time));
    let heads = cluster.heads();
    let took =
        awaits("all routes are known everywhere", CONVERGED_MAX, || cluster.lacking(&heads) == Some(0));
    println!("routes converged {took:?} after the last heal");
    arena.judge(workload, &Promises { no_disconnects: true, no_exemptions: true });
    let after = cluster.resident_mib();
    println!("MiB in use before {before:.1?}, after {after:.1?}");
    for (before, after) in before.iter().zip(&after) {
        assert!(after - before < GROWTH_MAX_MIB, "a node has grown from {before} to {after} MiB");
    }
}
