//! The metrics' names are a contract: dashboards and alerts of others rely on them.

use std::collections::BTreeSet;

use rumormq::codec::packet::{Packet, QoS, ReasonCode};

use crate::exposition::Exposition;
use crate::processes::{self, Launch, PATIENCE, Process, awaits};
use crate::support::client::{Client, Q0, Q1, Q2, ack, connect, options, publish};
use crate::tool;

/// Name, type, and labels of every metric that others may rely on.
const CONTRACT: &[(&str, &str, &[&str])] = &[
    // Convergence.
    ("route_head_seq", "gauge", &[]),
    ("route_applied_seq", "gauge", &["origin"]),
    ("route_lag_ops", "gauge", &["origin"]),
    ("route_lag_seconds", "gauge", &["origin"]),
    ("routes", "gauge", &["origin"]),
    ("trie_filters", "gauge", &[]),
    ("converged", "gauge", &[]),
    ("converged_seconds", "gauge", &[]),
    ("route_set_hash", "gauge", &[]),
    ("divergence_detected_total", "counter", &[]),
    ("delta_sent_total", "counter", &[]),
    ("delta_received_total", "counter", &[]),
    ("delta_applied_total", "counter", &[]),
    ("delta_duplicate_total", "counter", &[]),
    ("delta_gap_total", "counter", &[]),
    ("delta_bytes_total", "counter", &["direction"]),
    ("repair_total", "counter", &["kind", "source"]),
    ("propagation_seconds", "histogram", &[]),
    ("suback_timeouts_total", "counter", &[]),
    // Cluster.
    ("members", "gauge", &["state"]),
    ("member_transitions_total", "counter", &["to"]),
    ("incarnation", "gauge", &[]),
    ("link_up", "gauge", &["peer"]),
    ("link_relayed", "gauge", &["peer"]),
    ("link_rtt_seconds", "gauge", &["peer"]),
    ("clock_skew_seconds", "gauge", &["peer"]),
    ("gossip_packet_bytes", "histogram", &["direction"]),
    ("gossip_rejected_total", "counter", &["reason"]),
    ("gossip_restarts_total", "counter", &[]),
    ("forward_sent_total", "counter", &["peer"]),
    ("forward_received_total", "counter", &["peer"]),
    ("forward_acked_total", "counter", &["peer"]),
    ("forward_resent_total", "counter", &["peer"]),
    ("forward_duplicate_total", "counter", &["peer"]),
    ("forward_relayed_total", "counter", &["peer"]),
    ("forward_unacked", "gauge", &["peer"]),
    ("forward_unacked_bytes", "gauge", &["peer"]),
    ("forward_oldest_seconds", "gauge", &["peer"]),
    ("forward_dropped_total", "counter", &["peer", "reason"]),
    ("takeovers_total", "counter", &["result"]),
    // Broker.
    ("connections", "gauge", &[]),
    ("sessions", "gauge", &["state"]),
    ("subscriptions", "gauge", &[]),
    ("shared_groups", "gauge", &[]),
    ("retained_messages", "gauge", &[]),
    ("retained_bytes", "gauge", &[]),
    ("packets_total", "counter", &["direction", "type"]),
    ("bytes_total", "counter", &["direction"]),
    ("messages_received_total", "counter", &["qos"]),
    ("messages_delivered_total", "counter", &["qos"]),
    ("messages_dropped_total", "counter", &["reason"]),
    ("inflight", "gauge", &[]),
    ("queued_messages", "gauge", &[]),
    ("connect_total", "counter", &["result"]),
    ("auth_total", "counter", &["result"]),
    ("delivery_seconds", "histogram", &[]),
];

fn metrics(node: &Process) -> Exposition {
    Exposition::parse(&node.page("/metrics"))
}

