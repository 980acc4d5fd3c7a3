//! A link, the one TCP connection between two nodes.
//!
//! ```text
//! preamble | (TLS) | (noise handshake) | frames: HELLO, then anything
//! ```
//! [`frame`], [`hello`], [`preamble`] and [`secure`] are sans-IO: no bytes of a peer make them panic or allocate more
//! than a stated bound, and beyond HELLO they do not know what frames mean. [`handshake`] and [`driver`] run them on a
//! stream; `held` says when late forwards are acknowledged. [`tls`] is the alternative to the records of [`secure`], [`identity`] what its certificates say.

pub mod driver;
pub mod frame;
pub mod handshake;
pub mod held;
pub mod hello;
pub mod identity;
pub mod kind;
pub mod preamble;
mod probes;
pub mod secure;
mod socket;
pub mod tls;
