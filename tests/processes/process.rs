//! A node's process.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rumormq::admin::view::{ClusterView, MatchView, MemberState, MemberView, RoutesPage};
use rustix::process::{Pid, Signal, kill_process};

use super::http::Http;
use super::netns::Namespace;
use super::{Launch, PATIENCE, awaits};

/// A node that runs, unless the test did something to it.
pub struct Process {
    launch: Launch,
    child: Child,
    mqtt: SocketAddr,
    cluster: SocketAddr,
    /// The other listeners, by the names of their settings.
    others: Vec<(String, SocketAddr)>,
    http: Http,
    ready_at: Instant,
    log: Arc<Mutex<Vec<String>>>,
}

/// Longest a node may take until it is ready; longer than the default of `--join-grace`.
const READY_MAX: Duration = Duration::from_secs(30);
/// What a failing test shows of each node's log.
const LINES_SHOWN: usize = 60;

impl Process {
    #[track_caller]
    pub(super) fn start(launch: Launch) -> Process {
        let mut child = launch.to_command().spawn().expect("the command starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let lines = log.clone();
        let mut file = launch
            .log_file
            .as_ref()
            .map(|path| File::options().create(true).append(true).open(path).expect("a place for the log"));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(file) = &mut file {
                    let _ = writeln!(file, "{line}");
                }
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let first_line = first_line(&mut child);
        let ready = match first_line.recv_timeout(READY_MAX) {
            Ok(line) => Ready::parse(&line).unwrap_or_else(|| panic!("no ready line: {line:?}")),
            Err(_) => {
                let _ = child.kill();
                let status = child.wait();
                show(&launch, &log);
                panic!("{} does not become ready: {status:?}", launch.name());
            }
        };
        assert_eq!(ready.node, launch.name(), "the node knows its name");
        let http = Http::new(ready.http, launch.namespace.clone());
        // What comes back after a fall comes back where it was.
        let launch = launch.at(ready.mqtt, ready.cluster, ready.http);
        let Ready { mqtt, cluster, others, .. } = ready;
        Process { launch, child, mqtt, cluster, others, http, ready_at: Instant::now(), log }
    }

    /// `NAME@HOST`.
    pub fn name(&self) -> &str {
        self.launch.name()
    }

    /// Where clients connect.
    pub fn mqtt_addr(&self) -> SocketAddr {
        self.mqtt
    }

    /// Where clients connect to the listener of this setting.
    #[track_caller]
    pub fn listener(&self, name: &str) -> SocketAddr {
        self.others.iter().find(|(other, _)| other == name).expect("a listener that is on").1
    }

    /// Where nodes connect.
    pub fn cluster_addr(&self) -> SocketAddr {
        self.cluster
    }

    /// Where it answers over HTTP.
    pub fn http_addr(&self) -> SocketAddr {
        self.http.address()
    }

    /// The host it runs on, if that is a namespace.
    pub fn host(&self) -> Option<Arc<Namespace>> {
        self.launch.namespace.clone()
    }

    /// Runs `action` where the node is: in its network namespace, if it has one.
    pub fn beside<R: Send>(&self, action: impl FnOnce() -> R + Send) -> R {
        match &self.launch.namespace {
            Some(namespace) => namespace.enter(action),
            None => action(),
        }
    }

    /// When its ready line was read.
    pub fn ready_at(&self) -> Instant {
        self.ready_at
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Whether a line of its log has all of these words.
    pub fn has_logged(&self, words: &[&str]) -> bool {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().any(|line| words.iter().all(|word| line.contains(word)))
    }

    // What can be done to it.

    /// SIGKILL: it is gone, and its sockets are closed, when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// The memory that it has in use, in bytes.
    #[track_caller]
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the node runs");
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process with memory");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes * 1024
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        awaits("the node ends", PATIENCE, || {
            status = self.child.try_wait().expect("a child of this process");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// SIGSTOP: it holds its sockets and says nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        awaits("the node stands still", PATIENCE, || self.state() == Some('T'));
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts it again on the same addresses, once it has ended.
    #[track_caller]
    pub fn restart(&mut self) {
        self.restart_with(|launch| launch);
    }

    /// The same with other settings.
    #[track_caller]
    pub fn restart_with(&mut self, change: impl FnOnce(Launch) -> Launch) {
        assert!(self.child.try_wait().is_ok_and(|status| status.is_some()), "it still runs");
        self.check_log();
        *self = Process::start(change(self.launch.clone()));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the node runs");
    }

    /// The state that the system's table of processes shows.
    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    // What it says.

    /// The answer to a GET of this path.
    #[track_caller]
    pub fn page(&self, path: &str) -> String {
        self.http.get(path)
    }

    /// The status of the answer to a DELETE of this path.
    #[track_caller]
    pub fn delete(&self, path: &str) -> u16 {
        self.http.delete(path)
    }

    /// The status of the answer to a POST to this path.
    #[track_caller]
    pub fn post(&self, path: &str) -> u16 {
        self.http.post(path)
    }

    /// The status and the body of the answer to a request of a program on its machine.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let (status, body) = self.http.call(method, path, body);
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
    }

    /// Its view of the cluster, if it answers.
    pub fn try_cluster(&self) -> Option<ClusterView> {
        self.http.try_get("/api/v1/cluster").and_then(|body| serde_json::from_str(&body).ok())
    }

    /// Its view of the cluster.
    #[track_caller]
    pub fn cluster(&self) -> ClusterView {
        self.try_cluster().unwrap_or_else(|| panic!("{} does not answer", self.name()))
    }

    /// What it says of itself.
    pub fn own_head(&self) -> Option<MemberView> {
        let ClusterView { node, incarnation, members, .. } = self.try_cluster()?;
        members.into_iter().find(|member| member.name == node && member.incarnation == incarnation)
    }

    /// Which start of the node this is.
    #[track_caller]
    pub fn incarnation(&self) -> u64 {
        self.cluster().incarnation
    }

    /// The state of a member as this node sees it, by the newest incarnation; none if it is unknown.
    pub fn state_of(&self, name: &str) -> Option<MemberState> {
        let view = self.try_cluster()?;
        view.members.iter().rfind(|member| member.name == name).map(|member| member.state)
    }

    /// The whole route table: each filter with its nodes.
    #[track_caller]
    pub fn routes(&self) -> Vec<(String, Vec<String>)> {
        let (mut routes, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.page(&format!("/api/v1/routes?limit=1000{cursor}"));
            let page: RoutesPage = serde_json::from_str(&page).expect("a page of routes");
            routes.extend(page.routes.into_iter().map(|route| (route.filter, route.nodes)));
            match page.next {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return routes,
            }
        }
    }

    /// The filters that match a topic, with their nodes.
    #[track_caller]
    pub fn matches(&self, topic: &str) -> Vec<(String, Vec<String>)> {
        let body = self.page(&format!("/api/v1/match?topic={}", topic.replace('#', "%23")));
        let view: MatchView = serde_json::from_str(&body).expect("a match");
        view.matches.into_iter().map(|route| (route.filter, route.nodes)).collect()
    }

    /// The sum of a metric's values over all label sets that contain `labels`, written as on the metrics' page; zero if there
    /// is none.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.page("/metrics");
        let values = page.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, found_labels) = series.split_once('{').unwrap_or((series, ""));
            let fits =
                found == format!("rumormq_{name}") && labels.iter().all(|label| found_labels.contains(label));
            fits.then(|| value.parse::<f64>().ok()).flatten()
        });
        values.sum()
    }

    /// Peers and datagrams turned away, for a reason.
    #[track_caller]
    pub fn rejected(&self, reason: &str) -> f64 {
        self.metric("gossip_rejected_total", &[&format!("reason=\"{reason}\"")])
    }

    /// Nothing that comes from outside may make a node panic.
    fn check_log(&self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "{} has panicked:\n{log}", self.name());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        match std::thread::panicking() {
            true => show(&self.launch, &self.log),
            false => self.check_log(),
        }
    }
}

