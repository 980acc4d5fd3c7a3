//! The cluster that all scenarios share: three nodes, with every listener.

use std::sync::OnceLock;

use crate::certificates::Authority;
use crate::peer::Transport;
use crate::processes::{Launch, Process, await_converged};

pub struct Cluster {
    pub nodes: Vec<Process>,
    authority: Authority,
}

/// Started by the first who asks. The nodes stop with the test's process: their standard input ends.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let authority = Authority::new();
        let identity = authority.server();
        let mut nodes: Vec<Process> = Vec::new();
        for number in 1..=3 {
            let launch = Launch::new(&format!("n{number}"))
                .flag("--mqtts", "127.0.0.1:0")
                .flag("--ws", "127.0.0.1:0")
                .flag("--wss", "127.0.0.1:0")
                .flag("--tls-certificate-file", &identity.certificate.display().to_string())
                .flag("--tls-key-file", &identity.key.display().to_string());
            let launch = match nodes.last() {
                Some(last) => launch.join(last.cluster_addr()),
                None => launch,
            };
            nodes.push(launch.start());
        }
        await_converged(&nodes.iter().collect::<Vec<_>>());
        Cluster { nodes, authority }
    })
}

impl Cluster {
    /// The file with the authority that clients trust.
    pub fn ca(&self) -> String {
        self.authority.certificate().display().to_string()
    }

    /// Where a node's clients connect.
    pub fn port(&self, node: usize, transport: Transport) -> u16 {
        let node = &self.nodes[node];
        match transport {
            Transport::Tcp => node.mqtt_addr(),
            Transport::Tls => node.listener("mqtts"),
            Transport::Ws => node.listener("ws"),
            Transport::Wss => node.listener("wss"),
        }
        .port()
    }
}
