//! What the broker says to the other nodes of its cluster, and what it makes of what they say.
//!
//! [`interest`] turns the first and last subscriber of a filter into changes of the replicated set; [`replication`] runs
//! the set and turns what peers change into routes of the trie; [`link`] is the way to a peer, [`forward`] what
//! publishes do there; [`members`] keeps track of who is where and gets links dialled. The broker is known here only as
//! a [`host::Host`].

pub mod config;
pub mod counters;
mod dialer;
pub mod forward;
pub mod host;
pub mod interest;
pub mod link;
mod members;
mod peer;
mod peers;
mod replication;
mod snapshot;

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use rumormq_gossip::chitchat::{GossipCounters, Membership, MembershipConfig, StartError};
use rumormq_gossip::{Message, MessageError, NodeName, ReplicaId};
use smallvec::SmallVec;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;

pub use config::ClusterConfig;
use counters::ClusterCounters;
use dialer::Dialer;
use forward::inbound::{InboundStreams, Received};
use host::Host;
use link::driver::{self, LinkError};
use link::handshake::Credentials;
use link::hello::{Hello, ProtocolRange};
use link::{frame, kind};
use members::Members;
use peer::Link;
pub use peer::{ForwardDrop, Peer};
use peers::Peers;
pub use replication::state_label;
use replication::{Replication, WhenRouted};
pub use snapshot::Snapshot;

use crate::message::Application;
use crate::router::{PeerIndex, PeerSet};
use crate::topic::TopicFilter;

/// Handshakes under way at a time. Whoever may not join cannot take more memory than they do.
const HANDSHAKES_MAX: usize = 256;

/// The protocol versions this node speaks on links.
const PROTOCOL: ProtocolRange = ProtocolRange { min: 1, max: 1 };

/// This node's part in its cluster.
pub struct Cluster {
    config: ClusterConfig,
    credentials: Credentials,
    host: Arc<dyn Host>,
    /// Guards the replicated sets with all that must change in step with them. Under it a peer's lock or a shard of the
    /// router may be taken, never a client's.
    replication: Mutex<Replication>,
    /// Wakes the task that does what is due, when that has become earlier.
    due_earlier: Notify,
    handshakes: Arc<Semaphore>,
    peers: Peers,
    inbound: InboundStreams,
    members: Members,
    dialer: Dialer,
    membership: RwLock<Option<Membership>>,
    publishes: AtomicU64,
    links: AtomicU64,
    /// What is counted.
    pub counters: ClusterCounters,
    /// The tasks that run until the node stops.
    tasks: Mutex<Vec<AbortHandle>>,
    ready: watch::Sender<bool>,
    /// Routes are known to be missing.
    behind: AtomicBool,
}

/// The sockets a node meets its peers on: both of one port.
#[derive(Debug)]
pub struct Endpoint {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Endpoint {
    /// Binds TCP and UDP; port 0 is one that both have free.
    pub fn bind(address: SocketAddr) -> io::Result<Endpoint> {
        const ATTEMPTS: u32 = 16;
        let mut attempt = 1;
        loop {
            let tcp = StdTcpListener::bind(address)?;
            match StdUdpSocket::bind(tcp.local_addr()?) {
                Err(_) if address.port() == 0 && attempt < ATTEMPTS => attempt += 1,
                udp => {
                    let udp = udp?;
                    tcp.set_nonblocking(true)?;
                    udp.set_nonblocking(true)?;
                    return Ok(Endpoint { tcp: TcpListener::from_std(tcp)?, udp: UdpSocket::from_std(udp)? });
                }
            }
        }
    }

    /// The address of both.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl Cluster {
    /// A node that has not spoken to anyone yet.
    pub fn new(config: ClusterConfig, host: Arc<dyn Host>) -> Cluster {
        let psks = config.keys.as_ref().map(|keys| keys.link_psks()).unwrap_or_default();
        Cluster {
            credentials: Credentials { cluster: config.cluster.clone(), psks },
            replication: Mutex::new(Replication::new(&config, Instant::now())),
            due_earlier: Notify::new(),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            peers: Peers::new(config.forward),
            inbound: InboundStreams::default(),
            members: Members::default(),
            dialer: Dialer::new(&config.seeds),
            membership: RwLock::default(),
            publishes: AtomicU64::new(0),
            links: AtomicU64::new(0),
            counters: ClusterCounters::default(),
            tasks: Mutex::default(),
            ready: watch::Sender::new(false),
            behind: AtomicBool::new(false),
            host,
            config,
        }
    }

