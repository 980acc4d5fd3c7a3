//! A publish of the operator.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of `POST /api/v1/publish`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// Where to publish.
    pub topic: String,
    /// The payload, if it is text. Without one of both it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload in Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// 0, which is the default, 1 or 2.
    #[serde(default)]
    #[schemars(range(max = 2))]
    pub qos: u8,
    /// Whether it becomes its topic's retained message or, with an empty payload, clears that.
    #[serde(default)]
    pub retain: bool,
    /// What 5.0 has subscribers told beside the payload.
    #[serde(default)]
    pub properties: PublishProperties,
}

/// The properties of a publish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PublishProperties {
    /// 1 says that the payload is UTF-8 text, 0 nothing.
    #[schemars(range(max = 1))]
    pub payload_format_indicator: Option<u8>,
    /// Seconds after which who has not got the message need not get it any more.
    pub message_expiry_interval: Option<u32>,
    /// What the payload is, such as `application/json`.
    pub content_type: Option<String>,
    /// Where to answer.
    pub response_topic: Option<String>,
    /// What the answer is to be known by, if it is text.
    pub correlation_data: Option<String>,
    /// The same in Base64.
    pub correlation_data_base64: Option<String>,
    /// Names with values of your own.
    pub user_properties: UserProperties,
}

/// User properties: an object or, where a name comes twice or the order counts, a list of pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum UserProperties {
    /// By name.
    Object(BTreeMap<String, String>),
    /// Name and value of each.
    Pairs(Vec<(String, String)>),
}

impl Default for UserProperties {
    fn default() -> Self {
        UserProperties::Pairs(Vec::new())
    }
}

impl UserProperties {
    /// Each as a pair.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        match self {
            UserProperties::Object(map) => map.iter().map(|(name, value)| (&**name, &**value)).collect(),
            UserProperties::Pairs(pairs) => pairs.iter().map(|(name, value)| (&**name, &**value)).collect(),
        }
    }
}

/// `POST /api/v1/publish`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublishedView {
    /// Where it was published.
    pub topic: String,
    /// Whether anybody is subscribed, on this node or another.
    pub matched: bool,
    /// Whether every node that wants it has confirmed that it has it, or it is kept for that one: what PUBACK says to a client.
    /// At QoS 0 nobody is asked.
    pub acknowledged: bool,
}
