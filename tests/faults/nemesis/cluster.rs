//! A cluster on hosts of its own, all of whose nodes may be harmed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumormq::admin::view::{ClusterView, MemberState};

use crate::history::Node;
use crate::processes::netns::{Namespace, Network};
use crate::processes::{Launch, Process, launch};
use crate::workload::Site;

const COOKIE: &str = "a secret for tests only";
/// Fixed, so that nobody else has them while a node is down.
const CLUSTER_PORT: u16 = 7883;
const MQTT_PORT: u16 = 1883;
const HTTP_PORT: u16 = 18083;

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct Settings {
    pub size: usize,
    /// Whether the nodes' clocks can be moved.
    pub clocks: bool,
    /// Whether the nodes have directories for what outlives them.
    pub data_dir: bool,
    /// More flags for each node.
    pub flags: Vec<(&'static str, String)>,
}

impl Settings {
    pub fn of_size(size: usize) -> Settings {
        Settings { size, clocks: false, data_dir: false, flags: Vec::new() }
    }
}

/// Nodes `n1`, `n2`, ..., each of which knows all others from the start.
pub struct Cluster {
    pub members: Vec<Member>,
    /// Logs and clocks. It is kept if the test fails.
    folder: PathBuf,
    data_dir: bool,
}

/// A node with its host.
pub struct Member {
    pub name: String,
    pub site: Site,
    pub host: Arc<Namespace>,
    clock: Option<PathBuf>,
    process: Mutex<Process>,
}

impl Cluster {
    /// Starts all nodes at once, and waits until all see all. None, after saying why, where this machine does not allow it.
    pub fn start(name: &str, seed: u64, settings: &Settings) -> Option<Cluster> {
        let network = Network::new()?;
        if settings.clocks && !launch::can_set_clocks() {
            return None;
        }
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{seed}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a writable target directory");
        let hosts: Vec<Arc<Namespace>> = (0..settings.size).map(|_| network.host()).collect();
        let addresses = hosts.iter().map(|host| (host.address(), CLUSTER_PORT).into());
        let addresses: Vec<std::net::SocketAddr> = addresses.collect();
        let members = std::thread::scope(|scope| {
            let starts: Vec<_> = hosts
                .iter()
                .enumerate()
                .map(|(number, host)| {
                    let name = format!("n{}", number + 1);
                    let launch = Launch::within(host, &name)
                        .cookie(COOKIE)
                        .cluster_addr(addresses[number])
                        .mqtt_addr((host.address(), MQTT_PORT).into())
                        .http_addr((host.address(), HTTP_PORT).into())
                        .log_file(folder.join(format!("{name}.log")));
                    let others = addresses.iter().filter(|address| **address != addresses[number]);
                    let launch = others.fold(launch, |launch, address| launch.join(*address));
                    let launch =
                        settings.flags.iter().fold(launch, |launch, (name, value)| launch.flag(name, value));
                    let launch = match settings.data_dir {
                        true => {
                            launch.flag("--data-dir", &folder.join(format!("{name}.data")).to_string_lossy())
                        }
                        false => launch,
                    };
                    let clock = settings.clocks.then(|| folder.join(format!("{name}.clock")));
                    let launch = match &clock {
                        Some(clock) => {
                            set_clock(clock, 0);
                            launch.clock(clock)
                        }
                        None => launch,
                    };
                    scope.spawn(|| Member::new(launch.start(), clock))
                })
                .collect();
            let joined = starts
                .into_iter()
                .map(|start| start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.collect::<Vec<_>>()
        });
        let cluster = Cluster { members, folder, data_dir: settings.data_dir };
        cluster.with_all(|nodes| crate::processes::await_converged(nodes));
        Some(cluster)
    }

    pub fn size(&self) -> usize {
        self.members.len()
    }

    pub fn names(&self) -> Vec<&str> {
        self.members.iter().map(|member| member.name.as_str()).collect()
    }

    pub fn sites(&self) -> Vec<Site> {
        self.members.iter().map(|member| member.site.clone()).collect()
    }

    /// Whether a node that is started again finds what it had on disk.
    pub fn keeps_data(&self) -> bool {
        self.data_dir
    }

    /// A node's process, which nobody harms meanwhile.
    pub fn node(&self, node: Node) -> MutexGuard<'_, Process> {
        self.members[node].process()
    }

    /// All of them.
    pub fn with_all<R>(&self, look: impl FnOnce(&[&Process]) -> R) -> R {
        let guards: Vec<_> = self.members.iter().map(Member::process).collect();
        let nodes: Vec<&Process> = guards.iter().map(|guard| &**guard).collect();
        look(&nodes)
    }

    /// What each node sees of the cluster; none of those that do not answer.
    pub fn views(&self) -> Vec<Option<ClusterView>> {
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                self.members.iter().map(|member| scope.spawn(|| member.process().try_cluster())).collect();
            asked.into_iter().map(|view| view.join().expect("it asks")).collect()
        })
    }

    /// The last change of each node's own routes.
    pub fn heads(&self) -> Vec<u64> {
        let own = |member: &Member| {
            member.process().own_head().and_then(|own| Some(own.routes_set.head?.seq)).unwrap_or(0)
        };
        self.members.iter().map(own).collect()
    }

    /// How many changes of others' routes, up to these heads, the nodes lack, all together. None if somebody does not answer.
    pub fn lacking(&self, heads: &[u64]) -> Option<u64> {
        let mut lacking = 0;
        for view in self.views() {
            let view = view?;
            for (member, head) in self.members.iter().zip(heads) {
                let known = view.members.iter().filter(|known| known.name == member.name);
                let applied = known
                    .filter(|known| known.state != MemberState::Dead)
                    .filter_map(|known| Some(known.routes_set.applied.as_ref()?.seq))
                    .max();
                lacking += head.saturating_sub(applied.unwrap_or(0));
            }
        }
        Some(lacking)
    }

    /// The sum of a metric over all nodes.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.members.iter().map(|member| member.process().metric(name, labels)).sum()
    }

    /// What each node's memory comes to, in MiB.
    pub fn resident_mib(&self) -> Vec<f64> {
        let mib = |member: &Member| member.process().resident_bytes() as f64 / f64::from(1 << 20);
        self.members.iter().map(mib).collect()
    }

    /// Moves a node's wall clock away from the machine's.
    pub fn set_clock(&self, node: Node, by_secs: i64) {
        set_clock(self.members[node].clock.as_ref().expect("a cluster with clocks"), by_secs);
    }
}

impl Member {
    fn new(process: Process, clock: Option<PathBuf>) -> Member {
        Member {
            name: process.name().to_owned(),
            site: Site::of(&process),
            host: process.host().expect("on a host of its own"),
            clock,
            process: Mutex::new(process),
        }
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All at once: a node that looks meanwhile sees the one or the other.
fn set_clock(file: &Path, by_secs: i64) {
    let new = file.with_extension("new");
    fs::write(&new, format!("{by_secs:+}\n")).expect("a writable target directory");
    fs::rename(new, file).expect("a writable target directory");
}

impl Drop for Cluster {
    fn drop(&mut self) {
        match std::thread::panicking() || super::keeps_everything() {
            true => eprintln!("---- the nodes' logs are in {}", self.folder.display()),
            false => {
                let _ = fs::remove_dir_all(&self.folder);
            }
        }
    }
}
