//! What links tell the cluster: that they are up or down, what their peers say of the replicated sets, that they answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::{Digest, Incarnation, Message, MessageError, NodeName, ReplicaId};
use tokio::sync::Notify;

use super::complaints::advice;
use super::forward::inbound::Received;
use super::handshakes::Handshakes;
use super::host::{Host, confirm_all};
use super::link::driver::LinkError;
use super::link::handshake::Credentials;
use super::link::hello::{self, Hello};
use super::link::kind;
use super::peer::{Carried, Link, Peer};
use super::relay::way::LinkProof;
use super::{Cluster, NameTaken, origin_of, wall_clock_ms};

/// Clocks that differ by more are the operator's business.
const CLOCKS_MAY_DIFFER_MS: u64 = 60_000;

impl Cluster {
    pub(crate) fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// What the next handshake is to use.
    pub(crate) fn credentials(&self) -> Arc<Credentials> {
        self.secrets.credentials()
    }

    pub(crate) fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    pub(crate) fn hello(&self) -> Hello {
        // A stream's lock is held while clients' are taken, and so is never waited for under that of the replication.
        let forwards_received = self.inbound.received();
        let replication = self.replication.lock();
        // Writing to memory does not fail.
        let gossip = postcard::to_stdvec(&replication.node.hello(Instant::now())).unwrap_or_default();
        Hello {
            cluster: self.config.cluster.clone(),
            protocol: hello::SPOKEN,
            replica: replication.node.me().clone(),
            addresses: self.config.advertise.clone(),
            gossip,
            forwards_received,
            wall_clock_ms: wall_clock_ms(),
        }
    }

    /// A handshake is done, in which this node was `me`. An error where the link is not wanted: to this node itself, or beside a
    /// better one.
    pub(crate) fn handle_link_up(
        &self,
        me: &ReplicaId,
        hello: &Hello,
        protocol: u16,
        dialled: bool,
    ) -> Result<(Arc<Peer>, Arc<Link>, Received), LinkError> {
        let now = Instant::now();
        let theirs = &hello.replica;
        if theirs == me {
            return Err(LinkError::Itself);
        }
        if theirs.name == me.name {
            return Err(LinkError::SameName(theirs.clone()));
        }
        let gossip: Digest =
            postcard::from_bytes(&hello.gossip).map_err(|_| LinkError::MalformedFrame(kind::HELLO))?;
        if !*self.ready.borrow() {
            self.check_name(&gossip, me, now)?;
            self.outdo_earlier_starts(&gossip, me, now)?;
        }
        let dialled_by = if dialled { &me.name } else { &theirs.name };
        let link = Arc::new(Link {
            id: self.links.fetch_add(1, Ordering::Relaxed),
            replica: theirs.clone(),
            origin: origin_of(theirs),
            protocol,
            dialled_by: dialled_by.clone(),
            wake: Notify::new(),
            closed: Notify::new(),
            started: now,
            proof: Mutex::new(LinkProof { answered: now, asked: now }),
            carried: Carried::default(),
            shortest_round_trip: AtomicU64::new(u64::MAX),
            heard_micros: AtomicU64::new(0),
        });
        let received = hello.forwards_received.get(me).copied().unwrap_or(0);
        let lower = (&me.name).min(&theirs.name);
        let (peer, done) = self.with_replication(now, |replication| {
            // What the peer was greeted by may have ended meanwhile.
            if self.stopped.load(Ordering::Acquire) || replication.node.me() != me {
                return Err(LinkError::Superseded);
            }
            let present = self.peers.find(&theirs.name).and_then(|peer| peer.link());
            if let Some(present) = &present
                && !is_preferred(present, theirs, dialled_by, lower, now)
            {
                return Err(LinkError::Superseded);
            }
            // What tables have of a peer is bounded by whom the sets admit.
            if let Some(former) = &present {
                if former.replica != *theirs {
                    replication.handle_link_down(&former.replica, now);
                }
                former.closed.notify_one();
            }
            if !replication.handle_link_up(theirs, gossip, now + self.config.puback_timeout, now) {
                return Err(LinkError::NotAdmitted(theirs.clone()));
            }
            if protocol >= 2 {
                replication.node.allow_beats(theirs);
            }
            let mut done = Vec::new();
            let peer = self.peers.find_or_insert(&theirs.name);
            peer.handle_link_up(link.clone(), received, now, &mut done);
            if !replication.node.has_left(theirs) {
                self.members.note_hello(hello, wall_clock_ms());
            }
            Ok((peer, done))
        })?;
        confirm_all(done, now);
        self.speak();
        self.note_present(now);
        tracing::info!(peer = %theirs, dialled, protocol, "link up");
        let ahead_ms = hello.wall_clock_ms.wrapping_sub(wall_clock_ms()) as i64;
        if ahead_ms.unsigned_abs() > CLOCKS_MAY_DIFFER_MS {
            tracing::warn!(
                peer = %theirs,
                ahead_seconds = ahead_ms / 1000,
                "the peer's clock differs from this node's: check both (NTP), for the latest clock decides which retained message \
                 and which session counts"
            );
        }
        Ok((peer, link, self.inbound.stream(theirs)))
    }

