//! Who may speak to the cluster: cookies, the keys derived from them, and the sealing of datagrams.
//!
//! Invariant: bytes that [`Opener::open`] hands out were sealed by a holder of an accepted cookie of the same cluster,
//! and were not handed out before as long as their sender's window is remembered. Without a cookie a datagram is only
//! framed: that keeps two clusters on one network apart by mistake, not by malice.
//!
//! Everything here is sans-IO and without randomness of its own. It must not know what the datagrams say.

mod cookie;
mod datagram;
mod keys;
mod rejection;
mod replay;

#[cfg(test)]
mod tests;

pub use cookie::{Cookie, CookieError};
pub use datagram::{MAX_DATAGRAM_LEN, Opener, SEALED_OVERHEAD, Sealer};
pub use keys::{ClusterKeys, ClusterTag, DatagramKey, DerivationCost, KeyError, LinkPsk};
pub use rejection::{Rejection, Rejections};
