//! Clients of others against a real node: mosquitto's and Paho's, in both protocol versions.
//!
//! A test whose client is not installed says so and passes, unless `RUMORMQ_REQUIRE_CLIENTS=1`.

mod mosquitto;
mod paho;
#[path = "../processes/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod processes;

/// Whether to go on, with a client that was looked for.
fn may_go_on(client: &str, installed: bool) -> bool {
    if !installed {
        assert!(std::env::var("RUMORMQ_REQUIRE_CLIENTS").as_deref() != Ok("1"), "{client} is not installed");
        eprintln!("skipped: {client} is not installed");
    }
    installed
}
