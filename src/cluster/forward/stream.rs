//! The sending end of a stream: what a destination has not acknowledged yet, bounded in number, bytes and age.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::{Charge, ForwardBudget};
use super::pace::Pace;
use super::wire::{Place, Publication, Shares};
use crate::cluster::host::Receipt;
use crate::message::Message;

/// Messages that a live peer's buffer may hold beyond twice its limit: what clients had sent when it was full.
const LIVE_SLACK: usize = 4096;
/// Messages looked at in one go where that is not urgent, so that nobody waits long for the stream.
const TIDY_MAX: usize = 4096;
/// Forwards under way of which the first is one that no publisher waits for. They have waited themselves, and are to find
/// room with their subscribers, who have got nothing meanwhile: so few of them come at a time.
const LATE_WINDOW: u64 = 256;
/// A buffer with room for more messages than this gives it back when it is empty.
const IDLE_CAPACITY: usize = 16 << 10;

/// What a forward buffer may hold for one destination.
#[derive(Clone, Copy, Debug)]
pub struct ForwardLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of those messages.
    pub bytes: usize,
    /// How long a message waits for a destination that cannot be reached.
    pub age: Duration,
    /// What becomes of messages for a destination that cannot be reached and whose buffer is full.
    pub overflow: ForwardOverflow,
}

impl Default for ForwardLimits {
    fn default() -> Self {
        let age = Duration::from_secs(3600);
        ForwardLimits { messages: 100_000, bytes: 256 << 20, age, overflow: ForwardOverflow::default() }
    }
}

/// What becomes of messages for a node that cannot be reached and whose buffer is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardOverflow {
    /// The oldest in the buffer goes: subscribers get what is newest.
    #[default]
    DropOldest,
    /// Their publishers are told that they were not taken: nothing that was acknowledged is lost.
    Refuse,
}

impl ForwardOverflow {
    /// Both, in the order of the documentation.
    pub const ALL: [ForwardOverflow; 2] = [ForwardOverflow::DropOldest, ForwardOverflow::Refuse];

    /// As operators spell it.
    pub fn name(self) -> &'static str {
        match self {
            ForwardOverflow::DropOldest => "drop_oldest",
            ForwardOverflow::Refuse => "refuse",
        }
    }
}

/// Forwards of QoS 1 and 2 to one destination, oldest first.
#[derive(Debug)]
pub struct ForwardStream {
    entries: VecDeque<Entry>,
    /// Sequence number of the first entry; the others follow without gaps.
    first: u64,
    /// The last one that the present way has carried, or skipped.
    sent: u64,
    /// The last one that the destination is known to have.
    acked: u64,
    /// The highest one that any way has carried, or skipped.
    sent_ever: u64,
    bytes: usize,
    /// Bytes that the present link has carried and the destination has not acknowledged.
    under_way: usize,
    pace: Pace,
    /// Entries whose receipt somebody waits for.
    receipts: usize,
    /// Entries that expire, and the number of the one to look at next.
    expiring: usize,
    look_at: u64,
    expired: u64,
    limits: ForwardLimits,
    charge: Charge,
    /// Claims of dropped forwards, which their origin is to give to others.
    lost: Vec<u64>,
}

#[derive(Debug)]
struct Entry {
    publication: Publication,
    /// None where it has expired: its number is skipped.
    message: Option<Arc<Message>>,
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
    /// A forward.
    Forward(Forwarding<'a>),
}

/// A forward on its way.
#[derive(Debug)]
pub struct Forwarding<'a> {
    /// Its place in the stream.
    pub place: Place,
    /// The message.
    pub message: &'a Message,
    /// What it is for besides plain subscribers.
    pub shares: Option<&'a Shares>,
    /// An earlier link carried it before.
    pub again: bool,
    /// Nobody waits for it any more.
    pub late: bool,
}

