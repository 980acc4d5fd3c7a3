//! The bytes of a link, the one TCP connection between two nodes.
//!
//! ```text
//! preamble | (noise handshake) | frames: HELLO, then anything
//! ```
//! Everything here is sans-IO. Invariant: no bytes of a peer make it panic or allocate more than a stated bound. It must
//! not know what the frames mean, beyond HELLO.

pub mod frame;
pub mod hello;
pub mod preamble;
pub mod secure;
