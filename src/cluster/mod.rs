//! What the broker says to the other nodes of its cluster, and what it makes of what they say.
//!
//! [`interest`] turns the first and last subscriber of a filter into changes of the replicated set; `replication` runs
//! the set and turns what peers change into routes of the trie; [`link`] is the way to a peer, `relay` the way
//! around through a third one, [`forward`] what publishes do there; `retained` is for the messages that outlive them;
//! `members` keeps track of who is where and gets links dialled, `questions` asks them what an operator wants to know,
//! and `events` remembers what has happened. The broker is known here only as a [`host::Host`].

mod buffers;
mod complaints;
pub mod config;
pub mod counters;
mod demand;
mod dialer;
mod endpoint;
pub mod events;
mod exclusive;
pub mod forward;
pub mod handshakes;
mod heirs;
pub mod host;
pub mod interest;
mod introductions;
mod known;
pub mod link;
mod links;
mod lookout;
mod members;
#[cfg(test)]
mod merged;
mod milestones;
mod peer;
mod peers;
mod questions;
mod relay;
mod replication;
mod rests;
mod retained;
mod retaining;
mod rounds;
mod secrets;
pub mod shares;
mod snapshot;
mod source;
mod strays;
pub mod takeover;
pub mod turn;
pub mod unconsumed;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use rumormq_gossip::chitchat::{GossipCounters, Membership, MembershipConfig, StartError};
use rumormq_gossip::{LinkState, MemberState, NodeName, ReplicaId, SetId};
use smallvec::SmallVec;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use complaints::Complaints;
pub use config::ClusterConfig;
use counters::ClusterCounters;
use demand::Demand;
use dialer::Dialer;
pub use endpoint::Endpoint;
use events::Events;
use forward::inbound::InboundStreams;
use forward::wire::Publication;
use handshakes::Handshakes;
use heirs::Heirs;
use host::Host;
use interest::ROUTES;
use known::KnownPeers;
use link::{frame, kind};
use members::{Members, Observations};
pub use peer::{ForwardDrop, Peer};
use peers::Peers;
use questions::Questions;
pub use questions::{Answered, Answerer, Unanswered};
pub use replication::state_label;
use replication::{Replication, WhenRouted};
use rests::Rests;
pub use retained::Retained;
use secrets::Secrets;
pub use secrets::SecretsError;
use shares::{Destinations, identity_of};
pub use snapshot::Snapshot;
pub use strays::Stray;
use strays::Strays;
use takeover::Takeovers;
use unconsumed::Unconsumed;

use crate::message::{Application, PublishId};
use crate::router::PeerSet;
use crate::store::KnownPeer;
use crate::topic::SubscriptionFilter;

/// Handshakes of links under way at a time.
const HANDSHAKES_MAX: usize = 256;

/// This node's part in its cluster.
pub struct Cluster {
    config: ClusterConfig,
    secrets: Secrets,
    host: Arc<dyn Host>,
    /// Guards the replicated sets with all that must change in step with them. Under it a peer's lock or a shard of the
    /// router may be taken, never a client's.
    replication: Mutex<Replication>,
    /// Wakes the task that does what is due, when that has become earlier.
    due_earlier: Notify,
    handshakes: Handshakes,
    peers: Peers,
    inbound: InboundStreams,
    /// Guards the copies of messages that members of groups elsewhere have. No other lock is taken under it.
    unconsumed: Mutex<Unconsumed>,
    /// Sessions that have moved from here.
    strays: Strays,
    /// Sessions that have come here.
    heirs: Heirs,
    rests: Rests,
    /// What the last warnings about lost messages have told.
    alarms: Mutex<buffers::Alarms>,
    identity: u64,
    members: Members,
    dialer: Dialer,
    demand: Demand,
    /// Whom this node has met. No other lock is taken under it.
    known: Mutex<KnownPeers>,
    membership: RwLock<Option<Membership>>,
    publishes: AtomicU64,
    /// Stands for this incarnation in the names of publishes.
    origin: AtomicU64,
    takeovers: Takeovers,
    questions: Questions,
    links: AtomicU64,
    complaints: Complaints,
    /// What is counted.
    pub counters: ClusterCounters,
    /// What has happened.
    pub events: Events,
    /// The tasks that run until the node stops.
    tasks: Mutex<Vec<AbortHandle>>,
    ready: watch::Sender<bool>,
    /// Whether the others may hear of this node.
    speaks: AtomicBool,
    /// When a peer first said that another node has the name.
    name_contested: OnceLock<Instant>,
    /// Found out before the node was ready.
    name_taken: OnceLock<NameTaken>,
    /// Routes are known to be missing.
    behind: AtomicBool,
    /// The sets have begun a new incarnation: the membership has to follow.
    restarted: Notify,
    stopped: AtomicBool,
}

