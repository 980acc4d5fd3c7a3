//! What a lane's state is called: its sequence number, and what lets others check that they mean the same.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hash::SetHash;

/// The state of one lane in short. As text it is `seq:count:hash`, small enough to be spread by membership gossip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Sequence number of the newest change; 0 before the first.
    pub seq: u64,
    /// Number of live elements.
    pub count: u64,
    /// Hash over the live elements.
    pub hash: SetHash,
}

/// Why a text is no [`Head`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("head {0:?} is not of the form seq:count:hash")]
pub struct InvalidHead(String);

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.seq, self.count, self.hash)
    }
}

impl FromStr for Head {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Head, InvalidHead> {
        let parse = || {
            let mut parts = text.splitn(3, ':');
            let seq = parts.next()?.parse().ok()?;
            let count = parts.next()?.parse().ok()?;
            let hash = SetHash(u128::from_str_radix(parts.next()?, 16).ok()?);
            Some(Head { seq, count, hash })
        };
        parse().ok_or_else(|| InvalidHead(text.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_read_back() {
        let head = Head { seq: 12, count: 3, hash: SetHash(0xabc) };
        assert_eq!(head.to_string(), "12:3:00000000000000000000000000000abc");
        assert_eq!(head.to_string().parse(), Ok(head));
        for bad in ["", "1:2", "1:2:xyz", "-1:2:0", "1:2:0:0", "99999999999999999999:0:0"] {
            assert!(bad.parse::<Head>().is_err(), "{bad}");
        }
    }
}
