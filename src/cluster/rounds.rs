//! What is due: in the replicated sets when they say so, elsewhere every so often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq_gossip::{LinkState, MemberState, MemberStatus};

use super::introductions::Introduced;
use super::lookout::{LOOK_EVERY, Lookout};
use super::replication::Replication;
use super::{Cluster, heirs, rests, strays, wall_clock_ms};

/// A starting node waits so long for links with all whom its first peer reaches. One may be out of reach for good.
const MEET_MAX: Duration = Duration::from_secs(2);

/// Does what is due in the replicated sets, and what is due every so often.
pub(super) async fn run(cluster: Arc<Cluster>) {
    const ROUND: Duration = Duration::from_millis(100);
    const NOTE_EVERY: Duration = Duration::from_secs(1);
    const INTRODUCE_EVERY: Duration = Duration::from_millis(500);
    let mut next_round = Instant::now();
    let mut next_note = next_round;
    let mut next_introductions = next_round;
    let mut introduced = Introduced::default();
    let mut next_look = next_round;
    let mut lookout = Lookout::default();
    loop {
        let now = Instant::now();
        let due = cluster.replication.lock().plan(now + ROUND);
        tokio::select! {
            () = tokio::time::sleep_until(due.min(next_round).into()) => {}
            () = cluster.due_earlier.notified() => {}
        }
        let now = Instant::now();
        cluster.with_replication(now, |replication| {
            replication.node.handle_wall_clock(wall_clock_ms());
            replication.node.handle_tick(now);
        });
        if now >= next_round {
            next_round = now + ROUND;
            cluster.handle_round(now);
            strays::tend(&cluster, now);
            heirs::tend(&cluster, now);
            rests::tend(&cluster, now);
        }
        if now >= next_introductions {
            next_introductions = now + INTRODUCE_EVERY;
            cluster.introduce(&mut introduced, now);
        }
        if now >= next_look {
            cluster.events.note_all(lookout.look(&cluster.snapshot(now), now));
            cluster.events.sum_up();
            // With many members a look takes a while: a hundredth of the time, at most.
            next_look = now + LOOK_EVERY.max(100 * now.elapsed());
        }
        if now >= next_note {
            next_note = now + NOTE_EVERY;
            cluster.note_present(now);
        }
    }
}

impl Cluster {
    fn handle_round(&self, now: Instant) {
        self.review_ways(now);
        for peer in self.peers.all() {
            peer.handle_round(now, self.config.puback_timeout);
        }
        self.relieve_buffers(now);
        self.warn_of_losses(now);
        self.release_retaining(now);
        self.share_again(now);
        let (heads, synced) = {
            let mut replication = self.replication.lock();
            replication.note_convergence(now);
            let synced = !*self.ready.borrow() && self.has_synced(&replication, now);
            (replication.published_heads(), synced)
        };
        if let Some(membership) = &*self.membership.read() {
            for (key, head) in heads {
                // Few and short.
                let _ = membership.publish(&key, head);
            }
        }
        if synced {
            self.ready.send_replace(true);
        }
    }

    /// A node without seeds, or with none but itself, is a cluster of one. Others first take over what a peer has, and meet
    /// whom it knows: what they do not know to live, their clients' subscriptions would not wait for.
    fn has_synced(&self, replication: &Replication, now: Instant) -> bool {
        let links = self.peers.all().into_iter().filter_map(|peer| peer.link());
        let Some(first) = links.map(|link| link.started).min() else { return self.dialer.is_alone() };
        let node = &replication.node;
        let met_all = || {
            let vouched = |member: &MemberStatus| node.vouches_for(&member.replica, now);
            node.members(now).iter().filter(|member| vouched(member)).all(|member| {
                let is_met = match member.link {
                    LinkState::Direct => true,
                    LinkState::Relayed(_) => !node.wants_link(&member.replica.name),
                    LinkState::None => false,
                };
                is_met && member.state.is_some_and(MemberState::is_live)
            })
        };
        node.converged() && (met_all() || now.saturating_duration_since(first) > MEET_MAX)
    }
}