/// A live node has the name of this one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{holder} lives already, says the node at {address}: give this one another --node NAME@HOST")]
pub struct NameTaken {
    /// Who has it.
    pub holder: ReplicaId,
    /// Who says so: it, or a peer that it answers.
    pub address: SocketAddr,
}

impl Cluster {
    /// A node that has not spoken to anyone yet.
    pub fn new(mut config: ClusterConfig, host: Arc<dyn Host>) -> Cluster {
        let tombstone_ttl = config.gossip.tombstone_ttl;
        let known = KnownPeers::new(config.known.clone(), tombstone_ttl, Instant::now());
        let seeds = seeds(&config, &known);
        Cluster {
            secrets: Secrets::new(&config.cluster, config.keys.take(), config.tls.take()),
            replication: Mutex::new(Replication::new(&config, Instant::now())),
            due_earlier: Notify::new(),
            handshakes: Handshakes::new(HANDSHAKES_MAX),
            peers: Peers::new(config.forward, config.forward_total_bytes),
            inbound: InboundStreams::default(),
            unconsumed: Mutex::new(Unconsumed::new(config.max_shared_bytes)),
            strays: Strays::default(),
            heirs: Heirs::default(),
            rests: Rests::default(),
            alarms: Mutex::default(),
            identity: identity_of(config.replica.name.as_str()),
            members: Members::default(),
            dialer: Dialer::new(&seeds),
            demand: Demand::default(),
            known: Mutex::new(known),
            membership: RwLock::default(),
            publishes: AtomicU64::new(0),
            origin: AtomicU64::new(origin_of(&config.replica)),
            takeovers: Takeovers::new(config.takeover_timeout),
            questions: Questions::default(),
            links: AtomicU64::new(0),
            complaints: Complaints::default(),
            counters: ClusterCounters::default(),
            events: Events::default(),
            tasks: Mutex::default(),
            ready: watch::Sender::new(false),
            speaks: AtomicBool::new(false),
            name_contested: OnceLock::new(),
            name_taken: OnceLock::new(),
            behind: AtomicBool::new(false),
            restarted: Notify::new(),
            stopped: AtomicBool::new(false),
            host,
            config,
        }
    }

    /// Begins to speak and to listen.
    pub async fn start(self: &Arc<Self>, endpoint: Endpoint) -> Result<(), StartError> {
        let socket = Arc::new(endpoint.udp);
        let observations = self.start_membership(socket.clone()).await?;
        self.tasks.lock().extend([
            tokio::spawn(members::run(self.clone(), socket, observations)).abort_handle(),
            tokio::spawn(endpoint::accept(self.clone(), endpoint.tcp)).abort_handle(),
            tokio::spawn(rounds::run(self.clone())).abort_handle(),
            tokio::spawn(dialer::run(self.clone())).abort_handle(),
            tokio::spawn(takeover::run(self.clone())).abort_handle(),
        ]);
        Ok(())
    }

