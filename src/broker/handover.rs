//! Sessions that come from other nodes and go to them: what the broker does at each step of a takeover.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use rumormq_gossip::Stamp;

use super::Broker;
use super::batch::Batch;
use super::client::{Client, ClientState, Subscriber};
use super::portable::{self, PortableRecord, PortableRest, PortableSession, PortableWill};
use super::session_record::SessionRecord;
use super::timers::TimerKey;
use crate::cluster::host::{
    Acquaintance, Arriving, Departing, LineChange, MalformedSession, Portion, Purpose,
};
use crate::cluster::wall_clock_ms;
use crate::message::{Message, QueuedMessage};
use crate::observation::trace::{Happening, TraceEvent};
use crate::session::frames::Frames;
use crate::session::succession::{Bringer, Farewell, PendingLine};
use crate::session::{Delivered, Delivery, Session};
use crate::topic::{SubscriptionFilter, Topic, TopicFilter};

/// A client that has been connected for so long has had its CONNACK, in milliseconds.
const HEARD_MS: u64 = 10_000;

impl ClientState {
    /// Whether the client knows of this session.
    pub(super) fn acquaintance(&self) -> Acquaintance {
        let record = &self.record;
        let is_new = record.is_unconfirmed() && record.subscriptions.is_empty();
        match &self.attachment {
            _ if !is_new => Acquaintance::Known,
            None => Acquaintance::Unknown,
            Some(_) if self.has_heard() => Acquaintance::Known,
            Some(_) => Acquaintance::Recent,
        }
    }

    /// The connection, if one is open, ends: whoever has heard of the session on it knows it.
    pub(super) fn note_heard(&mut self) {
        if self.attachment.is_some() && self.has_heard() {
            self.record.lineage.unconfirmed = false;
        }
    }

    /// Whether the present connection has lasted long enough.
    fn has_heard(&self) -> bool {
        let opened_ms = self.record.connection.as_ref().map(|connection| connection.since_ms);
        opened_ms.is_some_and(|opened_ms| wall_clock_ms().saturating_sub(opened_ms) >= HEARD_MS)
    }
}

impl Broker {
    /// See [`Host::release`](crate::cluster::host::Host::release).
    pub(super) fn release(
        self: &Arc<Self>,
        id: &str,
        to: Stamp,
        purpose: Purpose,
    ) -> Option<Box<dyn Departing>> {
        let client = self.registry.find(id)?;
        let mut batch = Batch::new(Instant::now());
        let node =
            self.cluster.get().filter(|_| client.is_traced()).and_then(|cluster| cluster.session_node(id));
        let mut state = client.lock();
        // A connection that opens claims the session, and whoever has the last claim is asked again then.
        if state.record.ended || client.claim() > to {
            return None;
        }
        state.note_heard();
        state.take_over();
        state.tell(|_| TraceEvent::of(Happening::SessionLeaves, id).with_some("to", node.as_ref()));
        let departing = if purpose == Purpose::Discard || state.record.expiry.is_zero() {
            self.end_session(&client, state, &mut batch);
            None
        } else {
            state.void();
            (state.record.shipped, state.record.departs) = (false, true);
            // As in a takeover on one node, only a delayed will is called off [MQTT-3.1.3-9]; one that waits goes on waiting
            // where the client has not connected.
            let waits = purpose == Purpose::Keep && state.record.will_timer.is_some();
            let will = state.record.will.take_if(|_| !waits).filter(|will| will.delay.is_zero());
            let called_off = state.record.will_timer.take_if(|_| !waits);
            self.timers.lock().cancel(called_off);
            // However often it is offered: its time runs since its connection ended.
            if state.record.expiry_timer.is_none() {
                self.set_expiry_timer(&client, &mut state, batch.now);
            }
            let (epoch, claim) = (state.epoch, client.claim());
            drop(state);
            // What it has goes with it; other members of its groups come first for what is still to come.
            self.note_presence(&client, batch.now);
            if let Some(will) = will {
                self.publish_will(&client, *will, &mut batch);
            }
            Some(Box::new(Kept { broker: Arc::downgrade(self), client, epoch, claim }) as Box<dyn Departing>)
        };
        batch.flush();
        batch.report(&self.metrics);
        departing
    }

