//! Bridges between a node and a real Mosquitto.
//!
//! Skipped where there is no `mosquitto`, unless `RUMORMQ_REQUIRE_CLIENTS=1`.

#[path = "../support/certificates.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod certificates;
mod mosquitto;
#[path = "../processes/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod processes;
mod scenarios;
#[path = "../support"]
#[allow(dead_code, reason = "other targets use it, too")]
mod support {
    pub mod client;
    pub mod describe;
}
