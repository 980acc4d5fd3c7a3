//! One open connection as the broker handles it: packets in, effects out. The bytes come and go by `net`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::authentication::auth;
use super::batch::Batch;
use super::client::{Client, Subscriber};
use super::delayed::DelayedFull;
use super::detour::Detour;
use super::open::{Connected, Ending};
use super::permits::Permits;
use super::publish::{Publisher, acknowledge};
use super::reauthentication::ReAuthentication;
use super::rewrite::RewriteCache;
use super::{Broker, Limits};
use crate::codec::packet::{Disconnect, Packet, Publish, QoS, ReasonCode};
use crate::message::Application;
use crate::observation::trace::{self, Happening, TraceEvent};
use crate::router::MatchCache;
use crate::session::ack_ring::Owed;
use crate::session::alias::TopicAliases;
use crate::session::{Incoming, Session};
use crate::topic::Topic;

/// The broker's side of an open connection.
pub struct ClientConnection {
    /// Whose connection it is.
    pub client: Arc<Client>,
    /// Which of the client's connections it is.
    pub epoch: u64,
    aliases: TopicAliases,
    matches: MatchCache<Subscriber>,
    rewrites: RewriteCache,
    /// What its client was granted.
    limits: Arc<Limits>,
    /// None where everything is allowed.
    permits: Option<Box<Permits>>,
    /// The generation of rules that these are of.
    rules: u64,
    /// None where no Authentication Method was used.
    reauthentication: Option<Box<ReAuthentication>>,
}

/// Why a connection ends after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client said DISCONNECT.
    Disconnected(Ending),
    /// The client broke the protocol; it is told the reason code where its version can say it.
    Violation(ReasonCode),
}

/// Why a client is not read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Its publishes or subscriptions wait for other nodes.
    OtherNodes,
    /// It does not read the answers to what it sends.
    UnreadAnswers,
}

impl ClientConnection {
    /// A connection that was just accepted.
    pub fn new(client: Arc<Client>, epoch: u64, limits: Arc<Limits>) -> ClientConnection {
        let matches = MatchCache::new(
            Some(Subscriber(client.clone())),
            MatchCache::<Subscriber>::DEFAULT_CAPACITY_BYTES,
        );
        ClientConnection {
            client,
            epoch,
            aliases: TopicAliases::default(),
            matches,
            rewrites: RewriteCache::default(),
            limits,
            permits: None,
            rules: 0,
            reauthentication: None,
        }
    }

    /// A connection that was just accepted, with the rules that are for its client.
    pub fn of(broker: &Broker, connected: Connected) -> ClientConnection {
        let (rules, permits) = follow_rules(broker, &connected.client);
        let reauthentication = connected.method.map(|method| Box::new(ReAuthentication::new(method)));
        let connection = ClientConnection::new(connected.client, connected.epoch, connected.limits);
        ClientConnection { permits, rules, reauthentication, ..connection }
    }

    /// The connection is open, its CONNACK on the way: gives the client what it gets without asking.
    pub fn handle_opened(&self, broker: &Arc<Broker>, batch: &mut Batch) {
        broker.auto_subscribe(&self.client, self.epoch, batch);
    }

