//! What a monitoring system sees of a cluster: the metrics of real nodes, Grafana's dashboards, Prometheus' alerts; and what a
//! browser shows of the status page.

mod browser;
mod compose;
mod dashboards;
mod exposition;
mod load;
mod metrics;
mod panels;
mod partition;
mod picture;
#[path = "../processes/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod processes;
#[path = "../support"]
#[allow(dead_code, reason = "other targets use it, too")]
mod support {
    pub mod client;
    pub mod describe;
}
mod prometheus;
mod rules;
mod status_page;
mod tool;
