//! Which clients do not keep up with what is published for them.

use std::time::{Duration, Instant};

use super::Broker;
use super::client::Client;
use crate::cluster::wall_clock_ms;
use crate::codec::packet::PacketId;

/// How far a connected client is behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// For how long the oldest of what it has not got or not acknowledged has been here, and it been connected.
    pub waiting: Duration,
    /// The topic of that, where it is known.
    pub topic: Option<String>,
    /// Messages sent and not acknowledged.
    pub inflight: usize,
    /// Messages that wait.
    pub queued: usize,
    /// Bytes that its socket does not take.
    pub outbox_bytes: usize,
}

impl Broker {
    /// A client acknowledges a message: if it was late, that is noted.
    #[cold]
    pub(super) fn note_acknowledged(&self, client: &Client, epoch: u64, packet_id: PacketId, now: Instant) {
        let state = client.lock();
        if state.epoch != epoch {
            return;
        }
        let Some(message) = state.session.published(packet_id) else { return };
        let Some(taken_at) = message.taken_at else { return };
        let took = now.saturating_duration_since(taken_at);
        if self.slow.threshold().is_some_and(|threshold| took >= threshold) {
            // What came before it was connected, it could not take.
            self.slow.note(client.id(), message.topic(), took.min(state.record.connected_for()), now);
        }
    }
}

impl Client {
    /// How far it is behind; none where it is not connected.
    pub fn lag(&self, now: Instant) -> Option<Lag> {
        let mut state = self.lock();
        if state.attachment.is_none() || state.record.ended {
            return None;
        }
        let outbox_bytes = state.session.outbox().len();
        let oldest = state.session.oldest().and_then(|message| Some((message.taken_at?, message)));
        let waiting = oldest.map(|(taken_at, _)| now.saturating_duration_since(taken_at)).unwrap_or_default();
        let blocked = state.blocked_for(now).filter(|_| outbox_bytes > 0).unwrap_or_default();
        Some(Lag {
            waiting: waiting.min(state.record.connected_for()).max(blocked),
            topic: oldest.map(|(_, message)| message.topic().to_owned()),
            inflight: state.session.inflight(),
            queued: state.session.queued(),
            outbox_bytes,
        })
    }
}

impl super::session_record::SessionRecord {
    /// For how long the present connection has been open: what came before, its client could not take.
    fn connected_for(&self) -> Duration {
        let since_ms = self.connection.as_ref().map_or(0, |connection| connection.since_ms);
        Duration::from_millis(wall_clock_ms().saturating_sub(since_ms))
    }
}
