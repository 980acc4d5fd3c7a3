//! Listeners and connections: where bytes enter and leave. One accept loop and one driver serve every transport.

mod connection;
mod listener;
mod transport;

pub use listener::Listener;
