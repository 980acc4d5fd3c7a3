use std::fmt;
use std::str::Split;

use super::MAX_LEN;

/// A valid topic name: at least one character, at most 65,535 bytes, no wildcard, no U+0000 [MQTT-4.7.1-1,
/// MQTT-4.7.3-1, MQTT-4.7.3-2, MQTT-4.7.3-3].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic<'a>(&'a str);

/// Why a text is no topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It has no characters [MQTT-4.7.3-1].
    #[error("a topic name has at least one character")]
    Empty,
    /// It has more than 65,535 bytes [MQTT-4.7.3-3].
    #[error("a topic name has at most 65535 bytes")]
    TooLong,
    /// It contains `+` or `#` [MQTT-4.7.1-1].
    #[error("a topic name contains no wildcard")]
    Wildcard,
    /// It contains U+0000 [MQTT-4.7.3-2].
    #[error("a topic name does not contain U+0000")]
    Null,
}

impl<'a> Topic<'a> {
    /// Checks `name`, in one pass over its bytes.
    #[inline]
    pub fn new(name: &'a str) -> Result<Self, TopicError> {
        // Without an early exit the compiler turns the loop into vector instructions; a bad name may cost more.
        let refused = name.bytes().fold(false, |refused, byte| refused | matches!(byte, 0 | b'+' | b'#'));
        if refused || name.is_empty() || name.len() > MAX_LEN {
            return Err(offence(name));
        }
        Ok(Topic(name))
    }

    /// The name as text.
    #[inline]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels between the separators; a level may be empty.
    pub fn levels(self) -> Split<'a, char> {
        self.0.split('/')
    }

    /// Whether the name begins with `$`, which no leading wildcard matches [MQTT-4.7.2-1].
    #[inline]
    pub fn is_system(self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cold]
fn offence(name: &str) -> TopicError {
    if name.is_empty() {
        TopicError::Empty
    } else if name.len() > MAX_LEN {
        TopicError::TooLong
    } else if name.contains('\0') {
        TopicError::Null
    } else {
        TopicError::Wildcard
    }
}
