use super::{Dashboard, Kind, LINES, Panel, STAT, query};

pub const DASHBOARD: Dashboard = Dashboard {
    name: "cluster",
    title: "Cluster",
    description: "Who is there, what they say to each other, and what gets lost between them.",
    panels: PANELS,
};

const PANELS: &[Panel] = &[
    Panel {
        title: "Nodes",
        queries: &[query("count(rumormq_incarnation{@})", "")],
        shows: "Nodes that answer Prometheus.",
        healthy: "as many as you run.",
        ..STAT
    },
    Panel {
        title: "Youngest node",
        unit: "s",
        queries: &[query("min(time() - process_start_time_seconds{@})", "")],
        thresholds: &[(None, "orange"), (Some(300.0), "green")],
        shows: "Time since the last start of any node.",
        healthy: "grows. Small again and again is a node that does not stay up.",
        ..STAT
    },
    Panel {
        title: "Name conflicts",
        queries: &[query("max(rumormq_name_conflicts{@})", "")],
        thresholds: &[(None, "green"), (Some(1.0), "red")],
        shows: "Names that more than one live node has.",
        healthy: "0. If not, stop one of them and start it under another name.",
        ..STAT
    },
    Panel {
        title: "Gossip restarts",
        queries: &[query("sum(rumormq_gossip_restarts_total{@})", "")],
        thresholds: &[(None, "green"), (Some(1.0), "red")],
        shows: "Times that the membership protocol of a node failed and was started anew.",
        healthy: "0. Anything else is a defect to be reported.",
        ..STAT
    },
    Panel {
        title: "Late SUBACKs",
        queries: &[query("sum(increase(rumormq_suback_timeouts_total{@}[$__range]))", "")],
        thresholds: &[(None, "green"), (Some(1.0), "orange")],
        shows: "Subscriptions that were answered before every live member had confirmed the route, in the time shown.",
        healthy: "0, and a few when a cut begins.",
        ..STAT
    },
    Panel {
        title: "Messages lost between nodes",
        queries: &[query(
            "sum(increase(rumormq_forward_dropped_total{@, reason=~\"overflow|total_overflow|age|forgotten\"}[$__range]))",
            "",
        )],
        thresholds: &[(None, "green"), (Some(1.0), "red")],
        shows: "Acknowledged publishes of QoS 1 and 2 that were dropped because a node stayed away for too long, in the time \
                shown.",
        healthy: "0. If not, raise the limits of the forward buffer, or mend the node sooner.",
        ..STAT
    },
    Panel {
        title: "Changes of members' states",
        kind: Kind::Stacked,
        unit: "ops",
        queries: &[query(
            "sum by (to) (rate(rumormq_member_transitions_total{@}[$__rate_interval]))",
            "{{to}}",
        )],
        shows: "How often nodes took a member to be alive, suspect, dead, stopped or gone.",
        healthy: "0, but where nodes start and stop. Suspect again and again is a network that loses much.",
        ..LINES
    },
    Panel {
        title: "Round trips over links",
        unit: "s",
        queries: &[query("rumormq_link_rtt_seconds{@}", "{{node}} to {{peer}}")],
        shows: "The last ping over each link.",
        healthy: "what the network takes; no line far above the others.",
        ..LINES
    },
    Panel {
        title: "Clock skew",
        unit: "s",
        queries: &[
            query("abs(rumormq_clock_skew_seconds{@})", "{{node}} to {{peer}}"),
            query("rumormq_stamps_ahead_seconds{@}", "{{node}}: pushed ahead by others"),
        ],
        shows: "How far clocks were apart when links came up, and how far others' clocks have pushed this node's stamps of \
                sessions and retained messages. Nothing depends on right clocks but which of two writes at the same time wins.",
        healthy: "below a second.",
        ..LINES
    },
    Panel {
        title: "Gossip traffic",
        unit: "Bps",
        queries: &[query(
            "sum by (direction) (rate(rumormq_gossip_packet_bytes_sum{@}[$__rate_interval]))",
            "{{direction}}",
        )],
        shows: "Datagrams of the membership protocol, of all nodes shown.",
        healthy: "flat, some kilobytes a second for each node, and as much in as out. Less in than out is loss.",
        ..LINES
    },
    Panel {
        title: "Size of gossip datagrams",
        unit: "bytes",
        queries: &[query(
            "histogram_quantile(0.99, sum by (le) (rate(rumormq_gossip_packet_bytes_bucket{@}[$__rate_interval])))",
            "p99",
        )],
        shows: "What nodes say to each other at a time.",
        healthy: "below 1400 bytes, so that none is cut on its way.",
        ..LINES
    },
    Panel {
        title: "Peers and datagrams turned away",
        kind: Kind::Stacked,
        unit: "ops",
        queries: &[query(
            "sum by (reason) (rate(rumormq_gossip_rejected_total{@}[$__rate_interval]))",
            "{{reason}}",
        )],
        shows: "Whoever was not let in: a wrong cookie, another cluster, another version, an intruder.",
        healthy: "0. The log names the addresses.",
        ..LINES
    },
    Panel {
        title: "Forwards",
        unit: "ops",
        queries: &[
            query("sum by (node) (rate(rumormq_forward_sent_total{@}[$__rate_interval]))", "{{node}}: sent"),
            query(
                "sum by (node) (rate(rumormq_forward_received_total{@}[$__rate_interval]))",
                "{{node}}: received",
            ),
            query(
                "sum by (node) (rate(rumormq_forward_acked_total{@}[$__rate_interval]))",
                "{{node}}: confirmed",
            ),
        ],
        shows: "Publishes from node to node; those of QoS 1 and 2 are confirmed.",
        healthy: "received follows sent.",
        ..LINES
    },
    Panel {
        title: "Forwards relayed and repeated",
        unit: "ops",
        queries: &[
            query(
                "sum by (node) (rate(rumormq_forward_relayed_total{@}[$__rate_interval]))",
                "{{node}}: relayed",
            ),
            query(
                "sum by (node) (rate(rumormq_forward_resent_total{@}[$__rate_interval]))",
                "{{node}}: sent again",
            ),
            query(
                "sum by (node) (rate(rumormq_forward_duplicate_total{@}[$__rate_interval]))",
                "{{node}}: had already",
            ),
        ],
        shows: "Publishes that went through a third node, were sent again over a new link, or came twice and were dropped.",
        healthy: "0, with peaks when links come and go.",
        ..LINES
    },
    Panel {
        title: "Forwards dropped",
        kind: Kind::Stacked,
        unit: "ops",
        queries: &[query(
            "sum by (reason) (rate(rumormq_forward_dropped_total{@}[$__rate_interval]))",
            "{{reason}}",
        )],
        shows: "Publishes that did not reach another node. Of QoS 0: no_link, link_full, overtaken. Of QoS 1 and 2: overflow, \
                total_overflow, age and forgotten were lost; expired and left were not wanted any more.",
        healthy: "0. In an outage no_link is what QoS 0 is.",
        ..LINES
    },
    Panel {
        title: "Changes of routes, bytes",
        unit: "Bps",
        queries: &[query(
            "sum by (direction) (rate(rumormq_delta_bytes_total{@}[$__rate_interval]))",
            "{{direction}}",
        )],
        shows: "What the replicated sets cost the links, of all nodes shown.",
        healthy: "in proportion to the subscriptions that come and go, and nothing where none do.",
        ..LINES
    },
    Panel {
        title: "Routes by origin",
        kind: Kind::Stacked,
        queries: &[query("max by (origin) (rumormq_routes{@})", "{{origin}}")],
        shows: "Topic filters that each node has subscribers for.",
        healthy: "what clients subscribe to. The routes of dead nodes are not shown.",
        ..LINES
    },
    Panel {
        title: "Sessions on the move",
        kind: Kind::Stacked,
        unit: "ops",
        queries: &[query(
            "sum by (result) (rate(rumormq_takeovers_total{@}[$__rate_interval]))",
            "{{result}}",
        )],
        shows: "Sessions that followed their clients to another node: arrived where the client is, departed where it was, \
                merged if they came late, failed if they did not come when asked for.",
        healthy: "arrived is as much as departed, and failed is 0.",
        ..LINES
    },
];
