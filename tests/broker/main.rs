//! One broker in the test's own process, and clients over TCP that say exactly what a test wants said.

mod acl;
mod auth;
mod auto_subscribe;
mod bad_input;
mod bridge;
mod capabilities;
mod connect;
mod delayed;
mod exclusive;
mod flow;
mod observation;
mod publish;
mod retained;
mod rewrite;
mod session_expiry;
mod shared;
mod subscribe;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod support;
mod system_topics;
mod wills;
