//! What has happened lately.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /api/v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventsView {
    /// The node that tells it.
    pub node: String,
    /// Oldest first. The last 256 are kept.
    pub events: Vec<EventView>,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// Its place among all of the node; without gaps during one run of it, and higher in later ones.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it is about.
    pub kind: EventKind,
    /// The other node that has to do with it.
    pub node: Option<String>,
    /// What has happened, in words.
    pub text: String,
}

/// What something that has happened is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The node itself.
    Node,
    /// Whether a member lives.
    Member,
    /// How a member is reached.
    Link,
    /// Whether the node has all that it knows of.
    Convergence,
    /// What the node had missed, and has fetched.
    Repair,
    /// Sessions that follow their clients.
    Session,
    /// What must not happen.
    Alarm,
}
