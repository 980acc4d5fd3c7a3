//! Load for a broker, and what comes of it: throughput, latency, and whether anything was lost, came twice or out of order.
//!
//! Every payload begins with a [`stamp`]; from that alone a subscriber knows what it got ([`tally`]). Publishers write and
//! subscribers count in batches, so that one core drives more than a broker serves on one. What is kept of a message does not
//! outlive it, and what is kept of a publisher is bounded.
//!
//! It is a client like any other, of any broker: it uses the [`codec`](crate::codec), and nothing of a node.

pub mod connection;
pub mod histogram;
pub mod plan;
pub mod publisher;
pub mod report;
pub mod run;
pub mod stamp;
pub mod subscriber;
pub mod tally;

pub use connection::ClientError;
pub use plan::{Plan, Shape};
pub use report::Report;
pub use run::{Progress, run};
