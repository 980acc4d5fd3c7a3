//! Nodes in network namespaces of their own, so that what passes between them can be lost, as if cables were cut.
//!
//! A [`Network`] is a namespace with a bridge; each [`Namespace`] is a host plugged into it. Nothing of it is seen outside,
//! and it is gone when it is dropped; what a run left that could not end by itself, the next one removes. It needs root, `ip`
//! and `iptables`.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Makes the names of networks unique within the process.
static NETWORKS: AtomicUsize = AtomicUsize::new(0);

/// Begins the names of all namespaces; the process that made them follows.
const PREFIX: &str = "rumormq-";

/// What is left of runs that were killed is removed once.
static LEFT_OVER: Once = Once::new();

/// Hosts that can reach each other.
#[derive(Debug)]
pub struct Network {
    name: String,
    hosts: AtomicUsize,
}

/// A host.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    address: Ipv4Addr,
    /// Its network exists as long as it does.
    _network: Arc<Network>,
}

/// Packets that a host loses as they arrive, until this is dropped. Their sender learns nothing, as when a cable or a switch
/// on the way is bad. Several on one host add up, and each is mended alone.
#[must_use = "dropped, it is mended"]
#[derive(Debug)]
pub struct Hole {
    host: Arc<Namespace>,
    rules: Vec<String>,
}

impl Network {
    /// A network without hosts. None, after saying why, where this machine does not allow it; then the test is to end.
    ///
    /// # Panics
    /// Instead, with `RUMORMQ_REQUIRE_CLIENTS=1`.
    pub fn new() -> Option<Arc<Network>> {
        if let Err(reason) = is_possible() {
            let required = std::env::var("RUMORMQ_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
            assert!(!required, "network namespaces are required, and {reason}");
            eprintln!("SKIPPED: no network namespaces, for {reason}");
            return None;
        }
        LEFT_OVER.call_once(remove_left_over);
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let network = Network { name, hosts: AtomicUsize::new(0) };
        network.ip(&["link", "add", "bridge", "type", "bridge"]);
        network.ip(&["link", "set", "bridge", "up"]);
        Some(Arc::new(network))
    }

    /// Plugs in one more host.
    pub fn host(self: &Arc<Network>) -> Arc<Namespace> {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let host = Namespace {
            name: format!("{}-{number}", self.name),
            address: Ipv4Addr::new(10, 77, 0, u8::try_from(number).expect("few hosts")),
            _network: self.clone(),
        };
        let port = format!("port{number}");
        run("ip", &["netns", "add", &host.name]);
        self.ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &host.name]);
        self.ip(&["link", "set", &port, "master", "bridge", "up"]);
        host.ip(&["address", "add", &format!("{}/16", host.address), "dev", "eth0"]);
        host.ip(&["link", "set", "eth0", "up"]);
        host.ip(&["link", "set", "lo", "up"]);
        Arc::new(host)
    }

    fn ip(&self, arguments: &[&str]) {
        run("ip", &[&["-n", &self.name], arguments].concat());
    }
}

impl Namespace {
    /// What the system calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's address in its network.
    pub fn address(&self) -> IpAddr {
        IpAddr::V4(self.address)
    }