    /// Takes part in the membership as the present incarnation.
    async fn start_membership(&self, socket: Arc<UdpSocket>) -> Result<Observations, StartError> {
        let settings = MembershipConfig {
            seeds: self.seeds(),
            gossip_interval: self.config.gossip_interval,
            phi: self.config.phi,
            initial_interval: 2 * self.config.gossip_interval,
            forget_after: self.config.gossip.forget_after,
            silent: true,
            keys: self.secrets.keys(),
            ..MembershipConfig::new(
                self.config.cluster.clone(),
                self.me(),
                self.config.advertise_socket,
                socket,
            )
        };
        let (membership, observations) = Membership::start(settings).await?;
        for (key, value) in self.config.published_keys() {
            // Few and short.
            let _ = membership.publish(&key, value);
        }
        *self.membership.write() = Some(membership);
        self.use_present_keys();
        if self.speaks.load(Ordering::Acquire) {
            self.speak();
        }
        Ok(observations)
    }

    /// The name is this node's, as far as anybody can say: its heartbeats may be heard. Those of a newcomer that is refused
    /// would be remembered as a later start of whoever holds the name.
    fn speak(&self) {
        self.speaks.store(true, Ordering::Release);
        if let Some(membership) = &*self.membership.read() {
            membership.speak();
        }
    }

    /// Waits until the node may serve: it has what a reachable peer had, or waited long enough for one. An error says that
    /// its name is taken.
    pub async fn ready(&self) -> Result<(), NameTaken> {
        let mut ready = self.ready.subscribe();
        let _ = tokio::time::timeout(self.config.join_grace, ready.wait_for(|ready| *ready)).await;
        self.ready.send_replace(true);
        match self.name_taken.get() {
            Some(taken) => Err(taken.clone()),
            None => {
                self.speak();
                self.warn_of_seeds();
                Ok(())
            }
        }
    }

    /// A node that was to join a cluster and has not found it looks like one that is well, to itself.
    fn warn_of_seeds(&self) {
        if self.has_links() {
            return;
        }
        for seed in &self.config.seeds {
            tracing::warn!(
                %seed,
                error = self.dialer.reason(seed),
                "no seed has led to a cluster, and this node is one by itself until one does: check that --join names the cluster \
                 address (port 7883) of another node that runs, and that firewalls let UDP and TCP through"
            );
        }
    }

    /// Tells the others that this node stops, so that they need not find out. Links stay up for what is to be said yet.
    pub fn announce_stop(&self) {
        for peer in self.peers.all() {
            if let Some(replica) = peer.destination() {
                peer.send(&replica, |out| {
                    let _ = frame::append(out, kind::GOODBYE, true, |_| ());
                });
            }
        }
        if let Some(membership) = &*self.membership.read() {
            // Few and short.
            let _ = membership.publish("status", "stopped".to_owned());
        }
    }

    /// Waits, at most until `deadline`, for the linked peers to have what was forwarded to them; then ends.
    pub async fn stop(&self, deadline: Instant) {
        let is_waiting = |peer: &Arc<Peer>| peer.is_reachable() && !peer.is_drained();
        while self.peers.all().iter().any(is_waiting) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.end().await;
    }

    /// Waits, at most until `deadline`, for the linked peers to have all that this node has written and forwarded; then tells them
    /// that it will not come back, and ends.
    pub async fn leave(&self, deadline: Instant) {
        let is_waiting = |peer: &Arc<Peer>| peer.link().is_some() && !peer.is_drained();
        while (self.peers.all().iter().any(is_waiting) || !self.is_followed()) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Who hears it cuts the link. There is to be no other one.
        self.stopped.store(true, Ordering::Release);
        self.with_replication(Instant::now(), |replication| replication.node.announce_left());
        if let Some(membership) = &*self.membership.read() {
            // Few and short.
            let _ = membership.publish("status", "left".to_owned());
        }
        self.end().await;
    }

