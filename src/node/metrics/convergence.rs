//! How far this node has what others have written.

use super::page::Page;
use crate::cluster::Snapshot;
use crate::cluster::interest::ROUTES;

impl Page {
    pub fn convergence(&mut self, snapshot: &Snapshot) {
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
            "converged_seconds",
            "For how long that has been so, looked at ten times a second; 0 if it is not.",
            snapshot.converged_for.as_secs_f64(),
        );
        // A double holds 53 bits exactly.
        const HASH_BITS: u128 = (1 << 48) - 1;
        self.gauge(
            "route_set_hash",
            "Hash of all routes that count here. Nodes that show the same number have the same routes.",
            (snapshot.routes_hash().0 & HASH_BITS) as f64,
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
            ("delta_sent_total", "Deltas sent.", counted.delta_sent),
            ("delta_received_total", "Deltas received.", counted.delta_received),
            ("delta_applied_total", "Deltas that changed something.", counted.delta_applied),
            ("delta_duplicate_total", "Deltas that brought nothing new.", counted.delta_duplicate),
            ("delta_gap_total", "Deltas that came before the one they follow.", counted.delta_gap),
        ] {
            self.counter(name, help, value);
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
}