    /// Begins to speak and to listen.
    pub async fn start(self: &Arc<Self>, endpoint: Endpoint) -> Result<(), StartError> {
        let bound = endpoint.local_addr().map_err(StartError::Socket)?;
        let advertise = self.config.advertise_socket(bound);
        let membership = MembershipConfig {
            seeds: self.config.seeds.clone(),
            gossip_interval: self.config.gossip_interval,
            phi: self.config.phi,
            initial_interval: 2 * self.config.gossip_interval,
            forget_after: self.config.gossip.forget_after,
            keys: self.config.keys.clone(),
            ..MembershipConfig::new(self.config.cluster.clone(), self.me(), advertise, Arc::new(endpoint.udp))
        };
        let (membership, observations) = Membership::start(membership).await?;
        for (key, value) in self.config.published_keys() {
            // Few and short.
            let _ = membership.publish(&key, value);
        }
        *self.membership.write() = Some(membership);
        self.tasks.lock().extend([
            tokio::spawn(members::observe(self.clone(), observations)).abort_handle(),
            tokio::spawn(accept(self.clone(), endpoint.tcp)).abort_handle(),
            tokio::spawn(run_due(self.clone())).abort_handle(),
            tokio::spawn(dialer::run(self.clone())).abort_handle(),
        ]);
        Ok(())
    }

    /// Waits until the node may serve: it has what a reachable peer had, or waited long enough for one.
    pub async fn ready(&self) {
        let mut ready = self.ready.subscribe();
        let _ = tokio::time::timeout(self.config.join_grace, ready.wait_for(|ready| *ready)).await;
        self.ready.send_replace(true);
    }

