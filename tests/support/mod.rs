//! What the tests have in common.

pub mod certificates;
pub mod client;
pub mod describe;
pub mod node;
