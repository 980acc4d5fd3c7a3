//! The topics that are published to most.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Missing;

/// `GET /api/v1/top-topics`: what clients, and nodes themselves, have published in the time since the question. What a node
/// forwards to another counts once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TopTopicsView {
    /// How long it was counted.
    pub seconds: f64,
    /// By number of publishes.
    pub by_messages: RankingView,
    /// By bytes of topics and payloads.
    pub by_bytes: RankingView,
    /// Nodes that have not answered.
    pub missing: Vec<Missing>,
}

/// Topics, the first of them the greatest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RankingView {
    /// As many as were asked for, if there are so many.
    pub topics: Vec<TopTopicView>,
    /// All publishes, or all bytes, of whatever topics.
    pub total: u64,
    /// What a topic that is not known here has at most: 0 where all are.
    pub unlisted_max: u64,
}

/// A topic and how much it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopTopicView {
    /// The topic; of a long one the first 256 bytes.
    pub topic: String,
    /// Its publishes or bytes, or more.
    pub count: u64,
    /// How much more, at most.
    pub error: u64,
}
