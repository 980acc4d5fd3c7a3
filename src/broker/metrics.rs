//! The node's counters, in the names and units of Prometheus.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What the broker counts. Every hot counter is raised once a turn, not once a message.
#[derive(Debug)]
pub struct Metrics {
    /// Where all of them are registered.
    pub registry: Registry,
    /// Open client connections.
    pub connections: IntGauge,
    /// CONNECT packets by result.
    pub connects: IntCounterVec,
    /// Connections that failed before MQTT began, by listener and reason.
    pub handshake_failures: IntCounterVec,
    /// Publishes received, by QoS.
    pub messages_received: [IntCounter; 3],
    /// Copies given to subscribers, by QoS.
    pub messages_delivered: [IntCounter; 3],
    /// Copies dropped, by reason.
    pub messages_dropped: IntCounterVec,
    /// Bytes read from clients.
    pub bytes_in: IntCounter,
    /// SUBACKs sent before every peer had the route.
    pub suback_timeouts: IntCounter,
}

impl Metrics {
    /// All counters at zero, registered under `rumormq_`.
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(format!("rumormq_{name}"), help), labels)
                .expect("metric names are literals");
            registry.register(Box::new(family.clone())).expect("metric names are distinct");
            family
        };
        let received = counters("messages_received_total", "Publishes received from clients.", &["qos"]);
        let delivered =
            counters("messages_delivered_total", "Messages given to local subscribers.", &["qos"]);
        let by_qos = |family: &IntCounterVec| ["0", "1", "2"].map(|qos| family.with_label_values(&[qos]));
        let dropped =
            counters("messages_dropped_total", "Messages not delivered, or not retained.", &["reason"]);
        let connects = counters("connect_total", "CONNECT packets, by result.", &["result"]);
        let handshake_failures = counters(
            "handshake_failures_total",
            "Connections that failed before MQTT began.",
            &["listener", "reason"],
        );
        let bytes = counters("bytes_total", "Bytes exchanged with clients.", &["direction"]);
        let connections =
            IntGauge::new("rumormq_connections", "Open client connections.").expect("a valid name");
        registry.register(Box::new(connections.clone())).expect("metric names are distinct");
        let suback_timeouts = IntCounter::new(
            "rumormq_suback_timeouts_total",
            "SUBACKs sent before every reachable peer had confirmed the route.",
        )
        .expect("a valid name");
        registry.register(Box::new(suback_timeouts.clone())).expect("metric names are distinct");
        Metrics {
            connections,
            connects,
            handshake_failures,
            messages_received: by_qos(&received),
            messages_delivered: by_qos(&delivered),
            messages_dropped: dropped,
            bytes_in: bytes.with_label_values(&["in"]),
            suback_timeouts,
            registry,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}