    /// Whether all linked peers have applied what this node has written.
    fn is_followed(&self) -> bool {
        let Snapshot { heads, members, .. } = self.snapshot(Instant::now());
        let linked = members.iter().filter(|member| member.link == LinkState::Direct);
        linked.flat_map(|member| &member.lanes).all(|lane| {
            heads.iter().find(|(set, _)| *set == lane.set).is_none_or(|(_, head)| lane.acked_seq >= head.seq)
        })
    }

    /// Tells the membership's last keys, and ends.
    async fn end(&self) {
        let membership = self.membership.write().take();
        if let Some(membership) = membership {
            membership.stop().await;
        }
        self.abort();
    }

    /// Ends all tasks and links at once, and lets no new ones come up.
    pub fn abort(&self) {
        self.stopped.store(true, Ordering::Release);
        self.tasks.lock().drain(..).for_each(|task| task.abort());
        self.membership.write().take();
        for link in self.peers.all().iter().filter_map(|peer| peer.link()) {
            link.closed.notify_one();
        }
    }

    // What the broker asks for.

    /// A local subscriber wants what matches `granted`; those in `new` it did not have before. Returns what to wait for
    /// with [`Cluster::when_routed`].
    pub fn add_interest(
        &self,
        new: &[SubscriptionFilter],
        granted: &[SubscriptionFilter],
        now: Instant,
    ) -> u64 {
        self.with_replication(now, |replication| replication.add_interest(new, granted, &*self.host, now))
    }

