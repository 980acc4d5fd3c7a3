//! Peers that are turned away come again every few seconds: the log is told once a minute, the counter every time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two warnings of the same.
const INTERVAL: Duration = Duration::from_secs(60);
/// Most of them remembered. Beyond that the oldest is forgotten, and told again.
const MAX: usize = 256;

/// What the log was told lately, the oldest first. Guarded by a lock under which no other is taken.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<VecDeque<Complaint>>);

#[derive(Debug)]
struct Complaint {
    peer: SocketAddr,
    reason: &'static str,
    told: Instant,
}

impl Complaints {
    /// Whether the log is to be told that the peer at `address` was turned away for `reason`.
    pub(super) fn is_news(
        &self,
        address: SocketAddr,
        dialled: bool,
        reason: &'static str,
        now: Instant,
    ) -> bool {
        // Whoever dials comes from another port each time.
        let peer = if dialled { address } else { SocketAddr::new(address.ip(), 0) };
        let mut told = self.0.lock();
        while told.front().is_some_and(|oldest| now.saturating_duration_since(oldest.told) >= INTERVAL) {
            told.pop_front();
        }
        if told.iter().any(|complaint| complaint.peer == peer && complaint.reason == reason) {
            return false;
        }
        if told.len() >= MAX {
            told.pop_front();
        }
        told.push_back(Complaint { peer, reason, told: now });
        true
    }
}

/// What an operator can do about a peer that is turned away for a reason.
pub(super) fn advice(reason: &str) -> &'static str {
    match reason {
        "link_wrong_key" => "give both nodes the same cookie (--cookie-file)",
        "link_mode" => "give all nodes a cookie and TLS between nodes, or none of them",
        "link_tls" => "check the certificates and authorities of both nodes (--cluster-tls-...)",
        "link_other_node" => "give the peer a certificate for its own name",
        "link_other_cluster" => "give both the same --cluster-name, or remove one from the other's --join",
        "link_no_common_protocol" => "upgrade the older of the two",
        "link_same_name" => "start one of the two under another --node",
        "link_not_admitted" => {
            "remove members that are gone for good with `rumormq leave`; a cluster has at most 500"
        }
        "link_late" | "link_crowded_out" => {
            "check the network between the two, and who else connects to the cluster port"
        }
        // It does not speak as a node does.
        _ => "check what connects to the cluster port, and that --join names one, not a port for clients",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_a_minute() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));
        assert!(complaints.is_news(at(7), true, "a", start));
        assert!(!complaints.is_news(at(7), true, "a", start));
        assert!(complaints.is_news(at(7), true, "b", start) && complaints.is_news(at(8), true, "a", start));
        assert!(complaints.is_news(at(50_001), false, "a", start));
        assert!(!complaints.is_news(at(50_002), false, "a", start + INTERVAL / 2));
        assert!(complaints.is_news(at(50_003), false, "a", start + INTERVAL));
        for port in 0..1000 {
            complaints.is_news(at(port), true, "c", start + INTERVAL);
        }
        assert_eq!(complaints.0.lock().len(), MAX);
    }
}
