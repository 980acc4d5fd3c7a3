//! QoS 1 and 2 messages sent to a client and not yet acknowledged by it.
//!
//! Packet identifiers are given out in order, so the window is a ring of consecutive identifiers and any of them is
//! found by subtraction. An entry acknowledged out of order stays as a gap until those before it are acknowledged too.

use std::collections::VecDeque;

use crate::codec::packet::PacketId;
use crate::message::QueuedMessage;

/// What is awaited for one packet identifier.
#[derive(Debug)]
pub enum InFlight {
    /// PUBACK or PUBREC; the message may have to be sent again.
    Published(QueuedMessage),
    /// PUBCOMP; only PUBREL may be sent again [MQTT-4.3.3-6].
    Released,
    /// Nothing any more.
    Done,
}

/// The in-flight window towards one client.
#[derive(Debug)]
pub struct Window {
    ring: VecDeque<InFlight>,
    /// Identifier of the first entry, or of the next message where the ring is empty.
    first: u16,
    in_flight: usize,
}

impl Default for Window {
    fn default() -> Self {
        Window { ring: VecDeque::new(), first: 1, in_flight: 0 }
    }
}

/// The ring never holds more entries, gaps included.
const RING_MAX: usize = 32_768;
/// Identifiers run from 1 to this.
const IDS: u32 = u16::MAX as u32;

impl Window {
    /// Messages not acknowledged in full.
    pub fn len(&self) -> usize {
        self.in_flight
    }

    /// Whether one more message may be sent, with at most `maximum` unacknowledged [MQTT-4.9.0-2].
    pub fn has_room(&self, maximum: usize) -> bool {
        self.in_flight < maximum && self.ring.len() < RING_MAX
    }

    /// Enters a message and gives its packet identifier. The caller has asked [`Window::has_room`].
    pub fn push(&mut self, message: QueuedMessage) -> PacketId {
        let id = self.id_at(self.ring.len());
        self.ring.push_back(InFlight::Published(message));
        self.in_flight += 1;
        id
    }

    /// The entry of `id`, unless it is unknown or done.
    pub fn get_mut(&mut self, id: PacketId) -> Option<&mut InFlight> {
        let at = (u32::from(id.get()) + IDS - u32::from(self.first)) % IDS;
        self.ring.get_mut(at as usize).filter(|entry| !matches!(entry, InFlight::Done))
    }

    /// Ends the entry of `id`.
    pub fn complete(&mut self, id: PacketId) -> Option<InFlight> {
        let done = std::mem::replace(self.get_mut(id)?, InFlight::Done);
        self.in_flight -= 1;
        while matches!(self.ring.front(), Some(InFlight::Done)) {
            self.ring.pop_front();
            self.first = self.id_at(1).get();
        }
        if self.ring.is_empty() && self.ring.capacity() > 64 {
            self.ring = VecDeque::new();
        }
        Some(done)
    }

    /// Everything unacknowledged, in the order of sending [MQTT-4.6.0-1].
    pub fn iter(&self) -> impl Iterator<Item = (PacketId, &InFlight)> {
        self.ring
            .iter()
            .enumerate()
            .map(|(at, entry)| (self.id_at(at), entry))
            .filter(|(_, entry)| !matches!(entry, InFlight::Done))
    }

    fn id_at(&self, at: usize) -> PacketId {
        let id = (u32::from(self.first) - 1 + at as u32) % IDS + 1;
        PacketId::new(id as u16).unwrap_or(PacketId::MIN)
    }
}