#[test]
fn every_metric_of_the_contract_is_there_from_the_start() {
    let nodes = processes::start_cluster(2);
    for node in &nodes {
        let page = metrics(node);
        for (name, kind, labels) in CONTRACT {
            let name = format!("rumormq_{name}");
            assert_eq!(page.types.get(&name).map(String::as_str), Some(*kind), "{name}");
            let sample = if *kind == "histogram" { format!("{name}_count") } else { name.clone() };
            let found: Vec<_> = page.of(&sample).collect();
            assert!(!found.is_empty(), "{name} has a value");
            for sample in found {
                let given: Vec<&str> = sample.labels.keys().map(String::as_str).collect();
                assert_eq!(given, *labels, "{name}");
            }
        }
        for process in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
            assert_eq!(page.of(process).count(), 1, "{process}");
        }
    }
    let [one, other] = [&nodes[0], &nodes[1]].map(|node| metrics(node).value("rumormq_route_set_hash", &[]));
    assert_eq!(one, other, "the same routes");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    if !tool::is_there("promtool") {
        return;
    }
    let nodes = processes::start_cluster(2);
    tool::promtool(&["check", "metrics"], &nodes[0].page("/metrics"));
}

#[test]
fn every_packet_is_counted_by_type_and_direction() {
    let node = Launch::new("n").start();
    let mut client = Client::connect(node.mqtt_addr(), connect("a"));
    client.subscribes(&[("t", options(Q2))], "0x02");
    for round in 0..3 {
        client.sends(Packet::Publish(publish(1, Q0, "t", "zero")));
        client.gets("PUBLISH q0 t zero");
        let id = 10 + round;
        client.sends(Packet::Publish(publish(id, Q1, "t", "one")));
        client.gets_all_of(&[&format!("PUBACK {id}"), &format!("PUBLISH {} q1 t one", 2 * round + 1)]);
        client.sends(Packet::PubAck(ack(2 * round + 1)));
        client.sends(Packet::Publish(publish(id, Q2, "t", "two")));
        client.gets_all_of(&[&format!("PUBREC {id}"), &format!("PUBLISH {} q2 t two", 2 * round + 2)]);
        client.sends(Packet::PubRec(ack(2 * round + 2)));
        client.gets(&format!("PUBREL {}", 2 * round + 2));
        client.sends(Packet::PubComp(ack(2 * round + 2)));
        client.sends(Packet::PubRel(ack(id)));
        client.gets(&format!("PUBCOMP {id}"));
    }
    client.sends(Packet::PingReq);
    client.gets("PINGRESP");
    client.unsubscribes("t", "0x00");
    client.disconnects_with(ReasonCode::Success, None);
    awaits("the client is gone", PATIENCE, || metrics(&node).value("rumormq_connections", &[]) == 0.0);
    let page = metrics(&node);
    for (direction, kind, count) in [
        ("in", "connect", 1.0),
        ("in", "publish", 9.0),
        ("in", "puback", 3.0),
        ("in", "pubrec", 3.0),
        ("in", "pubrel", 3.0),
        ("in", "pubcomp", 3.0),
        ("in", "subscribe", 1.0),
        ("in", "unsubscribe", 1.0),
        ("in", "pingreq", 1.0),
        ("in", "disconnect", 1.0),
        ("in", "invalid", 0.0),
        ("out", "connack", 1.0),
        ("out", "publish", 9.0),
        ("out", "puback", 3.0),
        ("out", "pubrec", 3.0),
        ("out", "pubrel", 3.0),
        ("out", "pubcomp", 3.0),
        ("out", "suback", 1.0),
        ("out", "unsuback", 1.0),
        ("out", "pingresp", 1.0),
        ("out", "disconnect", 0.0),
    ] {
        let counted = page.value("rumormq_packets_total", &[("direction", direction), ("type", kind)]);
        assert_eq!(counted, count, "{direction} {kind}");
    }
    for qos in ["0", "1", "2"] {
        assert_eq!(page.value("rumormq_messages_received_total", &[("qos", qos)]), 3.0);
        assert_eq!(page.value("rumormq_messages_delivered_total", &[("qos", qos)]), 3.0);
    }
    let timed = page.value("rumormq_delivery_seconds_count", &[]);
    assert!((1.0..=9.0).contains(&timed), "{timed} of 9 deliveries timed");
    assert!(page.value("rumormq_delivery_seconds_sum", &[]) < timed, "none took a second");
}

