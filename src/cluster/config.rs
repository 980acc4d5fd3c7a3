//! What can be set about a node's part in its cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumormq_gossip::ReplicaId;
use rumormq_gossip::seal::ClusterKeys;

use super::forward::stream::ForwardLimits;
use super::link::hello::Addresses;
use super::link::tls::LinkTls;
use crate::store::KnownPeer;

/// Settings of the cluster, resolved.
#[derive(Clone)]
pub struct ClusterConfig {
    /// Name of the cluster: nodes of another are turned away.
    pub cluster: String,
    /// This start of this node.
    pub replica: ReplicaId,
    /// What others are told about where this node is reached.
    pub advertise: Addresses,
    /// The address of these for other nodes, resolved.
    pub advertise_socket: SocketAddr,
    /// Members to begin with, each `HOST:PORT`.
    pub seeds: Vec<String>,
    /// Members that an earlier start of this node has met.
    pub known: Vec<KnownPeer>,
    /// Seals what passes between nodes; none on a loopback.
    pub keys: Option<ClusterKeys>,
    /// Certificates for links; none where they are protected by the cookie alone.
    pub tls: Option<Arc<LinkTls>>,
    /// Settings of the replicated sets.
    pub gossip: rumormq_gossip::Config,
    /// Between two rounds of membership gossip.
    pub gossip_interval: Duration,
    /// How sure the failure detector must be.
    pub phi: f64,
    /// How long to wait for a seed before serving alone.
    pub join_grace: Duration,
    /// How long a publish waits for a node that is there and says nothing.
    pub puback_timeout: Duration,
    /// How long a connect waits for a session's holder that says nothing.
    pub takeover_timeout: Duration,
    /// Bounds of the forward buffer of each peer.
    pub forward: ForwardLimits,
    /// Bytes of all forward buffers together. A message that waits for several peers counts for each.
    pub forward_total_bytes: usize,
    /// Bytes of the messages of shared subscriptions that other nodes have, of which copies are kept until they are
    /// consumed.
    pub max_shared_bytes: usize,
}

impl ClusterConfig {
    /// What the membership tells of this node.
    pub(super) fn published_keys(&self) -> Vec<(String, String)> {
        let address = |key: &str, address: &Option<String>| Some((key.to_owned(), address.clone()?));
        [address("mqtt", &self.advertise.mqtt), address("http", &self.advertise.http)]
            .into_iter()
            .flatten()
            .chain([("status".to_owned(), "running".to_owned())])
            .collect()
    }
}