impl ForwardStream {
    /// An empty stream; the first forward has number 1.
    pub fn new(limits: ForwardLimits, budget: Arc<ForwardBudget>) -> ForwardStream {
        ForwardStream {
            entries: VecDeque::new(),
            first: 1,
            sent: 0,
            acked: 0,
            sent_ever: 0,
            bytes: 0,
            under_way: 0,
            pace: Pace::default(),
            receipts: 0,
            expiring: 0,
            look_at: 0,
            expired: 0,
            limits,
            charge: Charge::new(budget),
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
        self.bytes += message.size();
        self.charge.set(self.bytes);
        self.receipts += usize::from(receipt.is_some());
        self.expiring += usize::from(message.expires_at.is_some());
        self.entries.push_back(Entry { publication, message: Some(message), shares, receipt, since: now });
    }

    /// The number of the newest entry there ever was.
    pub fn last(&self) -> u64 {
        self.first + self.entries.len() as u64 - 1
    }

    /// Whether nothing waits for an acknowledgement up to this one.
    pub fn is_done(&self, sequence: u64) -> bool {
        self.entries.is_empty() || self.first > sequence
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the limits are reached, its own or those of all buffers together.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.limits.messages
            || self.bytes >= self.limits.bytes
            || self.charge.budget().is_over()
    }

    /// Whether the destination is still to get what nobody waits for any more.
    pub fn is_late(&self) -> bool {
        self.entries.front().is_some_and(Entry::is_late)
    }

    /// Drops the oldest until the limits are kept; returns how many. For a live peer, whose publishers are slowed down,
    /// there is as much room again, and a few publishers' worth of messages; so there is where publishes are refused for
    /// want of room, for what is here was acknowledged. Their receipts are in `done`, for nobody will confirm them any
    /// more.
    pub fn trim(&mut self, live: bool, done: &mut Vec<Receipt>) -> u64 {
        let ForwardLimits { messages, bytes, overflow, .. } = self.limits;
        let lenient = live || overflow == ForwardOverflow::Refuse;
        let (messages, bytes) =
            if lenient { (2 * messages + LIVE_SLACK, 2 * bytes) } else { (messages, bytes) };
        let mut dropped = 0;
        while self.entries.len() > messages || self.bytes > bytes {
            dropped += self.lose_oldest(done);
        }
        dropped
    }

    /// Drops so many bytes of the oldest; returns how many messages that were.
    pub fn give_up(&mut self, bytes: usize, done: &mut Vec<Receipt>) -> u64 {
        let rest = self.bytes.saturating_sub(bytes);
        let mut dropped = 0;
        while self.bytes > rest {
            dropped += self.lose_oldest(done);
        }
        dropped
    }

    /// Drops what has waited for too long for a destination that cannot be reached, and what has expired; a bounded number
    /// of each. Returns how many were too old; the others are counted by [`ForwardStream::take_expired`].
    pub fn tidy(&mut self, reachable: bool, now: Instant, done: &mut Vec<Receipt>) -> u64 {
        let mut aged = 0;
        if !reachable {
            let is_old = |entry: &Entry| now.saturating_duration_since(entry.since) >= self.limits.age;
            let old = self.entries.iter().take(TIDY_MAX).take_while(|entry| is_old(entry)).count();
            for _ in 0..old {
                aged += self.lose_oldest(done);
            }
        }
        if self.expiring > 0 {
            // What is under way is not worth looking at.
            let from = if reachable { self.sent + 1 } else { self.first };
            let at = self.look_at.max(from).max(self.first) - self.first;
            let until = (at as usize + TIDY_MAX).min(self.entries.len());
            for at in at as usize..until {
                if self.entries[at].is_expired(now) {
                    self.bury(at);
                    self.release(at, done);
                }
            }
            self.look_at = if until == self.entries.len() { 0 } else { self.first + until as u64 };
        }
        self.drop_buried(done);
        aged
    }

    /// How many have expired since this was last asked.
    pub fn take_expired(&mut self) -> u64 {
        std::mem::take(&mut self.expired)
    }

    /// There is a way to the destination, which has received the stream up to `received`.
    pub fn handle_link_up(&mut self, received: u64, now: Instant, done: &mut Vec<Receipt>) {
        // No stream gets that far; a peer that says so would leave it no numbers.
        let received = received.min(u64::MAX / 2);
        if received > self.sent_ever {
            self.go_on_behind(received);
        }
        self.under_way = 0;
        self.handle_ack(received, now, done);
        self.acked = received;
        self.rewind();
    }

    /// Whatever the destination is not known to have is to be sent again, by another way.
    pub fn rewind(&mut self) {
        self.sent = self.acked;
        self.under_way = 0;
        self.pace = Pace::default();
    }

    /// Since when the oldest one waits that was sent and not acknowledged.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.entries.front().filter(|_| self.first <= self.sent).map(|oldest| oldest.since)
    }

    /// The destination remembers more than this stream has ever sent: an earlier one of this replica, which was dropped
    /// with the destination. This one goes on behind it.
    fn go_on_behind(&mut self, received: u64) {
        self.first = received + 1;
        self.sent_ever = received;
        self.look_at = 0;
    }

