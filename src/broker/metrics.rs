//! The node's counters, in the names and units of Prometheus.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::access::Denial;

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
    /// From reading a publish to having written it to its subscribers here.
    pub delivery_seconds: Histogram,
    /// Bytes read from clients.
    pub bytes_in: IntCounter,
    /// Bytes written to clients.
    pub bytes_out: IntCounter,
    /// Packets read from clients, by their type's number.
    pub packets_in: [IntCounter; 16],
    /// Packets for clients.
    pub packets_out: PacketsOut,
    /// Sessions that outlived their connection, and then their expiry.
    pub sessions_expired: IntCounter,
    /// Exclusive subscriptions that ended because another node's client had a later claim.
    pub exclusive_lost: IntCounter,
    /// SUBACKs sent before every peer had the route.
    pub suback_timeouts: IntCounter,
}

/// Packets given to connections of clients, by type.
#[derive(Debug)]
#[expect(missing_docs, reason = "the specification says what each is")]
pub struct PacketsOut {
    pub connack: IntCounter,
    pub publish: IntCounter,
    pub puback: IntCounter,
    pub pubrec: IntCounter,
    pub pubrel: IntCounter,
    pub pubcomp: IntCounter,
    pub suback: IntCounter,
    pub unsuback: IntCounter,
    pub pingresp: IntCounter,
    pub disconnect: IntCounter,
    pub auth: IntCounter,
}

/// What clients send, by number (2.1.2); the rest is an offence.
const PACKETS_IN: [&str; 16] = [
    "invalid",
    "connect",
    "invalid",
    "publish",
    "puback",
    "pubrec",
    "pubrel",
    "pubcomp",
    "subscribe",
    "invalid",
    "unsubscribe",
    "invalid",
    "pingreq",
    "invalid",
    "disconnect",
    "auth",
];

/// Why messages are dropped, as far as that can be said before it happens.
const DROPPED: [&str; 12] = [
    "delayed_full",
    "denied",
    "expired",
    "forward_full",
    "offline",
    "packet_too_large",
    "queue_full",
    "retained_full",
    "shared_buffer_full",
    "slow_consumer",
    "system_topic",
    "topic_invalid",
];

impl Metrics {
    /// Messages dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        sum(&self.messages_dropped)
    }

    /// Packets read from clients, of whatever type.
    pub fn packets_received(&self) -> u64 {
        // All invalid ones have one counter.
        let distinct = |at: &usize| *at == 0 || PACKETS_IN[*at] != PACKETS_IN[0];
        (0..PACKETS_IN.len()).filter(distinct).map(|at| self.packets_in[at].get()).sum()
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
        let counter = |name: &str, help: &str| {
            let counter =
                IntCounter::new(format!("rumormq_{name}"), help).expect("metric names are literals");
            registry.register(Box::new(counter.clone())).expect("metric names are distinct");
            counter
        };
        // What can be counted is there from the beginning, so that its first increase shows.
        let with = |family: IntCounterVec, values: &[&str]| {
            for value in values {
                family.with_label_values(&[value]);
            }
            family
        };
        let by_qos = |family: &IntCounterVec| ["0", "1", "2"].map(|qos| family.with_label_values(&[qos]));
        let received = counters("messages_received_total", "Publishes received from clients.", &["qos"]);
        let delivered =
            counters("messages_delivered_total", "Messages given to local subscribers.", &["qos"]);
        let dropped =
            counters("messages_dropped_total", "Messages not delivered, or not retained.", &["reason"]);
        let connects = counters("connect_total", "CONNECT packets, by result.", &["result"]);
        let authentications =
            counters("auth_total", "Clients that had to prove who they are, by result.", &["result"]);
        let bytes = counters("bytes_total", "Bytes exchanged with clients.", &["direction"]);
        let packets = counters(
            "packets_total",
            "Packets read from clients, and packets given to their connections.",
            &["direction", "type"],
        );
        let out = |name| packets.with_label_values(&["out", name]);
        let connections =
            IntGauge::new("rumormq_connections", "Open client connections.").expect("a valid name");
        registry.register(Box::new(connections.clone())).expect("metric names are distinct");
        let delivery_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "rumormq_delivery_seconds",
                "From reading a publish, or its forward from another node, until it is written to its subscribers' \
                 sockets. A sample: of all that is read at once one is timed, at most one a millisecond and thread.",
            )
            .buckets(prometheus::exponential_buckets(0.00001, 2.5, 16).expect("a valid range")),
        )
        .expect("a valid name");
        registry.register(Box::new(delivery_seconds.clone())).expect("metric names are distinct");
        Metrics {
            connections,
            delivery_seconds,
            connects: with(connects, &["accepted", "refused", "full", "crowded_out"]),
            handshake_failures: counters(
                "handshake_failures_total",
                "Connections that failed before MQTT began.",
                &["listener", "reason"],
            ),
            authentications: with(
                with(authentications, &["accepted", "accepted_again"]),
                &Denial::ALL.map(Denial::label),
            ),
            messages_received: by_qos(&received),
            messages_delivered: by_qos(&delivered),
            messages_dropped: with(dropped, &DROPPED),
            bytes_in: bytes.with_label_values(&["in"]),
            bytes_out: bytes.with_label_values(&["out"]),
            packets_in: PACKETS_IN.map(|name| packets.with_label_values(&["in", name])),
            packets_out: PacketsOut {
                connack: out("connack"),
                publish: out("publish"),
                puback: out("puback"),
                pubrec: out("pubrec"),
                pubrel: out("pubrel"),
                pubcomp: out("pubcomp"),
                suback: out("suback"),
                unsuback: out("unsuback"),
                pingresp: out("pingresp"),
                disconnect: out("disconnect"),
                auth: out("auth"),
            },
            sessions_expired: counter(
                "sessions_expired_total",
                "Sessions whose client did not come back in time.",
            ),
            exclusive_lost: counter(
                "exclusive_lost_total",
                "Exclusive subscriptions lost to a later claim of another node's client.",
            ),
            suback_timeouts: counter(
                "suback_timeouts_total",
                "SUBACKs sent before every reachable peer had confirmed the route.",
            ),
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
