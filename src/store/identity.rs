//! The file `identity`: which start of which node was the last, and whom it knew. A line with format and checksum, then JSON,
//! for operators to read.

use ring::digest::{SHA256, digest};
use rumormq_gossip::{Incarnation, NodeName};
use serde::{Deserialize, Serialize};

/// The format written here, and the highest read.
pub(super) const FORMAT: u32 = 1;

/// Most peers that are kept: as many as a cluster has members.
const MAX_PEERS: usize = 500;

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub node: NodeName,
    /// The highest incarnation that it has had.
    pub incarnation: Incarnation,
    /// Other members that it has met, at most 500.
    pub peers: Vec<KnownPeer>,
}

/// Another member, as it was when last heard of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPeer {
    /// Its name.
    pub name: NodeName,
    /// Where it receives links, as `HOST:PORT`.
    pub address: String,
    /// When it was last heard of, in milliseconds since 1970.
    pub last_seen_ms: u64,
}

/// What is wrong with the file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It has this format, which is higher than [`FORMAT`].
    TooNew(u32),
    /// It is not what was written.
    Damaged,
}

impl Identity {
    pub(super) fn encode(&self) -> Vec<u8> {
        // Names and numbers can always be written.
        let body = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        let checksum = checksum(body.as_bytes());
        format!("rumormq identity, format {FORMAT}, sha256 {checksum}\n{body}").into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Identity, Unreadable> {
        let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::Damaged)?;
        let (head, body) = text.split_once('\n').ok_or(Unreadable::Damaged)?;
        let head = head.strip_prefix("rumormq identity, format ").ok_or(Unreadable::Damaged)?;
        let (format, rest) = head.split_once(", ").ok_or(Unreadable::Damaged)?;
        match format.parse::<u32>() {
            Ok(format) if format > FORMAT => return Err(Unreadable::TooNew(format)),
            Ok(FORMAT) => {}
            _ => return Err(Unreadable::Damaged),
        }
        if rest.strip_prefix("sha256 ") != Some(checksum(body.as_bytes()).as_str()) {
            return Err(Unreadable::Damaged);
        }
        let mut identity: Identity = serde_json::from_str(body).map_err(|_| Unreadable::Damaged)?;
        identity.peers.truncate(MAX_PEERS);
        Ok(identity)
    }
}

fn checksum(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
