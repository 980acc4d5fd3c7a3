//! Prometheus' own programs, which a Debian package has.

use std::io::Write;
use std::process::{Command, Stdio};

/// Whether the program is there; says so, if not.
///
/// # Panics
/// Instead, with `RUMORMQ_REQUIRE_CLIENTS=1`.
pub fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let required = std::env::var("RUMORMQ_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    assert!(there || !required, "{program} is required: the package is called prometheus");
    if !there {
        eprintln!("SKIPPED: no {program}");
    }
    there
}

/// Runs `promtool` with this on its standard input; it has to find nothing wrong.
#[track_caller]
pub fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it is there");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
}
