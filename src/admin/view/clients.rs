//! Clients and their subscriptions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /api/v1/clients`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientsPage {
    /// Sorted by client identifier.
    pub clients: Vec<ClientView>,
    /// What to ask for as `cursor` to get the next page; null on the last one.
    pub next: Option<String>,
    /// Nodes whose clients are not among these, because they have not answered.
    pub missing: Vec<Missing>,
}

/// `GET /api/v1/clients/{id}`: a client's session, with or without a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientView {
    /// The client identifier.
    pub client: String,
    /// The node that has the session.
    pub node: String,
    /// The user name that the client has proved; null if it is anonymous.
    pub username: Option<String>,
    /// Whether a connection is open.
    pub connected: bool,
    /// Where the client connects from, or did last; null if it is a part of the node, or has not connected since its session
    /// came here.
    pub address: Option<String>,
    /// The listener that it uses: `mqtt`, `mqtts`, `ws` or `wss`.
    pub listener: Option<String>,
    /// The version of MQTT that it speaks: `3.1`, `3.1.1` or `5.0`.
    pub protocol: Option<String>,
    /// Whether it has connected with a clean start.
    pub clean_start: Option<bool>,
    /// Its Keep Alive in seconds; 0 is none.
    pub keep_alive_secs: Option<u16>,
    /// When it connected, in milliseconds since 1970; null without a connection.
    pub connected_ms: Option<u64>,
    /// When its connection ended, in milliseconds since 1970; null while one is open.
    pub disconnected_ms: Option<u64>,
    /// Seconds that the session outlives its connection.
    pub session_expiry_secs: u64,
    /// How many subscriptions it has.
    pub subscriptions: u64,
    /// Messages sent to it and not acknowledged.
    pub inflight: u64,
    /// Messages that wait for it.
    pub queued: u64,
    /// Publishes of its own that are not acknowledged yet.
    pub unacknowledged: u64,
    /// Whether a will is published if its connection is lost.
    pub will: bool,
}

/// `DELETE /api/v1/clients/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KickedView {
    /// The client identifier.
    pub client: String,
    /// The nodes where it was, sorted. More than one only where a split has left the client with two sessions.
    pub nodes: Vec<String>,
    /// Nodes that have not answered.
    pub missing: Vec<Missing>,
}

/// `GET /api/v1/subscriptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionsPage {
    /// Sorted by client identifier, then by filter.
    pub subscriptions: Vec<SubscriptionView>,
    /// What to ask for as `cursor` to get the next page; null on the last one.
    pub next: Option<String>,
    /// Nodes whose subscriptions are not among these, because they have not answered.
    pub missing: Vec<Missing>,
}

/// A client's subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionView {
    /// The client identifier.
    pub client: String,
    /// The topic filter; of a shared subscription with `$share/NAME/` before it.
    pub filter: String,
    /// The node that has the client's session.
    pub node: String,
    /// Highest QoS.
    pub qos: u8,
    /// Whether the client's own publishes are kept from it.
    pub no_local: bool,
    /// Whether the retain flag reaches it as it was published.
    pub retain_as_published: bool,
    /// The Subscription Identifier.
    pub identifier: Option<u32>,
}

/// A node that should have been heard and was not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// Its name.
    pub node: String,
    /// Why it has not answered.
    pub reason: String,
}
