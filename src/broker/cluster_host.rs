//! The broker as the cluster's host: peers' routes go into the trie, their forwards to the local sessions.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use rumormq_gossip::{Entry, ReplicaId, Stamp};

use super::Broker;
use super::batch::Batch;
use super::client::{Client, Signal, Subscriber};
use crate::cluster::Stray;
use crate::cluster::forward::wire::{AddressedStray, Addressees};
use crate::cluster::host::{
    Acquaintance, Arrival, Arriving, Confirm, Departing, Host, HybridTime, Inbound, LineChange,
    MalformedSession, Merged, Purpose,
};
use crate::cluster::unconsumed::Kept;
use crate::codec::packet::{Packet, Publish, QoS};
use crate::message::{Application, Origin, PortableMessage, PublishId};
use crate::router::{MatchCache, Members, PeerIndex, PeerMembers};
use crate::session::Session;
use crate::session::ack_ring::Slot;
use crate::session::succession::PendingLine;
use crate::topic::{SubscriptionFilter, TopicFilter};

/// The broker, held weakly: the cluster does not keep it alive.
pub struct ClusterHost(pub Weak<Broker>);

impl Host for ClusterHost {
    fn insert_route(&self, filter: &TopicFilter, peer: PeerIndex) {
        if let Some(broker) = self.0.upgrade() {
            broker.router.insert_route(filter, peer);
        }
    }

    fn remove_route(&self, filter: &TopicFilter, peer: PeerIndex) {
        if let Some(broker) = self.0.upgrade() {
            broker.router.remove_route(filter, peer);
        }
    }

    fn set_peer_members(&self, share: &SubscriptionFilter, members: PeerMembers) {
        if let (Some(broker), Some(name)) = (self.0.upgrade(), &share.share) {
            broker.router.set_peer_members(name, &share.filter, members);
        }
    }

    fn remove_peer_members(&self, share: &SubscriptionFilter, peer: PeerIndex) {
        if let (Some(broker), Some(name)) = (self.0.upgrade(), &share.share) {
            broker.router.remove_peer_members(name, &share.filter, peer);
        }
    }

    fn own_members(&self, share: &SubscriptionFilter) -> Members {
        let group = self.0.upgrade().zip(share.share.as_ref());
        let group = group.and_then(|(broker, name)| broker.router.group(name, &share.filter));
        group.map(|group| group.members()).unwrap_or_default()
    }

    fn show_retained(&self, entry: &Entry, arrival: Arrival, time: HybridTime) {
        if let Some(broker) = self.0.upgrade() {
            broker.retained.show(entry, arrival, time);
        }
    }

    fn hide_retained(&self, key: &[u8], stamp: Option<Stamp>) {
        if let Some(broker) = self.0.upgrade() {
            broker.retained.hide(key, stamp);
        }
    }

    fn handle_exclusive_lost(&self, filter: TopicFilter) {
        if let Some(broker) = self.0.upgrade() {
            broker.exclusive.handle_lost(filter);
        }
    }

    fn handle_caught_up(&self) {
        if let Some(broker) = self.0.upgrade() {
            for signal in std::mem::take(&mut *broker.waiting.lock()) {
                signal.waiting.store(false, Ordering::Release);
                signal.waker.wake();
            }
        }
    }

    fn share_again(&self, kept: Vec<Kept>, except: Option<&ReplicaId>, now: Instant) {
        let Some(broker) = self.0.upgrade() else { return };
        let mut batch = Batch::new(now);
        for kept in kept {
            broker.share(kept, except, &mut batch);
        }
        batch.flush();
        batch.report(&broker.metrics);
    }

    fn open_inbound(&self, origin: Arc<dyn Origin>) -> Box<dyn Inbound> {
        Box::new(LinkInbound {
            broker: self.0.clone(),
            origin,
            matches: MatchCache::new(None, MatchCache::<Subscriber>::DEFAULT_CAPACITY_BYTES),
            batch: Batch::between_turns(Instant::now()),
            strays: Vec::new(),
        })
    }

    fn session_claim(&self, id: &str) -> Option<Stamp> {
        Some(self.0.upgrade()?.registry.find(id)?.claim())
    }

    fn release(&self, id: &str, to: Stamp, purpose: Purpose) -> Option<Box<dyn Departing>> {
        self.0.upgrade()?.release(id, to, purpose)
    }

    fn admit(&self, id: &str, record: &[u8]) -> Result<Box<dyn Arriving>, MalformedSession> {
        self.0.upgrade().ok_or(MalformedSession)?.admit(id, record)
    }

    fn acquaintance(&self, id: &str) -> Acquaintance {
        let client = self.0.upgrade().and_then(|broker| broker.client(id));
        client.map_or(Acquaintance::Known, |client| client.lock().acquaintance())
    }

    fn merge(&self, id: &str, state: &[u8]) -> Result<Merged, MalformedSession> {
        self.0.upgrade().ok_or(MalformedSession)?.merge(id, state)
    }

    fn delay(&self, due_ms: u64, message: PortableMessage) {
        if let Some(broker) = self.0.upgrade() {
            broker.delay_on(due_ms, message, Instant::now());
        }
    }

