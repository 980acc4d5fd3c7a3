//! Nodes die and come back.

use std::time::{Duration, Instant};

use rumormq::admin::view::MemberState;

use super::{Arena, minutes};
use crate::checker::Promises;
use crate::nemesis::{Fault, Schedule, Settings};
use crate::processes::awaits;
use crate::workload::Mix;

/// What the promise allows in all cases.
const NOTICED: Duration = Duration::from_secs(5);

#[test]
fn rolling_crashes() {
    rolls(1, Duration::from_secs(2), Duration::from_secs(1));
}

#[test]
#[ignore = "5 minutes"]
fn long_rolling_crashes() {
    let (every, down) = (Duration::from_secs(10), Duration::from_secs(4));
    rolls((minutes(5.0).as_secs_f64() / (5.0 * every.as_secs_f64())).ceil() as u32, every, down);
}

/// Each node dies, one after the other; its clients go to others.
fn rolls(rounds: u32, every: Duration, down: Duration) {
    let Some(arena) = Arena::open("crashes", &Settings::of_size(5)) else { return };
    let workload = arena.workload(Mix::default());
    let nemesis = arena.nemesis();
    let round = Schedule::rolling(arena.cluster.size(), every, down, |node| Fault::Kill { node });
    for _ in 0..rounds {
        nemesis.carries_out(&round);
    }
    arena.judge(workload, &Promises::default());
}

#[test]
fn power_cut_of_two_nodes() {
    cuts_power(Duration::from_secs(5));
}

#[test]
#[ignore = "half a minute"]
fn long_power_cut_of_two_nodes() {
    cuts_power(minutes(0.5));
}

/// Two nodes lose power together: none of them can say that the other one is gone.
fn cuts_power(time: Duration) {
    let Some(arena) = Arena::open("power", &Settings::of_size(5)) else { return };
    let cluster = &arena.cluster;
    let workload = arena.workload(Mix::default());
    let nemesis = arena.nemesis();
    let until = Instant::now() + time;
    let lost = [0, 1];
    let off = nemesis.begins(Fault::PowerOff { nodes: lost.to_vec() });
    let took = awaits("both are missed by all", NOTICED, || {
        let sees = |node: usize, lost: usize| cluster.node(node).state_of(&cluster.members[lost].name);
        (2..5).all(|node| lost.iter().all(|&lost| sees(node, lost) == Some(MemberState::Dead)))
    });
    println!("both were missed by all after {took:?}");
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    nemesis.ends(off);
    arena.judge(workload, &Promises::default());
}
