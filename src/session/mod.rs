//! The state that client and server share across connections, as a state machine without sockets, clocks or tasks.
//!
//! A [`Session`] takes packets and application messages and appends the packets that answer them to its [`Outbox`].
//! Its invariants: acknowledgements leave in the order of the publishes; at most Receive Maximum messages are in
//! flight; every queue in it is bounded by [`SessionLimits`]. It must not know topics' subscribers, other sessions or
//! other nodes: who else gets a message is the broker's business.

pub mod ack_ring;
pub mod alias;
pub mod frames;
pub mod limits;
mod noted;
mod outbound_alias;
pub mod outbox;
pub mod portable;
mod queue;
mod sent;
mod share;
pub mod succession;
mod window;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use crate::message::{Message, QueuedMessage, Ticket};
use ack_ring::{AckRing, Owed, Slot};
use frames::{Copy, Frames, TooLarge, append_queued};
pub use limits::SessionLimits;
use outbound_alias::{Naming, OutboundAliases};
use outbox::Outbox;
use queue::Queue;
pub use sent::Sent;
use succession::{Bringer, Succession};
use window::{InFlight, Window};

use crate::codec;
use crate::codec::packet::{Ack, Packet, PacketId, Properties, ProtocolVersion, QoS, ReasonCode};
use crate::topic::Topic;

/// What was agreed on for the present connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Protocol version, for the codec.
    pub version: ProtocolVersion,
    /// The client's Maximum Packet Size in bytes.
    pub max_packet_size: u32,
    /// The client's Receive Maximum, already lowered to our own limit.
    pub receive_maximum: u16,
    /// Our own Receive Maximum, where the client was told of it.
    pub announced_receive_maximum: Option<u16>,
    /// The client's Topic Alias Maximum.
    pub topic_alias_maximum: u16,
    /// Whether reason strings may be sent [MQTT-3.1.2-29].
    pub problem_information: bool,
}

/// What a subscription lets through to its client.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Highest QoS granted.
    pub qos: QoS,
    /// Whether the publisher's retain flag is kept.
    pub retain: bool,
    /// Identifiers of the matching subscriptions.
    pub identifiers: &'a [NonZeroU32],
    /// For a message of a shared subscription.
    pub ticket: Option<&'a Arc<Ticket>>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It is in the outbox.
    Sent,
    /// It waits in the queue.
    Queued,
    /// It came before, by another way, or comes by one.
    Known,
    /// It was dropped, for a reason that has a counter.
    Dropped(DropReason),
}

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// QoS 0 and nobody connected.
    Offline,
    /// QoS 0 and the socket does not keep up.
    SlowConsumer,
    /// The session's queue is full.
    QueueFull,
    /// Larger than the client's Maximum Packet Size.
    PacketTooLarge,
}

/// What to do with a PUBLISH of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Route it, then call [`Session::acknowledge`].
    New,
    /// It was routed before; the answer is on its way.
    Duplicate,
    /// The client has more publishes unacknowledged than it may [MQTT-3.3.4-7].
    ReceiveMaximumExceeded,
}

/// The state of one client.
#[derive(Debug)]
pub struct Session {
    /// None while no connection is open.
    negotiated: Option<Negotiated>,
    outbox: Outbox,
    /// For a connection whose client takes topic aliases. What it knows is what the outbox has been given.
    aliases: Option<Box<OutboundAliases>>,
    acks: AckRing,
    /// QoS 2 publishes of the client whose PUBREL is awaited.
    unreleased: HashSet<PacketId>,
    /// For a session of which something may come by other ways than its routes.
    succession: Option<Box<Succession>>,
    window: Window,
    /// Published entries of the window that the present connection has not carried yet.
    resend: VecDeque<PacketId>,
    queue: Queue,
    limits: Arc<SessionLimits>,
    expired: u64,
    sent: Sent,
}

impl Session {
    /// A new session without a connection.
    pub fn new(limits: Arc<SessionLimits>) -> Session {
        Session {
            negotiated: None,
            outbox: Outbox::default(),
            aliases: None,
            acks: AckRing::default(),
            unreleased: HashSet::new(),
            succession: None,
            window: Window::default(),
            resend: VecDeque::new(),
            queue: Queue::default(),
            limits,
            expired: 0,
            sent: Sent::default(),
        }
    }