    /// See [`Host::admit`](crate::cluster::host::Host::admit).
    pub(super) fn admit(
        self: &Arc<Self>,
        id: &str,
        record: &[u8],
    ) -> Result<Box<dyn Arriving>, MalformedSession> {
        let (record, lineage) = PortableRecord::read(record)?;
        let subscriptions = portable::subscriptions(record.subscriptions)?;
        let session = Session::new(self.limits().session.clone());
        let client = Arc::new(Client::new(
            id,
            session,
            SessionRecord {
                identity: portable::identity(record.username, record.is_node),
                subscriptions: subscriptions.iter().cloned().collect(),
                expiry: Duration::from_millis(record.expiry_ms).min(self.limits().max_session_expiry),
                lineage,
                ..SessionRecord::default()
            },
        ));
        client.lock().owe_retained(record.owed_retained);
        let changing = client.change_subscriptions();
        for (filter, subscription) in &subscriptions {
            self.route(filter, Subscriber(client.clone()), *subscription, false);
        }
        let filters: Vec<SubscriptionFilter> = subscriptions.into_iter().map(|(filter, _)| filter).collect();
        let routed_by = match self.cluster.get() {
            Some(cluster) => cluster.add_interest(&filters, &filters, Instant::now()),
            None => 0,
        };
        drop(changing);
        Ok(Box::new(Expected { broker: Arc::downgrade(self), client: Some(client), routed_by }))
    }

    fn install(
        self: &Arc<Self>,
        client: &Arc<Client>,
        state: &[u8],
        claim: Stamp,
        received: &[u64],
    ) -> Result<(), MalformedSession> {
        let now = Instant::now();
        // A clean start may have come before it, which is not to be undone. One that opens has no claim yet.
        let is_older = |former: &Client| former.claim() > Stamp::default() && former.claim() < claim;
        if self.registry.find(client.id()).is_some_and(|former| !is_older(&former)) {
            return Err(MalformedSession);
        }
        let PortableSession { state, succession, will, .. } = PortableSession::read(state)?;
        let is_noted = state.is_noted();
        let session =
            Session::import(state, self.limits().session.clone(), &|ticket| self.accept_ticket(ticket), now)
                .map_err(|_| MalformedSession)?;
        let mut locked = client.lock();
        let held = std::mem::replace(&mut locked.session, session);
        // Not all may have been asked yet: another node may have an older one, or a copy of this one.
        if self.cluster.get().is_some_and(|cluster| cluster.expect_rest(client.id(), now)) {
            locked.session.note_publishes();
        }
        let accept = |ticket| self.accept_ticket(ticket);
        locked.session.inherit(succession, self.cluster_number(), false, &accept, now);
        locked.session.absorb(held, now);
        for &origin in received {
            if locked.session.is_line_complete(origin) {
                locked.session.end_line(origin, now);
            }
        }
        // It has had connections, if not here: it is present.
        locked.void();
        self.set_expiry_timer(client, &mut locked, now);
        if let Some(will) = will.and_then(|will| will.into_pending(now)) {
            self.set_will_timer(client, &mut locked, now + will.delay);
            locked.record.will = Some(Box::new(will));
        }
        client.set_claim(claim);
        drop(locked);
        let former = self.registry.replace_if(client.clone(), is_older).map_err(|_| MalformedSession)?;
        match former {
            Some(former) => self.merge_former(client, &former, is_noted, now),
            None => self.adopt_exclusive(client, now),
        }
        self.trace_arrived(client);
        Ok(())
    }

    /// See [`Host::expects_no_rest`](crate::cluster::host::Host::expects_no_rest).
    pub(super) fn expects_no_rest(&self, id: &str) {
        if let Some(client) = self.registry.find(id) {
            let mut state = client.lock();
            if self.cluster.get().is_some_and(|cluster| cluster.expects_rest(id)) {
                return; // Again, by now.
            }
            state.session.forget_publishes();
            state.record.lineage.unsubscribed.clear();
        }
    }

