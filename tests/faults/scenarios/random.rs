//! Everything at once, by chance.

use std::time::Duration;

use super::{Arena, minutes};
use crate::checker::Promises;
use crate::nemesis::{Schedule, Settings};
use crate::workload::Mix;

/// The load without faults, before memory is measured.
const WARM_UP: Duration = Duration::from_secs(20);
/// What a node may have in use at the end more than the largest had after warming up, in MiB: allocators keep what they
/// once had.
const GROWTH_MAX_MIB: f64 = 48.0;

#[test]
fn random_faults() {
    harms(Duration::from_secs(12), Duration::from_secs(1));
}

#[test]
#[ignore = "20 minutes"]
fn long_random_faults() {
    harms(minutes(20.0), WARM_UP);
}

fn harms(time: Duration, warm_up: Duration) {
    let settings = Settings { clocks: true, ..Settings::of_size(5) };
    let Some(arena) = Arena::open("random", &settings) else { return };
    let cluster = &arena.cluster;
    let schedule = Schedule::random(arena.seed, cluster.size(), time, settings.clocks);
    println!("{schedule}");
    let workload = arena.workload(Mix::default());
    std::thread::sleep(warm_up);
    let before = cluster.resident_mib();
    arena.nemesis().carries_out(&schedule);
    arena.judge(workload, &Promises::default());
    let after = cluster.resident_mib();
    println!("MiB in use after warming up {before:.1?}, at the end {after:.1?}");
    let working_set = before.iter().copied().fold(0.0, f64::max);
    for after in after {
        assert!(after - working_set < GROWTH_MAX_MIB, "a node has grown to {after} MiB");
    }
    for gauge in ["forward_unacked", "forward_unacked_bytes"] {
        assert_eq!(cluster.metric(gauge, &[]), 0.0, "{gauge} at the end");
    }
}
