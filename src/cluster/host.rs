//! What the cluster asks of the broker it works for. The broker implements it; the cluster knows no more of it.

use std::sync::Arc;
use std::time::Instant;

use rumormq_gossip::{Entry, ReplicaId, Stamp};

use super::Stray;
use super::forward::wire::Addressees;
use super::unconsumed::Kept;
use crate::message::{Application, Origin, PortableMessage, PublishId};
use crate::router::{Members, PeerIndex, PeerMembers};
use crate::session::succession::{Farewell, PendingLine};
use crate::topic::{SubscriptionFilter, TopicFilter};

/// The broker, as the cluster sees it.
pub trait Host: Send + Sync + 'static {
    /// A peer wants what matches the filter.
    fn insert_route(&self, filter: &TopicFilter, peer: PeerIndex);

    /// A peer does not want it any more.
    fn remove_route(&self, filter: &TopicFilter, peer: PeerIndex);

    /// The group of a shared subscription has so many members on a peer.
    fn set_peer_members(&self, share: &SubscriptionFilter, members: PeerMembers);

    /// The group has no members on the peer any more.
    fn remove_peer_members(&self, share: &SubscriptionFilter, peer: PeerIndex);

    /// The members that the group has on this node.
    fn own_members(&self, share: &SubscriptionFilter) -> Members;

    /// This is what counts for a topic with a retained message now, be it that there is none.
    fn show_retained(&self, entry: &Entry, arrival: Arrival, time: HybridTime);

    /// A topic has no retained message any more. `stamp` is that of whatever says so.
    fn hide_retained(&self, key: &[u8], stamp: Option<Stamp>);

    /// A client of another node has claimed what a client of this node had exclusively. Called with the sets locked.
    fn handle_exclusive_lost(&self, filter: TopicFilter);

    /// The routes that were known to be missing have arrived, or were waited for long enough.
    fn handle_caught_up(&self);

    /// Chooses members for messages of shared subscriptions whose members were lost, or could not be reached. `except` was
    /// tried just now.
    fn share_again(&self, kept: Vec<Kept>, except: Option<&ReplicaId>, now: Instant);

    /// The way for one link's forwards to the local sessions. `origin` hears what becomes of those for groups.
    fn open_inbound(&self, origin: Arc<dyn Origin>) -> Box<dyn Inbound>;

    /// The claim with which a client's session is here, if it is. Called with the cluster's locks held: it may take no
    /// lock under which the cluster is called.
    fn session_claim(&self, id: &str) -> Option<Stamp>;

    /// Another node's claim `to` on a session counts: the client's connection ends, unless it has a later claim or is
    /// making one. None where there is nothing to hand over: no session, or one that ends with its connection, or with that
    /// claim.
    fn release(&self, id: &str, to: Stamp, purpose: Purpose) -> Option<Box<dyn Departing>>;

    /// A session is on its way here: it is subscribed as `record` says, and what arrives for it is held.
    fn admit(&self, id: &str, record: &[u8]) -> Result<Box<dyn Arriving>, MalformedSession>;

    /// Whether the client knows of its session, which is here.
    fn acquaintance(&self, id: &str) -> Acquaintance;

    /// Gives the session that is here what was never sent of an older one. Where the client has subscribed there to what it has not
    /// here, it is subscribed to that first.
    fn merge(&self, id: &str, state: &[u8]) -> Result<Merged, MalformedSession>;

    /// A publish that has to wait so many milliseconds yet has come from a node that leaves.
    fn delay(&self, due_ms: u64, message: PortableMessage);

    /// Gives publishes that came for former owners of sessions to these, which are here.
    fn deliver_strays(&self, strays: &[Stray], now: Instant);

    /// The origins from which something may still come for a session by other ways than its routes.
    fn pending_lines(&self, id: &str) -> Vec<PendingLine>;

    /// Something is known of one of them.
    fn change_line(&self, id: &str, origin: u64, change: LineChange);

    /// No other node has an older session of the client: nothing will be merged any more.
    fn expects_no_rest(&self, id: &str);
}

/// What is known of an origin from which something may come for a session by several ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineChange {
    /// See [`Session::settle_line`](crate::session::Session::settle_line).
    Settle {
        /// Which former owner.
        former: u64,
        /// The stamp of the claim that it had the session with.
        stay: u64,
        /// As in [`Farewell`].
        next_from: u64,
    },
    /// See [`Session::loosen_line`](crate::session::Session::loosen_line).
    Loosen,
    /// See [`Session::end_line`](crate::session::Session::end_line).
    End,
}

