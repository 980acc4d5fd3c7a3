//! The alerts, and what their expressions and those of the panels ask for.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::dashboards::folder;
use crate::exposition::Exposition;
use crate::panels::DASHBOARDS;
use crate::{processes, tool};

#[test]
fn promtool_accepts_the_configuration_and_tests_the_alerts() {
    if !tool::is_there("promtool") {
        return;
    }
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "rumormq.rules.yml"],
        ["test", "rules", "rumormq.rules.test.yml"],
    ] {
        let folder = folder().join("prometheus");
        let output =
            Command::new("promtool").args(arguments).current_dir(folder).output().expect("it is there");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
    }
}

#[test]
fn every_alert_is_tested_to_fire_and_not_to() {
    let rules = fs::read_to_string(folder().join("prometheus/rumormq.rules.yml")).expect("rules");
    let tests = fs::read_to_string(folder().join("prometheus/rumormq.rules.test.yml")).expect("tests");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 6, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(&format!("        alertname: {alert}\n        exp_alerts:")), "{alert} fires");
        assert!(tests.contains(&format!("alertname: {alert}}}\n")), "{alert} does not");
    }
}

/// The names of metrics in a text of PromQL.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("rumormq_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_panels_and_alerts_ask_for_exists() {
    let nodes = processes::start_cluster(2);
    let page = Exposition::parse(&nodes[0].page("/metrics"));
    let known: BTreeSet<&str> = page.samples.iter().map(|sample| sample.name.as_str()).collect();
    let queries = DASHBOARDS.iter().flat_map(|dashboard| dashboard.panels).flat_map(|panel| panel.queries);
    let rules = fs::read_to_string(folder().join("prometheus/rumormq.rules.yml")).expect("rules");
    let expressions = rules.lines().filter(|line| !line.contains("/") && !line.contains("rules"));
    let asked = queries.map(|query| names(&query.expression())).chain(expressions.map(names));
    let missing: Vec<String> = asked.flatten().filter(|name| !known.contains(name.as_str())).collect();
    assert_eq!(missing, [] as [&str; 0], "no node has these");
}
