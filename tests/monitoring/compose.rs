//! The compose file: Docker is not here, so what it says is held to what it is about.

use std::fs;
use std::process::Command;

use crate::dashboards::folder;

#[test]
fn the_nodes_of_the_compose_file_are_configured_as_nodes_are() {
    let text = fs::read_to_string(folder().join("compose.yml")).expect("a compose file");
    let setting = |line: &str| -> Option<(String, String)> {
        let (name, value) = line.trim().split_once(": ")?;
        let value =
            if name == "RUMORMQ_COOKIE" { "a secret for tests only" } else { value.trim_matches('"') };
        name.starts_with("RUMORMQ_").then(|| (name.to_owned(), value.to_owned()))
    };
    let (common, services) = text.split_once("\nservices:\n").expect("services");
    let common: Vec<_> = common.lines().filter_map(setting).collect();
    assert_eq!(common.len(), 5);
    let nodes: Vec<&str> =
        services.split("\n\n").filter(|service| service.trim_start().starts_with("node")).collect();
    assert_eq!(nodes.len(), 3);
    for node in nodes {
        let own: Vec<_> = node.lines().filter_map(setting).collect();
        assert_eq!(own.len(), 2, "{node}");
        let mut check = Command::new(env!("CARGO_BIN_EXE_rumormq"));
        let output = check.arg("check").envs(common.iter().cloned().chain(own)).output().expect("it runs");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("0.0.0.0:18083"), "it listens where Prometheus asks: {said}");
    }
}

#[test]
fn every_file_that_is_mounted_or_built_from_is_there() {
    let text = fs::read_to_string(folder().join("compose.yml")).expect("a compose file");
    let mounts = text.lines().filter_map(|line| line.trim().strip_prefix("- ./")?.split(':').next());
    let mut files: Vec<_> = mounts.map(|mount| folder().join(mount)).collect();
    assert_eq!(files.len(), 3);
    let dockerfile = text.lines().find_map(|line| line.trim().strip_prefix("dockerfile: "));
    files.push(folder().join("..").join(dockerfile.expect("an image is built")));
    for file in files {
        assert!(file.exists(), "{}", file.display());
    }
    let provider =
        fs::read_to_string(folder().join("grafana/provisioning/dashboards/rumormq.yml")).expect("a provider");
    assert!(
        provider.contains("path: /etc/grafana/dashboards") && text.contains(":/etc/grafana/dashboards:ro")
    );
}
