//! What one turn of a task gathers: who has to be flushed, and what was counted. Time is read once per turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{Client, Written};
use super::delivery_time;
use super::metrics::Metrics;
use crate::cluster::turn::Turn;
use crate::codec::packet::QoS;
use crate::observation::trace::{Happening, TraceEvent};
use crate::session::{Delivered, DropReason, Sent};

/// The running turn of a connection, a link or a timer.
#[derive(Debug)]
pub struct Batch {
    /// When the turn began.
    pub now: Instant,
    /// Whoever waits for the routes that this turn's publishes were matched with waits for it.
    turn: Option<Turn>,
    /// Clients with something new in their outbox that this task has promised to flush.
    pub touched: Vec<Arc<Client>>,
    /// Whether clients are noted that have connections and cannot take their messages at once.
    pub notes_crowd: bool,
    /// These clients.
    pub crowd: Vec<Arc<Client>>,
    /// Bytes read from the client.
    pub bytes_in: u64,
    bytes_out: u64,
    packets_out: Sent,
    packets_in: [u64; 16],
    /// Memory for the frames of the message at hand.
    pub scratch: Vec<u8>,
    received: [u64; 3],
    delivered: [u64; 3],
    dropped: [u64; DROP_REASONS.len()],
    expired: u64,
    /// The time that this turn's messages take is to be measured.
    timed: bool,
    /// What messages have taken that were written in this turn.
    delay: Option<Duration>,
}

const DROP_REASONS: [DropReason; 4] =
    [DropReason::Offline, DropReason::SlowConsumer, DropReason::QueueFull, DropReason::PacketTooLarge];

/// Sockets that one turn writes to before it lets other tasks run.
const FLUSHES_A_TURN: usize = 64;

impl Batch {
    /// The batch of a turn that begins at `now`.
    pub fn new(now: Instant) -> Batch {
        let timed = delivery_time::is_due(now);
        Batch { turn: Some(Turn::begin()), timed, ..Batch::between_turns(now) }
    }

    /// An empty batch, for one who keeps it from turn to turn.
    pub fn between_turns(now: Instant) -> Batch {
        Batch {
            now,
            turn: None,
            touched: Vec::new(),
            notes_crowd: false,
            crowd: Vec::new(),
            bytes_in: 0,
            bytes_out: 0,
            packets_out: Sent::default(),
            packets_in: [0; 16],
            scratch: Vec::new(),
            received: [0; 3],
            delivered: [0; 3],
            dropped: [0; DROP_REASONS.len()],
            expired: 0,
            timed: false,
            delay: None,
        }
    }

    /// Another turn begins.
    pub fn begin_turn(&mut self, now: Instant) {
        self.now = now;
        self.timed = delivery_time::is_due(now);
        self.turn = Some(Turn::begin());
    }

    /// Flushes what an earlier turn has left. What came then cannot be timed any more.
    pub fn take_on(&mut self, touched: Vec<Arc<Client>>) {
        self.timed &= touched.is_empty();
        self.touched = touched;
    }

    /// The turn is over.
    pub fn end_turn(&mut self) {
        self.turn = None;
        self.notes_crowd = false;
    }

    /// The client has something new in its outbox: this task will flush it.
    pub fn touch(&mut self, client: &Arc<Client>) {
        let mut state = client.lock();
        let expired = state.session.take_expired();
        if expired > 0 {
            self.expired += expired;
            state.tell(|_| TraceEvent::of(Happening::Expired, client.id()).with("messages", expired));
        }
        if state.touch() {
            self.touched.push(client.clone());
        }
    }

    /// Messages of the client wait, though its connection is open. Of many such clients a few do.
    pub fn note_crowded(&mut self, client: &Arc<Client>) {
        const MAX: usize = 64;
        if self.crowd.len() < MAX && !self.crowd.iter().any(|other| Arc::ptr_eq(other, client)) {
            self.crowd.push(client.clone());
        }
    }

    /// A packet arrived; `first` is the first byte of its frame.
    #[inline]
    pub fn count_packet(&mut self, first: u8) {
        self.packets_in[usize::from(first >> 4)] += 1;
    }

