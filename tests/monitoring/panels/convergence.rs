use super::{Dashboard, Kind, LINES, Panel, STAT, query};

pub const DASHBOARD: Dashboard = Dashboard {
    name: "convergence",
    title: "Convergence",
    description: "Whether all nodes know the same, how long they take to, and what waits meanwhile.",
    panels: PANELS,
};

const PANELS: &[Panel] = &[
    Panel {
        title: "Converged?",
        queries: &[query("min(rumormq_converged{@})", "")],
        values: &[(0, "no", "red"), (1, "yes", "green")],
        thresholds: &[(None, "red"), (Some(1.0), "green")],
        shows: "Whether every node has applied all that it knows of its live members. A node cannot know what \
                happens behind a cut: see the distinct set hashes for that.",
        healthy: "yes, but for moments after a node joins or a cut heals.",
        ..STAT
    },
    Panel {
        title: "For how long",
        unit: "s",
        queries: &[query("min(rumormq_converged_seconds{@})", "")],
        thresholds: &[(None, "orange"), (Some(10.0), "green")],
        shows: "How long that has been so on all nodes. The nodes look ten times a second, so this also shows what is over \
                before Prometheus asks again.",
        healthy: "grows. It begins anew when a node joins or a cut heals, and now and then where subscriptions change \
                  all the time.",
        ..STAT
    },
    Panel {
        title: "Distinct set hashes",
        queries: &[query("count(count_values(\"hash\", rumormq_route_set_hash{@}))", "")],
        thresholds: &[(None, "green"), (Some(2.0), "red")],
        shows: "How many different route tables the nodes have, each by its hash.",
        healthy: "1. In a split, one for each side. More for a moment is what changes look like that are on their way.",
        ..STAT
    },
    Panel {
        title: "Live members, fewest and most",
        queries: &[
            query("min(sum by (node) (rumormq_members{@, state=~\"alive|suspect\"}))", "fewest"),
            query("max(sum by (node) (rumormq_members{@, state=~\"alive|suspect\"}))", "most"),
            query("count(rumormq_incarnation{@})", "scraped"),
        ],
        width: 8,
        shows: "How many live members the nodes see, and how many nodes answer Prometheus.",
        healthy: "all three are the same.",
        ..STAT
    },
    Panel {
        title: "Diverged",
        queries: &[query("sum(rumormq_divergence_detected_total{@})", "")],
        thresholds: &[(None, "green"), (Some(1.0), "red")],
        shows: "Copies of a node's routes that had the right version and the wrong contents, since the nodes started.",
        healthy: "0, always. The copy is repaired by itself; whatever made it wrong is a defect to be reported.",
        ..STAT
    },
    Panel {
        title: "Lag, by node and origin",
        kind: Kind::Heatmap { max: 30 },
        unit: "s",
        height: 9,
        queries: &[query("max by (node, origin) (rumormq_route_lag_seconds{@})", "{{node}} of {{origin}}")],
        shows: "For how long each node has known that another one's routes are newer than what it has of them. What a node \
                takes to be dead has no row meanwhile: nothing can be known of it.",
        healthy: "0 everywhere. Short spots when a cut heals; what stays is a node that cannot fetch.",
        ..LINES
    },
    Panel {
        title: "Links",
        kind: Kind::States,
        height: 9,
        queries: &[query(
            "max by (node, peer) (2 * rumormq_link_up{@} + rumormq_link_relayed{@})",
            "{{node}} to {{peer}}",
        )],
        values: &[(0, "none", "red"), (1, "relayed", "yellow"), (2, "direct", "green")],
        thresholds: &[(None, "red"), (Some(1.0), "yellow"), (Some(2.0), "green")],
        shows: "How each node reaches each other one: over a link, through a third node, or not at all.",
        healthy: "direct everywhere; in clusters of more than 64 nodes, for a part of the pairs. Relayed is a partial cut that \
                  costs time and nothing else.",
        ..LINES
    },
    Panel {
        title: "Propagation of a change",
        unit: "s",
        queries: &[
            query(
                "histogram_quantile(0.5, sum by (le) (rate(rumormq_propagation_seconds_bucket{@}[$__rate_interval])))",
                "p50",
            ),
            query(
                "histogram_quantile(0.99, sum by (le) (rate(rumormq_propagation_seconds_bucket{@}[$__rate_interval])))",
                "p99",
            ),
        ],
        shows: "From a change of a node's routes to the last linked peer's acknowledgement, on the clock of that node. \
                Empty where nothing changes.",
        healthy: "a few network round trips: milliseconds within a data centre.",
        ..LINES
    },
    Panel {
        title: "Members as seen by each node",
        queries: &[
            query("rumormq_members{@, state=\"alive\"}", "{{node}}: alive"),
            query("rumormq_members{@, state=~\"suspect|dead\"} > 0", "{{node}}: {{state}}"),
        ],
        shows: "How many members each node takes to live, itself included, and those that it suspects or takes to be dead.",
        healthy: "one line, at the number of nodes. In a split there is one line for each side.",
        ..LINES
    },
    Panel {
        title: "Repairs by kind",
        kind: Kind::Stacked,
        unit: "ops",
        queries: &[query(
            "sum by (kind, source) (rate(rumormq_repair_total{@}[$__rate_interval]))",
            "{{kind}} from {{source}}",
        )],
        shows: "What was fetched because it had not come by itself: the changes that were missed (range), or, beyond the \
                window of remembered removals, with a bitmap of what is left (snapshot); from its origin, or from a peer.",
        healthy: "0, with a short peak when a node joins or a cut heals. Without an end it is a network that loses much.",
        ..LINES
    },
    Panel {
        title: "Changes sent and applied",
        unit: "ops",
        queries: &[
            query("sum(rate(rumormq_delta_sent_total{@}[$__rate_interval]))", "sent"),
            query("sum(rate(rumormq_delta_applied_total{@}[$__rate_interval]))", "applied"),
            query("sum(rate(rumormq_delta_duplicate_total{@}[$__rate_interval]))", "known already"),
            query("sum(rate(rumormq_delta_gap_total{@}[$__rate_interval]))", "too early"),
        ],
        shows: "Deltas between nodes.",
        healthy: "applied follows sent. Known already and too early are rare.",
        ..LINES
    },
    Panel {
        title: "Forward buffers: messages",
        queries: &[query("rumormq_forward_unacked{@}", "{{node}} for {{peer}}")],
        shows: "Publishes of QoS 1 and 2 that another node has not confirmed yet.",
        healthy: "close to 0: what is on its way. Grows while a node cannot be reached, and drains when it can.",
        ..LINES
    },
    Panel {
        title: "Forward buffers: bytes",
        unit: "bytes",
        queries: &[query("rumormq_forward_unacked_bytes{@}", "{{node}} for {{peer}}")],
        shows: "Bytes of those, of which each node keeps at most forward_buffer_bytes for one other.",
        healthy: "close to 0, and in an outage far below the limit.",
        ..LINES
    },
    Panel {
        title: "Forward buffers: oldest",
        unit: "s",
        queries: &[query("rumormq_forward_oldest_seconds{@}", "{{node}} for {{peer}}")],
        shows: "Age of the oldest of those.",
        healthy: "below a second. In an outage it grows by a second a second; at forward_buffer_age messages are dropped.",
        ..LINES
    },
];