    /// Handles one packet. `backing` is the bytes it borrows from, where they can be kept.
    pub fn handle_packet(
        &mut self,
        broker: &Arc<Broker>,
        packet: &Packet<'_>,
        backing: Option<&Bytes>,
        batch: &mut Batch,
    ) -> Result<(), End> {
        let now = batch.now;
        if broker.tracer.is_on_clients() | broker.slow.is_on() {
            self.watch(broker, packet, now);
        }
        match packet {
            Packet::Publish(publish) => return self.handle_publish(broker, publish, backing, batch),
            Packet::PubAck(ack) => self.with_session(batch, |session| session.handle_puback(ack, now)),
            Packet::PubRec(ack) => self.with_session(batch, |session| session.handle_pubrec(ack, now)),
            Packet::PubRel(ack) => self.with_session(batch, |session| session.handle_pubrel(ack)),
            Packet::PubComp(ack) => self.with_session(batch, |session| session.handle_pubcomp(ack, now)),
            Packet::PingReq => self.with_session(batch, |session| {
                if session.send(&Packet::PingResp) {
                    broker.metrics.packets_out.pingresp.inc();
                }
            }),
            Packet::Subscribe(subscribe) => {
                if self.was_told() {
                    self.limits.capabilities.check_subscribe(subscribe)?;
                }
                broker.subscribe(&self.client, self.epoch, subscribe, now);
                batch.touch(&self.client);
            }
            Packet::Unsubscribe(unsubscribe) => {
                // UNSUBACK has no such reason code, and of 3.1.1 none at all: it is not heard in part.
                if unsubscribe.filters.len() > self.limits.max_filters_per_subscribe {
                    return Err(End::Violation(ReasonCode::QuotaExceeded));
                }
                broker.unsubscribe(&self.client, self.epoch, unsubscribe, now);
                batch.touch(&self.client);
            }
            Packet::Disconnect(disconnect) => return Err(self.handle_disconnect(disconnect)),
            Packet::Auth(packet) => {
                // Nobody may do that who has not connected so [MQTT-4.12.0-7].
                let state = self.reauthentication.as_mut();
                let state = state.ok_or(End::Violation(ReasonCode::ProtocolError))?;
                let identity = self.client.lock().record.identity.clone();
                let (reason, data) = state.handle_auth(broker, &identity, packet).map_err(End::Violation)?;
                let answer = auth(reason, state.method(), &data);
                let mut client = self.client.lock();
                if client.epoch == self.epoch && client.session.send(&answer) {
                    broker.metrics.packets_out.auth.inc();
                }
                drop(client);
                batch.touch(&self.client);
            }
            // A second CONNECT [MQTT-3.1.0-2], and what only servers send.
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => return Err(End::Violation(ReasonCode::ProtocolError)),
        }
        Ok(())
    }

    /// Those who look closely at what comes are shown a packet.
    #[cold]
    fn watch(&self, broker: &Broker, packet: &Packet<'_>, now: Instant) {
        if let (true, Packet::PubAck(ack) | Packet::PubRec(ack)) = (broker.slow.is_on(), packet) {
            broker.note_acknowledged(&self.client, self.epoch, ack.packet_id, now);
        }
        if broker.tracer.is_on_clients() {
            self.trace_received(packet);
        }
    }

    fn trace_received(&self, packet: &Packet<'_>) {
        let alias = match packet {
            Packet::Publish(publish) if publish.topic.is_none() => publish.properties.topic_alias,
            _ => None,
        };
        let topic = alias.and_then(|alias| self.aliases.topic(alias));
        self.client.tell(|payload_max| {
            let told = trace::packet(Happening::Received, self.client.id(), packet, payload_max);
            TraceEvent { topic: told.topic.or_else(|| topic.map(str::to_owned)), ..told }
        });
    }

    /// Whether the client's version has a CONNACK that could tell it what it may do.
    fn was_told(&self) -> bool {
        let negotiated = self.client.lock().session.negotiated();
        negotiated.is_some_and(|negotiated| negotiated.announced_receive_maximum.is_some())
    }

    /// Whether matches of its publishes are kept for the next ones.
    pub fn remembers_matches(&self) -> bool {
        !self.matches.is_empty()
    }

    /// The client has not published for a while: what is kept for its next publish is given back.
    pub fn forget_matches(&mut self) {
        self.matches.clear();
        self.rewrites.clear();
        if let Some(permits) = &mut self.permits {
            permits.clear();
        }
    }

    /// Lets `handle` change the session and flushes what it says. Not where another connection has the session by now:
    /// what this one still had to say is not that one's business.
    fn with_session(&self, batch: &mut Batch, handle: impl FnOnce(&mut Session)) {
        let mut state = self.client.lock();
        if state.epoch == self.epoch {
            handle(&mut state.session);
            if state.touch() {
                batch.touched.push(self.client.clone());
            }
        }
    }