    /// Tells the others that this node stops, so that they need not find out. Links stay up for what is to be said yet.
    pub fn announce_stop(&self) {
        for peer in self.peers.all() {
            if let Some(link) = peer.link() {
                peer.send(&link.replica, |out| {
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
        let is_waiting = |peer: &Arc<Peer>| peer.link().is_some() && !peer.is_drained();
        while self.peers.all().iter().any(is_waiting) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let membership = self.membership.write().take();
        if let Some(membership) = membership {
            membership.stop().await;
        }
        self.abort();
    }

    /// Ends all tasks and links at once.
    pub fn abort(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
        self.membership.write().take();
        for link in self.peers.all().iter().filter_map(|peer| peer.link()) {
            link.closed.notify_one();
        }
    }

    // What the broker asks for.

    /// A local subscriber wants what matches `granted`; those in `new` it did not have before. Returns what to wait for
    /// with [`Cluster::when_routed`].
    pub fn add_interest(&self, new: &[TopicFilter], granted: &[TopicFilter], now: Instant) -> u64 {
        self.with_replication(now, |replication| replication.add_interest(new, granted, now))
    }

    /// Subscribers of these filters are gone.
    pub fn remove_interest<'a>(&self, filters: impl IntoIterator<Item = &'a TopicFilter>, now: Instant) {
        self.with_replication(now, |replication| {
            for filter in filters {
                replication.remove_interest(filter, now);
            }
        });
    }

    /// Calls `then` once every live peer that can be reached has applied the route `sequence`, or was waited for long
    /// enough; it is told how many missed it.
    pub fn when_routed(&self, sequence: u64, now: Instant, then: WhenRouted) {
        self.with_replication(now, |replication| replication.when_routed(sequence, now, then));
    }

    /// Whether routes of a linked peer are known to be missing here; for at most `puback_timeout` after its greeting.
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }

    /// The nodes that a match names.
    pub fn destinations(&self, matched: &PeerSet) -> SmallVec<[Arc<Peer>; 4]> {
        self.peers.destinations(matched)
    }

    /// The number of the next publish of this replica.
    pub fn next_publish(&self) -> u64 {
        self.publishes.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a QoS 0 message to all nodes that a match names.
    pub fn forward_at_most_once(&self, matched: &PeerSet, application: &Application<'_>, now: Instant) {
        let publish = self.next_publish();
        for peer in self.destinations(matched) {
            match peer.forward_at_most_once(publish, application, now) {
                Ok(()) => {}
                Err(ForwardDrop::NoLink) => peer.counters.dropped_no_link.inc(),
                Err(ForwardDrop::LinkFull) => peer.counters.dropped_link_full.inc(),
            }
        }
    }

    // What links ask for.

    pub(crate) fn handshakes(&self) -> &Arc<Semaphore> {
        &self.handshakes
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(crate) fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// This incarnation of this node.
    pub fn me(&self) -> ReplicaId {
        self.replication.lock().node.me().clone()
    }

    pub(crate) fn hello(&self) -> Hello {
        let replication = self.replication.lock();
        // Writing to memory does not fail.
        let gossip = postcard::to_stdvec(&replication.node.hello(Instant::now())).unwrap_or_default();
        Hello {
            cluster: self.config.cluster.clone(),
            protocol: PROTOCOL,
            replica: replication.node.me().clone(),
            addresses: self.config.advertise.clone(),
            gossip,
            forwards_received: self.inbound.received(),
            wall_clock_ms: wall_clock_ms(),
        }
    }

    /// A handshake is done. None where the link is not wanted: to this node itself, or beside a better one.
    pub(crate) fn handle_link_up(
        &self,
        hello: &Hello,
        dialled: bool,
    ) -> Option<(Arc<Peer>, Arc<Link>, Received)> {
        let now = Instant::now();
        let me = self.me();
        let theirs = &hello.replica;
        if theirs.name == me.name {
            self.dialer.handle_self();
            return None;
        }
        let gossip = postcard::from_bytes(&hello.gossip).ok()?;
        let peer = self.peers.find_or_insert(&theirs.name);
        let dialled_by = if dialled { &me.name } else { &theirs.name };
        if let Some(present) = peer.link()
            && !is_preferred(&present, theirs, dialled_by, me.name.clone().min(theirs.name.clone()))
        {
            return None;
        }
        let link = Arc::new(Link {
            id: self.links.fetch_add(1, Ordering::Relaxed),
            replica: theirs.clone(),
            dialled_by: dialled_by.clone(),
            wake: Notify::new(),
            closed: Notify::new(),
            started: now,
            round_trip: Mutex::default(),
        });
        let received = hello.forwards_received.get(&me).copied().unwrap_or(0);
        // The sets hear of it while the peer's lock order allows: first the peer has its link, then the sets use it.
        self.with_replication(now, |replication| {
            if let Some(former) = peer.handle_link_up(link.clone(), received, now) {
                replication.handle_link_down(&former.replica, now);
                former.closed.notify_one();
            }
            replication.handle_link_up(theirs, gossip, now + self.config.puback_timeout, now);
        });
        self.members.note_hello(hello);
        tracing::info!(peer = %theirs, dialled, "link up");
        Some((peer, link, self.inbound.stream(theirs)))
    }

    pub(crate) fn handle_link_down(&self, peer: &Peer, link: &Link) {
        let now = Instant::now();
        self.with_replication(now, |replication| {
            if peer.handle_link_down(link.id, now) {
                replication.handle_link_down(&link.replica, now);
                tracing::info!(peer = %link.replica, "link down");
            }
        });
    }

    pub(crate) fn handle_gossip(
        &self,
        from: &ReplicaId,
        message: Message,
        length: usize,
        now: Instant,
    ) -> Result<(), MessageError> {
        if matches!(message, Message::Delta(_)) {
            self.counters.delta_bytes_in.inc_by(length as u64);
        }
        self.with_replication(now, |replication| replication.node.handle_message(from, message, now))
    }

    pub(crate) fn handle_pong(&self, link: &Link, round_trip: Duration, now: Instant) {
        *link.round_trip.lock() = Some(round_trip);
        self.with_replication(now, |replication| {
            replication.node.handle_pong(&link.replica, round_trip, now);
        });
    }

    pub(crate) fn handle_goodbye(&self, from: &ReplicaId, now: Instant) {
        self.with_replication(now, |replication| replication.handle_goodbye(from, now));
    }

    /// Changes the replicated sets, then sends and does what follows from that.
    fn with_replication<R>(&self, now: Instant, change: impl FnOnce(&mut Replication) -> R) -> R {
        let mut replication = self.replication.lock();
        let result = change(&mut replication);
        let effects = replication.drain(&self.peers, &*self.host, &self.counters, now);
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

/// Whether a new link replaces the present one. Both ends decide alike, whichever link came up first with them.
fn is_preferred(present: &Link, replica: &ReplicaId, dialled_by: &NodeName, lower: NodeName) -> bool {
    match replica.incarnation.cmp(&present.replica.incarnation) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        // Of two crossing links the one stays that the lower name dialled. A node that dials again has lost the one
        // it had.
        std::cmp::Ordering::Equal => *dialled_by == present.dialled_by || *dialled_by == lower,
    }
}

fn wall_clock_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Accepts links.
async fn accept(cluster: Arc<Cluster>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let cluster = cluster.clone();
                tokio::spawn(async move {
                    let result = driver::run(cluster.clone(), stream, false).await;
                    cluster.handle_link_end(address, result);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a link");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Cluster {
    fn handle_link_end(&self, address: SocketAddr, result: Result<(), LinkError>) {
        let Err(error) = result else { return };
        match error {
            LinkError::Handshake(error) => match error.rejection() {
                Some(reason) => {
                    self.counters.rejected.with_label_values(&[reason]).inc();
                    tracing::warn!(%address, %error, "peer turned away");
                }
                None => tracing::debug!(%address, %error, "no link"),
            },
            LinkError::Superseded => {}
            LinkError::Io(error) => tracing::debug!(%address, %error, "link lost"),
            error => tracing::warn!(%address, %error, "link cut"),
        }
    }
}

/// Does what is due in the replicated sets, and what is due every so often.
async fn run_due(cluster: Arc<Cluster>) {
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

    /// A node without seeds is a cluster of one; others first take over what a peer has.
    fn has_synced(&self, replication: &Replication) -> bool {
        let linked = self.peers.all().iter().any(|peer| peer.link().is_some());
        self.config.seeds.is_empty() || (linked && replication.node.converged())
    }

    /// The replica that an index in a match stands for.
    pub fn replica(&self, index: PeerIndex) -> Option<ReplicaId> {
        self.peers.replica(index)
    }

    /// The membership's counters, while it runs.
    pub fn with_membership<R>(&self, look: impl FnOnce(&GossipCounters) -> R) -> Option<R> {
        self.membership.read().as_ref().map(|membership| look(membership.counters()))
    }

    /// All peers that were heard of.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.all()
    }
}
