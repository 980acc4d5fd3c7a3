//! Clients of others against a cluster of real nodes. `table.rs` says which library runs which scenario, and why one does not;
//! each cell of the table is a test. `cargo test --test clients retained` runs a row, `cargo test --test clients ::paho` a
//! column.
//!
//! A test whose client is not installed says so and passes, unless `RUMORMQ_REQUIRE_CLIENTS=1`. `tests/clients/install` installs
//! all of them.

mod access;
mod agent;
#[path = "../support/certificates.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod certificates;
mod cluster;
mod mosquitto;
mod peer;
#[path = "../processes/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod processes;
mod rumqttc;
mod scenarios;
mod slow;
mod table;
mod trace;
mod world;
