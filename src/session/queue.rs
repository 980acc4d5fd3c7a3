//! Messages that wait for their turn: the client is away, slow, or has its window full.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::message::QueuedMessage;

/// Between two looks for expired messages in a full queue.
const PURGE_INTERVAL: Duration = Duration::from_secs(1);

/// A bounded first-in first-out queue.
#[derive(Debug, Default)]
pub struct Queue {
    messages: VecDeque<QueuedMessage>,
    bytes: usize,
    purged_at: Option<Instant>,
}

impl Queue {
    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of the waiting messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a message.
    pub fn push(&mut self, message: QueuedMessage) {
        self.bytes += message.size();
        self.messages.push_back(message);
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &QueuedMessage> {
        self.messages.iter()
    }

    /// Takes out, in order, the messages that `take` says so of.
    pub fn take_if(&mut self, mut take: impl FnMut(&QueuedMessage) -> bool) -> Vec<QueuedMessage> {
        let (taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.messages).into_iter().partition(|queued| take(queued));
        self.messages = left.into();
        self.bytes = self.messages.iter().map(QueuedMessage::size).sum();
        taken
    }

    /// Takes everything out, oldest first.
    pub fn take_all(&mut self) -> VecDeque<QueuedMessage> {
        std::mem::take(self).messages
    }

    /// Drops messages past their expiry, which nobody will get [MQTT-3.3.2-5]; returns how many. Looks at all of them at
    /// most once a second.
    pub fn purge_expired(&mut self, now: Instant) -> u64 {
        if self.purged_at.is_some_and(|last| now.saturating_duration_since(last) < PURGE_INTERVAL) {
            return 0;
        }
        self.purged_at = Some(now);
        let before = self.messages.len();
        self.messages.retain(|queued| {
            let expired = queued.message.is_expired(now);
            if expired {
                queued.consume();
            }
            !expired
        });
        self.bytes = self.messages.iter().map(QueuedMessage::size).sum();
        (before - self.messages.len()) as u64
    }

    /// Takes the oldest message. Counts in `expired` those found past their expiry and left out [MQTT-3.3.2-5].
    pub fn pop(&mut self, now: Instant, expired: &mut u64) -> Option<QueuedMessage> {
        loop {
            let message = self.messages.pop_front()?;
            self.bytes -= message.size();
            if self.messages.is_empty() && self.messages.capacity() > 64 {
                self.messages = VecDeque::new();
            }
            if message.message.is_expired(now) {
                *expired += 1;
                message.consume();
                continue;
            }
            return Some(message);
        }
    }
}