    /// What stands for this replica in the names of publishes.
    pub(super) fn cluster_number(&self) -> u64 {
        self.cluster.get().map_or(0, |cluster| cluster.number())
    }

    /// See [`Host::pending_lines`](crate::cluster::host::Host::pending_lines).
    pub(super) fn pending_lines(&self, id: &str) -> Vec<PendingLine> {
        self.registry.find(id).map(|client| client.lock().session.pending_lines()).unwrap_or_default()
    }

    /// See [`Host::change_line`](crate::cluster::host::Host::change_line).
    pub(super) fn change_line(&self, id: &str, origin: u64, change: LineChange) {
        let Some(client) = self.registry.find(id) else { return };
        let now = Instant::now();
        let mut state = client.lock();
        if state.record.shipped {
            return; // It is with the new owner already.
        }
        match change {
            LineChange::Settle { former, stay, next_from } => {
                state.session.settle_line(origin, former, stay, next_from, now);
            }
            LineChange::Loosen => state.session.loosen_line(origin, now),
            // The session may have gone and come back since it was asked for: then it has another line.
            LineChange::End if state.session.is_line_complete(origin) => state.session.end_line(origin, now),
            LineChange::End => {}
        }
        drop(state);
        client.flush_uncounted(now);
    }

    /// A publish that the client's former node passes on, for it came late there. False if the session is not here either.
    pub(super) fn deliver_stray(
        &self,
        id: &str,
        message: &Arc<Message>,
        former: u64,
        batch: &mut Batch,
    ) -> bool {
        let Some(client) = self.registry.find(id) else { return false };
        let state = client.lock();
        if state.record.shipped || state.record.ended {
            return false;
        }
        let queued = QueuedMessage::new(message.clone(), message.qos, message.retain, &[]);
        // A node of version 2 does not say whose it was.
        let bringer = if former == 0 { Bringer::Rest } else { Bringer::FormerOwner(former) };
        self.deliver_brought(&client, state, &queued, bringer, batch);
        batch.touch(&client);
        true
    }

    /// Gives the client whose lock `state` is a message that another node had for it, if it still wants it. Returns whether it
    /// has taken it. Where it was not queued for the client there, its subscriptions say whether it is marked as retained.
    pub(super) fn deliver_brought(
        &self,
        client: &Arc<Client>,
        mut state: MutexGuard<'_, ClientState>,
        queued: &QueuedMessage,
        bringer: Bringer,
        batch: &mut Batch,
    ) -> bool {
        let Ok(topic) = Topic::new(queued.message.topic()) else { return false };
        if queued.message.is_expired(batch.now) {
            return false;
        }
        let share = queued.ticket.as_ref().map(|ticket| &**ticket.share());
        let mut scratch = std::mem::take(&mut batch.scratch);
        let matching = state.record.subscriptions.iter().filter(|(filter, _)| match share {
            Some(share) => *filter == share,
            None => filter.share.is_none() && filter.filter.matches(topic),
        });
        let mut qos = None;
        let mut retain = queued.retain && bringer == Bringer::Rest;
        let mut identifiers = Vec::new();
        for (_, subscription) in matching {
            retain |= queued.retain && subscription.retain_as_published;
            qos = qos.max(Some(subscription.qos));
            identifiers.extend(subscription.identifier);
        }
        let mut taken = false;
        if let Some(qos) = qos {
            queued.message.with_application(|application| {
                let mut frames = Frames::new(application, &mut scratch, batch.now)
                    .with_message(Some(queued.message.clone()));
                let delivery =
                    Delivery { qos, retain, identifiers: &identifiers, ticket: queued.ticket.as_ref() };
                let delivered = state.session.deliver_from(bringer, &mut frames, delivery);
                state.trace_unsent(client.id(), &frames, delivered);
                batch.count_delivered(delivered, application.qos.min(qos));
                taken = !matches!(delivered, Delivered::Dropped(_));
            });
        }
        let crowded = batch.notes_crowd && state.attachment.is_some() && state.session.queued() > 0;
        drop(state);
        if crowded {
            batch.note_crowded(client);
        }
        batch.scratch = scratch;
        taken
    }
}

