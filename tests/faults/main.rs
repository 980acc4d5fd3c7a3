//! Clusters of real processes in trouble, and whether they keep their promises all the same: in the manner of Jepsen.
//!
//! How the parts fit:
//!
//! - [`history`] is plain data: what clients did and saw, and what was done to the nodes, on one monotonic clock. A
//!   [`history::Recorder`] is shared by all who have something to say. A history is written to a file and read again, so
//!   that a run that failed can be looked at later.
//! - [`workload`] is a crowd of clients on all nodes that publish, subscribe, move and come back, and record all of it. It
//!   knows nothing of faults: whose node dies looks for another one.
//! - A scenario starts nodes and a workload, does harm, and says so to the recorder: [`history::Recorder::begins`] *before*
//!   a fault is made and [`history::Recorder::ends`] *after* it is undone, so that what is recorded covers what was done.
//! - [`checker`] decides from the history alone: what was owed, what came, what is exempt and why. [`checker::agreement`]
//!   compares what the nodes show of themselves when all is quiet.
//!
//! ```text
//! let recorder = Recorder::new(seed, &names);
//! let sites = nodes.iter().map(Site::of).collect::<Vec<_>>();
//! let workload = Workload::start(&sites, Mix::default(), &recorder);
//! let cut = recorder.begins(FaultKind::cut(&[0, 1], &[2]));
//! ... the network is cut, time passes, the network is healed ...
//! recorder.ends(cut);
//! let history = workload.finish(&Promises::default());  // Waits until nothing is missing, or patience ends.
//! agreement::assert_equal(&nodes);
//! check(&history, &Promises::default()).assert_kept(&history);
//! ```

#[allow(dead_code, reason = "scenarios use it")]
mod checker;
#[allow(dead_code, reason = "scenarios use it")]
mod history;
mod nemesis;
#[path = "../processes/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod processes;
mod quiet;
mod random;
mod scenarios;
#[path = "../support"]
#[allow(dead_code, reason = "other targets use it, too")]
mod support {
    pub mod client;
    pub mod describe;
}
#[allow(dead_code, reason = "scenarios use it")]
mod workload;
