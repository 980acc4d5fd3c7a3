//! What a node is doing, in numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LinkKind, MemberState, Missing};

/// `GET /api/v1/stats`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatsView {
    /// The node that was asked or, with `scope=cluster`, all that have answered; sorted by name.
    pub nodes: Vec<NodeStats>,
    /// Nodes that have not answered.
    pub missing: Vec<Missing>,
}

/// One node's numbers. What only grows is counted from the node's start: two answers and the `uptime_seconds` between them
/// make a rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStats {
    /// Its name.
    pub node: String,
    /// Which start of it; higher is later.
    pub incarnation: u64,
    /// Its version.
    pub version: String,
    /// Since when it runs.
    pub uptime_seconds: f64,
    /// Whether clients should be sent to it.
    pub ready: bool,
    /// Whether it has applied all that it knows of.
    pub converged: bool,
    /// Hash of all routes that it has: nodes with the same one have the same routes. Null from a node of a version that does
    /// not tell.
    #[serde(default)]
    pub routes_hash: Option<String>,
    /// Open connections of clients.
    pub connections: u64,
    /// Sessions, with and without one.
    pub sessions: u64,
    /// Subscriptions of these; looked up every few seconds, as are the next two.
    pub subscriptions: u64,
    /// Messages sent to clients and not acknowledged.
    pub inflight: u64,
    /// Messages that wait for clients.
    pub queued: u64,
    /// Topic filters with a subscriber here or elsewhere.
    pub filters: u64,
    /// Retained messages.
    pub retained: u64,
    /// Publishes received from clients, by QoS.
    pub received_total: [u64; 3],
    /// Messages given to subscribers here, by QoS.
    pub delivered_total: [u64; 3],
    /// Messages not delivered, or not retained.
    pub dropped_total: u64,
    /// Bytes read from clients.
    pub bytes_in_total: u64,
    /// Bytes written to clients.
    pub bytes_out_total: u64,
    /// CONNECT packets.
    pub connects_total: u64,
    /// Differences between copies that should be equal. Must stay 0.
    pub divergence_total: u64,
    /// The other members as this node sees them, sorted by name: one row of the link matrix.
    pub peers: Vec<PeerStats>,
}

/// Another member, seen from one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerStats {
    /// Its name.
    pub node: String,
    /// Whether it lives.
    pub state: MemberState,
    /// How it is reached.
    pub link: LinkKind,
    /// The peer that relays to it, where the link is relayed.
    pub via: Option<String>,
    /// Time to it and back in milliseconds, where there is a link.
    pub rtt_ms: Option<f64>,
    /// Operations of its sets known of and not applied.
    pub lag_ops: u64,
    /// For how long newer states of its sets than the applied ones have been known.
    pub lag_seconds: f64,
    /// QoS 1 and 2 messages kept for it until it confirms them.
    pub unacked: u64,
    /// Bytes of those.
    pub unacked_bytes: u64,
    /// Age of the oldest of those.
    pub oldest_seconds: f64,
    /// Publishes sent to it.
    pub sent_total: u64,
    /// Publishes received from it.
    pub received_total: u64,
    /// Publishes dropped on the way to it.
    pub dropped_total: u64,
}
