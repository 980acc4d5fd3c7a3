//! Listeners and connections: where bytes enter and leave. One accept loop and one driver serve every transport.
//!
//! A transport is a stream of MQTT packets' bytes ([`transport::Transport`]): plain TCP, TLS, and a WebSocket over either.
//! Whatever comes before the first packet is the business of `opening`; the driver never knows which transport it has.

mod connection;
mod door;
mod listener;
mod opening;
mod opening_error;
mod origins;
pub mod pipe;
mod protocol;
mod proxy;
pub mod tls;
pub mod transport;
pub mod web_socket;

pub use door::Door;
pub use listener::Listener;
pub use origins::{PageOrigin, PageOrigins};
pub use protocol::Protocol;
pub use proxy::TrustedProxies;
