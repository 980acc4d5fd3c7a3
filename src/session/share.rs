//! Messages of shared subscriptions: they are bound to the session only as long as it can get them to its client.

use std::collections::HashSet;

use super::Session;
use super::window::InFlight;
use crate::codec::packet::{PacketId, QoS};
use crate::message::QueuedMessage;
use crate::topic::SubscriptionFilter;

impl Session {
    /// Whether a message of this QoS would be sent at once.
    pub fn is_ready_for(&self, qos: QoS) -> bool {
        match qos {
            QoS::AtMostOnce => self.negotiated.is_some() && self.outbox.len() <= self.limits.max_outbox_bytes,
            _ => self.is_idle(),
        }
    }

    /// The shared subscriptions that messages here belong to, of those that others may get.
    pub fn shares(&self) -> HashSet<SubscriptionFilter> {
        let in_flight = self.window.iter().filter_map(|(_, entry)| entry.transferable());
        let queued = self.queue.iter();
        let tickets = in_flight.chain(queued).filter_map(|queued| queued.ticket.as_deref());
        tickets.map(|ticket| (**ticket.share()).clone()).collect()
    }

    /// Takes out, in order, the messages of these shared subscriptions that others may get: those of QoS 2 that were sent
    /// stay [MQTT-4.8.2-4].
    pub fn take_shared(&mut self, of: &HashSet<SubscriptionFilter>) -> Vec<QueuedMessage> {
        let is_of = |queued: &QueuedMessage| {
            queued.ticket.as_deref().is_some_and(|ticket| of.contains(&**ticket.share()))
        };
        let sent: Vec<PacketId> = self
            .window
            .iter()
            .filter(|(_, entry)| entry.transferable().is_some_and(is_of))
            .map(|(packet_id, _)| packet_id)
            .collect();
        let mut taken = Vec::new();
        for packet_id in sent {
            if let Some(InFlight::Published(queued)) = self.window.complete(packet_id) {
                taken.push(queued);
            }
            self.forget_resend(packet_id);
        }
        taken.extend(self.queue.take_if(is_of));
        taken
    }

    /// The session ends: what is in delivery goes to nobody else [MQTT-4.8.2-5].
    pub fn consume_in_delivery(&self) {
        for (_, entry) in self.window.iter() {
            if let InFlight::Published(queued) = entry {
                queued.consume();
            }
        }
    }
}

impl InFlight {
    /// The message, where it may be sent to another client instead.
    fn transferable(&self) -> Option<&QueuedMessage> {
        match self {
            InFlight::Published(queued) if queued.qos == QoS::AtLeastOnce && queued.ticket.is_some() => {
                Some(queued)
            }
            _ => None,
        }
    }
}