/// A publish that waits for another node is acknowledged by the task of a link.
#[test]
fn acknowledgements_that_wait_for_other_nodes_are_counted() {
    let nodes = processes::start_cluster(2);
    let mut subscriber = Client::connect(nodes[1].mqtt_addr(), connect("s"));
    subscriber.subscribes(&[("t", options(QoS::AtLeastOnce))], "0x01");
    let mut publisher = Client::connect(nodes[0].mqtt_addr(), connect("p"));
    for id in 1..=20 {
        publisher.sends(Packet::Publish(publish(id, Q1, "t", "m")));
        publisher.gets(&format!("PUBACK {id}"));
        subscriber.gets(&format!("PUBLISH {id} q1 t m"));
        subscriber.sends(Packet::PubAck(ack(id)));
    }
    let out = |node: &Process, kind| {
        metrics(node).value("rumormq_packets_total", &[("direction", "out"), ("type", kind)])
    };
    // What a link's task wrote is counted when the connection's own task runs next.
    publisher.disconnects();
    awaits("all are counted", PATIENCE, || out(&nodes[0], "puback") == 20.0);
    assert_eq!(out(&nodes[1], "publish"), 20.0);
    let page = metrics(&nodes[1]);
    assert!(page.value("rumormq_delivery_seconds_count", &[]) >= 1.0, "forwards are timed, too");
}

#[test]
fn peers_that_left_are_not_shown_any_more() {
    let mut nodes = processes::start_cluster(3);
    let gone = nodes.pop().expect("three");
    let name = gone.name().to_owned();
    let shown = |node: &Process| -> BTreeSet<String> {
        let page = metrics(node);
        let samples = page.samples.into_iter();
        let named = samples.filter(|sample| sample.labels.values().any(|value| *value == name));
        named.map(|sample| sample.name).collect()
    };
    for family in
        ["rumormq_link_up", "rumormq_routes", "rumormq_forward_unacked", "rumormq_clock_skew_seconds"]
    {
        assert!(shown(&nodes[0]).contains(family), "{family}");
    }
    assert_eq!(gone.post("/api/v1/leave"), 202);
    awaits("nothing is shown of it", PATIENCE, || nodes.iter().all(|node| shown(node).is_empty()));
}

#[test]
fn any_node_tells_prometheus_where_all_of_them_are() {
    let mut nodes = processes::start_cluster(3);
    let targets = |node: &Process| -> serde_json::Value {
        serde_json::from_str(&node.page("/api/v1/prometheus/targets")).expect("JSON")
    };
    let target = |node: &Process| {
        serde_json::json!({
            "targets": [node.http_addr().to_string()],
            "labels": {"cluster": "rumormq", "node": node.name()},
        })
    };
    let all = serde_json::Value::Array(nodes.iter().map(target).collect());
    for node in &nodes {
        assert_eq!(targets(node), all);
    }
    // That a node is down is for Prometheus to show.
    let mut killed = nodes.pop().expect("three");
    killed.kill();
    let name = killed.name().to_owned();
    awaits("it is missed", PATIENCE, || {
        nodes[0].state_of(&name) == Some(rumormq::admin::view::MemberState::Dead)
    });
    assert_eq!(targets(&nodes[0]), all);
    // One that has left is no more.
    let gone = nodes.pop().expect("two");
    assert_eq!(gone.post("/api/v1/leave"), 202);
    awaits("it is not asked any more", PATIENCE, || targets(&nodes[0]).as_array().map(Vec::len) == Some(2));
}
