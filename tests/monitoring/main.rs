//! What a monitoring system sees of a cluster: the metrics of real nodes.

mod dashboards;
mod exposition;
mod metrics;
mod panels;
#[path = "../processes/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod processes;
#[path = "../support"]
#[allow(dead_code, reason = "other targets use it, too")]
mod support {
    pub mod client;
    pub mod describe;
}
mod rules;
mod tool;
