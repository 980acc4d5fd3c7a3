//! What does harm: carries out faults, and says so in the history.
//!
//! A [`Fault`] is data; a [`Schedule`] says when which one comes, and follows from a seed, so that a run can be repeated
//! (`SEED=... cargo test --test faults NAME`) as far as the machine keeps time. Faults overlap, and each is undone alone.

pub mod cluster;
pub mod fault;
pub mod schedule;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use cluster::{Cluster, Settings};
pub use fault::Fault;
pub use schedule::Schedule;

use crate::history::{FaultKind, FaultNumber, Node, Recorder};
use crate::processes::netns::Hole;

/// Does harm to a cluster.
pub struct Nemesis<'a> {
    cluster: &'a Cluster,
    recorder: Arc<Recorder>,
    began: Instant,
    /// What was done, for people; shown if the test fails.
    log: Mutex<Vec<String>>,
}

/// A fault that is going on, until it is [undone](Nemesis::ends).
#[must_use = "it is to be undone"]
pub struct Ongoing {
    fault: Fault,
    recorded: Vec<FaultNumber>,
    holes: Vec<Hole>,
}

impl<'a> Nemesis<'a> {
    pub fn new(cluster: &'a Cluster, recorder: &Arc<Recorder>) -> Nemesis<'a> {
        Nemesis { cluster, recorder: recorder.clone(), began: Instant::now(), log: Mutex::default() }
    }

    /// Does it.
    pub fn begins(&self, fault: Fault) -> Ongoing {
        let kinds = fault.kinds(self.cluster.size(), self.cluster.keeps_data());
        // Who loses power is cut off first, which takes its time: until it is dead it goes on.
        let (deaths, others): (Vec<_>, Vec<_>) = kinds
            .into_iter()
            .partition(|kind| matches!(kind, FaultKind::Kill { .. } | FaultKind::Stop { .. }));
        let mut recorded: Vec<FaultNumber> =
            others.into_iter().map(|kind| self.recorder.begins(kind)).collect();
        self.note("begins", &fault);
        let holes = self.holes(&fault);
        recorded.extend(deaths.into_iter().map(|kind| self.recorder.begins(kind)));
        match &fault {
            Fault::Pause { node } => self.cluster.node(*node).freeze(),
            Fault::Kill { node } => self.cluster.node(*node).kill(),
            Fault::Stop { node } => {
                let mut process = self.cluster.node(*node);
                process.terminate();
                let _ = process.wait();
            }
            Fault::PowerOff { nodes } => nodes.iter().for_each(|node| self.cluster.node(*node).kill()),
            Fault::Clock { node, by_secs } => self.cluster.set_clock(*node, *by_secs),
            Fault::Loss { .. } | Fault::Split { .. } | Fault::Cut { .. } | Fault::OneWay { .. } => {}
        }
        Ongoing { fault, recorded, holes }
    }

    /// Undoes it. Who was killed is started again, and is ready when this returns.
    pub fn ends(&self, ongoing: Ongoing) {
        let Ongoing { fault, recorded, holes } = ongoing;
        drop(holes);
        match &fault {
            Fault::Pause { node } => self.cluster.node(*node).thaw(),
            Fault::Kill { node } | Fault::Stop { node } => self.cluster.node(*node).restart(),
            Fault::PowerOff { nodes } => std::thread::scope(|scope| {
                for node in nodes {
                    scope.spawn(|| self.cluster.node(*node).restart());
                }
            }),
            Fault::Clock { node, .. } => self.cluster.set_clock(*node, 0),
            Fault::Loss { .. } | Fault::Split { .. } | Fault::Cut { .. } | Fault::OneWay { .. } => {}
        }
        recorded.into_iter().for_each(|number| self.recorder.ends(number));
        self.note("has ended", &fault);
    }

    /// Carries out a schedule; returns when everything is undone.
    pub fn carries_out(&self, schedule: &Schedule) {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for episode in &schedule.episodes {
                sleep_until(start + episode.at);
                let ongoing = self.begins(episode.fault.clone());
                scope.spawn(move || {
                    sleep_until(start + episode.at + episode.lasts);
                    self.ends(ongoing);
                });
            }
        });
    }

    /// What was done so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    fn holes(&self, fault: &Fault) -> Vec<Hole> {
        let members = &self.cluster.members;
        let address = |node: Node| members[node].host.address();
        let mut deaf: BTreeMap<Node, (Vec<IpAddr>, f64)> = BTreeMap::new();
        for (from, to) in fault.deaf_pairs(members.len()) {
            deaf.entry(to).or_insert((Vec::new(), 1.0)).0.push(address(from));
        }
        if let Fault::Loss { percent } = fault {
            for to in 0..members.len() {
                let senders = (0..members.len()).filter(|from| *from != to).map(address).collect();
                deaf.insert(to, (senders, f64::from(*percent) / 100.0));
            }
        }
        let punched =
            deaf.into_iter().map(|(to, (senders, share))| members[to].host.lose_from(&senders, share));
        punched.collect()
    }

    fn note(&self, what: &str, fault: &Fault) {
        let line = format!("{:9.3} s: {what}: {fault}", self.began.elapsed().as_secs_f64());
        println!("{line}");
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl Drop for Nemesis<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- what was done to the nodes\n{}", self.log());
        }
    }
}

/// Whether histories and logs are wanted of runs that have failed in nothing, too.
pub fn keeps_everything() -> bool {
    std::env::var("KEEP").is_ok_and(|value| value == "1")
}

fn sleep_until(time: Instant) {
    std::thread::sleep(time.saturating_duration_since(Instant::now()).max(Duration::ZERO));
}