    /// The next frame for the present way; none while as much is under way as should be.
    pub fn poll_send(&mut self, now: Instant) -> Option<Outgoing<'_>> {
        let mut next = (self.sent + 1).max(self.first);
        while let Some(at) = self.index_of(next)
            && self.bury_expired(at, now)
        {
            next += 1;
        }
        if next > self.sent + 1 {
            self.note_sent(next - 1);
            return Some(Outgoing::Skip(self.sent));
        }
        let at = self.index_of(next)?;
        if self.under_way >= self.pace.window() {
            self.pace.handle_full();
            return None;
        }
        if next - self.first >= LATE_WINDOW && self.is_late() {
            return None;
        }
        let again = next <= self.sent_ever;
        self.note_sent(next);
        let entry = self.entries.get(at)?;
        let message = entry.message.as_ref()?;
        self.under_way += message.size();
        self.pace.handle_sent(next, now);
        let place = Place { sequence: next, publication: entry.publication };
        let (shares, late) = (entry.shares.as_deref(), entry.is_late());
        Some(Outgoing::Forward(Forwarding { place, message, shares, again, late }))
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
    pub fn handle_ack(&mut self, sequence: u64, now: Instant, done: &mut Vec<Receipt>) -> u64 {
        let mut acked = 0;
        while !self.entries.is_empty() && self.first <= sequence {
            acked += self.drop_oldest(done);
        }
        self.drop_buried(done);
        self.pace.handle_ack(sequence, now);
        self.acked = self.acked.max(sequence.min(self.last()));
        acked
    }

    /// Nobody waits for the acknowledgement of forwards entered before `now - patience` any more: they are in the
    /// buffer, and that has to do.
    pub fn release_receipts(&mut self, now: Instant, patience: Duration, done: &mut Vec<Receipt>) {
        if self.receipts == 0 {
            return;
        }
        for at in 0..self.entries.len() {
            if now.saturating_duration_since(self.entries[at].since) < patience {
                return;
            }
            self.release(at, done);
        }
    }

    /// What waits for its acknowledgement.
    pub fn backlog(&self, now: Instant) -> Backlog {
        let oldest = self.entries.front().map(|entry| now.saturating_duration_since(entry.since));
        Backlog { messages: self.entries.len(), bytes: self.bytes, oldest: oldest.unwrap_or_default() }
    }

    fn index_of(&self, sequence: u64) -> Option<usize> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        (at < self.entries.len()).then_some(at)
    }

    fn note_sent(&mut self, sequence: u64) {
        self.sent = sequence;
        self.sent_ever = self.sent_ever.max(sequence);
    }

    fn release(&mut self, at: usize, done: &mut Vec<Receipt>) {
        if let Some(receipt) = self.entries[at].receipt.take() {
            self.receipts -= 1;
            done.push(receipt);
        }
    }

    /// Whether nothing is left of an entry, because it has expired by now.
    fn bury_expired(&mut self, at: usize, now: Instant) -> bool {
        let entry = &self.entries[at];
        if entry.is_expired(now) {
            self.bury(at);
        }
        self.entries[at].message.is_none()
    }

    /// A message has expired; its place stays, for its number does.
    fn bury(&mut self, at: usize) {
        let carried = self.first + at as u64 <= self.sent;
        let entry = &mut self.entries[at];
        let Some(message) = entry.message.take() else { return };
        self.lost.extend(entry.take_claims());
        self.expired += 1;
        if carried {
            self.under_way = self.under_way.saturating_sub(message.size());
        }
        self.expiring -= usize::from(message.expires_at.is_some());
        self.bytes -= message.size();
        self.charge.set(self.bytes);
    }

    fn drop_buried(&mut self, done: &mut Vec<Receipt>) {
        while self.entries.front().is_some_and(|entry| entry.message.is_none()) {
            self.drop_oldest(done);
        }
    }

    /// The destination will not get the oldest. Returns how many messages that is: none where it has expired.
    fn lose_oldest(&mut self, done: &mut Vec<Receipt>) -> u64 {
        if let Some(entry) = self.entries.front_mut() {
            self.lost.extend(entry.take_claims());
        }
        self.drop_oldest(done)
    }

    fn drop_oldest(&mut self, done: &mut Vec<Receipt>) -> u64 {
        let Some(entry) = self.entries.pop_front() else { return 0 };
        self.first += 1;
        if self.entries.is_empty() && self.entries.capacity() > IDLE_CAPACITY {
            self.entries = VecDeque::new();
        }
        self.receipts -= usize::from(entry.receipt.is_some());
        done.extend(entry.receipt);
        let Some(message) = entry.message else { return 0 };
        if self.first <= self.sent + 1 {
            self.under_way = self.under_way.saturating_sub(message.size());
        }
        self.expiring -= usize::from(message.expires_at.is_some());
        self.bytes -= message.size();
        self.charge.set(self.bytes);
        1
    }
}

impl Entry {
    fn is_expired(&self, now: Instant) -> bool {
        self.message.as_ref().is_some_and(|message| message.is_expired(now))
    }

    fn is_late(&self) -> bool {
        self.receipt.is_none()
    }

    fn take_claims(&mut self) -> impl Iterator<Item = u64> + use<> {
        let shares = self.shares.take().map_or_else(Default::default, |shares| shares.list);
        shares.into_iter().map(|share| share.claim)
    }
}
