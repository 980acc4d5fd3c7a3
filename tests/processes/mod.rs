//! Real nodes: processes of the command, which tests start, question and harm.
//!
//! A node never outlives its test: it is killed when its [`Process`] is dropped, and stops by itself when its standard input
//! ends, however the test dies. Nothing here waits for a fixed time; [`awaits`] asks again until the answer fits.

pub mod http;
pub mod launch;
pub mod netns;
mod process;

use std::time::{Duration, Instant};

pub use launch::Launch;
pub use process::Process;
use rumormq::admin::view::{MemberState, MemberView};

/// How long a test waits for what must come, on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `condition` holds; gives the time that took.
#[track_caller]
pub fn awaits(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
    began.elapsed()
}

/// Nodes `n1`, `n2`, ... of which each joins the one before, once all of them see all others.
#[track_caller]
pub fn start_cluster(size: usize) -> Vec<Process> {
    start_cluster_with(size, |launch| launch)
}

/// The same with other settings.
#[track_caller]
pub fn start_cluster_with(size: usize, settings: impl Fn(Launch) -> Launch) -> Vec<Process> {
    let mut nodes: Vec<Process> = Vec::new();
    for number in 1..=size {
        let launch = settings(Launch::new(&format!("n{number}")));
        let launch = match nodes.last() {
            Some(last) => launch.join(last.cluster_addr()),
            None => launch,
        };
        nodes.push(launch.start());
    }
    await_converged(&nodes.iter().collect::<Vec<_>>());
    nodes
}

/// Waits until each of these nodes is linked to all others, and has what they have; gives the time that took.
#[track_caller]
pub fn await_converged(nodes: &[&Process]) -> Duration {
    awaits("the nodes converge", PATIENCE, || nodes.iter().all(|node| has_converged(node, nodes)))
}

/// Whether `node` sees exactly these nodes live, is linked to them and has their newest heads.
fn has_converged(node: &Process, nodes: &[&Process]) -> bool {
    let Some(view) = node.try_cluster() else { return false };
    let live = view.members.iter().filter(|member| member.state == MemberState::Alive);
    let names: Vec<&str> = live.map(|member| member.name.as_str()).collect();
    let mut expected: Vec<&str> = nodes.iter().map(|node| node.name()).collect();
    expected.sort_unstable();
    view.converged
        && names == expected
        && nodes.iter().all(|other| {
            let Some(own) = other.own_head() else { return false };
            let member = view.members.iter().find(|member| {
                member.name == other.name() && member.incarnation == own.incarnation && member.is_linked()
            });
            let applied = |member: &MemberView| {
                let sets = member.sets.iter();
                sets.map(|(name, set)| (name.clone(), set.applied.clone())).collect::<Vec<_>>()
            };
            // Every set, of which the routes are one.
            let named = ["retained", "routes", "sessions"].iter().all(|set| own.sets.contains_key(*set));
            named
                && member.is_some_and(|member| {
                    applied(member) == applied(&own) && member.routes_set.applied == own.routes_set.applied
                })
        })
}

trait Linked {
    fn is_linked(&self) -> bool;
}

impl Linked for MemberView {
    fn is_linked(&self) -> bool {
        use rumormq::admin::view::LinkKind::{Direct, Own};
        matches!(self.link, Direct | Own)
    }
}
