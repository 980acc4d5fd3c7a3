//! Dials seeds and members to which there is no link.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::NodeName;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Cluster;
use super::link::driver::{self, LinkError};

/// Between two looks at who is not linked.
const ROUND: Duration = Duration::from_millis(100);
/// Time for a connection to open.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Time for a name to be resolved.
const RESOLVE_MAX: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried in an attempt.
const ADDRESSES_MAX: usize = 16;
/// The next address of a name is tried when the one before has not led to a link for so long.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
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
    count: usize,
    /// The last attempt led to this node itself.
    itself: bool,
}

impl Attempts {
    fn new(next: Instant) -> Attempts {
        Attempts { next, rest: FIRST_REST, busy: false, count: 0, itself: false }
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

    /// Begins an attempt if it is time for one; says how many there were before.
    fn begin(&self, target: &Target, now: Instant, courtesy: bool) -> Option<usize> {
        let mut targets = self.targets.lock();
        let first = if courtesy { now + COURTESY } else { now };
        let attempts = targets.entry(target.clone()).or_insert_with(|| Attempts::new(first));
        if attempts.busy || attempts.next > now {
            return None;
        }
        attempts.busy = true;
        attempts.count += 1;
        Some(attempts.count - 1)
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

    /// Those that are no seeds any more are not tried any more.
    fn retain_seeds(&self, seeds: &[String]) {
        self.targets.lock().retain(|target, attempts| match target {
            Target::Seed(seed) => attempts.busy || seeds.contains(seed),
            Target::Member(_) => true,
        });
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
        // Once linked to anyone, the rest is gossip's work; a node on its own keeps asking its seeds, and whom it knew.
        if !cluster.has_links() {
            let seeds = cluster.seeds();
            cluster.dialer.retain_seeds(&seeds);
            for seed in seeds {
                dial(&cluster, Target::Seed(seed.clone()), seed, now, false);
            }
        }
    }
}

fn dial(cluster: &Arc<Cluster>, target: Target, host: String, now: Instant, courtesy: bool) {
    let Some(turn) = cluster.dialer.begin(&target, now, courtesy) else { return };
    let cluster = cluster.clone();
    tokio::spawn(async move {
        let began = Instant::now();
        let itself = dial_host(&cluster, &host, turn).await;
        cluster.dialer.end(&target, began.elapsed(), itself);
    });
}

/// Dials what a host stands for now, one address after the other without waiting long for any, until a link is up; returns when
/// all of these attempts have ended, and whether every address is this node's own.
async fn dial_host(cluster: &Arc<Cluster>, host: &str, turn: usize) -> bool {
    let mut addresses: Vec<SocketAddr> = match timeout(RESOLVE_MAX, lookup_host(host)).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => {
            tracing::debug!(%host, %error, "cannot resolve");
            return false;
        }
        Err(_) => {
            tracing::debug!(%host, "no answer from the resolver");
            return false;
        }
    };
    let own = cluster.config.advertise_socket;
    let mut itself = addresses.contains(&own);
    addresses.retain(|address| *address != own);
    // Another one comes first each time, for not all of many are tried.
    let first = turn.checked_rem(addresses.len()).unwrap_or(0);
    addresses.rotate_left(first);
    let mut attempts = JoinSet::new();
    let mut others = false;
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        attempts.spawn(dial_address(cluster.clone(), address));
        if let Ok(Some(ended)) = timeout(NEXT_ADDRESS_AFTER, attempts.join_next()).await {
            let led_here = matches!(ended, Ok(true));
            itself |= led_here;
            others |= !led_here;
        }
        if cluster.has_links() {
            break;
        }
    }
    while let Some(ended) = attempts.join_next().await {
        let led_here = matches!(ended, Ok(true));
        itself |= led_here;
        others |= !led_here;
    }
    itself && !others
}

/// One attempt, with the link that comes of it, to its end. Whether it led back to this node.
async fn dial_address(cluster: Arc<Cluster>, address: SocketAddr) -> bool {
    match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            let result = driver::run(cluster.clone(), stream, true).await;
            let itself = matches!(result, Err(LinkError::Itself));
            cluster.handle_link_end(address, true, result);
            return itself;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "cannot reach"),
        Err(_) => tracing::debug!(%address, "no answer"),
    }
    false
}
