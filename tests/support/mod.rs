//! What the tests have in common.

pub mod client;
pub mod describe;
pub mod node;
