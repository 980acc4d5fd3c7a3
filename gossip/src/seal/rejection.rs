//! Why a datagram changed nothing, and how often that happened.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a datagram or a message was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Too short, of an unknown format or version, or not what it claims to contain.
    #[error("it is no gossip datagram of a known format")]
    Malformed,
    /// Longer than any datagram.
    #[error("it is too large")]
    TooLarge,
    /// It bears the name of another cluster.
    #[error("it belongs to another cluster")]
    OtherCluster,
    /// It is not sealed, and this node has a cookie.
    #[error("it is not sealed, and this cluster has a cookie")]
    Unsealed,
    /// No cookie of this node opens it, or it was changed on its way.
    #[error("no accepted cookie opens it")]
    WrongKey,
    /// It was opened before, or is older than the window of its sender.
    #[error("it is a replay")]
    Replay,
    /// A piece of a message that does not fit the others, or of more messages at once than are kept.
    #[error("it is a fragment that fits no message")]
    Fragment,
}

/// Counts rejections by reason. Shared by reference; relaxed atomics, for metrics only.
#[derive(Debug, Default)]
pub struct Rejections([AtomicU64; Rejection::ALL.len()]);

impl Rejection {
    /// Every reason.
    pub const ALL: [Rejection; 7] = [
        Rejection::Malformed,
        Rejection::TooLarge,
        Rejection::OtherCluster,
        Rejection::Unsealed,
        Rejection::WrongKey,
        Rejection::Replay,
        Rejection::Fragment,
    ];

    /// The value of the metric's `reason` label.
    pub fn reason(self) -> &'static str {
        match self {
            Rejection::Malformed => "malformed",
            Rejection::TooLarge => "too_large",
            Rejection::OtherCluster => "other_cluster",
            Rejection::Unsealed => "unsealed",
            Rejection::WrongKey => "wrong_key",
            Rejection::Replay => "replay",
            Rejection::Fragment => "fragment",
        }
    }
}

impl Rejections {
    /// Adds one.
    pub fn count(&self, rejection: Rejection) {
        self.0[rejection as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many had this reason.
    pub fn of(&self, rejection: Rejection) -> u64 {
        self.0[rejection as usize].load(Ordering::Relaxed)
    }

    /// How many had which reason.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Rejection::ALL.into_iter().map(|rejection| (rejection.reason(), self.of(rejection)))
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.by_reason().map(|(_, count)| count).sum()
    }
}