    /// Subscribers of these filters are gone.
    pub fn remove_interest<'a>(
        &self,
        filters: impl IntoIterator<Item = &'a SubscriptionFilter>,
        now: Instant,
    ) {
        self.with_replication(now, |replication| {
            for filter in filters {
                replication.remove_interest(filter, &*self.host, now);
            }
        });
    }

    /// Members of these groups have opened or closed their connections.
    pub fn refresh_groups(&self, shares: &[SubscriptionFilter], now: Instant) {
        self.with_replication(now, |replication| {
            for share in shares {
                replication.refresh_group(share, &*self.host, now);
            }
        });
    }

    /// Calls `then` once every live peer that can be reached has applied the route `sequence`, or was waited for long
    /// enough; it is told how many missed it.
    pub fn when_routed(&self, sequence: u64, now: Instant, then: WhenRouted) {
        self.with_replication(now, |replication| replication.when_settled(ROUTES, sequence, now, then));
    }

    /// The same for a change of any set.
    fn when_settled(&self, set: SetId, sequence: u64, now: Instant, then: WhenRouted) {
        self.with_replication(now, |replication| replication.when_settled(set, sequence, now, then));
    }

    /// Whether routes of a linked peer are known to be missing here; for at most `puback_timeout` after its greeting.
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }

    /// The nodes that a match names.
    pub fn destinations(&self, matched: &PeerSet) -> SmallVec<[Arc<Peer>; 4]> {
        self.peers.destinations(matched)
    }

    /// The next publish of this replica.
    pub fn next_publication(&self, retained: Option<Retained>) -> Publication {
        let number = self.publishes.fetch_add(1, Ordering::Relaxed);
        Publication { number, retained: retained.map(|retained| retained.stamp) }
    }

    /// The name of such a publish in the whole cluster.
    pub fn publish_id(&self, publication: Publication) -> PublishId {
        PublishId { origin: self.origin.load(Ordering::Relaxed), number: publication.number }
    }

    /// What stands for this replica in the names of publishes.
    pub fn number(&self) -> u64 {
        self.origin.load(Ordering::Relaxed)
    }

    /// All other replicas that may come back, or have never gone, by what stands for them.
    fn present_replicas(&self) -> HashMap<u64, ReplicaId> {
        let replication = self.replication.lock();
        let present = replication.node.members_in(|state| state != MemberState::Left);
        present.map(|replica| (origin_of(replica), replica.clone())).collect()
    }

    /// Sends a QoS 0 message to these nodes.
    pub fn forward_at_most_once(
        &self,
        destinations: Destinations,
        application: &Application<'_>,
        retained: Option<Retained>,
        now: Instant,
    ) {
        let publication = self.next_publication(retained);
        for (peer, shares) in destinations {
            match peer.forward_at_most_once(publication, application, shares.as_deref(), now) {
                Ok(()) => {}
                Err(ForwardDrop::NoLink) => peer.counters.dropped_no_link.inc(),
                Err(ForwardDrop::LinkFull) => peer.counters.dropped_link_full.inc(),
            }
        }
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.config.cluster
    }

    /// This incarnation of this node.
    pub fn me(&self) -> ReplicaId {
        self.replication.lock().node.me().clone()
    }

    /// How far the clocks of linked members were ahead, in milliseconds.
    pub fn clock_skews(&self) -> Vec<(ReplicaId, i64)> {
        self.members.clock_skews()
    }

    /// Members that this node has met, for its next start.
    pub fn known_peers(&self) -> Vec<KnownPeer> {
        self.known.lock().all()
    }

    /// Whom to ask when nobody is known to live: whom the operator names, and whom this node has met.
    fn seeds(&self) -> Vec<String> {
        seeds(&self.config, &self.known.lock())
    }

    /// Notes who is there now.
    fn note_present(&self, now: Instant) {
        let present = self.members.present(|replica| self.is_linked(replica));
        let me = &self.config.replica.name;
        let mut known = self.known.lock();
        let mut changed = known.expire(now);
        for (replica, address) in present.iter().filter(|(replica, _)| replica.name != *me) {
            changed |= known.note(&replica.name, address, now, wall_clock_ms());
        }
        drop(known);
        if changed && let Some(membership) = &*self.membership.read() {
            membership.set_seeds(self.seeds());
        }
    }

    /// Whether any link is up.
    fn has_links(&self) -> bool {
        self.peers.all().iter().any(|peer| peer.link().is_some())
    }

    /// The membership's counters, while it runs.
    pub fn with_membership<R>(&self, look: impl FnOnce(&GossipCounters) -> R) -> Option<R> {
        self.membership.read().as_ref().map(|membership| look(membership.counters()))
    }

    /// This node's name.
    pub fn name_of_node(&self) -> &NodeName {
        &self.config.replica.name
    }

    /// Another node, if it was heard of.
    pub fn peer(&self, name: &NodeName) -> Option<Arc<Peer>> {
        self.peers.find(name)
    }

    /// All peers that were heard of.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.all()
    }

    /// Whether it takes part, or did until lately.
    fn is_member(&self, replica: &ReplicaId) -> bool {
        self.replication.lock().node.member_state(replica).is_some()
    }

    /// Changes the replicated sets, then sends and does what follows from that.
    fn with_replication<R>(&self, now: Instant, change: impl FnOnce(&mut Replication) -> R) -> R {
        let mut replication = self.replication.lock();
        let result = change(&mut replication);
        let published = self.publishes.load(Ordering::Acquire);
        let effects =
            replication.drain(&self.peers, &self.takeovers, &*self.host, &self.counters, published, now);
        if replication.is_due_earlier() {
            self.due_earlier.notify_one();
        }
        let behind = replication.is_behind(now);
        let was_behind = self.behind.swap(behind, Ordering::AcqRel);
        drop(replication);
        if was_behind && !behind {
            self.host.handle_caught_up();
        }
        effects.run(self, now);
        result
    }
}

fn seeds(config: &ClusterConfig, known: &KnownPeers) -> Vec<String> {
    let mut seeds = config.seeds.clone();
    seeds.extend(
        known
            .addresses()
            .filter(|address| !config.seeds.iter().any(|seed| seed == address))
            .map(str::to_owned),
    );
    seeds
}

/// What stands for a replica in the names of publishes: the same everywhere (FNV-1a).
pub fn origin_of(replica: &ReplicaId) -> u64 {
    let bytes = replica.name.as_str().bytes().chain(replica.incarnation.0.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Milliseconds since 1970 by this machine's clock; 0 before that.
pub fn wall_clock_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
