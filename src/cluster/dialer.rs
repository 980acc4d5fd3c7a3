//! Dials seeds and members to which there is no link.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::NodeName;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Cluster;
use super::link::driver::{self, LinkError};

/// Between two looks at who is not linked.
const ROUND: Duration = Duration::from_millis(100);
/// Time for a connection to open.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Of two nodes the one with the lower name dials at once; the other one only after this.
const COURTESY: Duration = Duration::from_millis(500);
/// Rest after a failure: the first, doubled each time, up to the longest.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(5);

/// Whom to dial, and when again. Bounded by the number of seeds and members.
#[derive(Debug)]
pub struct Dialer {
    targets: Mutex<BTreeMap<Target, Attempts>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Seed(String),
    Member(NodeName),
}

#[derive(Debug)]
struct Attempts {
    next: Instant,
    rest: Duration,
    busy: bool,
    /// The last attempt led to this node itself.
    itself: bool,
}

impl Attempts {
    fn new(next: Instant) -> Attempts {
        Attempts { next, rest: FIRST_REST, busy: false, itself: false }
    }
}

impl Dialer {
    /// Seeds are dialled at once.
    pub fn new(seeds: &[String]) -> Dialer {
        let now = Instant::now();
        let targets = seeds.iter().map(|seed| (Target::Seed(seed.clone()), Attempts::new(now))).collect();
        Dialer { targets: Mutex::new(targets) }
    }

    /// Whether there is nobody to wait for: no seeds, or none that is another node.
    pub fn is_alone(&self) -> bool {
        let targets = self.targets.lock();
        targets.iter().all(|(target, attempts)| matches!(target, Target::Member(_)) || attempts.itself)
    }

    fn begin(&self, target: &Target, now: Instant, courtesy: bool) -> bool {
        let mut targets = self.targets.lock();
        let first = if courtesy { now + COURTESY } else { now };
        let attempts = targets.entry(target.clone()).or_insert_with(|| Attempts::new(first));
        if attempts.busy || attempts.next > now {
            return false;
        }
        attempts.busy = true;
        true
    }

    fn end(&self, target: &Target, lasted: Duration, itself: bool) {
        let mut targets = self.targets.lock();
        if let Some(attempts) = targets.get_mut(target) {
            attempts.busy = false;
            attempts.itself = itself;
            attempts.rest = match lasted > LONGEST_REST {
                true => FIRST_REST,
                false => (attempts.rest * 2).min(LONGEST_REST),
            };
            attempts.next = Instant::now() + attempts.rest;
        }
    }

    /// Members that are linked or gone need no attempts; when they do again, they begin anew.
    fn forget(&self, keep: impl Fn(&NodeName) -> bool) {
        self.targets.lock().retain(|target, attempts| match target {
            Target::Seed(_) => true,
            Target::Member(name) => attempts.busy || keep(name),
        });
    }
}

/// Dials until the task is dropped.
pub async fn run(cluster: Arc<Cluster>) {
    let mut ticks = tokio::time::interval(ROUND);
    let me = cluster.me().name;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let is_linked = |name: &NodeName| cluster.peers.find(name).is_some_and(|peer| peer.link().is_some());
        let mut unlinked = BTreeMap::new();
        for (replica, address) in cluster.members.to_dial() {
            if replica.name != me && !is_linked(&replica.name) {
                // The newest incarnation comes last.
                unlinked.insert(replica.name, address);
            }
        }
        cluster.dialer.forget(|name| unlinked.contains_key(name));
        for (name, address) in unlinked {
            let courtesy = me > name;
            dial(&cluster, Target::Member(name), address.to_string(), now, courtesy);
        }
        // Once linked to anyone, the rest is gossip's work; a node on its own keeps asking its seeds.
        if !cluster.peers.all().iter().any(|peer| peer.link().is_some()) {
            for seed in &cluster.config.seeds {
                dial(&cluster, Target::Seed(seed.clone()), seed.clone(), now, false);
            }
        }
    }
}

fn dial(cluster: &Arc<Cluster>, target: Target, address: String, now: Instant, courtesy: bool) {
    if !cluster.dialer.begin(&target, now, courtesy) {
        return;
    }
    let cluster = cluster.clone();
    tokio::spawn(async move {
        let began = Instant::now();
        let mut itself = false;
        match timeout(CONNECT_MAX, TcpStream::connect(&address)).await {
            Ok(Ok(stream)) => {
                let peer = stream.peer_addr();
                let result = driver::run(cluster.clone(), stream, true).await;
                itself = matches!(result, Err(LinkError::Itself));
                if let Ok(peer) = peer {
                    cluster.handle_link_end(peer, true, result);
                }
            }
            Ok(Err(error)) => tracing::debug!(%address, %error, "cannot reach"),
            Err(_) => tracing::debug!(%address, "no answer"),
        }
        cluster.dialer.end(&target, began.elapsed(), itself);
    });
}
