//! Clients on all nodes that publish, subscribe, move and come back, and record all of it. Whoever's node dies looks for
//! another one; nobody knows of faults.
//!
//! Each [`agent::Agent`] has a thread and a [`roles::Role`]. A [`watch`] asks the nodes for their routes, and another
//! subscribes to new filters and publishes to them at once elsewhere.

mod agent;
mod roles;
mod watch;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumormq::codec::packet::ProtocolVersion::{V311, V500};

use crate::checker::{Promises, check};
use crate::history::{ClientNumber, History, Recorder};
use crate::processes::Process;
use crate::processes::netns::Namespace;
use agent::Agent;
use roles::Role;

/// Longest a workload may take to connect all clients, or to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);
/// When nothing has come for so long, nothing is expected any more.
const QUIET: Duration = Duration::from_secs(1);

/// Where a node's clients are. It stays what it is when the node restarts.
#[derive(Clone, Debug)]
pub struct Site {
    pub mqtt: SocketAddr,
    pub http: SocketAddr,
    /// Where clients of this node are, too; so what is done to the network does not come between them.
    pub host: Option<Arc<Namespace>>,
}

impl Site {
    pub fn of(node: &Process) -> Site {
        Site { mqtt: node.mqtt_addr(), http: node.http_addr(), host: node.host() }
    }
}

/// How much of what. Counts are for each node.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Publishes a second, of all clients of all nodes together.
    pub rate: f64,
    /// Clients that publish at all QoS, half of them with sessions that outlive their connections.
    pub publishers: usize,
    /// Clients with plain filters and with wildcards, whose sessions end with their connections.
    pub subscribers: usize,
    /// Clients with sessions that outlive their connections, and that stay where they are while they can.
    pub lasting: usize,
    /// The same that move to other nodes, with and without ending their connection before.
    pub movers: usize,
    /// Clients that subscribe, unsubscribe, go and come.
    pub restless: usize,
    /// Members of a group that shares a subscription.
    pub members: usize,
    /// Whether new subscriptions are watched until all nodes know them.
    pub probe: bool,
}

impl Default for Mix {
    fn default() -> Mix {
        Mix {
            rate: 200.0,
            publishers: 2,
            subscribers: 2,
            lasting: 1,
            movers: 1,
            restless: 1,
            members: 1,
            probe: true,
        }
    }
}

/// What clients are to do, and how far they are.
#[derive(Debug, Default)]
struct Stage {
    /// Publishers end, and whoever moves stays.
    settles: AtomicBool,
    /// Everybody goes.
    over: AtomicBool,
    /// Clients that have all that they wanted at the start, and that have settled.
    ready: AtomicUsize,
    settled: AtomicUsize,
    /// Who has not settled, with what is missing.
    unsettled: Mutex<BTreeMap<ClientNumber, String>>,
}

/// Clients at work.
pub struct Workload {
    recorder: Arc<Recorder>,
    stage: Arc<Stage>,
    clients: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Workload {
    /// Connects clients to these nodes, in the order of the history's; returns when all have subscribed.
    #[track_caller]
    pub fn start(sites: &[Site], mix: Mix, recorder: &Arc<Recorder>) -> Workload {
        let sites: Arc<[Site]> = sites.into();
        let stage = Arc::new(Stage::default());
        let mut workload =
            Workload { recorder: recorder.clone(), stage: stage.clone(), clients: 0, threads: Vec::new() };
        let publishers = mix.publishers * sites.len();
        let interval = Duration::from_secs_f64(publishers as f64 / mix.rate.max(0.001));
        for node in 0..sites.len() {
            let roles = [
                (mix.publishers, Role::Publisher { interval }),
                (mix.subscribers, Role::Subscriber),
                (mix.lasting, Role::Lasting),
                (mix.movers, Role::Mover),
                (mix.restless, Role::Restless),
                (mix.members, Role::Member),
            ];
            for (count, role) in roles {
                for number in 0..count {
                    let name = format!("{}-{}-{number}", role.name(), node + 1);
                    let version = if (number + node) % 2 == 0 { V500 } else { V311 };
                    let agent = Agent::new(&name, version, role.lasts(number), recorder, &sites);
                    let (stage, role) = (stage.clone(), role.clone());
                    let life = move || roles::live(agent, &role, node, publishers, &stage);
                    workload.threads.push(std::thread::spawn(life));
                    workload.clients += 1;
                }
            }
        }
        for node in 0..sites.len() {
            let (stage, recorder, sites) = (stage.clone(), recorder.clone(), sites.clone());
            workload.threads.push(std::thread::spawn(move || watch::routes(node, &sites, &recorder, &stage)));
        }
        if mix.probe {
            let (stage, recorder, sites) = (stage.clone(), recorder.clone(), sites.clone());
            workload.threads.push(std::thread::spawn(move || watch::probe(&sites, &recorder, &stage)));
        }
        workload.awaits("all clients have subscribed", || {
            workload.stage.ready.load(Ordering::Acquire) == workload.clients
        });
        workload
    }

    /// Ends the publishers, waits until nothing is missing or patience ends, and ends the rest.
    #[track_caller]
    pub fn finish(self, promises: &Promises) -> History {
        self.stage.settles.store(true, Ordering::Release);
        self.awaits("all clients have come to rest", || {
            self.stage.settled.load(Ordering::Acquire) == self.clients
        });
        let began = Instant::now();
        let mut events = 0;
        // Every look costs the time that it takes to check it all: so many of them are not.
        while began.elapsed() < PATIENCE {
            std::thread::sleep(QUIET);
            let history = self.recorder.snapshot();
            let now = history.deliveries();
            let quiet = std::mem::replace(&mut events, now) == now;
            if quiet && check(&history, promises).count("what is owed is delivered") == 0 {
                break;
            }
        }
        self.stage.over.store(true, Ordering::Release);
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        self.recorder.snapshot()
    }

    #[track_caller]
    fn awaits(&self, what: &str, condition: impl Fn() -> bool) {
        let began = Instant::now();
        while !condition() {
            if began.elapsed() > PATIENCE {
                let path = self.recorder.snapshot().save();
                let unsettled = self.stage.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
                panic!("waited {PATIENCE:?} in vain: {what}; history in {path:?}; {unsettled:#?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
