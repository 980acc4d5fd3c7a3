//! Slow subscribers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Missing;

/// `GET /api/v1/slow-subscribers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlowSubscribersPage {
    /// The slowest first.
    pub slow_subscribers: Vec<SlowSubscriberView>,
    /// What to ask for as `cursor` to get the next page; null on the last one. Who waits longer meanwhile may be on no
    /// page: ask for more at once.
    pub next: Option<String>,
    /// Nodes whose clients are not among these, because they have not answered.
    pub missing: Vec<Missing>,
}

/// A client that takes long for what is published for it. Times are from when its node has the message, or the client has
/// connected, to its acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlowSubscriberView {
    /// The client identifier.
    pub client: String,
    /// The node that has its session.
    pub node: String,
    /// Milliseconds that it has taken for a message, or a message has been waiting for it: the most there was.
    pub worst_ms: u64,
    /// The topic of that message; null where only the socket is known to be behind.
    pub worst_topic: Option<String>,
    /// Milliseconds that the oldest message has been waiting for it now; null if it is not connected.
    pub waiting_ms: Option<u64>,
    /// Since when it has been slow, in milliseconds since 1970: of what is noted with `slow_subscriber_threshold`, else of what
    /// waits now.
    pub since_ms: u64,
    /// Messages that it acknowledged late, as far as that is noted.
    pub late: u64,
    /// Messages that wait for it.
    pub queued: u64,
    /// Messages sent to it and not acknowledged.
    pub inflight: u64,
    /// Bytes that its socket does not take.
    pub outbox_bytes: u64,
}

impl SlowSubscriberView {
    /// What it is sorted by: the slowest first, bytewise.
    pub fn key(&self) -> String {
        format!("{:020}\0{}\0{}", u64::MAX - self.worst_ms, self.client, self.node)
    }
}
