//! One thing that has happened, as watchers are told it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::packet::ReasonCode;

/// Something that has happened to a client or a message that is traced. What does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceEvent {
    /// Its place among those that the node tells of this trace: higher is later.
    pub number: u64,
    /// When, by the node's clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// What has happened.
    pub event: Happening,
    /// The client that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The packet's type, as the specification writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// The topic of the message. An alias is resolved where the trace has seen what it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The packet's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet_id: Option<u16>,
    /// QoS of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<u8>,
    /// Its retain flag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<bool>,
    /// Whether it was sent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dup: Option<bool>,
    /// Bytes of its payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_size: Option<usize>,
    /// The beginning of the payload, if payloads are asked for. What is no UTF-8 is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Reason codes, by number and name: one, or one for each filter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Topic filters of a SUBSCRIBE or UNSUBSCRIBE, with their options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// What else there is to say, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// What has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// The client has a session here as the trace begins.
    Found,
    /// A packet has come from the client.
    Received,
    /// A packet was given to the client's connection.
    Sent,
    /// The client was not believed, or may not do what it asked for.
    Denied,
    /// A CONNECT was answered with a no.
    Refused,
    /// A connection is open.
    Connected,
    /// A connection is over.
    Disconnected,
    /// A message waits for the client.
    Queued,
    /// A message for the client was dropped.
    Dropped,
    /// Messages for the client have expired while they waited.
    Expired,
    /// The client's will is published.
    WillPublished,
    /// The session goes to another node.
    SessionLeaves,
    /// The session has come from another node.
    SessionArrives,
    /// Nobody has come back for the session in time.
    SessionExpired,
    /// The session is over.
    SessionEnded,
    /// A message was published on this node.
    Published,
    /// A message has come from another node.
    Forwarded,
    /// That is where a message went.
    Routed,
    /// Some events are missing here, because they came faster than they were read.
    Lost,
    /// Something that a node of a later version knows.
    #[default]
    #[serde(other)]
    Other,
}

/// Longest text of an event, in bytes.
const TEXT_MAX: usize = 1024;
/// What an event takes beside its texts, roughly, in bytes.
const EVENT_SIZE: usize = 256;

impl TraceEvent {
    /// Something has happened to this client.
    pub fn of(event: Happening, client: &str) -> TraceEvent {
        TraceEvent { event, client: Some(cut(client)), ..TraceEvent::default() }
    }

    /// With something to say beside.
    pub fn with(mut self, name: &str, value: impl ToString) -> TraceEvent {
        self.details.insert(name.to_owned(), cut(&value.to_string()));
        self
    }

    /// The same if there is something.
    pub fn with_some(self, name: &str, value: Option<impl ToString>) -> TraceEvent {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With a reason code more.
    pub fn because(mut self, reason: ReasonCode) -> TraceEvent {
        self.reasons.push(reason_text(reason));
        self
    }

    /// Memory that it takes, roughly, in bytes.
    pub fn size(&self) -> usize {
        let texts = [&self.client, &self.packet, &self.topic, &self.payload].into_iter().flatten();
        let lists = self.reasons.iter().chain(&self.filters).chain(self.details.values());
        EVENT_SIZE + texts.chain(lists).map(|text| text.len() + 32).sum::<usize>()
    }
}

/// A reason code as people look it up.
pub(super) fn reason_text(reason: ReasonCode) -> String {
    format!("0x{:02X} {reason:?}", reason as u8)
}

/// A text, or as much of its beginning as an event has room for.
pub fn cut(text: &str) -> String {
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }
    let mut end = TEXT_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