    /// To be called before each read: goes on with the retained messages that the client is owed, and says why it is not
    /// to be read from at the moment, if so. Its connection is woken when either may change.
    pub fn before_read(&self, broker: &Broker, batch: &mut Batch) -> Option<Hold> {
        let limits = &*self.limits;
        let mut state = self.client.lock();
        if state.epoch != self.epoch {
            return None;
        }
        if state.owes_retained {
            drop(state);
            broker.send_retained(&self.client, self.epoch, batch);
            batch.flush();
            state = self.client.lock();
        }
        let maximum = usize::from(limits.session.receive_maximum.get());
        // Who was told of our Receive Maximum keeps to it by himself, and is listened to meanwhile [MQTT-4.9.0-3]; what he
        // left behind on former connections counts as well in the end.
        let told = state.session.negotiated().is_some_and(|n| n.announced_receive_maximum.is_some());
        let maximum = if told { 4 * maximum } else { maximum };
        let waits = state.session.unacknowledged() >= maximum
            || state.pending_subscribes >= limits.max_pending_subscribes;
        // Messages stop at the outbox's bound; what goes far beyond it are answers to packets of the client's own.
        let messages_max = limits.session.max_outbox_bytes + limits.max_packet_size as usize;
        let deaf = state.session.outbox().len() > messages_max + limits.session.max_outbox_bytes;
        state.throttled = waits || deaf;
        if waits { Some(Hold::OtherNodes) } else { deaf.then_some(Hold::UnreadAnswers) }
    }

    fn handle_publish(
        &mut self,
        broker: &Broker,
        publish: &Publish<'_>,
        backing: Option<&Bytes>,
        batch: &mut Batch,
    ) -> Result<(), End> {
        let properties = &publish.properties;
        let topic = match (publish.topic, properties.topic_alias) {
            (Some(topic), None) => topic,
            (_, Some(alias)) if alias.get() > self.limits.topic_alias_maximum => {
                return Err(End::Violation(ReasonCode::TopicAliasInvalid)); // [MQTT-3.3.2-9]
            }
            (Some(topic), Some(alias)) => {
                self.aliases.set(alias, topic.as_str());
                topic
            }
            // An alias that was not set is an error of another name (3.3.4).
            (None, Some(alias)) => {
                let topic = self.aliases.topic(alias).and_then(|topic| Topic::new(topic).ok());
                topic.ok_or(End::Violation(ReasonCode::ProtocolError))?
            }
            (None, None) => return Err(End::Violation(ReasonCode::ProtocolError)),
        };
        if !properties.subscription_identifiers.is_empty() {
            return Err(End::Violation(ReasonCode::ProtocolError)); // [MQTT-3.3.4-6]
        }
        self.limits.capabilities.check_publish(publish)?;
        batch.count_received(publish.qos);
        if let Some(packet_id) = publish.packet_id {
            let mut state = self.client.lock();
            if state.epoch != self.epoch {
                return Ok(()); // Unacknowledged, so the client sends it again on its new connection.
            }
            match state.session.handle_publish(publish.qos, packet_id) {
                Incoming::New => {}
                Incoming::Duplicate => {
                    drop(state);
                    batch.touch(&self.client);
                    return Ok(());
                }
                Incoming::ReceiveMaximumExceeded => {
                    return Err(End::Violation(ReasonCode::ReceiveMaximumExceeded));
                }
            }
        }
        let detour = match broker.may_detour(topic) {
            true => broker.detour(&self.client, topic, &mut self.rewrites),
            false => Ok(None),
        };
        let detoured = detour.as_ref().ok().and_then(Option::as_ref);
        let topic = detoured.and_then(Detour::topic).unwrap_or(topic);
        let publisher = publish.packet_id.map(|packet_id| Publisher {
            client: &self.client,
            epoch: self.epoch,
            packet_id,
        });
        if broker.rules.load(Ordering::Relaxed) != self.rules {
            (self.rules, self.permits) = follow_rules(broker, &self.client);
        }
        if let Some(permits) = &mut self.permits
            && !permits.may_publish(self.client.id(), topic)
        {
            broker.metrics.messages_dropped.with_label_values(&["denied"]).inc();
            tracing::debug!(client = self.client.id(), topic = topic.as_str(), "publish denied");
            broker.trace_publish_denied(&self.client, topic);
            acknowledge(publisher, publish.qos, ReasonCode::NotAuthorized, batch);
            return Ok(());
        }
        let application = Application {
            topic,
            payload: publish.payload,
            backing,
            qos: publish.qos,
            retain: publish.retain,
            properties,
            expires_at: properties
                .message_expiry_interval_secs
                .map(|secs| batch.now + Duration::from_secs(secs.into())),
        };
        let well_formed =
            properties.payload_format_indicator != Some(true) || std::str::from_utf8(publish.payload).is_ok();
        match (well_formed, &detour, publisher) {
            (true, Ok(Some(Detour { delay: Some(delay), .. })), publisher) => {
                let reason = match broker.delay(&application, *delay, &self.client, batch.now) {
                    Ok(()) => ReasonCode::Success,
                    Err(DelayedFull) => ReasonCode::QuotaExceeded,
                };
                acknowledge(publisher, publish.qos, reason, batch);
            }
            (true, Ok(_), publisher) => {
                if let Some(publisher) = publisher
                    && broker.may_refuse()
                    && broker.refuses(self.matches.look_up(&broker.router, topic))
                {
                    return self.refuse(broker, publisher, publish.qos, batch);
                }
                let retained = broker.retain(&application, batch.now);
                let matches = self.matches.look_up(&broker.router, topic);
                let from = Some(&*self.client);
                broker.publish(&application, matches, from, retained, publisher, batch);
            }
            (true, Err(reason), publisher) => acknowledge(publisher, publish.qos, *reason, batch),
            (false, _, None) => return Err(End::Violation(ReasonCode::PayloadFormatInvalid)),
            (false, _, publisher) => {
                acknowledge(publisher, publish.qos, ReasonCode::PayloadFormatInvalid, batch)
            }
        }
        Ok(())
    }

