use super::{Dashboard, Kind, LINES, Panel, STAT, query};

pub const DASHBOARD: Dashboard = Dashboard {
    name: "broker",
    title: "Broker",
    description: "What clients do, and what it costs.",
    panels: PANELS,
};

const PANELS: &[Panel] = &[
    Panel {
        title: "Connections",
        queries: &[query("sum(rumormq_connections{@})", "")],
        shows: "Open connections of clients, on all nodes shown.",
        healthy: "as many as there are devices.",
        ..STAT
    },
    Panel {
        title: "Messages in",
        unit: "ops",
        queries: &[query("sum(rate(rumormq_messages_received_total{@}[$__rate_interval]))", "")],
        shows: "Publishes from clients.",
        healthy: "what your clients send.",
        ..STAT
    },
    Panel {
        title: "Messages out",
        unit: "ops",
        queries: &[query("sum(rate(rumormq_messages_delivered_total{@}[$__rate_interval]))", "")],
        shows: "Messages for subscribers.",
        healthy: "messages in, times their subscribers.",
        ..STAT
    },
    Panel {
        title: "Messages dropped",
        unit: "ops",
        queries: &[query(
            "sum(rate(rumormq_messages_dropped_total{@, reason!=\"offline\"}[$__rate_interval]))",
            "",
        )],
        thresholds: &[(None, "green"), (Some(0.01), "red")],
        shows: "Messages that a subscriber did not get, not counting QoS 0 for those who are not connected.",
        healthy: "0.",
        ..STAT
    },
    Panel {
        title: "Subscriptions",
        queries: &[query("sum(rumormq_subscriptions{@})", "")],
        shows: "Subscriptions of all sessions.",
        healthy: "what your clients ask for.",
        ..STAT
    },
    Panel {
        title: "Retained messages",
        queries: &[query("max(rumormq_retained_messages{@})", "")],
        shows: "Retained messages. All nodes have all of them.",
        healthy: "below max_retained_messages.",
        ..STAT
    },
    Panel {
        title: "Connections by node",
        kind: Kind::Stacked,
        queries: &[query("rumormq_connections{@}", "{{node}}")],
        shows: "Open connections of clients.",
        healthy: "as even as your load balancer makes it; no steps down.",
        ..LINES
    },
    Panel {
        title: "Connects",
        kind: Kind::Stacked,
        unit: "ops",
        queries: &[
            query("sum by (result) (rate(rumormq_connect_total{@}[$__rate_interval]))", "{{result}}"),
            query(
                "sum by (result) (rate(rumormq_auth_total{@, result!~\"accepted.*\"}[$__rate_interval]))",
                "denied: {{result}}",
            ),
        ],
        shows: "Clients that connect, by what becomes of it.",
        healthy: "accepted, and few. Many at all times are clients that do not stay; denied ones are wrong passwords, or guesses.",
        ..LINES
    },
    Panel {
        title: "Messages received by QoS",
        kind: Kind::Stacked,
        unit: "ops",
        queries: &[query(
            "sum by (qos) (rate(rumormq_messages_received_total{@}[$__rate_interval]))",
            "QoS {{qos}}",
        )],
        shows: "Publishes from clients.",
        healthy: "what your clients send.",
        ..LINES
    },
    Panel {
        title: "Messages delivered by QoS",
        kind: Kind::Stacked,
        unit: "ops",
        queries: &[query(
            "sum by (qos) (rate(rumormq_messages_delivered_total{@}[$__rate_interval]))",
            "QoS {{qos}}",
        )],
        shows: "Messages given to subscribers' sessions.",
        healthy: "follows what is received.",
        ..LINES
    },
    Panel {
        title: "Delivery time",
        unit: "s",
        queries: &[
            query(
                "histogram_quantile(0.5, sum by (le) (rate(rumormq_delivery_seconds_bucket{@}[$__rate_interval])))",
                "p50",
            ),
            query(
                "histogram_quantile(0.99, sum by (le) (rate(rumormq_delivery_seconds_bucket{@}[$__rate_interval])))",
                "p99",
            ),
        ],
        shows: "From reading a publish to having written it to its subscribers' sockets, in a sample of the batches that are \
                read. Between nodes the network's time is not in it.",
        healthy: "p50 far below a millisecond. A high p99 is subscribers that do not read, or a node without CPU to spare.",
        ..LINES
    },
    Panel {
        title: "Messages dropped by reason",
        kind: Kind::Stacked,
        unit: "ops",
        queries: &[query(
            "sum by (reason) (rate(rumormq_messages_dropped_total{@}[$__rate_interval]))",
            "{{reason}}",
        )],
        shows: "Messages not delivered, or not retained. The README's table of limits says which limit is behind each reason.",
        healthy: "0 but for offline, which is QoS 0 for those who are not connected.",
        ..LINES
    },
    Panel {
        title: "Packets in by type",
        unit: "ops",
        queries: &[query(
            "sum by (type) (rate(rumormq_packets_total{@, direction=\"in\"}[$__rate_interval]))",
            "{{type}}",
        )],
        shows: "MQTT packets read from clients.",
        healthy: "no invalid ones.",
        ..LINES
    },
    Panel {
        title: "Packets out by type",
        unit: "ops",
        queries: &[query(
            "sum by (type) (rate(rumormq_packets_total{@, direction=\"out\"}[$__rate_interval]))",
            "{{type}}",
        )],
        shows: "MQTT packets given to clients' connections.",
        healthy: "few disconnects.",
        ..LINES
    },
    Panel {
        title: "Bytes",
        unit: "Bps",
        queries: &[query(
            "sum by (node, direction) (rate(rumormq_bytes_total{@}[$__rate_interval]))",
            "{{node}} {{direction}}",
        )],
        shows: "Bytes exchanged with clients.",
        healthy: "below what the network takes.",
        ..LINES
    },
    Panel {
        title: "Waiting for clients",
        queries: &[
            query("sum by (node) (rumormq_queued_messages{@})", "{{node}}: queued"),
            query("sum by (node) (rumormq_inflight{@})", "{{node}}: in flight"),
        ],
        shows: "Messages queued for clients that are away or slow, and messages sent that clients have not acknowledged.",
        healthy: "flat. What grows without an end are sessions whose clients do not come back: see max_session_expiry.",
        ..LINES
    },
    Panel {
        title: "Sessions",
        kind: Kind::Stacked,
        queries: &[query("sum by (state) (rumormq_sessions{@})", "{{state}}")],
        shows: "Sessions, by whether their client is connected.",
        healthy: "disconnected ones are few, or expected.",
        ..LINES
    },
    Panel {
        title: "Filters and groups",
        queries: &[
            query("max(rumormq_trie_filters{@})", "topic filters"),
            query("max(rumormq_shared_groups{@})", "shared groups"),
            query("sum(rumormq_shared_unconsumed{@})", "shared messages not acknowledged"),
        ],
        shows: "What publishes are matched with. Every node has all of it.",
        healthy: "follows the subscriptions.",
        ..LINES
    },
    Panel {
        title: "Retained",
        unit: "bytes",
        queries: &[query("rumormq_retained_bytes{@}", "{{node}}")],
        shows: "Memory of the retained messages.",
        healthy: "below max_retained_bytes, and the same on all nodes.",
        ..LINES
    },
    Panel {
        title: "CPU",
        unit: "percentunit",
        queries: &[query("rate(process_cpu_seconds_total{@}[$__rate_interval])", "{{node}}")],
        shows: "Cores that each node keeps busy.",
        healthy: "room above the daily peak.",
        ..LINES
    },
    Panel {
        title: "Memory",
        unit: "bytes",
        queries: &[query("process_resident_memory_bytes{@}", "{{node}}")],
        shows: "Resident memory of each node.",
        healthy: "flat for a flat load.",
        ..LINES
    },
    Panel {
        title: "Open files",
        unit: "percentunit",
        queries: &[query("process_open_fds{@} / process_max_fds{@}", "{{node}}")],
        thresholds: &[(None, "green"), (Some(0.8), "orange")],
        shows: "Sockets and files, as a share of what the system allows.",
        healthy: "below 80 %; raise LimitNOFILE before.",
        ..LINES
    },
];
