//! Clusters in all kinds of trouble, each with a load and the verdict on its history.
//!
//! Each scenario has a short variant among the default tests and a long one behind `--ignored`; both are one function of
//! how long. `SEED` repeats what was random, `MINUTES` replaces the time that a long variant takes, and with `KEEP=1` histories
//! and logs are kept whatever comes of it.

mod clocks;
mod crashes;
mod figures;
mod flapping;
mod loss;
mod partial;
mod pauses;
mod random;
mod split;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::checker::{self, Promises, agreement};
use crate::history::{History, Recorder};
use crate::nemesis::{self, Cluster, Nemesis, Settings};
use crate::workload::{Mix, Workload};

/// Scenarios wait for each other: clusters that share the processors would measure each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A cluster with a history, and the right to load the machine.
struct Arena {
    cluster: Cluster,
    recorder: Arc<Recorder>,
    seed: u64,
    _turn: MutexGuard<'static, ()>,
}

impl Arena {
    /// None where the machine does not allow it; that has been said then.
    fn open(name: &str, settings: &Settings) -> Option<Arena> {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let seed = number_from_environment("SEED").unwrap_or_else(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64)
        });
        println!("{name}: SEED={seed}");
        let cluster = Cluster::start(name, seed, settings)?;
        let recorder = Recorder::new(seed, &cluster.names());
        Some(Arena { cluster, recorder, seed, _turn: turn })
    }

    fn nemesis(&self) -> Nemesis<'_> {
        Nemesis::new(&self.cluster, &self.recorder)
    }

    fn workload(&self, mix: Mix) -> Workload {
        Workload::start(&self.cluster.sites(), mix, &self.recorder)
    }

    /// Ends the load, and judges.
    #[track_caller]
    fn judge(&self, workload: Workload, promises: &Promises) -> History {
        let history = workload.finish(promises);
        println!("{} events", history.events.len());
        if nemesis::keeps_everything() {
            println!("the history is in {:?}", history.save());
        }
        let verdict = checker::check(&history, promises);
        verdict.assert_kept(&history);
        self.cluster.with_all(agreement::assert_equal);
        history
    }
}

/// Everybody stays: what a session that moves may miss while nodes cannot reach each other is not the question then.
fn nobody_moves() -> Mix {
    Mix { movers: 0, ..Mix::default() }
}

/// How long a long variant takes, unless `MINUTES` says otherwise.
fn minutes(default: f64) -> Duration {
    let minutes = std::env::var("MINUTES").ok().map(|text| text.parse().expect("MINUTES is a number"));
    Duration::from_secs_f64(60.0 * minutes.unwrap_or(default))
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
