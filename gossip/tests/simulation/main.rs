//! Clusters of 3 to 10 simulated nodes, with loss, repetition, reordering, delay, crashes, restarts and cuts, that must end
//! with equal sets. Every run is given by its seed:
//!
//! - `cargo test -p rumormq-gossip --test simulation` runs 200 seeds;
//! - `cargo test --release -p rumormq-gossip --test simulation thousand -- --ignored` runs 1,000;
//! - `SEED=n cargo test -p rumormq-gossip --test simulation replay -- --nocapture` runs one again.

mod membership;
mod process;
mod random;
mod world;

use rumormq_gossip::Counters;
use world::{Sabotage, World};

struct Summary {
    counters: Counters,
    restarts: u64,
    spare_links_ended: u64,
    claims_lost: u64,
    adopted: u64,
    failures: Vec<String>,
}

/// Runs seeds in two threads. Any failure names its seed.
fn run(seeds: std::ops::Range<u64>) -> Summary {
    let middle = u64::midpoint(seeds.start, seeds.end);
    let halves = [seeds.start..middle, middle..seeds.end];
    let halves = std::thread::scope(|scope| {
        let threads = halves.map(|half| scope.spawn(|| half.map(run_one).collect::<Vec<_>>()));
        threads.map(|thread| thread.join().expect("a seed panicked; its number is printed above"))
    });
    let mut summary = Summary {
        counters: Counters::default(),
        restarts: 0,
        spare_links_ended: 0,
        claims_lost: 0,
        adopted: 0,
        failures: Vec::new(),
    };
    for (world, failure) in halves.into_iter().flatten() {
        world::add(&mut summary.counters, &world.coverage);
        summary.restarts += world.restarts;
        summary.spare_links_ended += world.spare_links_ended;
        summary.claims_lost += world.claims_lost;
        summary.adopted += world.adopted;
        summary.failures.extend(failure);
    }
    summary
}

fn run_one(seed: u64) -> (World, Option<String>) {
    let mut world = World::new(seed, Sabotage::None);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    let failure = match outcome {
        Ok(Ok(())) if world.coverage.divergence_detected > 0 => Some("divergence".to_owned()),
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(_) => Some("panic".to_owned()),
    };
    let failure = failure.map(|failure| format!("SEED={seed}: {failure}"));
    (world, failure)
}

fn assert_all_converge(seeds: std::ops::Range<u64>) {
    let Summary { counters, restarts, spare_links_ended, claims_lost, adopted, failures } = run(seeds);
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    println!("{counters:#?}\nrestarted lanes: {restarts}");
    // What was never exercised was not tested.
    for (what, times) in [
        ("intervals in pieces", counters.delta_staged),
        ("gaps", counters.delta_gap),
        ("duplicates", counters.delta_duplicate),
        ("ranges of owners", counters.repair_range_origin),
        ("ranges of others", counters.repair_range_peer),
        ("snapshots of owners", counters.repair_snapshot_origin),
        ("snapshots of others", counters.repair_snapshot_peer),
        ("superseded incarnations", counters.superseded),
        ("forgotten replicas", counters.forgotten),
        ("acknowledgements through others", counters.acks_relayed),
        ("changes that did not settle in time", counters.settle_timeouts),
        ("lanes begun anew", restarts),
        ("links that nobody needed", spare_links_ended),
        ("keys claimed by somebody else", claims_lost),
        ("entries taken over from the dropped", adopted),
    ] {
        assert!(times > 10, "{what}: only {times} in all seeds");
    }
}

#[test]
fn clusters_converge() {
    assert_all_converge(0..200);
}

#[test]
#[ignore = "takes minutes in debug"]
fn a_thousand_clusters_converge() {
    assert_all_converge(1000..2000);
}

/// Runs the seed in the environment variable `SEED` again.
#[test]
fn replay() {
    let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) else { return };
    let (world, failure) = run_one(seed);
    println!("{:#?}\n{:#?}", world.profile, world.coverage);
    assert_eq!(failure, None);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (one, other) = (run_one(7).0, run_one(7).0);
    assert_eq!(one.coverage, other.coverage);
}

// ---- Negative controls: the checks can fail ----

#[test]
fn a_skipped_remove_raises_the_alarm_and_is_repaired() {
    let mut sabotaged = 0;
    for seed in 0..10 {
        let mut world = World::new(seed, Sabotage::SkipOneRemove);
        world.run().unwrap_or_else(|failure| panic!("SEED={seed}: {failure}"));
        if world.sabotage_landed() {
            sabotaged += 1;
            assert!(world.coverage.divergence_detected > 0 && world.alarms > 0, "SEED={seed}");
        }
    }
    assert!(sabotaged >= 5, "only {sabotaged} runs had a remove to skip");
}

#[test]
fn a_reused_incarnation_raises_the_alarm() {
    let mut alarms = 0;
    for seed in 0..10 {
        let mut world = World::new(seed, Sabotage::ReuseIncarnation);
        let _ = world.run();
        alarms += u64::from(world.alarms > 0);
    }
    assert!(alarms >= 5, "alarms in {alarms} of 10 runs");
}

#[test]
fn an_application_that_misses_a_winner_is_noticed() {
    for seed in 0..5 {
        let mut world = World::new(seed, Sabotage::MissOneWinner);
        assert!(world.run().is_err() || !world.sabotage_landed(), "SEED={seed}");
    }
}

#[test]
fn a_host_that_stays_cut_off_is_noticed() {
    for seed in 0..3 {
        let mut world = World::new(seed, Sabotage::NeverHeal);
        assert!(world.run().is_err(), "SEED={seed}");
    }
}