    /// A publish is not taken, for want of room in the buffer of a node that cannot be reached. Who cannot be told so is
    /// disconnected: 3.1.1 has but this and the usual acknowledgement, which would be a promise [MQTT-3.3.5-2 of 3.1.1].
    #[cold]
    fn refuse(
        &self,
        broker: &Broker,
        publisher: Publisher<'_>,
        qos: QoS,
        batch: &mut Batch,
    ) -> Result<(), End> {
        let reason = ReasonCode::QuotaExceeded;
        broker.metrics.messages_dropped.with_label_values(&["forward_full"]).inc();
        if self.was_told() {
            acknowledge(Some(publisher), qos, reason, batch);
            return Ok(());
        }
        // The client may send it again under the same identifier.
        let owed = Owed { packet_id: publisher.packet_id, qos, reason };
        self.client.lock().session.acknowledge_former(owed, 0);
        Err(End::Violation(reason))
    }

    fn handle_disconnect(&self, disconnect: &Disconnect<'_>) -> End {
        let expiry_secs = disconnect.properties.session_expiry_interval_secs;
        let had_none = self.client.lock().record.expiry.is_zero();
        if had_none && expiry_secs.is_some_and(|secs| secs > 0) {
            return End::Violation(ReasonCode::ProtocolError); // 3.14.2.2.2
        }
        let publish_will = disconnect.reason != ReasonCode::Success;
        End::Disconnected(Ending { publish_will, expiry_secs, cause: "normal" })
    }
}

/// The rules for a client, and their generation.
#[cold]
fn follow_rules(broker: &Broker, client: &Client) -> (u64, Option<Box<Permits>>) {
    // In this order: rules that come meanwhile are seen at the next publish.
    let generation = broker.rules.load(Ordering::Acquire);
    (generation, broker.permits(client))
}
