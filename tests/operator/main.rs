//! Nodes as their operators meet them: files that are wrong or change, and logs.
//!
//! The product is a real process in all of it. What needs root or a program that is absent says so and is skipped.

mod directory;
mod logs;
mod mistakes;
#[path = "../processes/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod processes;
mod reload;
#[path = "../support"]
#[allow(dead_code, reason = "other targets use it, too")]
mod support {
    pub mod certificates;
    pub mod client;
    pub mod describe;
}
