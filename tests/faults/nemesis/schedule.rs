//! Which fault comes when: a plan that is made before anything is done, so that a seed says all of it.

use std::fmt;
use std::time::Duration;

use super::fault::Fault;
use crate::history::Node;
use crate::random::Random;

/// A fault with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// When it begins, from the start of the schedule.
    pub at: Duration,
    /// Until it is undone.
    pub lasts: Duration,
    pub fault: Fault,
}

/// Faults in the order of their beginnings. They may overlap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    pub episodes: Vec<Episode>,
}

/// Longest that a killed node takes until it is ready again, with some more: until then its process is left alone.
const RETURN_MAX: Duration = Duration::from_secs(15);
/// Faults at a time in a random schedule.
const OVERLAP_MAX: usize = 3;
/// Nodes of which a random schedule harms the processes at a time.
const HARMED_MAX: usize = 2;
/// Longest of a random schedule's clock steps.
const STEP_SECS_MAX: usize = 6 * 3600;

impl Schedule {
    /// This fault once.
    pub fn once(at: Duration, lasts: Duration, fault: Fault) -> Schedule {
        Schedule { episodes: vec![Episode { at, lasts, fault }] }
    }

    /// On and off again, for `total`; at the end it is off.
    pub fn flapping(fault: &Fault, every: Duration, total: Duration) -> Schedule {
        let rounds = (total.as_secs_f64() / (2.0 * every.as_secs_f64())) as u32;
        let episode = |round| Episode { at: every * 2 * round, lasts: every, fault: fault.clone() };
        Schedule { episodes: (0..rounds).map(episode).collect() }
    }

    /// One node after the other, each for `lasts`.
    pub fn rolling(size: usize, every: Duration, lasts: Duration, fault: impl Fn(Node) -> Fault) -> Schedule {
        let episode = |node| Episode { at: every * node as u32, lasts, fault: fault(node) };
        Schedule { episodes: (0..size).map(episode).collect() }
    }

    /// What this seed says for a cluster of `size` nodes: all kinds of faults, one upon the other, all of them undone after
    /// `total`.
    pub fn random(seed: u64, size: usize, total: Duration, clocks: bool) -> Schedule {
        let mut random = Random::of(seed, 0);
        let mut episodes: Vec<Episode> = Vec::new();
        let mut at = Duration::ZERO;
        let gap_max_ms = (total.as_millis() as u64 / 4).min(9000);
        loop {
            at += between(&mut random, 500, gap_max_ms);
            let lasts = between(&mut random, 1000, 20_000).min(total / 3);
            if at + lasts > total {
                return Schedule { episodes };
            }
            let fault = random_fault(&mut random, size, clocks);
            let fits = {
                let meanwhile = |episode: &&Episode| at < episode.at + episode.lasts;
                let harmed = |episode: &&Episode| at < episode.at + episode.lasts + RETURN_MAX;
                let taken: Vec<Node> =
                    episodes.iter().filter(harmed).flat_map(|e| e.fault.processes()).copied().collect();
                let own = fault.processes();
                episodes.iter().filter(meanwhile).count() < OVERLAP_MAX
                    && own.iter().all(|node| !taken.contains(node))
                    && (own.is_empty() || own.len() + taken.len() <= HARMED_MAX)
                    // Two losses at once would be one of a share that no fault has.
                    && !(matches!(fault, Fault::Loss { .. })
                        && episodes.iter().filter(meanwhile).any(|e| matches!(e.fault, Fault::Loss { .. })))
            };
            if fits {
                episodes.push(Episode { at, lasts, fault });
            }
        }
    }

    /// From the start to the end of the last fault.
    pub fn duration(&self) -> Duration {
        self.episodes.iter().map(|episode| episode.at + episode.lasts).max().unwrap_or_default()
    }
}

/// So many milliseconds.
fn between(random: &mut Random, start: u64, end: u64) -> Duration {
    Duration::from_millis(start + random.number() % (end - start))
}

fn random_fault(random: &mut Random, size: usize, clocks: bool) -> Fault {
    let node = random.below(size);
    let other = (node + 1 + random.below(size - 1)) % size;
    match random.below(if clocks { 15 } else { 14 }) {
        0 | 1 => Fault::Loss { percent: [5, 10, 20, 30][random.below(4)] },
        2 => Fault::Split { side: vec![node] },
        3 | 4 => Fault::Split { side: vec![node, other] },
        5 | 6 => Fault::Cut { one: node, other },
        7 | 8 => Fault::OneWay { from: node, to: other },
        9 | 10 => Fault::Pause { node },
        11 => Fault::Kill { node },
        12 => Fault::Stop { node },
        13 => Fault::PowerOff { nodes: vec![node, other] },
        _ => {
            let secs = 1 + random.below(STEP_SECS_MAX) as i64;
            Fault::Clock { node, by_secs: if random.below(2) == 0 { secs } else { -secs } }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Episode { at, lasts, fault } in &self.episodes {
            writeln!(f, "{:9.3} s for {:6.3} s: {fault}", at.as_secs_f64(), lasts.as_secs_f64())?;
        }
        Ok(())
    }
}

#[test]
fn a_seed_says_all_of_a_schedule() {
    let total = Duration::from_secs(1200);
    for seed in 0..200 {
        let schedule = Schedule::random(seed, 5, total, true);
        assert_eq!(schedule, Schedule::random(seed, 5, total, true));
        assert_ne!(schedule, Schedule::random(seed + 1, 5, total, true));
        assert!(schedule.duration() <= total && schedule.episodes.len() > 40, "seed {seed}:\n{schedule}");
        assert!(schedule.episodes.is_sorted_by_key(|episode| episode.at));
        for (number, episode) in schedule.episodes.iter().enumerate() {
            let later =
                schedule.episodes[number + 1..].iter().filter(|later| later.at < episode.at + episode.lasts);
            for later in later {
                let both =
                    later.fault.processes().iter().any(|node| episode.fault.processes().contains(node));
                assert!(!both, "seed {seed}: {} during {}", later.fault, episode.fault);
            }
        }
    }
}
