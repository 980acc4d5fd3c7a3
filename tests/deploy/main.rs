//! What `examples/deploy` says is true: the settings exist, the files are well-formed, and nodes do with a service manager and
//! behind a load balancer what is promised there.
//!
//! HAProxy and systemd's tools look at their own files where they are installed; elsewhere these tests say so and are skipped.

mod files;
mod haproxy;
mod notify;
#[path = "../processes/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod processes;
#[path = "../support"]
#[allow(dead_code, reason = "other targets use it, too")]
mod support {
    pub mod certificates;
    pub mod client;
    pub mod describe;
}

use std::process::Command;

/// Whether a program is here; says so, if not.
///
/// # Panics
/// Instead, with `RUMORMQ_REQUIRE_CLIENTS=1`, if it is required.
fn is_installed(program: &str, required: bool) -> bool {
    let there = ["", "/usr/sbin/"]
        .iter()
        .any(|folder| Command::new(format!("{folder}{program}")).arg("--version").output().is_ok());
    let strict = std::env::var("RUMORMQ_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    assert!(there || !required || !strict, "{program} is required");
    if !there {
        eprintln!("SKIPPED: no {program}");
    }
    there
}
