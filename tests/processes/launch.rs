//! How a node is started.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::netns::Namespace;
use super::{PATIENCE, Process};

/// What changes a process's clock; the dynamic linker knows where libraries are.
pub const LIBFAKETIME: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

/// Whether nodes can have clocks of their own here; says why, if not.
///
/// # Panics
/// Instead, with `RUMORMQ_REQUIRE_CLIENTS=1`.
pub fn can_set_clocks() -> bool {
    // A library that cannot be loaded is a line on standard error, and no more.
    let tried = Command::new("true").env("LD_PRELOAD", LIBFAKETIME).output();
    let there = tried.is_ok_and(|output| output.stderr.is_empty());
    let required = std::env::var("RUMORMQ_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    assert!(there || !required, "libfaketime is required: the package is called faketime");
    if !there {
        eprintln!("SKIPPED: no libfaketime");
    }
    there
}

/// The command as it was built with these tests.
const PRESENT: &str = env!("CARGO_BIN_EXE_rumormq");

/// The command line of a node, in the making.
#[derive(Clone, Debug)]
pub struct Launch {
    name: String,
    mqtt: SocketAddr,
    cluster: SocketAddr,
    http: SocketAddr,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log_level: Option<&'static str>,
    binary: String,
    pub(super) log_file: Option<PathBuf>,
    pub(super) namespace: Option<Arc<Namespace>>,
}

impl Launch {
    /// `NAME@127.0.0.1` on free ports of loopback.
    pub fn new(name: &str) -> Launch {
        Launch::on(IpAddr::V4(Ipv4Addr::LOCALHOST), name)
    }

    /// `NAME@::1`.
    pub fn ipv6(name: &str) -> Launch {
        Launch::on(IpAddr::V6(Ipv6Addr::LOCALHOST), name)
    }

    /// A node in a network namespace, at its address. It needs a cookie.
    pub fn within(namespace: &Arc<Namespace>, name: &str) -> Launch {
        Launch::within_at(namespace, namespace.address(), name)
    }

    /// The same at another of its addresses.
    pub fn within_at(namespace: &Arc<Namespace>, address: IpAddr, name: &str) -> Launch {
        let launch = Launch::on(address, name).flag("--allow-anonymous", "true");
        Launch { namespace: Some(namespace.clone()), ..launch }
    }

    fn on(ip: IpAddr, name: &str) -> Launch {
        let any_port = SocketAddr::new(ip, 0);
        Launch {
            name: format!("{name}@{ip}"),
            mqtt: any_port,
            cluster: any_port,
            http: any_port,
            arguments: Vec::new(),
            environment: Vec::new(),
            log_level: Some("--log-level=debug"),
            binary: PRESENT.to_owned(),
            log_file: None,
            namespace: None,
        }
    }

    /// Joins the cluster of whoever listens there.
    #[must_use]
    pub fn join(mut self, seed: SocketAddr) -> Launch {
        self.arguments.push(format!("--join={seed}"));
        self
    }

    /// A node of another name, that others reach where it listens for them.
    #[must_use]
    pub fn called(mut self, name: &str) -> Launch {
        self.arguments.push(format!("--advertise-cluster={}", self.cluster));
        Launch { name: name.to_owned(), ..self }
    }

    /// Joins nobody: what was said about that before does not count.
    #[must_use]
    pub fn without_seeds(mut self) -> Launch {
        self.arguments.retain(|argument| !argument.starts_with("--join="));
        self
    }

    /// Sets one of the command's flags.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Launch {
        self.arguments.push(format!("{name}={value}"));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Launch {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the node this cookie.
    #[must_use]
    pub fn cookie(mut self, cookie: &str) -> Launch {
        self.environment.push(("RUMORMQ_COOKIE".to_owned(), cookie.to_owned()));
        self
    }

    /// Lets the node see the wall clock that this file sets, and the file's changes at once: it has what to add, as in
    /// `-3600`. The monotonic clock stays as it is. It needs libfaketime.
    #[must_use]
    pub fn clock(mut self, file: &Path) -> Launch {
        let settings = [
            ("LD_PRELOAD", LIBFAKETIME),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("a path of this test's")),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        self.environment.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    /// Logs what it logs where it is told nothing by a flag.
    #[must_use]
    pub fn without_log_level(self) -> Launch {
        Launch { log_level: None, ..self }
    }

    /// Sets one of its environment variables.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Launch {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Appends its log to this file; all starts of the node have the same.
    #[must_use]
    pub fn log_file(mut self, file: PathBuf) -> Launch {
        self.log_file = Some(file);
        self
    }

    /// Runs another build of the command.
    #[must_use]
    pub fn command(mut self, path: &str) -> Launch {
        path.clone_into(&mut self.binary);
        self
    }

    /// Runs the command that was built with these tests, again.
    #[must_use]
    pub fn present_command(self) -> Launch {
        self.command(PRESENT)
    }

    /// Listens for clients there.
    #[must_use]
    pub fn mqtt_addr(mut self, address: SocketAddr) -> Launch {
        self.mqtt = address;
        self
    }

    /// Answers questions there.
    #[must_use]
    pub fn http_addr(mut self, address: SocketAddr) -> Launch {
        self.http = address;
        self
    }

    /// Listens for other nodes there.
    #[must_use]
    pub fn cluster_addr(mut self, address: SocketAddr) -> Launch {
        self.cluster = address;
        self
    }

    /// Starts the node, and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Process {
        Process::start(self)
    }

    /// Runs a node that is expected to end by itself; gives its exit code, and what it says about that.
    pub fn fails(self) -> (Option<i32>, String) {
        let mut child = self.to_command().spawn().expect("the command starts");
        let began = Instant::now();
        while child.try_wait().expect("a child of this process").is_none() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        // It stops now, if it has not failed before.
        drop(child.stdin.take());
        let output = child.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same on known addresses.
    pub(super) fn at(self, mqtt: SocketAddr, cluster: SocketAddr, http: SocketAddr) -> Launch {
        Launch { mqtt, cluster, http, ..self }
    }

    pub(super) fn to_command(&self) -> Command {
        let binary = &self.binary;
        let mut command = match &self.namespace {
            Some(namespace) => namespace.command(binary),
            None => Command::new(binary),
        };
        command
            .args(["run", "--until-stdin-ends"])
            .args(self.log_level)
            .arg(format!("--node={}", self.name))
            .arg(format!("--mqtt={}", self.mqtt))
            .arg(format!("--cluster={}", self.cluster))
            .arg(format!("--http={}", self.http))
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RUMORMQ_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}
