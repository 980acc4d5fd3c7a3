//! What the cluster counts beside the gossip's own counters.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

/// What the cluster counts as it happens. What it only has to be asked for is in its [`Snapshot`](super::Snapshot).
#[derive(Debug)]
pub struct ClusterCounters {
    /// Where all of them are registered.
    pub registry: Registry,
    /// Peers turned away, by reason.
    pub rejected: IntCounterVec,
    /// Changes of members' states, by the new one.
    pub member_transitions: IntCounterVec,
    /// Bytes of deltas sent.
    pub delta_bytes_out: IntCounter,
    /// Bytes of deltas received.
    pub delta_bytes_in: IntCounter,
    /// Retained messages acknowledged before every live node had them.
    pub retained_unconfirmed: IntCounter,
    /// Publishes that came late for sessions that had moved, and were passed on to these.
    pub strays_forwarded: IntCounter,
    /// Those for which nobody was found.
    pub strays_lost: IntCounter,
    /// QoS 1 and 2 publishes that waited for peers which have left.
    pub dropped_left: IntCounter,
    /// The same for those which were forgotten.
    pub dropped_forgotten: IntCounter,
    /// Relay frames for nodes that are not known here.
    pub relay_unroutable: IntCounter,
    /// Sessions that came here from other nodes, for a client that has connected here.
    pub takeovers_arrived: IntCounter,
    /// Sessions of which the rest came later than that.
    pub takeovers_merged: IntCounter,
    /// Sessions, or rests of them, that another node has and did not hand over.
    pub takeovers_failed: IntCounter,
    /// Sessions that went to other nodes.
    pub takeovers_departed: IntCounter,
    /// From a local change to the last linked peer's acknowledgement.
    pub propagation_seconds: Histogram,
}

impl Default for ClusterCounters {
    fn default() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, label: &str| {
            let family = IntCounterVec::new(Opts::new(format!("rumormq_{name}"), help), &[label])
                .expect("metric names are literals");
            registry.register(Box::new(family.clone())).expect("metric names are distinct");
            family
        };
        let rejected = counters("gossip_rejected_total", "Peers and datagrams turned away.", "reason");
        let member_transitions =
            counters("member_transitions_total", "Changes of members' states, by the new state.", "to");
        let bytes = counters("delta_bytes_total", "Bytes of deltas exchanged with peers.", "direction");
        let buckets = prometheus::exponential_buckets(0.0001, 2.0, 17).expect("a valid range");
        let propagation_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "rumormq_propagation_seconds",
                "From a local change of the routes to the last linked peer's acknowledgement.",
            )
            .buckets(buckets),
        )
        .expect("a valid name");
        registry.register(Box::new(propagation_seconds.clone())).expect("metric names are distinct");
        let retained_unconfirmed = IntCounter::new(
            "rumormq_retained_unconfirmed_total",
            "Retained messages acknowledged after puback_timeout, before every live node had them.",
        )
        .expect("a valid name");
        registry.register(Box::new(retained_unconfirmed.clone())).expect("metric names are distinct");
        let relay_unroutable = IntCounter::new(
            "rumormq_relay_unroutable_total",
            "Frames to be passed on to a node that is not known here.",
        )
        .expect("a valid name");
        registry.register(Box::new(relay_unroutable.clone())).expect("metric names are distinct");
        // Shown beside those of each peer, whose own are gone with it.
        let dropped =
            || IntCounter::new("forward", "counted here, named where it is shown").expect("a valid name");
        let strays =
            counters("strays_total", "Publishes that came late for sessions that had moved.", "result");
        let takeovers = counters(
            "takeovers_total",
            "Sessions that followed their clients between this node and others, and those that did not come.",
            "result",
        );
        for state in ["alive", "suspect", "dead", "stopped", "left", "forgotten"] {
            member_transitions.with_label_values(&[state]);
        }
        ClusterCounters {
            takeovers_arrived: takeovers.with_label_values(&["arrived"]),
            takeovers_merged: takeovers.with_label_values(&["merged"]),
            takeovers_failed: takeovers.with_label_values(&["failed"]),
            takeovers_departed: takeovers.with_label_values(&["departed"]),
            strays_forwarded: strays.with_label_values(&["forwarded"]),
            strays_lost: strays.with_label_values(&["lost"]),
            dropped_left: dropped(),
            dropped_forgotten: dropped(),
            relay_unroutable,
            retained_unconfirmed,
            delta_bytes_out: bytes.with_label_values(&["out"]),
            delta_bytes_in: bytes.with_label_values(&["in"]),
            rejected,
            member_transitions,
            propagation_seconds,
            registry,
        }
    }
}

/// Forwards to and from one peer.
#[derive(Debug)]
pub struct ForwardCounters {
    /// Put on a link.
    pub sent: IntCounter,
    /// Of these, QoS 1 and 2 that an earlier link had carried before.
    pub resent: IntCounter,
    /// Of those sent, the ones that went through a third node.
    pub relayed: IntCounter,
    /// Relay frames of other nodes passed on to the peer.
    pub passed_on: IntCounter,
    /// Relay frames dropped because the peer is not linked.
    pub passed_no_link: IntCounter,
    /// Relay frames dropped because the link to the peer did not keep up.
    pub passed_link_full: IntCounter,
    /// Acknowledged by the peer.
    pub acked: IntCounter,
    /// Received from the peer.
    pub received: IntCounter,
    /// Received before, and dropped.
    pub duplicate: IntCounter,
    /// QoS 0 dropped for want of a link.
    pub dropped_no_link: IntCounter,
    /// QoS 0 dropped because the link did not keep up.
    pub dropped_link_full: IntCounter,
    /// QoS 1 and 2 dropped because the buffer was full.
    pub dropped_overflow: IntCounter,
    /// QoS 0 messages from the peer that came later than newer ones, which had taken another way.
    pub dropped_overtaken: IntCounter,
    /// QoS 1 and 2 dropped because the buffers of all peers together were full.
    pub dropped_total_overflow: IntCounter,
    /// QoS 1 and 2 dropped because they had waited for too long.
    pub dropped_age: IntCounter,
    /// QoS 1 and 2 dropped because their Message Expiry Interval had passed.
    pub dropped_expired: IntCounter,
}

impl ForwardCounters {
    /// What was dropped, by the value of the `reason` label.
    pub fn dropped(&self) -> [(&'static str, u64); 7] {
        [
            ("no_link", self.dropped_no_link.get()),
            ("link_full", self.dropped_link_full.get()),
            ("overflow", self.dropped_overflow.get()),
            ("overtaken", self.dropped_overtaken.get()),
            ("total_overflow", self.dropped_total_overflow.get()),
            ("age", self.dropped_age.get()),
            ("expired", self.dropped_expired.get()),
        ]
    }
}

impl Default for ForwardCounters {
    fn default() -> Self {
        let counter =
            || IntCounter::new("forward", "counted here, named where it is shown").expect("a valid name");
        ForwardCounters {
            sent: counter(),
            resent: counter(),
            relayed: counter(),
            passed_on: counter(),
            passed_no_link: counter(),
            passed_link_full: counter(),
            acked: counter(),
            received: counter(),
            duplicate: counter(),
            dropped_no_link: counter(),
            dropped_link_full: counter(),
            dropped_overflow: counter(),
            dropped_overtaken: counter(),
            dropped_total_overflow: counter(),
            dropped_age: counter(),
            dropped_expired: counter(),
        }
    }
}
