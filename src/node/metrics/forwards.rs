//! Messages on their way to other nodes.

use std::time::Instant;

use super::page::Page;
use crate::cluster::forward::stream::Backlog;
use crate::cluster::{Cluster, Peer};

impl Page {
    pub fn forwards(&mut self, cluster: &Cluster, now: Instant) {
        self.gauge(
            "shared_unconsumed",
            "Messages published here for groups elsewhere, which no member has acknowledged.",
            cluster.unconsumed() as f64,
        );
        let peers = cluster.peers();
        let by_peer = |value: fn(&Peer) -> u64| -> Vec<(Vec<&str>, u64)> {
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
}
