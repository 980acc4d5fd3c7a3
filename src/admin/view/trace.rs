//! Traces of a client or a topic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Missing;
pub use crate::observation::trace::{Happening, TraceEvent};

/// The body of `POST /api/v1/trace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TraceRequest {
    /// Trace the client of this identifier, in which `*` stands for any characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Or trace publishes to topics that this filter matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Bytes of each payload that are told, and the values of user properties, too, if that is not 0. At most 65536; 0 by
    /// default.
    pub payload: usize,
    /// The trace ends after so many seconds, at most a day; by default ten minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// The `trace` of a stream that was cut before its end, to go on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// The data of `trace`, the first event of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceView {
    /// What to go on with, within some seconds, where the stream is cut.
    pub trace: String,
    /// The node that was asked.
    pub node: String,
    /// Seconds until the trace ends.
    pub seconds: u64,
}

/// The data of `event`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TracedView {
    /// Where it has happened.
    pub node: String,
    /// What has happened.
    #[serde(flatten)]
    pub event: TraceEvent,
}

/// The data of `missing`, which comes whenever others are missing than before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingView {
    /// Nodes of which nothing is known at present, and why.
    pub missing: Vec<Missing>,
}