/// A session that is kept for its new owner.
struct Kept {
    broker: Weak<Broker>,
    client: Arc<Client>,
    /// As long as no connection opens on it.
    epoch: u64,
    /// The claim that it is here with.
    claim: Stamp,
}

impl Departing for Kept {
    fn record(&self) -> Vec<u8> {
        let state = self.client.lock();
        // Writing to memory what serde can express does not fail.
        PortableRecord::write(&state.record).unwrap_or_default()
    }

    fn filters(&self) -> Vec<TopicFilter> {
        let state = self.client.lock();
        let plain = state.record.subscriptions.keys().filter(|filter| filter.share.is_none());
        plain.map(|filter| filter.filter.clone()).collect()
    }

    fn is_settled(&self) -> bool {
        self.client.lock().session.unacknowledged() == 0
    }

    fn stay(&self) -> u64 {
        self.claim.0
    }

    fn keep(&self) {
        let mut state = self.client.lock();
        if state.epoch != self.epoch || state.record.ended {
            return;
        }
        (state.record.shipped, state.record.departs) = (false, false);
        if let Some((due, broker)) = state.record.will_due.take().zip(self.broker.upgrade()) {
            broker.set_will_timer(&self.client, &mut state, due);
        }
    }

    fn state(&self, me: u64, farewells: &[Farewell], portion: Portion) -> Option<Vec<u8>> {
        let mut state = self.client.lock();
        if state.record.ended || state.epoch != self.epoch {
            return None;
        }
        state.record.shipped = true;
        state.record.was_shipped = true;
        let now = Instant::now();
        if portion == Portion::WithoutLines {
            for line in state.session.pending_lines() {
                state.session.loosen_line(line.origin, now);
            }
        }
        if portion == Portion::Rest {
            state.record.will = None; // The client is connected, or has another one.
        }
        let timer = state.record.will_timer.take();
        if let Some(broker) = self.broker.upgrade() {
            broker.timers.lock().cancel(timer);
        }
        state.record.will_due = timer.map(TimerKey::at);
        let will = state.record.will.as_ref().zip(state.record.will_due);
        let will = will.map(|(will, due)| PortableWill::of(will, due.saturating_duration_since(now), now));
        let session = PortableSession {
            state: state.session.export(now),
            succession: state.session.bequeath(me, self.claim.0, farewells, now),
            rest: (portion == Portion::Rest).then(|| PortableRest::of(&state.record, self.claim)),
            will,
        };
        session.write().ok()
    }

    fn forget(&self) {
        let Some(broker) = self.broker.upgrade() else { return };
        let mut batch = Batch::new(Instant::now());
        broker.hand_over_exclusive(&self.client);
        let mut state = self.client.lock();
        if !state.record.ended && state.epoch == self.epoch {
            // It is not over, only elsewhere: so are its messages and its will.
            state.session.release_tickets();
            state.session = Session::new(broker.limits().session.clone());
            state.record.will = None;
            broker.end_session(&self.client, state, &mut batch);
        }
    }
}

/// A session that is on its way here, subscribed already.
struct Expected {
    broker: Weak<Broker>,
    /// None once it is here.
    client: Option<Arc<Client>>,
    routed_by: u64,
}

impl Arriving for Expected {
    fn routed_by(&self) -> u64 {
        self.routed_by
    }

    fn is_unknown(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.lock().acquaintance() == Acquaintance::Unknown)
    }

    fn finish(
        mut self: Box<Self>,
        state: &[u8],
        claim: Stamp,
        received: &[u64],
    ) -> Result<(), MalformedSession> {
        let broker = self.broker.upgrade().ok_or(MalformedSession)?;
        let client = self.client.as_ref().ok_or(MalformedSession)?;
        broker.install(client, state, claim, received)?;
        self.client = None;
        Ok(())
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if let (Some(client), Some(broker)) = (self.client.take(), self.broker.upgrade()) {
            let mut batch = Batch::new(Instant::now());
            broker.end_session(&client, client.lock(), &mut batch);
            // What it held for groups has gone to other members.
            batch.flush();
            batch.report(&broker.metrics);
        }
    }
}
