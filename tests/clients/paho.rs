//! Paho for Python: the scenarios are in `scenarios.py`.

use std::process::Command;

use crate::may_go_on;
use crate::processes::start_cluster;

#[test]
fn paho_is_content() {
    let import = Command::new("python3").args(["-c", "import paho.mqtt.client"]).output();
    if !may_go_on("paho-mqtt for python3", import.is_ok_and(|import| import.status.success())) {
        return;
    }
    let nodes = start_cluster(2);
    let ports = nodes.iter().map(|node| node.mqtt_addr().port().to_string());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/scenarios.py");
    let output = Command::new("python3").arg(script).args(ports).output();
    let output = output.expect("installed");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
}
