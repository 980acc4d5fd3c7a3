//! The workload without a fault: everything is owed, nothing is exempt.

use std::time::Duration;

use crate::checker::{Promises, agreement, check};
use crate::history::{Event, History, Recorder};
use crate::processes::{Process, start_cluster};
use crate::random::Random;
use crate::workload::{Mix, Site, Workload};

/// Everything is promised where nothing happens.
const ALL: Promises = Promises { no_disconnects: true, no_exemptions: true };

/// The seed that was asked for, or one of today.
fn seed() -> u64 {
    let from_environment = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = from_environment.unwrap_or_else(|| now.map_or(0, |now| now.as_millis() as u64));
    println!("SEED={seed}");
    seed
}

#[test]
fn every_promise_is_kept_where_nothing_happens() {
    let nodes = start_cluster(3);
    let names: Vec<&str> = nodes.iter().map(Process::name).collect();
    let sites: Vec<Site> = nodes.iter().map(Site::of).collect();
    let recorder = Recorder::new(seed(), &names);
    let workload = Workload::start(&sites, Mix::default(), &recorder);
    std::thread::sleep(Duration::from_secs(5));
    let history = workload.finish(&ALL);
    check(&history, &ALL).assert_kept(&history);
    agreement::assert_equal(&nodes.iter().collect::<Vec<_>>());
    harm(&history);
}

/// What comes of a history that is green, if what came had not come, or otherwise. A few of many places are tried.
fn harm(history: &History) {
    let mut random = Random::of(history.seed, 0);
    let owed_once = |event: &Event| match event {
        Event::Delivered(it) if it.qos > 0 && !it.retained && !it.dup => {
            // These stay where they are, and keep what they want.
            ["lasting", "subscriber"].iter().any(|role| history.clients[it.client].starts_with(role))
        }
        _ => false,
    };
    let places: Vec<usize> = (0..history.events.len()).filter(|&at| owed_once(&history.events[at])).collect();
    assert!(places.len() > 100, "only {} deliveries", places.len());
    for _ in 0..5 {
        let at = *random.one_of(&places);
        let mut lost = history.clone();
        lost.events.remove(at);
        assert_eq!(
            check(&lost, &ALL).count("what is owed is delivered"),
            1,
            "without {:?}",
            history.events[at]
        );
        let mut moved = history.clone();
        let Event::Delivered(delivered) = &mut moved.events[at] else { panic!("a delivery") };
        delivered.topic.push_str("/else");
        assert_eq!(check(&moved, &ALL).count("what comes was published"), 1);
        let mut twice = history.clone();
        twice.events.push(history.events[at].clone());
        let (before, after) = (check(history, &ALL), check(&twice, &ALL));
        let more = after.duplicates - before.duplicates + after.count("QoS 2 and QoS 0 come once");
        assert_eq!(more, 1, "twice {:?}", history.events[at]);
    }
}

/// `HISTORY=FILE cargo test --test faults -- --ignored --nocapture a_history_from_a_file`
#[test]
#[ignore = "needs the file of a history"]
fn a_history_from_a_file_is_judged_again() {
    let Ok(file) = std::env::var("HISTORY") else { return };
    let history = History::load(file.as_ref()).expect("a history");
    println!("{}", check(&history, &Promises { no_disconnects: true, no_exemptions: false }));
}
