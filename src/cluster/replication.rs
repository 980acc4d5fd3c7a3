//! The replicated sets at work: what changes here goes to the peers, what peers change goes to the trie.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rumormq_gossip::{
    Digest, Event, Incarnation, MemberState, MemberStatus, Message, Node, NodeName, Observation, ReplicaId,
    RestartReason, SetId, Status,
};

use super::config::ClusterConfig;
use super::counters::ClusterCounters;
use super::events::{News, Subject};
use super::host::{Arrival, Host, Receipt, confirm_all};
use super::interest::{EXCLUSIVE, Interest, RETAINED, ROUTES, SESSIONS, SETS, filter_of, members_of};
use super::link::kind;
use super::milestones::Milestones;
use super::peer::Peer;
use super::peers::Peers;
use super::retaining::Retaining;
use super::shares::identity_of;
use super::takeover::{Losses, Takeovers};
use super::{Cluster, origin_of, wall_clock_ms};
use crate::cluster::forward::wire;
use crate::router::PeerMembers;
use crate::topic::{SubscriptionFilter, TopicFilter};

/// Called when a route is known to all who can be told; with the number of peers that did not confirm it in time.
pub type WhenRouted = Box<dyn FnOnce(usize) + Send>;

/// The replicated sets and what changes in step with them.
pub struct Replication {
    /// The sets, the membership, the link graph.
    pub node: Node,
    interest: Interest,
    /// Publishers that wait for their retained messages to be known.
    pub retaining: Retaining,
    /// Who waits for which of our changes to be known.
    waiting: BTreeMap<(SetId, u64), Vec<WhenRouted>>,
    /// What linked peers said at greeting they have written and we have not applied: up to which number, and until
    /// when publishes wait for it.
    behind: BTreeMap<ReplicaId, Behind>,
    /// When peers' routes became known.
    pub milestones: Milestones,
    /// When the task that does what is due will look next.
    planned: Option<Instant>,
    /// Another incarnation began.
    restarted: bool,
    /// Since when everything known is applied, as far as one look a round can tell.
    converged_since: Option<Instant>,
}

/// How far a peer's routes are known to reach beyond what is applied.
struct Behind {
    written: u64,
    /// Until when publishes wait for them.
    patience: Instant,
}

/// After a wait in vain for a peer's routes, publishes do not wait for this peer again for so long, however often its link
/// comes and goes.
const NO_PATIENCE: Duration = Duration::from_secs(10);

/// What is to be done after the lock is released.
#[derive(Default)]
pub struct Effects {
    routed: Vec<(WhenRouted, usize)>,
    confirmed: Vec<Receipt>,
    gone: Vec<ReplicaId>,
    /// Names that left for good.
    left: Vec<NodeName>,
    /// Nodes of which no incarnation is known any more.
    abandoned: Vec<Arc<Peer>>,
    losses: Losses,
    restarted: bool,
    news: Vec<News>,
}

impl Replication {
    /// Empty sets.
    pub fn new(config: &ClusterConfig, now: Instant) -> Replication {
        let mut node = Node::new(config.gossip.clone(), config.replica.clone(), &SETS, now);
        node.handle_wall_clock(wall_clock_ms());
        Replication {
            node,
            interest: Interest::default(),
            retaining: Retaining::default(),
            waiting: BTreeMap::new(),
            behind: BTreeMap::new(),
            milestones: Milestones::default(),
            planned: None,
            restarted: false,
            converged_since: None,
        }
    }

    /// Looks whether everything known is applied; returns since when it has been.
    pub fn note_convergence(&mut self, now: Instant) -> Option<Instant> {
        self.converged_since = match self.node.converged() {
            true => self.converged_since.or(Some(now)),
            false => None,
        };
        self.converged_since
    }

    /// Adds the `new` filters; returns the sequence number by which all `granted` ones are routed.
    pub fn add_interest(
        &mut self,
        new: &[SubscriptionFilter],
        granted: &[SubscriptionFilter],
        host: &dyn Host,
        now: Instant,
    ) -> u64 {
        for filter in new {
            match filter.share {
                None => self.interest.add(&mut self.node, &filter.filter, now),
                Some(_) => self.refresh_group(filter, host, now),
            }
        }
        granted.iter().filter_map(|filter| self.interest.route(&self.node, filter)).max().unwrap_or(0)
    }

