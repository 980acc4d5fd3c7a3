//! The sending end of a stream: what a destination has not acknowledged yet, bounded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::wire::{Place, Publication, Shares};
use crate::cluster::host::Receipt;
use crate::message::Message;

/// Messages that a live peer's buffer may hold beyond twice its limit: what clients had sent when it was full.
const LIVE_SLACK: usize = 4096;

/// What a forward buffer may hold for one destination.
#[derive(Clone, Copy, Debug)]
pub struct ForwardLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of those messages.
    pub bytes: usize,
}

impl Default for ForwardLimits {
    fn default() -> Self {
        ForwardLimits { messages: 100_000, bytes: 256 << 20 }
    }
}

/// Forwards of QoS 1 and 2 to one destination, oldest first.
#[derive(Debug)]
pub struct ForwardStream {
    entries: VecDeque<Entry>,
    /// Sequence number of the next entry.
    next: u64,
    /// The last one that the present link has carried, or skipped.
    sent: u64,
    /// The highest one that any link has carried.
    sent_ever: u64,
    bytes: usize,
    limits: ForwardLimits,
    /// Claims of dropped forwards, which their origin is to give to others.
    lost: Vec<u64>,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    message: Arc<Message>,
    shares: Option<Box<Shares>>,
    /// Whoever waits for the acknowledgement.
    receipt: Option<Receipt>,
    since: Instant,
}

/// Forwards that wait for their acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many.
    pub messages: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// How long the oldest has waited.
    pub oldest: Duration,
}

/// What to send next.
#[derive(Debug)]
pub enum Outgoing<'a> {
    /// Nothing up to this number will come.
    Skip(u64),
    /// A forward; true if an earlier link carried it before.
    Forward(Place, &'a Message, Option<&'a Shares>, bool),
}

impl ForwardStream {
    /// An empty stream; the first forward has number 1.
    pub fn new(limits: ForwardLimits) -> ForwardStream {
        ForwardStream {
            entries: VecDeque::new(),
            next: 1,
            sent: 0,
            sent_ever: 0,
            bytes: 0,
            limits,
            lost: Vec::new(),
        }
    }

    /// Appends a forward. It may exceed the limits: then call [`ForwardStream::trim`], or let nobody enter more.
    pub fn push(
        &mut self,
        publication: Publication,
        message: Arc<Message>,
        shares: Option<Box<Shares>>,
        receipt: Option<Receipt>,
        now: Instant,
    ) {
        let place = Place { sequence: self.next, publication };
        self.next += 1;
        self.bytes += message.size();
        self.entries.push_back(Entry { place, message, shares, receipt, since: now });
    }

    /// The number of the newest entry there ever was.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the limits are reached.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.limits.messages || self.bytes >= self.limits.bytes
    }

    /// Drops the oldest until the limits are kept; returns how many. For a live peer, whose publishers are slowed down,
    /// there is as much room again, and a few publishers' worth of messages. Their receipts are in `done`, for nobody will
    /// confirm them any more.
    pub fn trim(&mut self, live: bool, done: &mut Vec<Receipt>) -> u64 {
        let ForwardLimits { messages, bytes } = self.limits;
        let (messages, bytes) = if live { (2 * messages + LIVE_SLACK, 2 * bytes) } else { (messages, bytes) };
        let mut dropped = 0;
        while self.entries.len() > messages || self.bytes > bytes {
            let shares = self.entries.front_mut().and_then(|entry| entry.shares.take());
            self.lost.extend(shares.iter().flat_map(|shares| &shares.list).map(|share| share.claim));
            self.drop_oldest(done);
            dropped += 1;
        }
        dropped
    }

    /// A link to the destination is up, which has received the stream up to `received`.
    pub fn handle_link_up(&mut self, received: u64, done: &mut Vec<Receipt>) {
        // No stream gets that far; a peer that says so would leave it no numbers.
        let received = received.min(u64::MAX / 2);
        if received > self.sent_ever {
            self.go_on_behind(received);
        }
        self.handle_ack(received, done);
        self.sent = received;
    }

    /// The destination remembers more than this stream has ever sent: an earlier one of this replica, which was dropped
    /// with the destination. This one goes on behind it.
    fn go_on_behind(&mut self, received: u64) {
        self.next = received + 1;
        for entry in &mut self.entries {
            entry.place.sequence = self.next;
            self.next += 1;
        }
        self.sent_ever = received;
    }

    /// The next frame for the present link.
    pub fn poll_send(&mut self) -> Option<Outgoing<'_>> {
        let oldest = self.entries.front()?.place.sequence;
        if self.sent + 1 < oldest {
            self.sent = oldest - 1;
            return Some(Outgoing::Skip(self.sent));
        }
        let entry = self.entries.get((self.sent + 1 - oldest) as usize)?;
        self.sent += 1;
        let again = self.sent <= self.sent_ever;
        self.sent_ever = self.sent_ever.max(self.sent);
        Some(Outgoing::Forward(entry.place, &entry.message, entry.shares.as_deref(), again))
    }

    /// Other nodes choose members for these claims now.
    pub fn revoke(&mut self, is_revoked: impl Fn(u64) -> bool) {
        for shares in self.entries.iter_mut().filter_map(|entry| entry.shares.as_mut()) {
            shares.list.retain(|share| !is_revoked(share.claim));
        }
    }

    /// The claims of forwards that were dropped since this was last asked.
    pub fn take_lost(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.lost)
    }

    /// The destination has everything up to `sequence`. Returns how many that settles.
    pub fn handle_ack(&mut self, sequence: u64, done: &mut Vec<Receipt>) -> u64 {
        let mut acked = 0;
        while self.entries.front().is_some_and(|entry| entry.place.sequence <= sequence) {
            self.drop_oldest(done);
            acked += 1;
        }
        acked
    }

    /// Nobody waits for the acknowledgement of forwards entered before `now - patience` any more: they are in the
    /// buffer, and that has to do.
    pub fn release_receipts(&mut self, now: Instant, patience: Duration, done: &mut Vec<Receipt>) {
        for entry in &mut self.entries {
            if now.saturating_duration_since(entry.since) < patience {
                return;
            }
            done.extend(entry.receipt.take());
        }
    }

    /// What waits for its acknowledgement.
    pub fn backlog(&self, now: Instant) -> Backlog {
        let oldest = self.entries.front().map(|entry| now.saturating_duration_since(entry.since));
        Backlog { messages: self.entries.len(), bytes: self.bytes, oldest: oldest.unwrap_or_default() }
    }

    fn drop_oldest(&mut self, done: &mut Vec<Receipt>) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.message.size();
            done.extend(entry.receipt);
        }
    }
}
