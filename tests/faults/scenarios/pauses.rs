//! A process stands still for a while, and goes on as if nothing had been.

use std::time::Duration;

use super::{Arena, minutes};
use crate::checker::Promises;
use crate::nemesis::{Fault, Schedule, Settings};
use crate::workload::Mix;

#[test]
fn pause_of_a_node() {
    pauses(1, Duration::from_secs(5));
}

#[test]
#[ignore = "2 minutes"]
fn long_pause_of_a_node() {
    let time = Duration::from_secs(10);
    pauses((minutes(2.0).as_secs_f64() / (2.0 * time.as_secs_f64())).ceil() as u32, time);
}

/// It is dead for the others, and then simply back, with the same incarnation.
fn pauses(rounds: u32, time: Duration) {
    let Some(arena) = Arena::open("pause", &Settings::of_size(5)) else { return };
    let cluster = &arena.cluster;
    let workload = arena.workload(Mix::default());
    let nemesis = arena.nemesis();
    let incarnation = cluster.node(1).incarnation();
    for _ in 0..rounds {
        nemesis.carries_out(&Schedule::once(Duration::ZERO, time, Fault::Pause { node: 1 }));
        std::thread::sleep(time.min(Duration::from_secs(2)));
    }
    let deaths = cluster.node(0).metric("member_transitions_total", &["to=\"dead\""]);
    println!("n1 has taken somebody for dead {deaths} times");
    assert!(deaths <= f64::from(rounds), "nobody else stood still");
    assert_eq!(cluster.node(1).incarnation(), incarnation);
    arena.judge(workload, &Promises { no_disconnects: true, no_exemptions: true });
}