/// How a retained message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// By a publish, here or on another node, that subscribers of this node get as well.
    Published,
    /// By the replicated set.
    Learned,
}

/// The time that stamps are compared with.
#[derive(Clone, Copy, Debug)]
pub struct HybridTime {
    /// By this process's clock.
    pub now: Instant,
    /// By the clock that makes stamps, in milliseconds.
    pub stamp_ms: u64,
}

/// What has been taken of an older session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// Everything.
    All,
    /// Its subscriptions. What comes for them goes there until these routes are known.
    Subscriptions {
        /// The last one's sequence number in the set of routes.
        routed_by: u64,
    },
}

/// Whether a client knows of the session that it has here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    /// It does, or must: there is something in it.
    Known,
    /// It is connected, and may not have heard yet that its session begins.
    Recent,
    /// It was gone before it may have heard of it: what it knows is an older one.
    Unknown,
}

/// What another node claims a session for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its client has connected there.
    Resume,
    /// To have it until its client connects: the node that has it leaves.
    Keep,
    /// Its client wants a new one, or has had one that is over.
    Discard,
}

/// What another node gets of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// All of it.
    Whole,
    /// All of it, for a node that knows nothing of what former owners pass on: nothing waits for that any more.
    WithoutLines,
    /// What is left of it, for a node that has a newer one.
    Rest,
}

/// A session that is kept for another node.
pub trait Departing: Send + Sync {
    /// What its new owner has to know before its state.
    fn record(&self) -> Vec<u8>;

    /// What it is subscribed to, but for groups.
    fn filters(&self) -> Vec<TopicFilter>;

    /// Whether no publish of its client waits for other nodes.
    fn is_settled(&self) -> bool;

    /// The stamp of the claim that this node has it with.
    fn stay(&self) -> u64;

    /// The state of its protocol; none where it is over, or in use again. `me` is this node, as former owner.
    fn state(&self, me: u64, farewells: &[Farewell], portion: Portion) -> Option<Vec<u8>>;

    /// The new owner does not have it: whatever comes for it is this copy's again.
    fn keep(&self);

    /// The new owner has it: this copy is deleted, unless it is in use again.
    fn forget(&self);
}

/// A session that is expected. Dropped, it is not expected any more.
pub trait Arriving: Send {
    /// The sequence number in the set of routes by which it is routed.
    fn routed_by(&self) -> u64;

    /// The client may not have heard of it, and has not subscribed to anything in it: it takes any other one for its session.
    fn is_unknown(&self) -> bool;

    /// It is here: it goes on from `state`, followed by what was held. All is here that the origins in `received` had sent
    /// before they knew so.
    fn finish(self: Box<Self>, state: &[u8], claim: Stamp, received: &[u64]) -> Result<(), MalformedSession>;
}

/// A peer sent a session that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent a malformed session")]
pub struct MalformedSession;

/// Takes the forwards of one link.
pub trait Inbound: Send {
    /// A turn of the link begins.
    fn begin(&mut self, now: Instant);

    /// Gives a message to the local sessions, never to other nodes. One that was retained has the stamp that it got where it
    /// was published.
    fn deliver(
        &mut self,
        publish: PublishId,
        application: &Application<'_>,
        retained: Option<Stamp>,
        addressees: Addressees<'_>,
    );

    /// Writes to the sockets what the turn has delivered.
    fn finish(&mut self);

    /// What is delivered until the turn's end comes late, and all at once: from now on it is noted which clients cannot take
    /// theirs at the moment.
    fn expect_late(&mut self);

    /// How many messages wait for these clients, until nothing does.
    fn crowd(&mut self) -> usize;
}

/// Someone who waits for a publish to be safe.
pub trait Confirm: Send + Sync {
    /// One of the destinations of the publish in `slot` has it, or it is in that destination's buffer.
    fn confirm(&self, slot: u64);

    /// Sends what the confirmations have set free.
    fn flush(&self, now: Instant);
}

/// A claim on one confirmation.
pub struct Receipt {
    /// Whose publish it is.
    pub to: Arc<dyn Confirm>,
    /// Which of its publishes.
    pub slot: u64,
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// Confirms all of them, in order, and flushes each receiver once.
pub fn confirm_all(receipts: Vec<Receipt>, now: Instant) {
    let mut waiting: Vec<Arc<dyn Confirm>> = Vec::new();
    for receipt in receipts {
        receipt.to.confirm(receipt.slot);
        if !waiting.iter().any(|other| Arc::ptr_eq(other, &receipt.to)) {
            waiting.push(receipt.to);
        }
    }
    for receiver in waiting {
        receiver.flush(now);
    }
}
