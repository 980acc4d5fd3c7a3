//! What is due: in the replicated sets when they say so, elsewhere every so often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Cluster;
use super::replication::Replication;

/// Does what is due in the replicated sets, and what is due every so often.
pub(super) async fn run(cluster: Arc<Cluster>) {
    const ROUND: Duration = Duration::from_millis(100);
    let mut next_round = Instant::now();
    loop {
        let now = Instant::now();
        let due = cluster.replication.lock().plan(now + ROUND);
        tokio::select! {
            () = tokio::time::sleep_until(due.min(next_round).into()) => {}
            () = cluster.due_earlier.notified() => {}
        }
        let now = Instant::now();
        cluster.with_replication(now, |replication| replication.node.handle_tick(now));
        if now >= next_round {
            next_round = now + ROUND;
            cluster.handle_round(now);
        }
    }
}

impl Cluster {
    fn handle_round(&self, now: Instant) {
        for peer in self.peers.all() {
            peer.release_receipts(now, self.config.puback_timeout);
        }
        let (heads, synced) = {
            let replication = self.replication.lock();
            (replication.published_heads(), self.has_synced(&replication))
        };
        if let Some(membership) = &*self.membership.read() {
            for (key, head) in heads {
                // Few and short.
                let _ = membership.publish(&key, head);
            }
        }
        if synced {
            self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        }
    }

    /// A node without seeds, or with none but itself, is a cluster of one; others first take over what a peer has.
    fn has_synced(&self, replication: &Replication) -> bool {
        let linked = self.peers.all().iter().any(|peer| peer.link().is_some());
        (linked && replication.node.converged()) || (!linked && self.dialer.is_alone())
    }
}