    /// One subscriber less.
    pub fn remove_interest(&mut self, filter: &SubscriptionFilter, host: &dyn Host, now: Instant) {
        match filter.share {
            None => self.interest.remove(&mut self.node, &filter.filter, now),
            Some(_) => self.refresh_group(filter, host, now),
        }
    }

    /// Members of the group have come, gone, opened or closed their connections.
    pub fn refresh_group(&mut self, share: &SubscriptionFilter, host: &dyn Host, now: Instant) {
        self.interest.set_members(&mut self.node, share, host.own_members(share), now);
    }

    /// Registers `then` for the moment when `sequence` of a set is settled.
    pub fn when_settled(&mut self, set: SetId, sequence: u64, now: Instant, then: WhenRouted) {
        self.waiting.entry((set, sequence)).or_default().push(then);
        self.node.await_settled(set, sequence, now);
    }

    /// A link came up. Publishes wait until `patience` for the routes that its peer already has. False where the peer is
    /// not admitted.
    pub fn handle_link_up(
        &mut self,
        peer: &ReplicaId,
        hello: Digest,
        patience: Instant,
        now: Instant,
    ) -> bool {
        let written = hello.applied.iter().find(|(replica, _)| replica == peer);
        let routes = written.and_then(|(_, heads)| heads.iter().find(|(set, _)| *set == ROUTES));
        let written = routes.map_or(0, |(_, head)| head.seq);
        if !self.node.handle_link_up(peer.clone(), hello, now) {
            return false;
        }
        if written > 0 {
            let behind = self.behind.entry(peer.clone()).or_insert(Behind { written, patience });
            behind.written = behind.written.max(written);
        }
        true
    }

    /// A link is gone.
    pub fn handle_link_down(&mut self, peer: &ReplicaId, now: Instant) {
        self.node.handle_link_down(peer, now);
    }

    /// Whether routes are known to be missing that publishes should wait for.
    pub fn is_behind(&mut self, now: Instant) -> bool {
        let node = &self.node;
        self.behind.retain(|peer, behind| {
            let missing = node.applied(ROUTES, peer).is_none_or(|head| head.seq < behind.written);
            missing && now < behind.patience + NO_PATIENCE
        });
        self.behind.values().any(|behind| now < behind.patience)
    }

    /// A peer said over its link that it stops.
    pub fn handle_goodbye(&mut self, from: &ReplicaId, now: Instant) {
        let stopped =
            Observation { replica: from.clone(), alive: false, status: Status::Stopped, heads: Vec::new() };
        self.node.handle_observation(stopped, now);
    }

    /// This node goes on under another incarnation, higher than that one.
    pub fn begin_incarnation_after(&mut self, last: Incarnation, now: Instant) {
        self.node.restart_lane(Incarnation(wall_clock_ms().max(last.0.saturating_add(1))), now);
        self.restarted = true;
    }

    /// What the membership tells of our lanes.
    pub fn published_heads(&self) -> Vec<(String, String)> {
        let heads = self.node.heads();
        heads
            .into_iter()
            .map(|(set, head)| (head_key(SETS[usize::from(set.0)].name), head.to_string()))
            .collect()
    }

    /// When to look next, at the latest at `latest`.
    pub fn plan(&mut self, latest: Instant) -> Instant {
        let due = self.node.poll_timeout().map_or(latest, |timeout| timeout.min(latest));
        self.planned = Some(due);
        due
    }

    /// Whether something is due before the planned look.
    pub fn is_due_earlier(&mut self) -> bool {
        let earlier = match (self.planned, self.node.poll_timeout()) {
            (Some(planned), Some(timeout)) => timeout < planned,
            _ => false,
        };
        if earlier {
            self.planned = None;
        }
        earlier
    }

