//! One broker in the test's own process behind all of its listeners: TCP, TLS, WebSocket and WebSocket over TLS.

mod every_transport;
mod openings;
mod proxies;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod support;
mod tls;
mod transport;
mod web_socket;
