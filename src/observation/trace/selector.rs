//! Which clients or topics a trace is about.

use crate::topic::{FilterError, Topic, TopicFilter};

/// What a trace is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Selector {
    /// All that concerns clients of such identifiers.
    Client(ClientPattern),
    /// All publishes to topics that the filter matches.
    Topic(TopicFilter),
}

/// Why something is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It names nothing, or both.
    #[error("say which client or which topic is to be traced, and not both")]
    NotOne,
    /// No client has such an identifier.
    #[error("client: a client identifier has 1 to {} bytes", ClientPattern::LEN_MAX)]
    Client,
    /// It is no topic filter.
    #[error("topic: {0}")]
    Topic(#[from] FilterError),
}

impl Selector {
    /// The selector that says so.
    pub fn new(client: Option<&str>, topic: Option<&str>) -> Result<Selector, SelectorError> {
        match (client, topic) {
            (Some(pattern), None) => ClientPattern::new(pattern).map(Selector::Client),
            (None, Some(filter)) => Ok(Selector::Topic(TopicFilter::parse(filter)?)),
            (Some(_), Some(_)) | (None, None) => Err(SelectorError::NotOne),
        }
    }

    /// Whether it is about this client.
    pub fn is_of_client(&self, id: &str) -> bool {
        matches!(self, Selector::Client(pattern) if pattern.matches(id))
    }

    /// Whether it is about publishes to this topic.
    pub fn is_of_topic(&self, topic: Topic<'_>) -> bool {
        matches!(self, Selector::Topic(filter) if filter.matches(topic))
    }
}

/// A client identifier in which `*` stands for any characters, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPattern(Box<str>);

impl ClientPattern {
    /// Longest, in bytes.
    pub const LEN_MAX: usize = 65_535;

    /// The pattern of this text.
    pub fn new(pattern: &str) -> Result<ClientPattern, SelectorError> {
        match pattern.len() {
            1..=ClientPattern::LEN_MAX => Ok(ClientPattern(pattern.into())),
            _ => Err(SelectorError::Client),
        }
    }

    /// The identifier, if it stands for one alone.
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&self.0)
    }

    /// Whether this identifier is meant. The time that it takes grows with the length of both, not with their product.
    pub fn matches(&self, id: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return *self.0 == *id };
        let Some(mut id) = id.strip_prefix(first) else { return false };
        let Some((middle, last)) = rest.rsplit_once('*') else { return id.ends_with(rest) };
        for part in middle.split('*') {
            // The first place where a part fits leaves the most for those behind it.
            let Some(at) = id.find(part) else { return false };
            id = &id[at + part.len()..];
        }
        id.ends_with(last)
    }
}
