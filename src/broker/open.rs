//! Opening and closing connections: what becomes of the session that the client had.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::authentication::Proof;
use super::batch::Batch;
use super::client::{Attachment, Client, ClientState};
use super::refused::Refused;
use super::session_record::{ConnectionRecord, PendingWill, SessionRecord};
use super::timers::Due;
use super::{Broker, Limits};
use crate::access::Identity;
use crate::cluster::wall_clock_ms;
use crate::codec;
use crate::codec::packet::{ConnAck, Connect, Packet, Properties, PropertySet, ProtocolVersion, ReasonCode};
use crate::observation::trace::{Happening, TraceEvent};
use crate::session::{Negotiated, Session, SessionLimits};

/// A connection that was accepted; its CONNACK is in the session's outbox.
#[derive(Debug)]
pub struct Connected {
    /// Whose it is.
    pub client: Arc<Client>,
    /// Which of the client's connections it is.
    pub epoch: u64,
    /// Longest silence the client may keep, one and a half times its Keep Alive [MQTT-3.1.2-22]; none if it is 0.
    pub silence_max: Option<Duration>,
    /// The Authentication Method that its client has used, and may use again.
    pub method: Option<Box<str>>,
    /// What it was granted.
    pub limits: Arc<Limits>,
}

/// What a connection is opened with.
struct Opening<'a> {
    connect: &'a Connect<'a>,
    /// What the client is told.
    is_present: bool,
    keep_alive_secs: u16,
    identity: Identity,
    negotiated: Negotiated,
    attachment: Attachment,
}

impl Broker {
    /// Whether the client may have its will: a will is published without it.
    pub(super) fn check_will(
        &self,
        connect: &Connect<'_>,
        id: &str,
        identity: &Identity,
    ) -> Result<(), Refused> {
        let Some(will) = &connect.will else { return Ok(()) };
        self.limits().capabilities.check_will(will)?;
        match self.may_will(identity, id, will.topic) {
            true => Ok(()),
            false => Err(Refused(ReasonCode::NotAuthorized)),
        }
    }

    /// Opens a connection on the session that the client asks for.
    pub(super) fn open(
        &self,
        connect: &Connect<'_>,
        proof: Proof,
        attachment: Attachment,
        batch: &mut Batch,
    ) -> Result<Connected, Refused> {
        let Proof { identity, said } = proof;
        let assigned = match connect.client_id {
            "" if connect.version < ProtocolVersion::V500 && !connect.clean_start => {
                return Err(Refused(ReasonCode::ClientIdentifierNotValid)); // [MQTT-3.1.3-8] of 3.1.1
            }
            "" => Some(self.assign_client_id()),
            _ => None,
        };
        let id = assigned.as_deref().unwrap_or(connect.client_id);
        if assigned.is_some() {
            self.check_will(connect, id, &identity)?;
        }
        let limits = self.limits();
        let capabilities = &limits.capabilities;
        let response = capabilities.response_information(connect, id, &identity);
        let told = connect.version == ProtocolVersion::V500;
        let keep_alive_secs = capabilities.keep_alive_secs(connect.keep_alive_secs, told);
        loop {
            let make = || Client::new(id, Session::new(limits.session.clone()), SessionRecord::default());
            let client = self
                .registry
                .find_or_insert(id, limits.max_sessions, make)
                .map_err(|_| Refused(self.reason_to_go(ReasonCode::QuotaExceeded)))?;
            // What is seen under the lock is done under it: other connections may ask for the same session now.
            let mut state = client.lock();
            if state.record.ended {
                drop(state);
                self.registry.remove(&client);
            } else if state.epoch > 0
                && (connect.clean_start || state.record.expiry.is_zero() || state.record.identity != identity)
            {
                // A session that lasts as long as its connection ends with it, whoever ends that [MQTT-3.1.2-6 of 3.1.1].
                // Nobody else gets what a user's session holds, whatever client identifier he says.
                state.take_over();
                self.end_session(&client, state, batch); // [MQTT-3.1.2-4]
            } else {
                let mut set = PropertySet {
                    assigned_client_identifier: assigned.as_deref(),
                    authentication_method: said.as_ref().and(connect.properties.authentication_method), // [MQTT-4.12.0-5]
                    authentication_data: said.as_deref().filter(|said| !said.is_empty()),
                    response_information: response.as_deref(),
                    ..PropertySet::EMPTY
                };
                capabilities.announce(keep_alive_secs, connect, &mut set);
                let is_present = state.epoch > 0 && !state.record.is_unconfirmed();
                let connack = self.connack(connect, &limits, set, is_present);
                let negotiated = negotiate(connect, &limits.session);
                // Nothing may be sent before CONNACK [MQTT-3.2.0-1]: who cannot take that cannot be served.
                batch.scratch.clear();
                let max_packet_size = negotiated.max_packet_size;
                if codec::encode(&connack, connect.version, max_packet_size, &mut batch.scratch).is_err() {
                    if state.epoch == 0 {
                        self.end_session(&client, state, batch);
                    }
                    return Err(Refused(ReasonCode::PacketTooLarge));
                }
                let opening =
                    Opening { connect, is_present, keep_alive_secs, identity, negotiated, attachment };
                let (identity, peer) = (opening.identity.clone(), opening.attachment.peer);
                let epoch = self.attach(&client, state, opening, batch);
                let expiry_secs = self.session_expiry(connect).as_secs();
                self.announce_connected(client.id(), &identity, peer, connect, expiry_secs, batch);
                let keep_alive = u64::from(keep_alive_secs);
                let silence_max = (keep_alive > 0).then(|| Duration::from_millis(keep_alive * 1500));
                let method = said.and(connect.properties.authentication_method).map(Into::into);
                return Ok(Connected { client, epoch, silence_max, method, limits: limits.clone() });
            }
        }
    }