    /// Sends what the sets have to say, after so many publishes, and turns their events into routes and effects.
    pub fn drain(
        &mut self,
        peers: &Peers,
        takeovers: &Takeovers,
        host: &dyn Host,
        counters: &ClusterCounters,
        published: u64,
        now: Instant,
    ) -> Effects {
        let mut effects = Effects::default();
        loop {
            // A peer is told that its routes are here only when they are in the trie.
            while let Some(event) = self.node.poll_event() {
                if let Event::Won { set: SESSIONS, winner, .. } = &event {
                    if winner.replica != *self.node.me() {
                        takeovers.handle_won(winner, peers, host, &mut effects.losses);
                    }
                    continue;
                }
                if let Event::Cleared { set: SESSIONS, replaced } = &event {
                    if let Some(latest) = self.node.latest(SESSIONS, replaced.entry.key()) {
                        takeovers.handle_cleared(&latest, host, &mut effects.losses);
                    }
                    continue;
                }
                if let Event::Changed { replica, .. } = &event
                    && let Some(head) = self.node.applied(ROUTES, replica)
                {
                    self.milestones.note(replica, head.seq, published);
                }
                self.handle_event(event, peers, host, counters, &mut effects, now);
            }
            let Some((to, message)) = self.node.poll_transmit() else { break };
            if let Some(peer) = peers.find(&to.name) {
                peer.send_on_link(&to, |out| {
                    let before = out.len();
                    wire::append_small(out, kind::GOSSIP, &message);
                    if matches!(message, Message::Delta(_)) {
                        counters.delta_bytes_out.inc_by((out.len() - before) as u64);
                    }
                });
            }
        }
        // Its routes have left the trie by now: until then their index must stay its own.
        for replica in &effects.gone {
            self.behind.remove(replica);
            self.milestones.forget(replica);
            effects.abandoned.extend(self.handle_gone(replica, peers, &mut effects.confirmed, now));
        }
        effects.restarted = std::mem::take(&mut self.restarted);
        effects
    }

    fn handle_event(
        &mut self,
        event: Event,
        peers: &Peers,
        host: &dyn Host,
        counters: &ClusterCounters,
        effects: &mut Effects,
        now: Instant,
    ) {
        match event {
            Event::Changed { replica, change, .. } => {
                let Some(index) = peers.index_of(&replica) else {
                    tracing::warn!(%replica, "too many replicas have routes; those of this one are ignored: give nodes a --data-dir and fixed names, so that they return as who they were");
                    return;
                };
                let identity = identity_of(replica.name.as_str());
                // Those first that come: what has a new value, or was gone only in between, must not be gone for a moment.
                let mut kept = HashSet::new();
                for (_, element) in &change.added {
                    let Some(filter) = filter_of(element.key()) else { continue };
                    kept.insert(element.key());
                    if filter.share.is_none() {
                        host.insert_route(&filter.filter, index);
                    } else {
                        let members = members_of(element.value());
                        host.set_peer_members(&filter, PeerMembers { peer: index, identity, members });
                    }
                }
                for (_, element) in &change.removed {
                    if kept.contains(element.key()) {
                        continue;
                    }
                    let Some(filter) = filter_of(element.key()) else { continue };
                    if filter.share.is_none() {
                        host.remove_route(&filter.filter, index);
                    } else {
                        host.remove_peer_members(&filter, index);
                    }
                }
            }
            Event::Settled { set: RETAINED, seq, .. } => {
                effects.confirmed.extend(self.retaining.settle(seq));
            }
            Event::Settled { set, seq, missed } => {
                for then in self.waiting.remove(&(set, seq)).into_iter().flatten() {
                    effects.routed.push((then, missed.len()));
                }
            }
            Event::Member { replica, from, to } => {
                counters.member_transitions.with_label_values(&[state_label(to)]).inc();
                let text = match from {
                    Some(_) => format!("is {}, was {}", state_label(to), state_label(from)),
                    None => format!("is {}", state_label(to)),
                };
                tracing::info!(member = %replica, "the member {text}");
                let node = Some(replica.name.clone());
                effects.news.push(News { subject: Subject::Member, node, text });
                match to {
                    Some(MemberState::Left) | None => {
                        if to.is_some() {
                            effects.left.push(replica.name.clone());
                        }
                        effects.gone.push(replica);
                    }
                    Some(state) => {
                        if let Some(peer) = peers.find(&replica.name)
                            && peer.destination().is_none_or(|present| present == replica)
                        {
                            peer.handle_liveness(state.is_live(), now, &mut effects.confirmed);
                        }
                    }
                }
            }
            Event::Diverged { set, replica } => {
                let set = SETS[usize::from(set.0)].name;
                tracing::error!(%replica, set, "a copy of this replica's lane differed from its own; it is fetched anew: nothing else needs to be done, but report it");
            }
            Event::Conflict { older, newer } => {
                tracing::error!(%older, %newer, "two nodes have one name: stop one of them, and start it under another --node");
            }
            Event::RestartLane { reason, after } => {
                let node = self.node.me();
                match reason {
                    RestartReason::Forgotten => {}
                    RestartReason::Outdone => tracing::warn!(
                        %node,
                        ?after,
                        "a later start of this node is known, and this one goes on as a still later one: check its clock, or give it a --data-dir"
                    ),
                    RestartReason::IncarnationReused => {
                        tracing::error!(%node, "this incarnation was used before; a new one begins: check the clock, and that no data directory was copied");
                    }
                }
                self.begin_incarnation_after(after, now);
            }
            Event::Propagated { set: ROUTES, elapsed } => {
                counters.propagation_seconds.observe(elapsed.as_secs_f64())
            }
            Event::Won { set: RETAINED, winner, .. } => {
                host.show_retained(&winner.entry, Arrival::Learned, self.hybrid_time(now));
            }
            Event::Cleared { set: RETAINED, replaced } => {
                let key = replaced.entry.key();
                host.hide_retained(key, self.node.latest(RETAINED, key).map(|latest| latest.entry.stamp()));
            }
            Event::Won { set: EXCLUSIVE, winner, replaced: Some(replaced) }
                if replaced.replica == *self.node.me() && winner.entry.value() != replaced.entry.value() =>
            {
                let filter = std::str::from_utf8(winner.entry.key()).ok();
                if let Some(filter) = filter.and_then(|filter| TopicFilter::parse(filter).ok()) {
                    host.handle_exclusive_lost(filter);
                }
            }
            Event::Propagated { .. } | Event::Won { .. } | Event::Cleared { .. } => {}
        }
    }
}

