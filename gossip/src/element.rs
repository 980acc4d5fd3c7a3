//! What a dot carries: a key and a value, opaque to this crate.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key with its value, in one shared allocation: the table, a delta to each peer and the event about the merge all
/// point at the same bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    bytes: Arc<[u8]>,
    key_len: u32,
}

impl Element {
    /// Copies both parts.
    pub fn new(key: &[u8], value: &[u8]) -> Element {
        let bytes: Arc<[u8]> = match value {
            [] => key.into(),
            _ => [key, value].concat().into(),
        };
        // A key of more than 4 GiB cannot come from a peer (messages are bounded) and is cut short here, not wrapped.
        Element { bytes, key_len: u32::try_from(key.len()).unwrap_or(u32::MAX) }
    }

    /// A key and a value of two parts.
    pub(crate) fn of_parts(key: &[u8], head: &[u8], tail: &[u8]) -> Element {
        let bytes: Arc<[u8]> = [key, head, tail].concat().into();
        Element { bytes, key_len: u32::try_from(key.len()).unwrap_or(u32::MAX) }
    }

    /// What the element is found by. A lane holds at most one live element of a key.
    pub fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    /// What the application attached to the key.
    pub fn value(&self) -> &[u8] {
        &self.bytes[self.key_len as usize..]
    }

    /// Length of key and value together, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Key and value, one behind the other.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key().escape_ascii(), self.value().escape_ascii())
    }
}

impl Serialize for Element {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Bytes(self.key()), Bytes(self.value())).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Element, D::Error> {
        let (key, value) = <(&[u8], &[u8])>::deserialize(deserializer)?;
        Ok(Element::new(key, value))
    }
}

/// Writes bytes as one block: serde takes a plain slice for a sequence and visits every byte.
pub(crate) struct Bytes<'a>(pub &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}