    /// Opens the connection on this session, whose lock `state` is, and ends the one it had. Its CONNACK is in the
    /// batch's scratch memory.
    fn attach(
        &self,
        client: &Arc<Client>,
        mut state: MutexGuard<'_, ClientState>,
        opening: Opening<'_>,
        batch: &mut Batch,
    ) -> u64 {
        let Opening { connect, is_present, keep_alive_secs, identity, negotiated, attachment } = opening;
        let is_new = state.epoch == 0;
        let connection = ConnectionRecord {
            peer: attachment.peer,
            listener: attachment.listener,
            version: connect.version,
            clean_start: connect.clean_start,
            keep_alive_secs,
            since_ms: wall_clock_ms(),
        };
        let will = state.record.will.take();
        self.cancel_timers(&mut state);
        state.take_over();
        state.record.handle_connect(connect, identity, self.session_expiry(connect));
        state.record.connection = Some(Box::new(connection));
        let epoch = state.attach(attachment);
        let cluster = self.cluster.get();
        if cluster.is_some() {
            client.begin_claim();
        }
        (state.record.shipped, state.record.was_shipped, state.record.departs) = (false, false, false);
        state.session.handle_connected(negotiated);
        self.trace_opened(client, &mut state, is_present);
        state.session.outbox().buffer().extend_from_slice(&batch.scratch);
        self.metrics.packets_out.connack.inc();
        state.session.resume(batch.now);
        let is_subscribed = !state.record.subscriptions.is_empty();
        drop(state);
        if is_subscribed {
            self.note_presence(client, batch.now);
        }
        if let Some(cluster) = cluster {
            // The session can be seen here before it is claimed: whoever claims it later finds it.
            let claimed = cluster.claim_session(client.id(), connect.clean_start, batch.now);
            client.end_claim(claimed.stamp);
            cluster.handle_claimed(client.id(), claimed.stamp);
            // Whoever cannot be reached, which may not have been noticed yet, may have another one.
            let expects_rest = !connect.clean_start && cluster.expect_rest(client.id(), batch.now);
            let mut state = client.lock();
            if expects_rest {
                state.session.note_publishes();
            }
            if !is_present {
                state.record.lineage.began = Some(claimed.stamp.0);
                state.record.lineage.unconfirmed = claimed.expects_rest || !is_new;
            }
            let has_ended = state.record.ended;
            drop(state);
            if has_ended {
                // Before it was claimed.
                cluster.retire_session(client.id(), claimed.stamp, batch.now);
            }
        }
        batch.touch(client);
        self.metrics.connections.inc();
        if self.access().is_configured() {
            self.metrics.authentications.with_label_values(&["accepted"]).inc();
        }
        self.metrics.connects.with_label_values(&["accepted"]).inc();
        // The former connection ended without a DISCONNECT; only a delayed will is called off by the new one
        // [MQTT-3.1.3-9].
        if let Some(will) = will.filter(|will| will.delay.is_zero()) {
            self.publish_will(client, *will, batch);
        }
        epoch
    }

    /// A connection is gone. `will` says whether that was a failure, `expiry` what a DISCONNECT changed the Session
    /// Expiry Interval to.
    pub fn disconnect(&self, client: &Arc<Client>, epoch: u64, ending: Ending, batch: &mut Batch) {
        self.metrics.connections.dec();
        let mut state = client.lock();
        batch.count_written(&state.take_written());
        let identity = state.record.identity.clone();
        let is_former = state.epoch != epoch;
        let cause = if is_former && ending.cause != "kicked" { "takenover" } else { ending.cause };
        state.tell(|_| TraceEvent::of(Happening::Disconnected, client.id()).with("cause", cause));
        if is_former {
            drop(state);
            return self.announce_disconnected(client.id(), &identity, cause, batch);
        }
        if self.end_connection(client, state, ending, batch) {
            self.leave_to_others(client, batch);
        }
        self.announce_disconnected(client.id(), &identity, cause, batch);
    }