fn show(launch: &Launch, log: &Mutex<Vec<String>>) {
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    eprintln!("---- the end of what {} logged", launch.name());
    for line in log.iter().skip(log.len().saturating_sub(LINES_SHOWN)) {
        eprintln!("{line}");
    }
}

/// The first line of standard output; what follows is read and dropped, so that the node never waits for a reader.
fn first_line(child: &mut Child) -> Receiver<String> {
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

/// What `run` prints when it listens.
struct Ready {
    node: String,
    mqtt: SocketAddr,
    cluster: SocketAddr,
    http: SocketAddr,
    others: Vec<(String, SocketAddr)>,
}

impl Ready {
    fn parse(line: &str) -> Option<Ready> {
        let words = line.strip_prefix("ready ")?;
        let value = |key: &str| words.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let others = words.split(' ').filter_map(|word| {
            let (name, address) = word.split_once('=')?;
            let is_other = !["node", "mqtt", "cluster", "http"].contains(&name);
            Some((name.to_owned(), address.parse().ok().filter(|_| is_other)?))
        });
        Some(Ready {
            others: others.collect(),
            node: value("node")?.to_owned(),
            mqtt: value("mqtt")?.parse().ok()?,
            cluster: value("cluster")?.parse().ok()?,
            http: value("http")?.parse().ok()?,
        })
    }
}