    /// A publish arrived.
    pub fn count_received(&mut self, qos: QoS) {
        self.received[qos as usize] += 1;
    }

    /// A message was given to a subscriber, or not.
    pub fn count_delivered(&mut self, delivered: Delivered, qos: QoS) {
        match delivered {
            Delivered::Sent | Delivered::Queued => self.delivered[qos as usize] += 1,
            Delivered::Known => {}
            Delivered::Dropped(reason) => {
                let at = DROP_REASONS.iter().position(|&other| other == reason).unwrap_or(0);
                self.dropped[at] += 1;
            }
        }
    }

    /// Copies that were given to subscribers in this turn and not reported yet, and those that were dropped.
    pub fn outcome(&self) -> (u64, u64) {
        (self.delivered.iter().sum(), self.dropped.iter().sum())
    }

    /// Flushes a bounded number of the touched clients; true when none is left.
    pub fn flush_some(&mut self) -> bool {
        let from = self.touched.len().saturating_sub(FLUSHES_A_TURN);
        let timed = self.timed && self.delivered != [0; 3];
        let mut written_here = false;
        for client in self.touched.drain(from..) {
            let written = client.flush(self.now, timed);
            written_here |= written.all;
            count(&written, &mut self.bytes_out, &mut self.packets_out, &mut self.delay);
        }
        if timed && self.touched.is_empty() {
            self.timed = false;
            let took = delivery_time::time(self.now);
            // What is left to others, they will time.
            self.delay = self.delay.max(written_here.then_some(took));
        }
        if self.touched.is_empty() && self.touched.capacity() > FLUSHES_A_TURN {
            self.touched = Vec::new();
        }
        self.touched.is_empty()
    }

    /// Bytes and packets have been written to a client.
    pub fn count_written(&mut self, written: &Written) {
        count(written, &mut self.bytes_out, &mut self.packets_out, &mut self.delay);
    }

    /// Flushes all touched clients.
    pub fn flush(&mut self) {
        while !self.flush_some() {}
    }

    /// Adds what was counted to the node's metrics.
    pub fn report(&mut self, metrics: &Metrics) {
        take_into(&mut self.bytes_in, &metrics.bytes_in);
        take_into(&mut self.bytes_out, &metrics.bytes_out);
        for (count, counter) in self.packets_in.iter_mut().zip(&metrics.packets_in) {
            take_into(count, counter);
        }
        let out = &metrics.packets_out;
        let sent = std::mem::take(&mut self.packets_out);
        for (count, counter) in [
            (sent.publish, &out.publish),
            (sent.puback, &out.puback),
            (sent.pubrec, &out.pubrec),
            (sent.pubrel, &out.pubrel),
            (sent.pubcomp, &out.pubcomp),
        ] {
            take_into(&mut u64::from(count), counter);
        }
        if let Some(delay) = self.delay.take() {
            metrics.delivery_seconds.observe(delay.as_secs_f64());
        }
        for qos in 0..3 {
            take_into(&mut self.received[qos], &metrics.messages_received[qos]);
            take_into(&mut self.delivered[qos], &metrics.messages_delivered[qos]);
        }
        if self.expired > 0 {
            let expired = metrics.messages_dropped.with_label_values(&["expired"]);
            expired.inc_by(std::mem::take(&mut self.expired));
        }
        for (count, reason) in self.dropped.iter_mut().zip(DROP_REASONS) {
            if *count > 0 {
                metrics.messages_dropped.with_label_values(&[reason.label()]).inc_by(std::mem::take(count));
            }
        }
    }
}

fn count(written: &Written, bytes: &mut u64, packets: &mut Sent, delay: &mut Option<Duration>) {
    *bytes += written.bytes;
    packets.add(written.packets);
    *delay = (*delay).max(written.delay);
}

fn take_into(count: &mut u64, counter: &prometheus::IntCounter) {
    if *count > 0 {
        counter.inc_by(std::mem::take(count));
    }
}

impl DropReason {
    /// The value of the metrics' `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::Offline => "offline",
            DropReason::SlowConsumer => "slow_consumer",
            DropReason::QueueFull => "queue_full",
            DropReason::PacketTooLarge => "packet_too_large",
        }
    }
}