    /// The connection of the client whose lock `state` is has ended. Returns whether the session stays without one.
    fn end_connection(
        &self,
        client: &Arc<Client>,
        mut state: MutexGuard<'_, ClientState>,
        ending: Ending,
        batch: &mut Batch,
    ) -> bool {
        state.note_heard();
        state.attachment = None;
        state.session.handle_disconnected();
        if let Some(connection) = &mut state.record.connection {
            connection.since_ms = wall_clock_ms();
        }
        if !ending.publish_will {
            state.record.will = None; // [MQTT-3.14.4-3]
        }
        if let Some(secs) = ending.expiry_secs {
            state.record.expiry = self.limits().max_session_expiry.min(Duration::from_secs(secs.into()));
        }
        if state.record.expiry.is_zero() {
            self.end_session(client, state, batch);
            return false;
        }
        let now: Instant = batch.now;
        self.set_expiry_timer(client, &mut state, now);
        let delay = state.record.will.as_ref().map(|will| will.delay.min(state.record.expiry));
        match delay {
            None => {}
            Some(delay) if delay.is_zero() => {
                let will: Option<Box<PendingWill>> = state.record.will.take();
                drop(state);
                if let Some(will) = will {
                    self.publish_will(client, *will, batch);
                }
            }
            Some(delay) => {
                self.set_will_timer(client, &mut state, now + delay);
            }
        }
        true
    }

    /// The session ends when its expiry has passed from now.
    pub(super) fn set_expiry_timer(&self, client: &Arc<Client>, state: &mut ClientState, now: Instant) {
        let timer =
            self.timers.lock().set(now + state.record.expiry, Due::SessionExpiry, Arc::downgrade(client));
        state.record.expiry_timer = Some(timer);
    }

    /// The will is published then.
    pub(super) fn set_will_timer(&self, client: &Arc<Client>, state: &mut ClientState, due: Instant) {
        let timer = self.timers.lock().set(due, Due::Will, Arc::downgrade(client));
        state.record.will_timer = Some(timer);
    }

    fn assign_client_id(&self) -> String {
        loop {
            let random = getrandom::u64().unwrap_or_default();
            let id = format!("auto-{random:016x}");
            if !self.registry.contains(&id) {
                return id; // [MQTT-3.2.2-16]
            }
        }
    }

    fn session_expiry(&self, connect: &Connect<'_>) -> Duration {
        let asked = match (connect.version, connect.properties.session_expiry_interval_secs) {
            (ProtocolVersion::V500, secs) => Duration::from_secs(secs.unwrap_or(0).into()),
            (_, _) if connect.clean_start => Duration::ZERO,
            (_, _) => Duration::MAX,
        };
        asked.min(self.limits().max_session_expiry)
    }

    fn connack<'a>(
        &'a self,
        connect: &Connect<'_>,
        limits: &Limits,
        set: PropertySet<'a>,
        session_present: bool,
    ) -> Packet<'a> {
        let expiry = self.session_expiry(connect);
        let asked = u64::from(connect.properties.session_expiry_interval_secs.unwrap_or(0));
        let changed = (asked != expiry.as_secs()).then_some(expiry.as_secs() as u32);
        // Only bridges ask, by naming theirs.
        let asked_for_name = connect.properties.user_properties.iter().any(|(name, _)| *name == BRIDGE_MARK);
        let name = self.cluster.get().filter(|_| asked_for_name).map(|cluster| cluster.name());
        let properties = Properties::from(PropertySet {
            user_properties: name.map(|name| (BRIDGE_MARK, name)).into_iter().collect(),
            session_expiry_interval_secs: changed,
            receive_maximum: Some(limits.session.receive_maximum),
            maximum_packet_size: std::num::NonZeroU32::new(limits.max_packet_size),
            topic_alias_maximum: Some(limits.topic_alias_maximum),
            ..set
        });
        Packet::ConnAck(ConnAck { session_present, reason: ReasonCode::Success, properties })
    }
}

fn negotiate(connect: &Connect<'_>, limits: &SessionLimits) -> Negotiated {
    let asked = connect.properties.receive_maximum.map_or(u16::MAX, |maximum| maximum.get());
    Negotiated {
        version: connect.version,
        max_packet_size: connect.properties.maximum_packet_size.map_or(u32::MAX, |size| size.get()),
        receive_maximum: asked.min(limits.max_inflight.get()),
        announced_receive_maximum: (connect.version == ProtocolVersion::V500)
            .then_some(limits.receive_maximum.get()),
        topic_alias_maximum: connect.properties.topic_alias_maximum.unwrap_or(0),
        problem_information: connect.properties.request_problem_information != Some(false),
    }
}

/// Client identifiers that begin so are for the node's own bridges.
pub const BRIDGE_CLIENTS: &str = "$bridge/";

/// The user property by which bridges name clusters: its own in CONNECT; the one it has reached in CONNACK; and in messages
/// those they have been in.
pub const BRIDGE_MARK: &str = "rumormq-bridge";

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The will is published: the client did not say goodbye, or asked for it (0x04).
    pub publish_will: bool,
    /// Session Expiry Interval of the DISCONNECT.
    pub expiry_secs: Option<u32>,
    /// What those are told who watch clients come and go.
    pub cause: &'static str,
}
