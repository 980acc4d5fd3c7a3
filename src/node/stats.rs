//! The node in numbers, for those who look at all nodes every second.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::members::{link_of, state_of};
use crate::admin::view::{NodeStats, PeerStats};
use crate::broker::{Broker, Census};
use crate::cluster::{Cluster, Snapshot};

/// What is kept between two looks.
pub(super) struct Stats {
    started: Instant,
    /// Guards the last count of what all sessions have. No other lock is taken under it.
    census: Mutex<Option<Counted>>,
}

/// A census, and until when it is good enough.
#[derive(Clone, Copy)]
struct Counted {
    census: Census,
    until: Instant,
}

/// A census looks at every session. It is taken no more often than this, and so that it takes no more than a fiftieth of the
/// time.
const CENSUS_EVERY: Duration = Duration::from_secs(2);

impl Stats {
    /// The node starts.
    pub(super) fn new() -> Stats {
        Stats { started: Instant::now(), census: Mutex::default() }
    }

    /// The numbers now.
    pub(super) fn look(&self, broker: &Broker, cluster: &Cluster, ready: bool) -> NodeStats {
        let now = Instant::now();
        let snapshot = cluster.snapshot(now);
        let census = self.census(broker, now);
        let metrics = &broker.metrics;
        let by_qos =
            |counters: &[prometheus::IntCounter; 3]| counters.each_ref().map(|counter| counter.get());
        NodeStats {
            node: snapshot.me.name.to_string(),
            incarnation: snapshot.me.incarnation.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: now.saturating_duration_since(self.started).as_secs_f64(),
            ready,
            converged: snapshot.converged,
            routes_hash: Some(snapshot.routes_hash().to_string()),
            connections: u64::try_from(metrics.connections.get()).unwrap_or(0),
            sessions: (census.connected + census.disconnected) as u64,
            subscriptions: census.subscriptions as u64,
            inflight: census.inflight as u64,
            queued: census.queued as u64,
            filters: broker.filter_count() as u64,
            retained: census.retained_messages as u64,
            received_total: by_qos(&metrics.messages_received),
            delivered_total: by_qos(&metrics.messages_delivered),
            dropped_total: metrics.dropped(),
            bytes_in_total: metrics.bytes_in.get(),
            bytes_out_total: metrics.bytes_out.get(),
            connects_total: metrics.connects_attempted(),
            divergence_total: snapshot.counters.divergence_detected,
            peers: peers(&snapshot, cluster, now),
        }
    }

    fn census(&self, broker: &Broker, now: Instant) -> Census {
        if let Some(counted) = self.census.lock().filter(|counted| now < counted.until) {
            return counted.census;
        }
        let begun = Instant::now();
        let census = broker.census();
        let until = now + CENSUS_EVERY.max(50 * begun.elapsed());
        *self.census.lock() = Some(Counted { census, until });
        census
    }
}

/// The other members, of each name the incarnation that counts.
fn peers(snapshot: &Snapshot, cluster: &Cluster, now: Instant) -> Vec<PeerStats> {
    let mut peers: Vec<PeerStats> = Vec::new();
    for member in snapshot.members.iter().filter(|member| member.replica.name != snapshot.me.name) {
        let (link, via) = link_of(member);
        let peer = cluster.peer(&member.replica.name);
        let counters = peer.as_ref().map(|peer| &peer.counters);
        let backlog = peer.as_ref().map(|peer| peer.backlog(now)).unwrap_or_default();
        let stats = PeerStats {
            node: member.replica.name.to_string(),
            state: state_of(member),
            via,
            rtt_ms: member.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            link,
            lag_ops: member.lanes.iter().map(|lane| lane.lag_ops()).sum(),
            lag_seconds: member
                .lanes
                .iter()
                .filter_map(|lane| lane.lag)
                .max()
                .unwrap_or_default()
                .as_secs_f64(),
            unacked: backlog.messages as u64,
            unacked_bytes: backlog.bytes as u64,
            oldest_seconds: backlog.oldest.as_secs_f64(),
            sent_total: counters.map_or(0, |counters| counters.sent.get()),
            received_total: counters.map_or(0, |counters| counters.received.get()),
            dropped_total: counters
                .map_or(0, |counters| counters.dropped().iter().map(|(_, count)| count).sum()),
        };
        // Sorted by name and incarnation: a later one that lives counts, or the last if none does.
        match peers.last_mut().filter(|last| last.node == stats.node) {
            Some(last) if stats.state <= last.state => *last = stats,
            Some(_) => {}
            None => peers.push(stats),
        }
    }
    peers
}