    // Inputs: the connection.

    /// A connection opened. Send CONNACK with [`Session::send`], then call [`Session::resume`].
    pub fn handle_connected(&mut self, negotiated: Negotiated) {
        self.handle_disconnected();
        self.negotiated = Some(negotiated);
        self.aliases = OutboundAliases::new(negotiated.topic_alias_maximum);
        let published = |entry: &InFlight| matches!(entry, InFlight::Published(_));
        self.resend = self.window.iter().filter(|(_, entry)| published(entry)).map(|(id, _)| id).collect();
    }

    /// Sends again what was unacknowledged, then what waited [MQTT-4.4.0-1].
    pub fn resume(&mut self, now: Instant) {
        // First what the Receive Maximum does not hold up [MQTT-3.3.4-10].
        let released = |entry: &InFlight| matches!(entry, InFlight::Released);
        let released: Vec<PacketId> =
            self.window.iter().filter(|(_, entry)| released(entry)).map(|(id, _)| id).collect();
        for packet_id in released {
            self.send_pubrel(packet_id, ReasonCode::Success);
        }
        self.release_again();
        self.pump(now);
    }

    /// The connection is gone; bytes it had not carried are dropped.
    pub fn handle_disconnected(&mut self) {
        self.negotiated = None;
        self.outbox.recycle();
        self.aliases = None;
        self.acks.forget_connection();
        self.resend = VecDeque::new();
    }

    // Inputs: packets of the client.

    /// A PUBLISH of QoS 1 or 2.
    pub fn handle_publish(&mut self, qos: QoS, packet_id: PacketId) -> Incoming {
        if qos == QoS::ExactlyOnce && self.unreleased.contains(&packet_id) {
            if !self.acks.ask_again(packet_id) {
                self.send_pubrec(packet_id, ReasonCode::Success);
            }
            return Incoming::Duplicate;
        }
        let announced = self.negotiated.and_then(|negotiated| negotiated.announced_receive_maximum);
        if announced.is_some_and(|maximum| self.unfinished() >= usize::from(maximum)) {
            return Incoming::ReceiveMaximumExceeded;
        }
        if qos == QoS::ExactlyOnce {
            self.unreleased.insert(packet_id);
        }
        Incoming::New
    }

    /// The publish is routed; its acknowledgement leaves after `pending` confirmations, and after those before it.
    pub fn acknowledge(&mut self, owed: Owed, pending: u32) -> Option<Slot> {
        if pending == 0 && self.acks.is_empty() {
            self.send_owed(owed);
            return None;
        }
        Some(self.acks.push(owed, pending, true))
    }

    /// The same for a publish whose connection has gone in the meantime: the present one is told nothing, unless it
    /// sends the publish again.
    pub fn acknowledge_former(&mut self, owed: Owed, pending: u32) -> Option<Slot> {
        if owed.qos == QoS::ExactlyOnce && owed.reason.is_error() {
            self.unreleased.remove(&owed.packet_id);
        }
        let asked_again_for = owed.qos == QoS::ExactlyOnce && pending > 0 && !owed.reason.is_error();
        asked_again_for.then(|| self.acks.push(owed, pending, false))
    }

    /// One confirmation for a publish that waits.
    pub fn confirm(&mut self, slot: Slot) {
        self.acks.confirm(slot);
        while let Some(owed) = self.acks.pop_ready() {
            self.send_owed(owed);
        }
    }

    /// PUBACK ends a QoS 1 delivery.
    pub fn handle_puback(&mut self, ack: &Ack<'_>, now: Instant) {
        if matches!(self.window.get_mut(ack.packet_id), Some(InFlight::Published(m)) if m.qos == QoS::AtLeastOnce)
        {
            self.complete(ack.packet_id, now);
        }
    }

    /// PUBREC: the client has the message; or refuses it, which ends it too [MQTT-4.4.0-2].
    pub fn handle_pubrec(&mut self, ack: &Ack<'_>, now: Instant) {
        let known = match self.window.get_mut(ack.packet_id) {
            Some(InFlight::Published(message)) => message.qos == QoS::ExactlyOnce,
            Some(_) => true,
            None => false,
        };
        match known {
            true if ack.reason.is_error() => self.complete(ack.packet_id, now),
            true => {
                if let Some(InFlight::Published(queued)) = self.window.release(ack.packet_id) {
                    queued.consume();
                }
                self.forget_resend(ack.packet_id);
                self.send_pubrel(ack.packet_id, ReasonCode::Success);
            }
            false if ack.reason.is_error() => {}
            false => self.send_pubrel(ack.packet_id, ReasonCode::PacketIdentifierNotFound),
        }
    }