    fn deliver_strays(&self, strays: &[Stray], now: Instant) {
        let Some(broker) = self.0.upgrade() else { return };
        let mut batch = Batch::new(now);
        for stray in strays {
            broker.deliver_stray(&stray.client, &stray.message, stray.former, &mut batch);
        }
        batch.flush();
        batch.report(&broker.metrics);
    }

    fn pending_lines(&self, id: &str) -> Vec<PendingLine> {
        self.0.upgrade().map(|broker| broker.pending_lines(id)).unwrap_or_default()
    }

    fn change_line(&self, id: &str, origin: u64, change: LineChange) {
        if let Some(broker) = self.0.upgrade() {
            broker.change_line(id, origin, change);
        }
    }

    fn expects_no_rest(&self, id: &str) {
        if let Some(broker) = self.0.upgrade() {
            broker.expects_no_rest(id);
        }
    }
}

/// The forwards of one link.
struct LinkInbound {
    broker: Weak<Broker>,
    origin: Arc<dyn Origin>,
    matches: MatchCache<Subscriber>,
    batch: Batch,
    /// What this turn has brought for sessions that have moved.
    strays: Vec<Stray>,
}

impl Inbound for LinkInbound {
    fn begin(&mut self, now: Instant) {
        self.batch.begin_turn(now);
    }

    fn deliver(
        &mut self,
        publish: PublishId,
        application: &Application<'_>,
        retained: Option<Stamp>,
        addressees: Addressees<'_>,
    ) {
        let Some(broker) = self.broker.upgrade() else { return };
        if let Some(stamp) = retained {
            broker.retain_ahead(application, stamp, self.batch.now);
        }
        if let Some(AddressedStray { client, origin, former }) = addressees.stray {
            let publish = PublishId { origin, ..publish };
            let message = Arc::new(application.to_message().named(Some(publish)));
            let stray = Stray { client: client.into(), former, publish, message };
            let stray = match broker.cluster.get() {
                Some(cluster) => cluster.hold_stray(stray),
                None => Some(stray),
            };
            let deliver =
                |stray: &Stray, batch| broker.deliver_stray(&stray.client, &stray.message, former, batch);
            self.strays.extend(stray.filter(|stray| !deliver(stray, &mut self.batch)));
            return;
        }
        if addressees.plain
            && application.qos > QoS::AtMostOnce
            && let Some(cluster) = broker.cluster.get()
        {
            for client in cluster.strays(&self.origin.replica().name, application.topic) {
                let message = Arc::new(application.to_message().named(Some(publish)));
                self.strays.push(Stray { client, former: cluster.number(), publish, message });
            }
        }
        let matches = self.matches.look_up(&broker.router, application.topic);
        let traced = broker
            .tracer
            .is_on_topics()
            .then(|| broker.trace_forwarded(application, self.origin.replica().name.as_str(), &self.batch));
        if addressees.plain {
            broker.deliver(application, Some(publish), matches, &mut self.batch);
        }
        for share in addressees.shares {
            broker.deliver_share(application, matches, share, &self.origin, &mut self.batch);
        }
        if let Some(traced) = traced {
            broker.trace_routed(&traced, application.topic, matches, false, &self.batch);
        }
    }

    fn finish(&mut self) {
        self.batch.flush();
        if let Some(broker) = self.broker.upgrade() {
            self.batch.report(&broker.metrics);
            if !self.strays.is_empty()
                && let Some(cluster) = broker.cluster.get()
            {
                cluster.forward_strays(std::mem::take(&mut self.strays), self.batch.now);
            }
        }
        self.batch.end_turn();
    }

    fn expect_late(&mut self) {
        self.batch.notes_crowd = true;
    }

    fn crowd(&mut self) -> usize {
        let mut waiting = 0;
        self.batch.crowd.retain(|client| {
            let state = client.lock();
            let waiting_for = |session: &Session| session.queued() + session.held();
            let queued = if state.attachment.is_some() { waiting_for(&state.session) } else { 0 };
            waiting += queued;
            queued > 0
        });
        waiting
    }
}

/// A publishing client waits for its publishes to be safe on other nodes.
impl Confirm for Client {
    fn confirm(&self, slot: u64) {
        self.lock().session.confirm(Slot(slot));
    }

    fn flush(&self, now: Instant) {
        self.flush_uncounted(now);
        self.unthrottle();
    }
}

impl Broker {
    /// Whether routes of a peer are known to be missing here, so that a publish matched now might be acknowledged into
    /// a void.
    pub fn is_behind(&self) -> bool {
        self.cluster.get().is_some_and(|cluster| cluster.is_behind())
    }

    /// Whether a packet has to wait for that.
    pub fn must_wait(&self, packet: &Packet<'_>) -> bool {
        matches!(packet, Packet::Publish(Publish { qos: QoS::AtLeastOnce | QoS::ExactlyOnce, .. }))
            && self.is_behind()
    }

    /// Wakes the connection when the node has caught up; false if it has.
    pub fn wait_until_caught_up(&self, signal: &Arc<Signal>) -> bool {
        if !self.is_behind() {
            return false;
        }
        if !signal.waiting.swap(true, Ordering::AcqRel) {
            self.waiting.lock().push(signal.clone());
        }
        // It may have caught up before it was waited for.
        self.is_behind()
    }

    /// The cluster's host that this broker is.
    pub fn cluster_host(self: &Arc<Self>) -> Arc<dyn Host> {
        Arc::new(ClusterHost(Arc::downgrade(self)))
    }
}
