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
    bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Window { ring: VecDeque::new(), first: 1, in_flight: 0, bytes: 0 }
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

    /// Whether one more message may be sent, with at most `maximum` unacknowledged [MQTT-4.9.0-2] that take less than
    /// `max_bytes`. One may always be, however large.
    pub fn has_room(&self, maximum: usize, max_bytes: usize) -> bool {
        self.in_flight < maximum && self.ring.len() < RING_MAX && self.bytes < max_bytes.max(1)
    }

    /// Enters a message and gives its packet identifier. The caller has asked [`Window::has_room`].
    pub fn push(&mut self, message: QueuedMessage) -> PacketId {
        let id = self.id_at(self.ring.len());
        self.bytes += message.size();
        self.ring.push_back(InFlight::Published(message));
        self.in_flight += 1;
        id
    }

    /// The entry of `id`, unless it is unknown or done.
    pub fn get(&self, id: PacketId) -> Option<&InFlight> {
        self.ring.get(self.place(id)).filter(|entry| !matches!(entry, InFlight::Done))
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: PacketId) -> Option<&mut InFlight> {
        let at = self.place(id);
        self.ring.get_mut(at).filter(|entry| !matches!(entry, InFlight::Done))
    }

    fn place(&self, id: PacketId) -> usize {
        ((u32::from(id.get()) + IDS - u32::from(self.first)) % IDS) as usize
    }

    /// The client has the message of `id` and will say PUBCOMP: the message itself is needed no more.
    pub fn release(&mut self, id: PacketId) -> Option<InFlight> {
        self.replace(id, InFlight::Released)
    }

    /// Ends the entry of `id`.
    pub fn complete(&mut self, id: PacketId) -> Option<InFlight> {
        let done = self.replace(id, InFlight::Done)?;
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

    fn replace(&mut self, id: PacketId, by: InFlight) -> Option<InFlight> {
        let former = std::mem::replace(self.get_mut(id)?, by);
        if let InFlight::Published(message) = &former {
            self.bytes -= message.size();
        }
        Some(former)
    }

    /// A window whose ring has these entries from the identifier `first` on; none where it would be no window.
    pub fn restore(first: PacketId, entries: Vec<InFlight>) -> Option<Window> {
        let mut window = Window { first: first.get(), ..Window::default() };
        if entries.len() > RING_MAX || matches!(entries.first(), Some(InFlight::Done)) {
            return None;
        }
        for entry in entries {
            if let InFlight::Published(message) = &entry {
                window.bytes += message.size();
            }
            window.in_flight += usize::from(!matches!(entry, InFlight::Done));
            window.ring.push_back(entry);
        }
        Some(window)
    }

    /// The identifier of the first entry, and all entries, gaps included.
    pub fn ring(&self) -> (PacketId, impl Iterator<Item = &InFlight>) {
        (self.id_at(0), self.ring.iter())
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
        Window::id_after(PacketId::new(self.first).unwrap_or(PacketId::MIN), at)
    }

    /// The identifier so many places behind one.
    pub fn id_after(first: PacketId, at: usize) -> PacketId {
        let id = (u32::from(first.get()) - 1 + (at % IDS as usize) as u32) % IDS + 1;
        PacketId::new(id as u16).unwrap_or(PacketId::MIN)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::packet::{PropertySet, QoS};
    use crate::message::Application;
    use crate::topic::Topic;

    fn message() -> QueuedMessage {
        let application = Application {
            topic: Topic::new("t").expect("a topic"),
            payload: &[],
            backing: None,
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: &PropertySet::EMPTY,
            expires_at: None,
        };
        QueuedMessage::new(Arc::new(application.to_message()), QoS::AtLeastOnce, false, &[])
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        /// Ends one of those in flight.
        Complete(prop::sample::Index),
        /// Ends, or not, whatever has this identifier.
        CompleteId(PacketId),
        Release(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Push),
            3 => any::<prop::sample::Index>().prop_map(Step::Complete),
            1 => any::<PacketId>().prop_map(Step::CompleteId),
            1 => any::<prop::sample::Index>().prop_map(Step::Release),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// The model: packet identifier to (order of sending, released).
        #[test]
        fn a_window_is_the_map_it_stands_for(first in prop_oneof![1u16..100, 65_400..=u16::MAX], steps in steps()) {
            const MAXIMUM: usize = 20;
            let mut window = Window { first, ..Window::default() };
            let mut model: BTreeMap<PacketId, (usize, bool)> = BTreeMap::new();
            let message = message();
            for (time, step) in steps.into_iter().enumerate() {
                prop_assert_eq!(window.has_room(MAXIMUM, usize::MAX), model.len() < MAXIMUM);
                let chosen = |index: prop::sample::Index| model.keys().nth(index.index(model.len().max(1))).copied();
                match step {
                    Step::Push if model.len() < MAXIMUM => {
                        let id = window.push(message.clone());
                        prop_assert_eq!(model.insert(id, (time, false)), None, "an identifier in use");
                    }
                    Step::Push => {}
                    Step::Complete(index) => {
                        if let Some(id) = chosen(index) {
                            prop_assert!(window.complete(id).is_some());
                            model.remove(&id);
                        }
                    }
                    Step::CompleteId(id) => {
                        prop_assert_eq!(window.complete(id).is_some(), model.remove(&id).is_some());
                    }
                    Step::Release(index) => {
                        if let Some(id) = chosen(index) {
                            *window.get_mut(id).expect("in flight") = InFlight::Released;
                            model.get_mut(&id).expect("in flight").1 = true;
                        }
                    }
                }
                let mut in_order: Vec<_> = model.iter().map(|(id, (at, released))| (*at, *id, *released)).collect();
                in_order.sort();
                let expected: Vec<_> = in_order.into_iter().map(|(_, id, released)| (id, released)).collect();
                let actual: Vec<_> =
                    window.iter().map(|(id, entry)| (id, matches!(entry, InFlight::Released))).collect();
                prop_assert_eq!(actual, expected);
                prop_assert_eq!(window.len(), model.len());
            }
        }
    }
}
