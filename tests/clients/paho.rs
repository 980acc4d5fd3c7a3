//! Paho for Python: the scenarios are in `scenarios.py`.

use std::process::Command;

use crate::may_go_on;
use crate::processes::Launch;

#[test]
fn paho_is_content() {
    let import = Command::new("python3").args(["-c", "import paho.mqtt.client"]).output();
    if !may_go_on("paho-mqtt for python3", import.is_ok_and(|import| import.status.success())) {
        return;
    }
    let node = Launch::new("n1").start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/scenarios.py");
    let output = Command::new("python3").args([script, &node.mqtt_addr().port().to_string()]).output();
    let output = output.expect("installed");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
}
