//! What a scenario has: a library, a protocol version, the nodes, and names that no other test uses.

use crate::cluster::{Cluster, cluster};
use crate::peer::{Library, Options, Outgoing, Peer, Wanted};
use crate::processes::{PATIENCE, awaits};

/// Whether to go on, with a client that was looked for.
pub fn may_go_on(client: &str, installed: bool) -> bool {
    if !installed {
        assert!(std::env::var("RUMORMQ_REQUIRE_CLIENTS").as_deref() != Ok("1"), "{client} is not installed");
        eprintln!("skipped: {client} is not installed");
    }
    installed
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V311,
    V5,
}

pub const BOTH: &[Version] = &[Version::V311, Version::V5];
pub const FIVE: &[Version] = &[Version::V5];

pub struct World {
    library: Box<dyn Library>,
    pub version: Version,
    cluster: &'static Cluster,
    /// The name of the test, and of the protocol version.
    name: String,
}

/// Runs a scenario in the versions it is for. The test's name keeps its topics and clients apart from other tests'.
pub fn run(name: &str, versions: &[Version], library: fn() -> Box<dyn Library>, scenario: fn(&mut World)) {
    if !library().is_installed() {
        return;
    }
    for &version in versions {
        eprintln!("{version:?}");
        let name = format!("{}-{version:?}", name.replace("::", "-"));
        scenario(&mut World { library: library(), version, cluster: cluster(), name });
    }
}

impl World {
    pub fn is_five(&self) -> bool {
        self.version == Version::V5
    }

    /// A topic or filter of this test's own.
    pub fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    /// Options of a client with a session that ends with its connection. An empty name is an empty identifier.
    pub fn options(&self, node: usize, name: &str) -> Options {
        let transport = self.library.transport();
        Options {
            port: self.cluster.port(node, transport),
            transport,
            ca: self.cluster.ca(),
            version: if self.is_five() { 5 } else { 4 },
            id: if name.is_empty() { String::new() } else { format!("{}-{name}", self.name) },
            clean: true,
            expiry: None,
            keep_alive: 30,
            will: None,
            user: None,
            password: None,
        }
    }

    /// Options of a client with a session that outlives its connection by `secs`; in 3.1.1 by what the broker grants.
    pub fn lasting(&self, node: usize, name: &str, secs: u32) -> Options {
        Options { clean: false, expiry: self.is_five().then_some(secs), ..self.options(node, name) }
    }

    #[track_caller]
    pub fn connect(&mut self, node: usize, name: &str) -> Box<dyn Peer> {
        let options = self.options(node, name);
        self.connect_with(options)
    }

    #[track_caller]
    pub fn connect_with(&mut self, options: Options) -> Box<dyn Peer> {
        self.library.connect(options)
    }

    /// Waits until the node has noticed that a client of this name is gone.
    #[track_caller]
    pub fn awaits_end(&self, node: usize, name: &str) {
        let id = format!("client=\"{}-{name}\"", self.name);
        let node = &self.cluster.nodes[node];
        awaits("the connection ends", PATIENCE, || node.has_logged(&["connection ends", &id]));
    }

    /// A client on this node that wants this filter.
    #[track_caller]
    pub fn subscriber(&mut self, node: usize, name: &str, filter: &str, qos: u8) -> Box<dyn Peer> {
        let mut peer = self.connect(node, name);
        assert_eq!(peer.subscribe(self.wanted(filter, qos)), qos);
        peer
    }

    pub fn wanted(&self, filter: &str, qos: u8) -> Wanted {
        Wanted { filter: self.topic(filter), qos, ..Wanted::default() }
    }

    pub fn outgoing(&self, topic: &str, payload: &str, qos: u8) -> Outgoing {
        Outgoing { topic: self.topic(topic), payload: payload.to_owned(), qos, ..Outgoing::default() }
    }
}
