//! A client of others that stands still, and how an operator finds it.

use std::process::Command;

use crate::processes::{PATIENCE, Process, awaits, start_cluster_with};
use crate::trace::{Running, is_installed, mosquitto};

/// A `mosquitto_sub` with a session, and QoS 1.
fn subscriber(node: &Process, id: &str) -> Running {
    let wanted = ["-i", id, "-c", "-q", "1", "-t", "news/#"];
    Running::start(mosquitto("mosquitto_sub", node, &wanted))
}

fn signal(name: &str, process: &Running) {
    let sent = Command::new("kill").args(["-s", name, &process.0.id().to_string()]).status();
    assert!(sent.expect("a shell's command").success());
}

/// The rows of `rumormq slow`, as JSON.
fn slow(node: &Process, more: &[&str]) -> Vec<serde_json::Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rumormq"));
    command.args(["slow", "--json", "--http", &node.http_addr().to_string()]).args(more);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let page: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    page["slow_subscribers"].as_array().expect("a list").clone()
}

#[test]
fn who_stands_still_is_found_from_any_node_and_remembered() {
    if !is_installed() {
        return;
    }
    let setting = "RUMORMQ_SLOW_SUBSCRIBER_THRESHOLD";
    let nodes = start_cluster_with(2, |launch| launch.environment(setting, "300ms"));
    let clients = [subscriber(&nodes[1], "still"), subscriber(&nodes[1], "quick")];
    awaits("both are subscribed", PATIENCE, || nodes[1].metric("subscriptions", &[]) == 2.0);
    signal("STOP", &clients[0]);
    for topic in ["news/first", "news/second"] {
        let message = ["-q", "1", "-t", topic, "-m", "x"];
        let status = mosquitto("mosquitto_pub", &nodes[0], &message).status();
        assert!(status.expect("installed").success());
    }
    // Asked of a node that does not have it.
    awaits("it is seen to wait", PATIENCE, || !slow(&nodes[0], &[]).is_empty());
    let rows = slow(&nodes[0], &[]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    assert_eq!((&row["client"], &row["node"]), (&"still".into(), &nodes[1].name().into()));
    assert_eq!(
        (&row["worst_topic"], &row["inflight"], &row["late"]),
        (&"news/first".into(), &2.into(), &0.into())
    );
    assert!(row["waiting_ms"].as_u64() >= Some(300) && row["waiting_ms"] == row["worst_ms"], "{row}");
    assert!(slow(&nodes[0], &["--threshold", "1h"]).is_empty());
    assert!(slow(&nodes[0], &["--scope", "node"]).is_empty());
    signal("CONT", &clients[0]);
    // What is over is remembered.
    awaits("it has acknowledged both", PATIENCE, || slow(&nodes[0], &[]).iter().any(|row| row["late"] == 2));
    let rows = slow(&nodes[0], &[]);
    assert_eq!(
        (rows.len(), &rows[0]["client"], &rows[0]["inflight"]),
        (1, &"still".into(), &0.into()),
        "{rows:?}"
    );
    assert!(rows[0]["worst_topic"].as_str().is_some_and(|topic| topic.starts_with("news/")), "{rows:?}");
    assert_eq!(rows[0]["waiting_ms"], 0);
    assert!(rows[0]["worst_ms"].as_u64() >= Some(300), "{rows:?}");
}

#[test]
fn the_topics_that_are_published_to_most_are_counted() {
    if !is_installed() {
        return;
    }
    let nodes = start_cluster_with(2, |launch| launch);
    let http = nodes[1].http_addr().to_string();
    let count = std::thread::spawn(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rumormq"));
        command.args(["topics", "--for", "3s", "--by", "bytes", "--json", "--http", &http]).output()
    });
    let publish = |node: &Process, topic: &str, more: &[&str]| {
        let status = mosquitto("mosquitto_pub", node, &[&["-t", topic, "-q", "1"], more].concat()).status();
        assert!(status.expect("installed").success());
    };
    // Whatever of this comes within the time: there is more of the one in number, and of the other in bytes.
    while !count.is_finished() {
        publish(&nodes[0], "often", &["-m", "x"]);
        publish(&nodes[1], "often", &["-m", "x"]);
        publish(&nodes[0], "much", &["-m", &"x".repeat(1000)]);
    }
    let output = count.join().expect("it ends").expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let view: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let topics = |by: &str| -> Vec<String> {
        let topics = view[by]["topics"].as_array().expect("a list").iter();
        topics.map(|topic| topic["topic"].as_str().expect("text").to_owned()).collect()
    };
    assert_eq!(
        (topics("by_messages"), topics("by_bytes")),
        (vec!["often".into(), "much".into()], vec!["much".into(), "often".into()]),
        "{view}"
    );
    assert!(view["seconds"].as_f64() >= Some(3.0) && view["missing"] == serde_json::json!([]), "{view}");
}