    /// PUBREL: the client will not send this message again [MQTT-4.3.3-11].
    pub fn handle_pubrel(&mut self, ack: &Ack<'_>) {
        let reason = match self.unreleased.remove(&ack.packet_id) {
            true => ReasonCode::Success,
            false => ReasonCode::PacketIdentifierNotFound,
        };
        if self.unreleased.is_empty() && self.unreleased.capacity() > 256 {
            self.unreleased = HashSet::new();
        }
        self.sent.pubcomp += u32::from(self.answer(Packet::PubComp, ack.packet_id, reason));
    }

    /// PUBCOMP ends a QoS 2 delivery.
    pub fn handle_pubcomp(&mut self, ack: &Ack<'_>, now: Instant) {
        match self.window.get(ack.packet_id) {
            Some(InFlight::Released) => self.complete(ack.packet_id, now),
            Some(_) => {}
            None => self.forget_elsewhere(ack.packet_id),
        }
    }

    // Inputs: messages for the client.

    /// A message that a subscription of the client matches.
    #[inline]
    pub fn deliver(&mut self, frames: &mut Frames<'_>, delivery: Delivery<'_>) -> Delivered {
        match &self.succession {
            None => self.take(frames, delivery),
            Some(_) => self.deliver_from(Bringer::Route, frames, delivery),
        }
    }

    /// The same, with who brings it.
    #[cold]
    pub fn deliver_from(
        &mut self,
        bringer: Bringer,
        frames: &mut Frames<'_>,
        delivery: Delivery<'_>,
    ) -> Delivered {
        let qos = frames.application().qos.min(delivery.qos);
        match self.intercept(bringer, frames, qos, &delivery) {
            Some(delivered) => delivered,
            None => self.take(frames, delivery),
        }
    }

    fn take(&mut self, frames: &mut Frames<'_>, delivery: Delivery<'_>) -> Delivered {
        let application = frames.application();
        let qos = application.qos.min(delivery.qos);
        let Delivery { retain, identifiers, ticket, .. } = delivery;
        let writable = self.outbox.len() <= self.limits.max_outbox_bytes;
        let Some(negotiated) = self.negotiated else {
            return match qos {
                QoS::AtMostOnce => Delivered::Dropped(DropReason::Offline),
                _ => self.enqueue(frames, qos, delivery),
            };
        };
        let mut copy = Copy {
            version: negotiated.version,
            max_packet_size: negotiated.max_packet_size,
            qos,
            retain,
            identifiers,
            packet_id: None,
            dup: false,
            naming: Naming::Name,
        };
        if qos == QoS::AtMostOnce {
            return match writable {
                false => Delivered::Dropped(DropReason::SlowConsumer),
                true => match self.append_frame(frames, copy) {
                    Ok(()) => {
                        ticket.inspect(|ticket| ticket.consume());
                        Delivered::Sent
                    }
                    Err(_) => Delivered::Dropped(DropReason::PacketTooLarge),
                },
            };
        }
        if !(writable && self.queue.is_empty() && self.may_send(negotiated)) {
            return self.enqueue(frames, qos, delivery);
        }
        let message = frames.message().clone();
        self.note(message.publish);
        let queued = QueuedMessage::new(message, qos, retain, identifiers).with_ticket(ticket);
        let packet_id = self.window.push(queued);
        self.forget_elsewhere(packet_id);
        copy.packet_id = Some(packet_id);
        match self.append_frame(frames, copy) {
            Ok(()) => Delivered::Sent,
            Err(_) => {
                // [MQTT-3.1.2-25]: go on as if it had been sent and acknowledged.
                self.window.complete(packet_id);
                Delivered::Dropped(DropReason::PacketTooLarge)
            }
        }
    }

    /// The outbox has drained: send what waited for it.
    pub fn handle_drained(&mut self, now: Instant) {
        if !self.queue.is_empty() || !self.resend.is_empty() {
            self.pump(now);
        }
    }

