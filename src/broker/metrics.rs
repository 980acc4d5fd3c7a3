//! The node's counters, in the names and units of Prometheus.

use prometheus::core::Collector;
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
    /// Clients that had to prove who they are, by result.
    pub authentications: IntCounterVec,
    /// Publishes received, by QoS.
    pub messages_received: [IntCounter; 3],
    /// Copies given to subscribers, by QoS.
    pub messages_delivered: [IntCounter; 3],
    /// Copies dropped, by reason.
    pub messages_dropped: IntCounterVec,
    /// Bytes read from clients.
    pub bytes_in: IntCounter,
    /// Bytes written to clients.
    pub bytes_out: IntCounter,
    /// Packets read from clients, by their type's number.
    pub packets_in: [IntCounter; 16],
    /// Sessions that outlived their connection, and then their expiry.
    pub sessions_expired: IntCounter,
    /// Exclusive subscriptions that ended because another node's client had a later claim.
    pub exclusive_lost: IntCounter,
    /// SUBACKs sent before every peer had the route.
    pub suback_timeouts: IntCounter,
}

/// Packet types by number (2.1.2); 0 is none.
const PACKET_TYPES: [&str; 16] = [
    "reserved",
    "connect",
    "connack",
    "publish",
    "puback",
    "pubrec",
    "pubrel",
    "pubcomp",
    "subscribe",
    "suback",
    "unsubscribe",
    "unsuback",
    "pingreq",
    "pingresp",
    "disconnect",
    "auth",
];

impl Metrics {
    /// Messages dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        sum(&self.messages_dropped)
    }

    /// CONNECT packets, with whatever result.
    pub fn connects_attempted(&self) -> u64 {
        sum(&self.connects)
    }

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
        let authentications =
            counters("auth_total", "Clients that had to prove who they are, by result.", &["result"]);
        let bytes = counters("bytes_total", "Bytes exchanged with clients.", &["direction"]);
        let packets = counters("packets_total", "Packets exchanged with clients.", &["direction", "type"]);
        let exclusive_lost = IntCounter::new(
            "rumormq_exclusive_lost_total",
            "Exclusive subscriptions lost to a later claim of another node's client.",
        )
        .expect("a valid name");
        registry.register(Box::new(exclusive_lost.clone())).expect("metric names are distinct");
        let sessions_expired = IntCounter::new(
            "rumormq_sessions_expired_total",
            "Sessions whose client did not come back in time.",
        )
        .expect("a valid name");
        registry.register(Box::new(sessions_expired.clone())).expect("metric names are distinct");
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
            authentications,
            messages_received: by_qos(&received),
            messages_delivered: by_qos(&delivered),
            messages_dropped: dropped,
            bytes_in: bytes.with_label_values(&["in"]),
            bytes_out: bytes.with_label_values(&["out"]),
            packets_in: PACKET_TYPES.map(|name| packets.with_label_values(&["in", name])),
            sessions_expired,
            exclusive_lost,
            suback_timeouts,
            registry,
        }
    }
}

fn sum(family: &IntCounterVec) -> u64 {
    let families = family.collect();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    metrics.map(|metric| metric.get_counter().get_value() as u64).sum()
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}