    /// Gives the host an address of IPv6, too, if this machine has any.
    pub fn ipv6(&self) -> Option<IpAddr> {
        let [.., number] = self.address.octets();
        let address = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, u16::from(number));
        // Nobody else has it, so nobody needs to be asked first.
        let arguments =
            ["-n", &self.name, "address", "add", &format!("{address}/64"), "dev", "eth0", "nodad"];
        let added = Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success());
        added.then_some(IpAddr::V6(address))
    }

    /// A command that will run on this host.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs `action` on this host. Sockets that it opens stay there, wherever they are used.
    pub fn enter<R: Send>(&self, action: impl FnOnce() -> R + Send) -> R {
        let namespace = File::open(format!("/run/netns/{}", self.name)).expect("the namespace exists");
        // A thread that has moved does not come back, and need not.
        let moved = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may move");
            action()
        };
        let result = std::thread::scope(|scope| scope.spawn(moved).join());
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Loses every packet between this host and all others, both ways.
    pub fn isolate(&self) {
        self.iptables(&["-A", "INPUT", "-i", "eth0", "-j", "DROP"]);
        self.iptables(&["-A", "OUTPUT", "-o", "eth0", "-j", "DROP"]);
    }

    /// Loses every packet that arrives here; those that leave arrive elsewhere.
    pub fn deafen(&self) {
        self.iptables(&["-A", "INPUT", "-i", "eth0", "-j", "DROP"]);
    }

    /// Loses every packet between this host and another one, both ways.
    pub fn separate(&self, other: &Namespace) {
        let other = other.address.to_string();
        self.iptables(&["-A", "INPUT", "-s", &other, "-j", "DROP"]);
        self.iptables(&["-A", "OUTPUT", "-d", &other, "-j", "DROP"]);
    }

    /// Loses every datagram between this host and all others; connections are let through, as by some firewalls.
    pub fn block_datagrams(&self) {
        self.iptables(&["-A", "INPUT", "-i", "eth0", "-p", "udp", "-j", "DROP"]);
        self.iptables(&["-A", "OUTPUT", "-o", "eth0", "-p", "udp", "-j", "DROP"]);
    }

    /// Resets the connections of other hosts with this one when they are used, and lets none of theirs open.
    pub fn refuse_connections(&self) {
        self.iptables(&[
            "-A",
            "INPUT",
            "-i",
            "eth0",
            "-p",
            "tcp",
            "-j",
            "REJECT",
            "--reject-with",
            "tcp-reset",
        ]);
    }

    /// Ends this host's connections with others when it uses them, and never tells the others, as when a router in between
    /// forgets them. New ones may open.
    pub fn forget_connections(&self, ended: impl FnOnce()) {
        let reject = ["OUTPUT", "-o", "eth0", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"];
        self.iptables(&[
            "-A",
            "OUTPUT",
            "-o",
            "eth0",
            "-p",
            "tcp",
            "--tcp-flags",
            "RST",
            "RST",
            "-j",
            "DROP",
        ]);
        self.iptables(&[&["-A"], &reject[..]].concat());
        ended();
        self.iptables(&[&["-D"], &reject[..]].concat());
    }

    /// Loses this share of the packets that arrive here.
    pub fn lose(&self, share: f64) {
        let share = share.to_string();
        let random = ["-m", "statistic", "--mode", "random", "--probability", &share];
        self.iptables(&[&["-A", "INPUT", "-i", "eth0"], &random[..], &["-j", "DROP"]].concat());
    }

    /// Loses this share, from 0 to 1, of the packets that arrive from these senders.
    pub fn lose_from(self: &Arc<Namespace>, senders: &[IpAddr], share: f64) -> Hole {
        let random = match share < 1.0 {
            true => format!("-m statistic --mode random --probability {share} "),
            false => String::new(),
        };
        let rules =
            senders.iter().map(|sender| format!("INPUT -i eth0 -s {sender} {random}-j DROP")).collect();
        let hole = Hole { host: self.clone(), rules };
        assert!(hole.apply("-A"), "{} lets no rules in", self.name);
        hole
    }

    /// Nothing is lost any more.
    pub fn heal(&self) {
        self.iptables(&["-F"]);
    }

    fn iptables(&self, arguments: &[&str]) {
        run("ip", &[&["netns", "exec", &self.name, "iptables", "-w"], arguments].concat());
    }

    fn ip(&self, arguments: &[&str]) {
        run("ip", &[&["-n", &self.name], arguments].concat());
    }
}

impl Hole {
    /// Adds the rules (`-A`) or removes them (`-D`), all at once.
    fn apply(&self, action: &str) -> bool {
        let lines: String = self.rules.iter().map(|rule| format!("{action} {rule}\n")).collect();
        let restored = self.host.enter(|| {
            let mut command = Command::new("iptables-restore");
            command.args(["--wait", "--noflush"]).stdin(Stdio::piped()).stderr(Stdio::null());
            let mut child = command.spawn()?;
            let mut input = child.stdin.take().expect("piped");
            write!(input, "*filter\n{lines}COMMIT\n")?;
            drop(input);
            child.wait()
        });
        restored.is_ok_and(|status| status.success())
    }
}

impl Drop for Hole {
    fn drop(&mut self) {
        // Where a test has flushed all rules with `heal`, there are none to remove.
        let _ = self.apply("-D");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

fn remove(namespace: &str) {
    let _ = Command::new("ip").args(["netns", "del", namespace]).status();
}

/// Removes the namespaces of processes that are gone, with the nodes in them: who was stopped by SIGSTOP does not see that
/// its standard input has ended.
fn remove_left_over() {
    let Ok(namespaces) = std::fs::read_dir("/run/netns") else { return };
    for namespace in namespaces.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner =
            namespace.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_none_or(|owner| std::path::Path::new(&format!("/proc/{owner}")).exists()) {
            continue;
        }
        let inside = Command::new("ip").args(["netns", "pids", &namespace]).output();
        let inside =
            inside.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for pid in inside.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        remove(&namespace);
    }
}

fn is_possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("this is not root".to_owned());
    }
    for (program, argument) in [("ip", "-V"), ("iptables", "--version")] {
        let there = Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success());
        if !there {
            return Err(format!("there is no {program}"));
        }
    }
    Ok(())
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("it is there");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {error}", arguments.join(" "));
}
