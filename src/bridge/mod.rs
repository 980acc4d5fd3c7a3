//! Bridges: this node as a client of another broker, whose topics and ours are one for what the operator lists.
//!
//! A bridge is a client twice: of this node, through a pipe instead of a socket, and of the other broker. `relay` passes
//! each packet on from one to the other with its topic renamed, and *with its packet identifier*: an acknowledgement of one
//! side is the acknowledgement of the other. So the bridge keeps no messages itself. What this side has for the other waits
//! in the bridge's own session here, with the bounds of every session, until the other broker has acknowledged it; the other
//! way round it waits there. Where either connection breaks, both are opened again and both sides send again what they
//! have no acknowledgement for.
//!
//! Each node that has a bridge in its configuration runs it. The module knows no routing and no cluster.

mod config;
mod connection;
mod greeting;
mod relay;
mod remote;
mod run;
mod topics;

use std::sync::Arc;

use prometheus::{IntCounterVec, IntGaugeVec, Opts};
use tokio::task::JoinHandle;

pub use config::BridgeConfig;
pub use remote::RemoteError;

use crate::broker::Broker;

/// The bridges of a node, which end when it is dropped.
#[derive(Default)]
pub struct Bridges {
    prepared: Vec<run::Bridge>,
    running: Vec<JoinHandle<()>>,
}

/// What bridges have in common.
#[derive(Clone)]
struct Node {
    broker: Arc<Broker>,
    /// The node's name, part of client identifiers.
    name: String,
    /// What messages that left this cluster are marked with.
    cluster: String,
    metrics: Metrics,
}

#[derive(Clone)]
struct Metrics {
    up: IntGaugeVec,
    messages: IntCounterVec,
    dropped: IntCounterVec,
}

impl Bridges {
    /// Prepares these bridges, for the node of this name in the cluster of that name.
    ///
    /// # Errors
    /// A bridge's files cannot be used.
    pub fn new(
        broker: &Arc<Broker>,
        configs: &[BridgeConfig],
        name: &str,
        cluster: &str,
    ) -> Result<Bridges, RemoteError> {
        if configs.is_empty() {
            return Ok(Bridges::default());
        }
        let metrics = Metrics::new(&broker.metrics.registry);
        let (name, cluster) = (name.to_owned(), cluster.to_owned());
        let node = Node { broker: broker.clone(), name, cluster, metrics };
        let prepare = |config: &BridgeConfig| run::Bridge::new(config.clone(), node.clone());
        let prepared = configs.iter().map(prepare).collect::<Result<_, _>>()?;
        Ok(Bridges { prepared, running: Vec::new() })
    }

    /// Runs them.
    pub fn start(&mut self) {
        self.running.extend(self.prepared.drain(..).map(|bridge| tokio::spawn(bridge.run())));
    }
}

/// Whether the bridge's files can be used.
pub fn check(config: &BridgeConfig) -> Result<(), RemoteError> {
    run::password(config)?;
    remote::Remote::new(config).map(drop)
}

impl Drop for Bridges {
    fn drop(&mut self) {
        self.running.iter().for_each(JoinHandle::abort);
    }
}

impl Metrics {
    fn new(registry: &prometheus::Registry) -> Metrics {
        let name = |name: &str, help: &str| Opts::new(format!("rumormq_bridge_{name}"), help);
        let up = IntGaugeVec::new(name("up", "1 while the bridge is connected."), &["bridge"]);
        let messages =
            IntCounterVec::new(name("messages_total", "Messages passed on."), &["bridge", "direction"]);
        let dropped =
            IntCounterVec::new(name("dropped_total", "Messages not passed on."), &["bridge", "reason"]);
        let metrics = Metrics {
            up: up.expect("names are literals"),
            messages: messages.expect("names are literals"),
            dropped: dropped.expect("names are literals"),
        };
        // A second set of bridges on one broker would count unseen, and is nobody's wish.
        let _ = registry.register(Box::new(metrics.up.clone()));
        let _ = registry.register(Box::new(metrics.messages.clone()));
        let _ = registry.register(Box::new(metrics.dropped.clone()));
        metrics
    }

    fn count(&self, bridge: &str, counts: relay::Counts) {
        let add = |family: &IntCounterVec, label: &str, count: u64| {
            if count > 0 {
                family.with_label_values(&[bridge, label]).inc_by(count);
            }
        };
        add(&self.messages, "out", counts.outward);
        add(&self.messages, "in", counts.inward);
        add(&self.dropped, "loop", counts.loops);
        add(&self.dropped, "too_large", counts.too_large);
        add(&self.dropped, "unmatched", counts.unmatched);
        add(&self.dropped, "refused", counts.refused);
        add(&self.dropped, "refused_here", counts.refused_here);
    }
}