impl Effects {
    /// Does it. No lock of the cluster is held.
    pub fn run(self, cluster: &Cluster, now: Instant) {
        if !self.news.is_empty() {
            cluster.events.note_all(self.news);
        }
        for (then, missed) in self.routed {
            then(missed);
        }
        confirm_all(self.confirmed, now);
        cluster.takeovers.handle_losses(self.losses);
        for peer in self.abandoned {
            cluster.abandon_buffer(&peer, self.left.contains(peer.name()), now);
        }
        for replica in self.gone {
            cluster.inbound.forget(&replica);
            cluster.members.forget(&replica);
        }
        for name in self.left {
            cluster.known.lock().remove(&name);
        }
        if self.restarted {
            cluster.origin.store(origin_of(&cluster.me()), Ordering::Relaxed);
            for link in cluster.peers.all().iter().filter_map(|peer| peer.link()) {
                link.closed.notify_one();
            }
            cluster.restarted.notify_one();
        }
    }
}

impl Replication {
    /// A replica will not come back: what stood for it goes, and what was kept for its node, unless another incarnation
    /// of that is known. Returns the node then: its buffer is to be dropped without a lock.
    fn handle_gone(
        &self,
        replica: &ReplicaId,
        peers: &Peers,
        confirmed: &mut Vec<Receipt>,
        now: Instant,
    ) -> Option<Arc<Peer>> {
        peers.release_index(replica);
        let with_name = |other: &MemberStatus| {
            other.replica.name == replica.name
                && other.replica != *replica
                && other.state != Some(MemberState::Left)
        };
        if self.node.members(now).iter().any(with_name) {
            return None;
        }
        let peer = peers.remove(&replica.name)?;
        peer.handle_liveness(false, now, confirmed);
        // Should it be there after all, the next greeting says that it was forgotten.
        if let Some(link) = peer.link() {
            link.closed.notify_one();
        }
        Some(peer)
    }
}

/// The value of a metric's `state` or `to` label.
pub fn state_label(state: Option<MemberState>) -> &'static str {
    match state {
        Some(MemberState::Alive) => "alive",
        Some(MemberState::Suspect) => "suspect",
        Some(MemberState::Dead) => "dead",
        Some(MemberState::Stopped) => "stopped",
        Some(MemberState::Left) => "left",
        None => "forgotten",
    }
}

/// The key under which a set's head is published.
pub fn head_key(set: &str) -> String {
    format!("head.{set}")
}
