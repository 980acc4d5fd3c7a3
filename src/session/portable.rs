//! A session's protocol state in a form that can travel to another node, where the session goes on as if it had never
//! moved.
//!
//! A session is exported while no connection is open on it, and when its client is owed no acknowledgement that still
//! waits for other nodes.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::queue::Queue;
use super::window::{InFlight, Window};
use super::{Session, SessionLimits};
use crate::codec::packet::{PacketId, QoS};
use crate::message::{PortableMessage, PortableTicket, PublishId, QueuedMessage, Ticket};

/// The state of a session without a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionState {
    /// Packet identifier of the first entry of `window`, or of the next message.
    first: PacketId,
    /// What was sent and not acknowledged, in the order of sending.
    window: Vec<PortableInFlight>,
    /// What waits to be sent.
    queue: Vec<PortableQueued>,
    /// QoS 2 publishes of the client whose PUBREL is awaited.
    unreleased: Vec<PacketId>,
    /// What the session has had since an older one may turn up, see [`Session::note_publishes`].
    noted: Option<Vec<PublishId>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum PortableInFlight {
    Published(PortableQueued),
    Released,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PortableQueued {
    message: PortableMessage,
    qos: QoS,
    retain: bool,
    identifiers: Vec<NonZeroU32>,
    ticket: Option<PortableTicket>,
}

/// Makes a ticket that has come from another node count on this one.
pub type AcceptTicket<'a> = &'a dyn Fn(PortableTicket) -> Ticket;

/// The peer sent a state that no session can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent a session that cannot be")]
pub struct InvalidState;

impl Session {
    /// What another node needs to go on with the session.
    pub fn export(&self, now: Instant) -> SessionState {
        let (first, entries) = self.window.ring();
        SessionState {
            first,
            window: entries.map(|entry| PortableInFlight::of(entry, now)).collect(),
            queue: self.queue.iter().map(|queued| PortableQueued::of(queued, now)).collect(),
            unreleased: self.unreleased.iter().copied().collect(),
            noted: self.noted().map(|noted| noted.iter().collect()),
        }
    }

    /// A session without a connection that goes on from `state`.
    pub fn import(
        state: SessionState,
        limits: Arc<SessionLimits>,
        accept: AcceptTicket<'_>,
        now: Instant,
    ) -> Result<Session, InvalidState> {
        let window = state.window.into_iter().map(|entry| entry.into_in_flight(accept, now));
        let window = window.collect::<Option<Vec<InFlight>>>().ok_or(InvalidState)?;
        let mut queue = Queue::default();
        for queued in state.queue {
            queue.push(queued.into_queued(accept, now).ok_or(InvalidState)?);
        }
        let mut session = Session {
            window: Window::restore(state.first, window).ok_or(InvalidState)?,
            queue,
            unreleased: state.unreleased.into_iter().collect(),
            ..Session::new(limits)
        };
        if let Some(noted) = state.noted {
            session.set_noted(noted);
        }
        Ok(session)
    }

    /// Takes over what `other` has queued and this session has not: what arrived here while the session was on its way.
    /// It was within the bounds of `other`, and stays within twice these.
    pub fn absorb(&mut self, mut other: Session, now: Instant) {
        let known: HashSet<PublishId> = self.publishes().collect();
        for queued in other.queue.take_all() {
            // What came by way of a group came to this session alone, whatever else its subscriptions got.
            let publish = queued.message.publish.filter(|_| queued.ticket.is_none());
            if publish.is_none_or(|publish| !known.contains(&publish)) {
                self.absorb_one(queued, now);
            }
        }
    }

    /// The session goes on elsewhere with all its messages: it is for that node to say what becomes of those of groups.
    pub fn release_tickets(&self) {
        self.kept().filter_map(|queued| queued.ticket.as_deref()).for_each(Ticket::release);
    }

    /// The names of the messages that are kept here.
    pub(super) fn publishes(&self) -> impl Iterator<Item = PublishId> {
        self.kept().filter(|queued| queued.ticket.is_none()).filter_map(|queued| queued.message.publish)
    }

    fn kept(&self) -> impl Iterator<Item = &QueuedMessage> {
        let sent = self.window.iter().filter_map(|(_, entry)| match entry {
            InFlight::Published(queued) => Some(queued),
            InFlight::Released | InFlight::Done => None,
        });
        sent.chain(self.queue.iter())
    }
}

impl SessionState {
    /// Whether it says what the session has had since an older one may turn up.
    pub fn is_noted(&self) -> bool {
        self.noted.is_some()
    }

    /// The packet identifiers under which publishes of QoS 2 were sent that the client has not completed.
    pub fn unreleased(&self) -> Vec<PacketId> {
        let is_held = |entry: &PortableInFlight| match entry {
            PortableInFlight::Published(queued) => queued.qos == QoS::ExactlyOnce,
            PortableInFlight::Released => true,
            PortableInFlight::Done => false,
        };
        let held = self.window.iter().enumerate().filter(|(_, entry)| is_held(entry));
        held.map(|(at, _)| Window::id_after(self.first, at)).collect()
    }

    /// The messages that were never sent, oldest first; and those of groups that another member may get, though they were
    /// sent.
    pub fn into_unsent(self, accept: AcceptTicket<'_>, now: Instant) -> impl Iterator<Item = QueuedMessage> {
        let sent = self.window.into_iter().filter_map(move |entry| match entry.into_in_flight(accept, now) {
            Some(InFlight::Published(queued)) if queued.qos == QoS::ExactlyOnce => {
                queued.consume(); // [MQTT-4.8.2-5]
                None
            }
            Some(InFlight::Published(queued)) => queued.ticket.is_some().then_some(queued),
            _ => None,
        });
        let queue = self.queue.into_iter().filter_map(move |queued| queued.into_queued(accept, now));
        queue.chain(sent)
    }
}

impl PortableInFlight {
    fn of(entry: &InFlight, now: Instant) -> PortableInFlight {
        match entry {
            InFlight::Published(queued) => PortableInFlight::Published(PortableQueued::of(queued, now)),
            InFlight::Released => PortableInFlight::Released,
            InFlight::Done => PortableInFlight::Done,
        }
    }

    fn into_in_flight(self, accept: AcceptTicket<'_>, now: Instant) -> Option<InFlight> {
        Some(match self {
            PortableInFlight::Published(queued) => InFlight::Published(queued.into_queued(accept, now)?),
            PortableInFlight::Released => InFlight::Released,
            PortableInFlight::Done => InFlight::Done,
        })
    }
}

impl PortableQueued {
    pub(super) fn of(queued: &QueuedMessage, now: Instant) -> PortableQueued {
        PortableQueued {
            message: PortableMessage::of(&queued.message, now),
            qos: queued.qos,
            retain: queued.retain,
            identifiers: queued.identifiers().to_vec(),
            ticket: queued.ticket.as_ref().map(|ticket| ticket.portable()),
        }
    }

    pub(super) fn into_queued(self, accept: AcceptTicket<'_>, now: Instant) -> Option<QueuedMessage> {
        if self.qos == QoS::AtMostOnce {
            return None; // It would never be acknowledged.
        }
        let message = Arc::new(self.message.into_message(now)?);
        let ticket = self.ticket.map(|ticket| Arc::new(accept(ticket)));
        let queued = QueuedMessage::new(message, self.qos, self.retain, &self.identifiers);
        Some(queued.with_ticket(ticket.as_ref()))
    }
}
