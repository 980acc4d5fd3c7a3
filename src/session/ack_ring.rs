//! Acknowledgements owed to a publishing client, sent in the order of its PUBLISH packets [MQTT-4.6.0-2, MQTT-4.6.0-3].
//!
//! A publish may have to wait for other nodes. Its place in the ring is its [`Slot`]; whoever confirms it names the
//! slot, and everything complete at the front of the ring leaves together.

use std::collections::VecDeque;

use crate::codec::packet::{PacketId, QoS, ReasonCode};

/// Names one publish of one session: its position in the order of all that the session ever waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u64);

/// What is owed for one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Of the PUBLISH.
    pub packet_id: PacketId,
    /// PUBACK for 1, PUBREC for 2.
    pub qos: QoS,
    /// What the acknowledgement says.
    pub reason: ReasonCode,
}

#[derive(Debug)]
struct Entry {
    owed: Owed,
    /// Confirmations still awaited.
    pending: u32,
    /// Whether the connection that is there now asked for it.
    wanted: bool,
}

/// Publishes whose acknowledgement waits, in order of arrival.
#[derive(Debug, Default)]
pub struct AckRing {
    entries: VecDeque<Entry>,
    first: u64,
    /// Entries of QoS 1 that the present connection asked for.
    at_least_once: usize,
}

impl AckRing {
    /// Whether nothing waits: then an acknowledgement may leave without entering the ring.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many publishes wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many of them are of QoS 1 and of the present connection. Those of a former one are not counted against its
    /// Receive Maximum: the client has forgotten them, or sends them again (4.9).
    pub fn at_least_once(&self) -> usize {
        self.at_least_once
    }

    /// Enters a publish that waits for `pending` confirmations; 0 where it waits only for those before it. `wanted` is
    /// whether the present connection asked for it.
    pub fn push(&mut self, owed: Owed, pending: u32, wanted: bool) -> Slot {
        self.at_least_once += usize::from(wanted && owed.qos == QoS::AtLeastOnce);
        self.entries.push_back(Entry { owed, pending, wanted });
        Slot(self.first + self.entries.len() as u64 - 1)
    }

    /// One confirmation for `slot`. Then take what is ready with [`AckRing::pop_ready`].
    pub fn confirm(&mut self, slot: Slot) {
        let entry = slot.0.checked_sub(self.first).and_then(|at| self.entries.get_mut(at as usize));
        if let Some(entry) = entry {
            entry.pending = entry.pending.saturating_sub(1);
        }
    }

    /// Whether a QoS 2 publish with this id waits here; marks it as asked for again, so that its PUBREC is sent on the
    /// present connection.
    pub fn ask_again(&mut self, packet_id: PacketId) -> bool {
        let waiting = self
            .entries
            .iter_mut()
            .find(|entry| entry.owed.packet_id == packet_id && entry.owed.qos == QoS::ExactlyOnce);
        waiting.map(|entry| entry.wanted = true).is_some()
    }

    /// The next acknowledgement that may be sent.
    pub fn pop_ready(&mut self) -> Option<Owed> {
        while self.entries.front()?.pending == 0 {
            let entry = self.entries.pop_front()?;
            self.first += 1;
            if entry.wanted {
                self.at_least_once -= usize::from(entry.owed.qos == QoS::AtLeastOnce);
                return Some(entry.owed);
            }
        }
        None
    }

    /// The connection is gone: what completes later is owed to nobody, unless asked for again.
    pub fn forget_connection(&mut self) {
        self.at_least_once = 0;
        for entry in &mut self.entries {
            entry.wanted = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(id: u16, qos: QoS) -> Owed {
        Owed { packet_id: PacketId::new(id).expect("not zero"), qos, reason: ReasonCode::Success }
    }

    #[test]
    fn acknowledgements_leave_in_order_of_arrival() {
        let mut ring = AckRing::default();
        let first = ring.push(owed(1, QoS::AtLeastOnce), 2, true);
        let second = ring.push(owed(2, QoS::AtLeastOnce), 1, true);
        ring.push(owed(3, QoS::AtLeastOnce), 0, true);
        ring.confirm(second);
        ring.confirm(first);
        assert_eq!(ring.pop_ready(), None);
        ring.confirm(first);
        let sent: Vec<u16> =
            std::iter::from_fn(|| ring.pop_ready()).map(|owed| owed.packet_id.get()).collect();
        assert_eq!(sent, [1, 2, 3]);
        assert!(ring.is_empty());
    }

    #[test]
    fn late_and_foreign_confirmations_change_nothing() {
        let mut ring = AckRing::default();
        let slot = ring.push(owed(1, QoS::AtLeastOnce), 1, true);
        ring.confirm(slot);
        assert!(ring.pop_ready().is_some());
        ring.push(owed(2, QoS::AtLeastOnce), 1, true);
        ring.confirm(slot);
        ring.confirm(Slot(99));
        assert_eq!(ring.pop_ready(), None);
    }

    #[test]
    fn a_lost_connection_is_owed_nothing_until_it_asks_again() {
        let mut ring = AckRing::default();
        let lost = ring.push(owed(1, QoS::AtLeastOnce), 1, true);
        let asked = ring.push(owed(2, QoS::ExactlyOnce), 1, true);
        ring.forget_connection();
        assert!(!ring.ask_again(owed(1, QoS::AtLeastOnce).packet_id));
        assert!(ring.ask_again(owed(2, QoS::ExactlyOnce).packet_id));
        ring.confirm(lost);
        ring.confirm(asked);
        assert_eq!(ring.pop_ready(), Some(owed(2, QoS::ExactlyOnce)));
        assert_eq!(ring.pop_ready(), None);
    }
}
