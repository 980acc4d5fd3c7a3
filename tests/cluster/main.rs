//! Clusters of real processes. Each test bears the name of the promise that it holds them to.
//!
//! `cargo test --test cluster` takes about a minute; `cargo test --test cluster -- --ignored --test-threads=1` runs the
//! long variants. Tests in network namespaces need root, `ip` and `iptables`, and are skipped without.

mod access;
mod api;
mod buffers;
mod clients;
mod conflict;
mod cookies;
mod detection;
mod drain;
mod exclusive;
mod grid;
mod identity;
mod incarnations;
mod intruders;
mod leave;
mod meeting;
mod messages;
mod mixed_versions;
mod ordering;
mod p1_join_anywhere;
mod p2_converge;
mod p3_suback_means_routed;
mod p4_puback_means_safe;
mod p5_partitions;
mod p6_death_and_leave;
mod p7_bounded;
#[path = "../processes/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod processes;
mod relay;
mod retained;
mod route_cost;
mod route_table;
mod shared;
mod takeover;
mod tls_links;
mod top;
#[path = "../support"]
#[allow(dead_code, reason = "other targets use it, too")]
mod support {
    pub mod certificates;
    pub mod client;
    pub mod describe;
}