    /// Whether another node answers its peers under this node's name. An answer speaks for a second, in which this node may
    /// have been started again: so it is asked again after that.
    fn check_name(&self, gossip: &Digest, me: &ReplicaId, now: Instant) -> Result<(), LinkError> {
        const ASK_AGAIN_AFTER: Duration = Duration::from_millis(1200);
        // Own answers are those on a link that crosses this one, or on one from before this node went on as a later start.
        let own = [me.incarnation, self.config.replica.incarnation];
        let is_other = |peer: &&ReplicaId| peer.name == me.name && !own.contains(&peer.incarnation);
        let Some(holder) = gossip.links.iter().map(|link| &link.peer).find(is_other) else { return Ok(()) };
        let first = *self.name_contested.get_or_init(|| now);
        match now.saturating_duration_since(first) < ASK_AGAIN_AFTER {
            true => Err(LinkError::NameContested(holder.clone())),
            false => Err(LinkError::SameName(holder.clone())),
        }
    }

    /// A start of this node whose clock was behind would be taken for an earlier one than those that others remember. Once
    /// clients are let in, a higher incarnation means that another node has the name; then both keep theirs.
    fn outdo_earlier_starts(&self, gossip: &Digest, me: &ReplicaId, now: Instant) -> Result<(), LinkError> {
        let remembered = gossip.applied.iter().map(|(replica, _)| replica);
        let gone = gossip.left.iter().chain(&gossip.forgotten);
        let starts = remembered.chain(gone).filter(|other| other.name == me.name);
        // What nobody can have started as is made up, and would leave nothing to go on as.
        let starts = starts.filter(|other| other.incarnation <= Incarnation::MAX_HEARSAY);
        match starts.map(|start| start.incarnation).max() {
            Some(highest) if highest > me.incarnation => {
                tracing::warn!(
                    ?highest,
                    "others remember a later start of this node: check its clock, or give it a --data-dir"
                );
                self.with_replication(now, |replication| replication.begin_incarnation_after(highest, now));
                Err(LinkError::Superseded)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn handle_link_down(&self, peer: &Peer, link: &Link) {
        let now = Instant::now();
        let mut done = Vec::new();
        self.with_replication(now, |replication| {
            if peer.handle_link_down(link.id) {
                replication.handle_link_down(&link.replica, now);
                tracing::info!(peer = %link.replica, "link down");
            }
        });
        self.handle_carrier_down(link, now);
        peer.release_unreachable(now, &mut done);
        confirm_all(done, now);
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
        self.with_replication(now, |replication| {
            replication.node.handle_pong(&link.replica, round_trip, now);
        });
    }

    pub(crate) fn handle_goodbye(&self, from: &ReplicaId, now: Instant) {
        self.with_replication(now, |replication| replication.handle_goodbye(from, now));
    }

    /// A link, or an attempt at one, has ended.
    pub(super) fn handle_link_end(&self, address: SocketAddr, dialled: bool, result: Result<(), LinkError>) {
        let Err(error) = result else { return };
        match error {
            LinkError::Superseded | LinkError::Itself => {}
            // A newcomer ends; whoever serves clients goes on.
            LinkError::SameName(holder)
                if (dialled || self.name_contested.get().is_some()) && !*self.ready.borrow() =>
            {
                let _ = self.name_taken.set(NameTaken { holder, address });
                self.ready.send_replace(true);
            }
            error => match error.rejection() {
                Some(reason) => {
                    self.counters.rejected.with_label_values(&[reason]).inc();
                    if self.complaints.is_news(address, dialled, reason, Instant::now()) {
                        tracing::warn!(%address, dialled, %error, reason, "peer turned away: {}", advice(reason));
                    } else {
                        tracing::debug!(%address, dialled, %error, "peer turned away again");
                    }
                }
                None => tracing::debug!(%address, %error, "link lost"),
            },
        }
    }
}

/// A link on which no ping was answered for so long may be gone at its other end.
const DOUBTFUL_AFTER: Duration = Duration::from_millis(1500);

/// Whether a new link replaces the present one. Both ends decide alike, whichever link came up first with them.
fn is_preferred(
    present: &Link,
    replica: &ReplicaId,
    dialled_by: &NodeName,
    lower: &NodeName,
    now: Instant,
) -> bool {
    let doubtful = now.saturating_duration_since(present.answered()) > DOUBTFUL_AFTER;
    match replica.incarnation.cmp(&present.replica.incarnation) {
        // Where the former start still answers, its end has not been noticed yet, or the name was given twice.
        std::cmp::Ordering::Greater => doubtful,
        std::cmp::Ordering::Less => false,
        // Of two crossing links the one stays that the lower name dialled. A node that dials again has lost the one
        // it had.
        std::cmp::Ordering::Equal => *dialled_by == present.dialled_by || dialled_by == lower || doubtful,
    }
}