    // Outputs.

    /// Bytes for the connection.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Appends a packet of the broker's own, which is not counted in [`Sent`]. False where nothing is sent: no connection
    /// is open, the version has no such packet, or it cannot be said within the client's limits [MQTT-3.1.2-24].
    pub fn send(&mut self, packet: &Packet<'_>) -> bool {
        self.negotiated.is_some_and(|negotiated| {
            let buffer = self.outbox.buffer();
            codec::encode(packet, negotiated.version, negotiated.max_packet_size, buffer).is_ok()
        })
    }

    // Queries.

    /// What was agreed on, while a connection is open.
    pub fn negotiated(&self) -> Option<Negotiated> {
        self.negotiated
    }

    /// Whether a message of any QoS would be sent at once.
    pub fn is_idle(&self) -> bool {
        self.outbox.len() <= self.limits.max_outbox_bytes
            && self.queue.is_empty()
            && self.negotiated.is_some_and(|negotiated| self.may_send(negotiated))
    }

    /// A message that was sent under this identifier and is not acknowledged.
    pub fn published(&self, packet_id: PacketId) -> Option<&Message> {
        match self.window.get(packet_id)? {
            InFlight::Published(queued) => Some(&queued.message),
            InFlight::Released | InFlight::Done => None,
        }
    }

    /// The first of the messages that the client has not acknowledged, sent or not.
    pub fn oldest(&self) -> Option<&Message> {
        let sent = self.window.iter().find_map(|(_, entry)| match entry {
            InFlight::Published(queued) => Some(queued),
            InFlight::Released | InFlight::Done => None,
        });
        sent.or_else(|| self.queue.iter().next()).map(|queued| &*queued.message)
    }

    /// Messages sent and not acknowledged.
    pub fn inflight(&self) -> usize {
        self.window.len()
    }

    /// Messages waiting.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Publishes of the client whose acknowledgement waits.
    pub fn unacknowledged(&self) -> usize {
        self.acks.len()
    }

    /// Publishes of the client that count against our Receive Maximum.
    fn unfinished(&self) -> usize {
        self.acks.at_least_once() + self.unreleased.len()
    }

    /// What the present connection's topic aliases towards the client stand for.
    pub fn outbound_aliases(&self) -> HashMap<u16, Box<str>> {
        self.aliases.as_ref().map(|aliases| aliases.topics()).unwrap_or_default()
    }

    /// Takes the number of messages that expired while they waited.
    pub fn take_expired(&mut self) -> u64 {
        std::mem::take(&mut self.expired)
    }

