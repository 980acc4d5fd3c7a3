//! The metrics' page: what was counted as it happened, and what is looked up when somebody asks.

use std::collections::BTreeMap;
use std::time::Instant;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, Opts, TextEncoder};
use rumormq_gossip::{LinkState, MemberState};

use crate::broker::{Broker, Census};
use crate::cluster::forward::stream::Backlog;
use crate::cluster::interest::ROUTES;
use crate::cluster::{Cluster, Snapshot, state_label};

/// All metrics in the text format of Prometheus.
pub fn render(broker: &Broker, cluster: &Cluster) -> String {
    let mut page = Page(Vec::new());
    let now = Instant::now();
    let snapshot = cluster.snapshot(now);
    page.convergence(&snapshot);
    page.members(&snapshot);
    page.forwards(cluster, now);
    page.gossip(cluster);
    let skews = cluster.clock_skews();
    page.gauges(
        "clock_skew_seconds",
        "How far a member's clock was ahead when its link came up.",
        &["peer"],
        skews.iter().map(|(replica, skew)| (vec![replica.name.as_str()], *skew as f64 / 1e3)),
    );
    page.gauge("trie_filters", "Filters in the topic trie.", broker.filter_count() as f64);
    page.broker(&broker.census());
    let process = prometheus::process_collector::ProcessCollector::for_self();
    page.0.extend(process.collect());
    page.0.extend(broker.metrics.registry.gather());
    page.0.extend(cluster.counters.registry.gather());
    // A family without a metric is left out: the encoder refuses it.
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for mut family in page.0.into_iter().filter(|family| !family.get_metric().is_empty()) {
        match families.get_mut(family.name()) {
            Some(first) => first.mut_metric().extend(family.take_metric()),
            None => drop(families.insert(family.name().to_owned(), family)),
        }
    }
    let families: Vec<MetricFamily> = families.into_values().collect();
    TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

struct Page(Vec<MetricFamily>);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, &[], [(vec![], value)]);
    }

    fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (Vec<&'a str>, f64)>,
    ) {
        let family =
            GaugeVec::new(Opts::new(format!("rumormq_{name}"), help), labels).expect("names are literals");
        for (label_values, value) in values {
            family.with_label_values(&label_values).set(value);
        }
        self.0.extend(family.collect());
    }

    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (Vec<&'a str>, u64)>,
    ) {
        let family =
            CounterVec::new(Opts::new(format!("rumormq_{name}"), help), labels).expect("names are literals");
        for (label_values, value) in values {
            family.with_label_values(&label_values).inc_by(value as f64);
        }
        self.0.extend(family.collect());
    }

    fn broker(&mut self, census: &Census) {
        self.gauges(
            "sessions",
            "Sessions, by whether a connection is open.",
            &["state"],
            [
                (vec!["connected"], census.connected as f64),
                (vec!["disconnected"], census.disconnected as f64),
            ],
        );
        for (name, help, value) in [
            ("subscriptions", "Subscriptions of all sessions.", census.subscriptions),
            ("inflight", "Messages sent to clients and not acknowledged.", census.inflight),
            ("queued_messages", "Messages that wait for their client.", census.queued),
            ("retained_messages", "Retained messages.", census.retained_messages),
            ("retained_bytes", "Bytes of retained messages.", census.retained_bytes),
            ("shared_groups", "Groups of shared subscriptions that have members.", census.shared_groups),
            ("delayed_messages", "Publishes that wait for their delay to pass.", census.delayed),
        ] {
            self.gauge(name, help, value as f64);
        }
    }

    fn convergence(&mut self, snapshot: &Snapshot) {
        let own = snapshot.heads.iter().find(|(set, _)| *set == ROUTES).map(|(_, head)| *head);
        let own = own.unwrap_or_default();
        let lanes: Vec<_> = snapshot
            .members
            .iter()
            .filter(|member| member.visible)
            .filter_map(|member| {
                let lane = member.lanes.iter().find(|lane| lane.set == ROUTES)?;
                Some((member.replica.name.as_str(), lane))
            })
            .collect();
        let me = snapshot.me.name.as_str();
        self.gauge("route_head_seq", "Last change of this node's own routes.", own.seq as f64);
        let origin = ["origin"];
        self.gauges(
            "route_applied_seq",
            "Last applied change of each node's routes.",
            &origin,
            lanes
                .iter()
                .map(|(name, lane)| (vec![*name], lane.applied.seq as f64))
                .chain([(vec![me], own.seq as f64)]),
        );
        self.gauges(
            "route_lag_ops",
            "Changes of each node's routes known of and not applied.",
            &origin,
            lanes.iter().map(|(name, lane)| (vec![*name], lane.lag_ops() as f64)),
        );
        self.gauges(
            "route_lag_seconds",
            "For how long a newer state of each node's routes than the applied one has been known.",
            &origin,
            lanes.iter().map(|(name, lane)| (vec![*name], lane.lag.map_or(0.0, |lag| lag.as_secs_f64()))),
        );
        self.gauges(
            "routes",
            "Routes of each node, as far as applied.",
            &origin,
            lanes
                .iter()
                .map(|(name, lane)| (vec![*name], lane.applied.count as f64))
                .chain([(vec![me], own.count as f64)]),
        );
        self.gauge(
            "converged",
            "1 if everything known of every live member is applied, and no hash differs.",
            f64::from(u8::from(snapshot.converged)),
        );
        self.gauge(
            "stamps_ahead_seconds",
            "How far members' clocks have pushed the stamps of retained messages and sessions ahead of this node's clock.",
            snapshot.stamps_ahead_ms as f64 / 1e3,
        );
        let counted = &snapshot.counters;
        for (name, help, value) in [
            (
                "divergence_detected_total",
                "Copies that differed from their origin. Must stay 0.",
                counted.divergence_detected,
            ),
            (
                "tombstones_early_total",
                "Cleared keys forgotten before their time because there were too many.",
                counted.tombstones_early,
            ),
            (
                "tombstones_early_total",
                "Cleared keys of a set forgotten before their time, for there were too many.",
                counted.tombstones_early,
            ),
            ("delta_sent_total", "Deltas sent.", counted.delta_sent),
            ("delta_received_total", "Deltas received.", counted.delta_received),
            ("delta_applied_total", "Deltas that changed something.", counted.delta_applied),
            ("delta_duplicate_total", "Deltas that brought nothing new.", counted.delta_duplicate),
            ("delta_gap_total", "Deltas that came before the one they follow.", counted.delta_gap),
        ] {
            self.counters(name, help, &[], [(vec![], value)]);
        }
        self.counters(
            "repair_total",
            "Pieces of the set fetched because they were missing.",
            &["kind", "source"],
            [
                (vec!["range", "origin"], counted.repair_range_origin),
                (vec!["range", "peer"], counted.repair_range_peer),
                (vec!["snapshot", "origin"], counted.repair_snapshot_origin),
                (vec!["snapshot", "peer"], counted.repair_snapshot_peer),
            ],
        );
    }

    fn members(&mut self, snapshot: &Snapshot) {
        let states = [
            MemberState::Alive,
            MemberState::Suspect,
            MemberState::Dead,
            MemberState::Stopped,
            MemberState::Left,
        ];
        self.gauges(
            "members",
            "Members by state, this node included.",
            &["state"],
            states.map(|state| {
                let others = snapshot.members.iter().filter(|member| member.state == Some(state)).count();
                let count = others + usize::from(state == MemberState::Alive);
                (vec![state_label(Some(state))], count as f64)
            }),
        );
        self.gauge(
            "name_conflicts",
            "Names that more than one live node has. Must be 0.",
            snapshot.name_conflicts as f64,
        );
        self.gauge(
            "incarnation",
            "This start of this node; higher is later.",
            snapshot.me.incarnation.0 as f64,
        );
        let live = || snapshot.members.iter().filter(|member| member.visible);
        self.gauges(
            "link_up",
            "1 if a link to the peer is up.",
            &["peer"],
            live().map(|member| {
                let up = member.link == LinkState::Direct;
                (vec![member.replica.name.as_str()], f64::from(u8::from(up)))
            }),
        );
        self.gauges(
            "link_rtt_seconds",
            "Round trip of the last ping.",
            &["peer"],
            live().filter_map(|member| Some((vec![member.replica.name.as_str()], member.rtt?.as_secs_f64()))),
        );
    }

    fn forwards(&mut self, cluster: &Cluster, now: Instant) {
        self.gauge(
            "shared_unconsumed",
            "Messages published here for groups elsewhere, which no member has acknowledged.",
            cluster.unconsumed() as f64,
        );
        let peers = cluster.peers();
        let by_peer = |value: fn(&crate::cluster::Peer) -> u64| -> Vec<(Vec<&str>, u64)> {
            peers.iter().map(|peer| (vec![peer.name().as_str()], value(peer))).collect()
        };
        for (name, help, values) in [
            ("forward_sent_total", "Publishes put on the link.", by_peer(|peer| peer.counters.sent.get())),
            ("forward_received_total", "Publishes received.", by_peer(|peer| peer.counters.received.get())),
            (
                "forward_relayed_total",
                "Publishes of those sent that went through a third node.",
                by_peer(|peer| peer.counters.relayed.get()),
            ),
            (
                "relay_passed_total",
                "Frames of other nodes passed on to the peer.",
                by_peer(|peer| peer.counters.passed_on.get()),
            ),
            (
                "forward_acked_total",
                "QoS 1 and 2 publishes the peer has confirmed.",
                by_peer(|peer| peer.counters.acked.get()),
            ),
            (
                "forward_resent_total",
                "QoS 1 and 2 publishes sent again.",
                by_peer(|peer| peer.counters.resent.get()),
            ),
            (
                "forward_duplicate_total",
                "Publishes received again and dropped.",
                by_peer(|peer| peer.counters.duplicate.get()),
            ),
        ] {
            self.counters(name, help, &["peer"], values);
        }
        self.counters(
            "forward_dropped_total",
            "Publishes dropped on the way to the peer.",
            &["peer", "reason"],
            peers
                .iter()
                .flat_map(|peer| {
                    let dropped = peer.counters.dropped().into_iter();
                    dropped.map(|(reason, count)| (vec![peer.name().as_str(), reason], count))
                })
                .chain([
                    (vec!["gone", "left"], cluster.counters.dropped_left.get()),
                    (vec!["gone", "forgotten"], cluster.counters.dropped_forgotten.get()),
                ]),
        );
        self.gauge(
            "forward_buffered_bytes",
            "Bytes in all forward buffers together, to within 128 KiB for each.",
            cluster.forward_bytes() as f64,
        );
        self.counters(
            "relay_dropped_total",
            "Frames of other nodes for the peer that were not passed on.",
            &["peer", "reason"],
            peers.iter().flat_map(|peer| {
                let (name, counters) = (peer.name().as_str(), &peer.counters);
                [
                    (vec![name, "no_link"], counters.passed_no_link.get()),
                    (vec![name, "link_full"], counters.passed_link_full.get()),
                ]
            }),
        );
        let waiting: Vec<_> = peers.iter().map(|peer| (peer.name().as_str(), peer.backlog(now))).collect();
        let gauges = |value: fn(&Backlog) -> f64| -> Vec<(Vec<&str>, f64)> {
            waiting.iter().map(|(name, waits)| (vec![*name], value(waits))).collect()
        };
        for (name, help, values) in [
            (
                "forward_unacked",
                "QoS 1 and 2 publishes not confirmed yet.",
                gauges(|waits| waits.messages as f64),
            ),
            ("forward_unacked_bytes", "Bytes of those.", gauges(|waits| waits.bytes as f64)),
            (
                "forward_oldest_seconds",
                "Age of the oldest of those.",
                gauges(|waits| waits.oldest.as_secs_f64()),
            ),
        ] {
            self.gauges(name, help, &["peer"], values);
        }
    }

    fn gossip(&mut self, cluster: &Cluster) {
        cluster.with_membership(|counters| {
            self.counters(
                "gossip_packet_bytes",
                "Bytes of gossip datagrams.",
                &["direction"],
                [(vec!["in"], counters.bytes_in()), (vec!["out"], counters.bytes_out())],
            );
            self.counters(
                "gossip_rejected_total",
                "Peers and datagrams turned away.",
                &["reason"],
                counters.rejected().by_reason().map(|(reason, count)| (vec![reason], count)),
            );
            self.counters(
                "gossip_restarts_total",
                "Restarts of the membership protocol after it failed.",
                &[],
                [(vec![], counters.restarts())],
            );
        });
    }
}
