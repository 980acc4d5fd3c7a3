//! Two nodes lose each other, in both ways or in one, and a third reaches both.

use std::time::Duration;

use super::figures::{passages, percentile};
use super::{Arena, minutes};
use crate::checker::Promises;
use crate::history::micros;
use crate::nemesis::{Fault, Schedule, Settings};
use crate::workload::Mix;

/// By then a third node passes on what goes between the two.
const WAY_FOUND: Duration = Duration::from_secs(1);
/// What the way around may take in a long run; short ones are on machines that have other things to do.
const AROUND_MAX: Duration = Duration::from_secs(1);
const AROUND_MAX_SHORT: Duration = Duration::from_secs(4);

#[test]
fn partial_cut() {
    cuts(Fault::Cut { one: 0, other: 2 }, Duration::from_secs(6), AROUND_MAX_SHORT);
}

#[test]
fn partial_cut_of_one_way() {
    cuts(Fault::OneWay { from: 0, to: 2 }, Duration::from_secs(6), AROUND_MAX_SHORT);
}

#[test]
#[ignore = "1 minute"]
fn long_partial_cut() {
    cuts(Fault::Cut { one: 0, other: 2 }, minutes(1.0), AROUND_MAX);
}

#[test]
#[ignore = "1 minute"]
fn long_partial_cut_of_one_way() {
    cuts(Fault::OneWay { from: 0, to: 2 }, minutes(1.0), AROUND_MAX);
}

fn cuts(fault: Fault, time: Duration, around_max: Duration) {
    let Some(arena) = Arena::open("partial", &Settings::of_size(3)) else { return };
    let workload = arena.workload(Mix::default());
    let began = arena.recorder.now();
    arena.nemesis().carries_out(&Schedule::once(Duration::ZERO, time, fault));
    let history = arena.judge(workload, &Promises { no_disconnects: true, no_exemptions: true });

    let found = began + micros(WAY_FOUND);
    let mut times: Vec<Duration> = passages(&history, began, began + micros(time))
        .into_iter()
        .filter(|passage| (passage.from, passage.to) == (0, 2) || (passage.from, passage.to) == (2, 0))
        // What was sent before a way was found may wait until then.
        .map(|passage| passage.took.saturating_sub(Duration::from_micros(found.saturating_sub(passage.sent))))
        .collect();
    println!(
        "{} messages between the two, which took beside the first second: p50 {:?}, p99 {:?}, longest {:?}",
        times.len(),
        percentile(&mut times, 0.5),
        percentile(&mut times, 0.99),
        percentile(&mut times, 1.0)
    );
    assert!(percentile(&mut times, 0.99) <= around_max, "messages do not go around the cut");
}