    /// Takes what was sent since it was last asked.
    pub fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }

    fn send_owed(&mut self, owed: Owed) {
        match owed.qos {
            QoS::ExactlyOnce => {
                if owed.reason.is_error() {
                    // A refused message's identifier is free again [MQTT-4.3.3-9].
                    self.unreleased.remove(&owed.packet_id);
                }
                self.send_pubrec(owed.packet_id, owed.reason);
            }
            _ => {
                self.sent.puback += u32::from(self.answer(Packet::PubAck, owed.packet_id, owed.reason));
            }
        }
    }

    fn send_pubrec(&mut self, packet_id: PacketId, reason: ReasonCode) {
        self.sent.pubrec += u32::from(self.answer(Packet::PubRec, packet_id, reason));
    }

    fn send_pubrel(&mut self, packet_id: PacketId, reason: ReasonCode) {
        self.sent.pubrel += u32::from(self.answer(Packet::PubRel, packet_id, reason));
    }

    fn answer(
        &mut self,
        packet: fn(Ack<'static>) -> Packet<'static>,
        packet_id: PacketId,
        reason: ReasonCode,
    ) -> bool {
        self.send(&packet(Ack { packet_id, reason, properties: Properties::NONE }))
    }

    fn enqueue(&mut self, frames: &mut Frames<'_>, qos: QoS, delivery: Delivery<'_>) -> Delivered {
        let message = frames.message().clone();
        let queued = QueuedMessage::new(message, qos, delivery.retain, delivery.identifiers);
        let queued = queued.with_ticket(delivery.ticket);
        let limits = &self.limits;
        let is_full = |queue: &Queue| {
            queue.len() >= limits.max_queued_messages
                || queue.bytes() + queued.size() > limits.max_queued_bytes
        };
        if is_full(&self.queue) {
            self.expired += self.queue.purge_expired(frames.now());
            if is_full(&self.queue) {
                return Delivered::Dropped(DropReason::QueueFull);
            }
        }
        let publish = queued.message.publish;
        self.queue.push(queued);
        self.note(publish);
        Delivered::Queued
    }

    fn append_frame(&mut self, frames: &mut Frames<'_>, copy: Copy<'_>) -> Result<(), TooLarge> {
        match &mut self.aliases {
            None => frames.append(&copy, &mut self.outbox)?,
            Some(aliases) => {
                let (topic, hash) = (frames.application().topic, frames.topic_hash());
                let append = |naming| frames.append(&Copy { naming, ..copy }, &mut self.outbox);
                aliases.append(topic, hash, append)?;
            }
        }
        self.sent.publish += 1;
        Ok(())
    }

    fn may_send(&self, negotiated: Negotiated) -> bool {
        self.resend.is_empty()
            && self.window.has_room(usize::from(negotiated.receive_maximum), self.limits.max_queued_bytes)
    }

    /// Moves what waits into the outbox, as far as the client's Receive Maximum and the outbox allow.
    fn pump(&mut self, now: Instant) {
        let Some(negotiated) = self.negotiated else { return };
        let receive_maximum = usize::from(negotiated.receive_maximum);
        while self.outbox.len() <= self.limits.max_outbox_bytes {
            let on_the_way = self.window.len().saturating_sub(self.resend.len());
            if let Some(&packet_id) = self.resend.front() {
                if on_the_way >= receive_maximum {
                    return;
                }
                self.resend.pop_front();
                self.send_again(packet_id, negotiated, now);
                continue;
            }
            if !self.window.has_room(receive_maximum, self.limits.max_queued_bytes) {
                return;
            }
            let Some(queued) = self.queue.pop(now, &mut self.expired) else { return };
            let packet_id = self.window.push(queued.clone());
            self.forget_elsewhere(packet_id);
            if !self.append(&queued, packet_id, false, negotiated, now) {
                self.end(packet_id);
            }
        }
    }

    fn send_again(&mut self, packet_id: PacketId, negotiated: Negotiated, now: Instant) {
        let Some(InFlight::Published(queued)) = self.window.get_mut(packet_id) else { return };
        let queued = queued.clone();
        if !self.append(&queued, packet_id, true, negotiated, now) {
            self.end(packet_id);
        }
    }

    /// A delivery ended, which may let others through.
    fn complete(&mut self, packet_id: PacketId, now: Instant) {
        self.end(packet_id);
        self.forget_resend(packet_id);
        self.pump(now);
    }

    /// Ends a delivery for good: nobody else gets the message either, be it refused [MQTT-4.8.2-6].
    fn end(&mut self, packet_id: PacketId) {
        if let Some(InFlight::Published(queued)) = self.window.complete(packet_id) {
            queued.consume();
        }
    }

    /// The client acknowledged what an earlier connection had brought, before this one brought it again.
    fn forget_resend(&mut self, packet_id: PacketId) {
        if !self.resend.is_empty() {
            self.resend.retain(|&other| other != packet_id);
        }
    }

    fn append(
        &mut self,
        queued: &QueuedMessage,
        packet_id: PacketId,
        dup: bool,
        negotiated: Negotiated,
        now: Instant,
    ) -> bool {
        let copy = Copy {
            version: negotiated.version,
            max_packet_size: negotiated.max_packet_size,
            qos: queued.qos,
            retain: queued.retain,
            identifiers: queued.identifiers(),
            packet_id: Some(packet_id),
            dup,
            naming: Naming::Name,
        };
        let appended = match &mut self.aliases {
            None => append_queued(queued, &copy, now, &mut self.outbox),
            Some(aliases) => {
                let Ok(topic) = Topic::new(queued.message.topic()) else { return false };
                let append = |naming| append_queued(queued, &Copy { naming, ..copy }, now, &mut self.outbox);
                aliases.append(topic, outbound_alias::hash(topic), append)
            }
        };
        self.sent.publish += u32::from(appended.is_ok());
        appended.is_ok()
    }
}
