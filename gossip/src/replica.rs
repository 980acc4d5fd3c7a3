//! Who writes a lane: a node's name and the incarnation that one start of it has.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A node's name in the cluster, in the form `name@host`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

/// Why a text is no [`NodeName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node name {0:?} is not of the form name@host, of at most 255 printable characters without spaces")]
pub struct InvalidNodeName(String);

impl NodeName {
    /// Longest accepted name, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Parses `name@host`.
    pub fn parse(text: &str) -> Result<NodeName, InvalidNodeName> {
        let well_formed = text
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
            && text.len() <= NodeName::MAX_LEN
            && text.chars().all(|c| c.is_ascii_graphic());
        if well_formed { Ok(NodeName(text.into())) } else { Err(InvalidNodeName(text.to_owned())) }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part behind the `@`.
    pub fn host(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, host)| host)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for NodeName {
    type Error = InvalidNodeName;

    fn try_from(text: String) -> Result<NodeName, InvalidNodeName> {
        NodeName::parse(&text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.0.as_ref().to_owned()
    }
}

/// Tells the starts of one node apart: higher is later. Milliseconds of wall clock, or one more than the last one
/// used, whichever is higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The highest there is: the membership's messages have no place for more. In milliseconds, the year 2527.
    pub const MAX: Incarnation = Incarnation((1 << 44) - 1);

    /// The highest that is believed of others by hearsay, and outdone: in milliseconds, the year 2248. Who hears of a later start of
    /// itself goes on as a still later one; so who could make up any would bring it to the end.
    pub const MAX_HEARSAY: Incarnation = Incarnation((1 << 43) - 1);
}

/// One incarnation of one node: the writer of a lane, the `actor` of the CRDT literature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId {
    /// The node.
    pub name: NodeName,
    /// Which start of it.
    pub incarnation: Incarnation,
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.incarnation.0)
    }
}
