//! A client that publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, sleep_until};

use super::connection::{ClientError, Connection};
use super::histogram::Histogram;
use super::plan::Plan;
use super::stamp::{Clock, Stamp};
use crate::codec;
use crate::codec::packet::{Ack, Packet, PacketId, Properties, Publish, QoS, ReasonCode};
use crate::topic::Topic;

/// What is written at once, in bytes.
const BATCH: usize = 64 * 1024;
/// What was not delivered within this time no longer keeps its publisher from sending.
const STALL: Duration = Duration::from_secs(1);

/// What others see of a publisher while it runs.
#[derive(Debug, Default)]
pub struct Flow {
    /// Messages handed to the connection.
    pub sent: AtomicU64,
    /// Of these, acknowledged and not refused.
    pub acknowledged: AtomicU64,
    /// Of these, refused.
    pub refused: AtomicU64,
    /// Deliveries of different messages to all of its subscribers.
    pub delivered: AtomicU64,
    /// From PUBLISH to PUBACK or PUBCOMP. The lock is for one read's worth of acknowledgements.
    pub latency: Mutex<Histogram>,
    room: Notify,
}

impl Flow {
    /// So many more deliveries.
    pub fn deliver(&self, count: u64) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
        self.room.notify_one();
    }
}

/// A publisher that is connected.
pub struct Publisher {
    connection: Connection,
    flow: Arc<Flow>,
    message: Message,
    unacknowledged: Unacknowledged,
    limits: Limits,
    clock: Clock,
    sent: u64,
    /// Deliveries that are not waited for any more.
    written_off: u64,
}

/// How much it may send.
struct Limits {
    count: u64,
    /// Messages a second.
    rate: Option<f64>,
    /// Deliveries of each message.
    receivers: u64,
    /// Messages that may be undelivered at a time.
    window: u64,
    duration: Duration,
    patience: Duration,
}

impl Publisher {
    /// The publisher with this number.
    ///
    /// # Errors
    /// There cannot be such a message.
    pub fn new(
        plan: &Plan,
        number: usize,
        connection: Connection,
        flow: Arc<Flow>,
        clock: Clock,
    ) -> Result<Publisher, ClientError> {
        let ids =
            if plan.qos == QoS::AtMostOnce { 0 } else { plan.window.min(connection.receive_maximum.into()) };
        Ok(Publisher {
            connection,
            flow,
            message: Message::new(plan, number)?,
            unacknowledged: Unacknowledged::new(ids),
            limits: Limits {
                count: plan.count_of(number).unwrap_or(u64::MAX),
                rate: plan.rate.map(|rate| rate / plan.publishers as f64),
                receivers: plan.receivers() as u64,
                window: plan.window as u64,
                duration: plan.duration,
                patience: plan.patience,
            },
            clock,
            sent: 0,
            written_off: 0,
        })
    }

    /// Publishes from `start` until it is told to stop, its time is over or all is sent, and waits for the acknowledgements.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn run(mut self, start: Instant, mut stop: watch::Receiver<bool>) -> Result<(), ClientError> {
        let deadline = sleep_until((start + self.limits.duration).into());
        tokio::pin!(deadline);
        let mut publishes = true;
        loop {
            let mut next_due = None;
            let mut stalls = false;
            if publishes {
                let now = Instant::now();
                let room = self.room();
                let due = self.due(start, now);
                self.send(room.min(due), start, now);
                stalls = room == 0 && self.is_waiting_for_delivery();
                next_due =
                    self.limits.rate.filter(|_| due == 0).map(|rate| self.time_of(self.sent, rate, start));
            }
            if publishes && self.sent >= self.limits.count {
                publishes = false;
                deadline.as_mut().reset((Instant::now() + self.limits.patience).into());
            }
            if !publishes && self.unacknowledged.is_empty() && self.connection.is_written() {
                break;
            }
            let delivered = self.flow.delivered.load(Ordering::Relaxed);
            tokio::select! {
                read = self.connection.progress() => if read? {
                    let acknowledged = self.handle_acks()?;
                    if !publishes && acknowledged {
                        deadline.as_mut().reset((Instant::now() + self.limits.patience).into());
                    }
                },
                () = self.flow.room.notified(), if stalls => {}
                () = sleep(STALL), if stalls => {
                    if self.flow.delivered.load(Ordering::Relaxed) == delivered {
                        self.written_off = (self.sent * self.limits.receivers).saturating_sub(delivered);
                    }
                }
                () = async { sleep_until(next_due.unwrap_or(start).into()).await }, if next_due.is_some() => {}
                () = &mut deadline => {
                    if !publishes {
                        break;
                    }
                    publishes = false;
                    deadline.as_mut().reset((Instant::now() + self.limits.patience).into());
                }
                _ = stop.changed(), if publishes => {
                    publishes = false;
                    deadline.as_mut().reset((Instant::now() + self.limits.patience).into());
                }
            }
        }
        self.connection.close().await;
        Ok(())
    }

    /// Messages it may send by what is on its way.
    fn room(&self) -> u64 {
        let left = self.limits.count - self.sent;
        let undelivered = match self.limits.rate {
            None if self.limits.receivers > 0 => self.limits.window.saturating_sub(self.undelivered()),
            _ => u64::MAX,
        };
        left.min(undelivered).min(self.unacknowledged.room())
    }

    /// Messages, not deliveries.
    fn undelivered(&self) -> u64 {
        let delivered = self.flow.delivered.load(Ordering::Relaxed);
        let deliveries =
            (self.sent * self.limits.receivers).saturating_sub(delivered).saturating_sub(self.written_off);
        deliveries.div_ceil(self.limits.receivers.max(1))
    }

    fn is_waiting_for_delivery(&self) -> bool {
        self.limits.rate.is_none()
            && self.limits.receivers > 0
            && self.undelivered() >= self.limits.window
            && self.unacknowledged.room() > 0
    }

    /// Messages that its rate asks for.
    fn due(&self, start: Instant, now: Instant) -> u64 {
        let Some(rate) = self.limits.rate else { return u64::MAX };
        let total = (now.saturating_duration_since(start).as_secs_f64() * rate) as u64 + 1;
        total.saturating_sub(self.sent)
    }

    /// When the rate asks for the message with this number.
    fn time_of(&self, number: u64, rate: f64, start: Instant) -> Instant {
        start + Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(self.limits.duration)
    }

    /// Appends messages to what is to be written, as many as make a batch at most.
    fn send(&mut self, most: u64, start: Instant, now: Instant) {
        let before = self.sent;
        let now_nanos = self.clock.unix_nanos(now);
        while self.sent - before < most && self.connection.output.len() < BATCH {
            // With a rate a message is as old as it would be if nothing had held it up.
            let sent = match self.limits.rate {
                Some(rate) => self.clock.unix_nanos(self.time_of(self.sent, rate, start)),
                None => now_nanos,
            };
            let packet_id = self.unacknowledged.begin(now);
            self.message.append(self.sent, sent, packet_id, &mut self.connection.output);
            self.sent += 1;
        }
        self.flow.sent.store(self.sent, Ordering::Relaxed);
    }

    /// True if anything was acknowledged.
    fn handle_acks(&mut self) -> Result<bool, ClientError> {
        let (unacknowledged, flow) = (&mut self.unacknowledged, &self.flow);
        let (mut acknowledged, mut refused) = (0, 0);
        let now = Instant::now();
        let mut latency = flow.latency.lock();
        let mut done = |ack: &Ack<'_>, unacknowledged: &mut Unacknowledged| {
            let began = unacknowledged.end(ack.packet_id)?;
            latency.record(now.saturating_duration_since(began));
            acknowledged += u64::from(!ack.reason.is_error());
            refused += u64::from(ack.reason.is_error());
            Ok::<_, ClientError>(())
        };
        let version = self.message.version;
        self.connection.handle_input(|packet, output| match packet {
            Packet::PubAck(ack) | Packet::PubComp(ack) => done(ack, unacknowledged),
            Packet::PubRec(ack) if ack.reason.is_error() => done(ack, unacknowledged),
            Packet::PubRec(ack) => {
                let release = Packet::PubRel(answer(ack.packet_id));
                Ok(codec::encode(&release, version, u32::MAX, output)?)
            }
            _ => Err(ClientError::Protocol("this is not for a publisher")),
        })?;
        drop(latency);
        flow.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        flow.refused.fetch_add(refused, Ordering::Relaxed);
        Ok(acknowledged + refused > 0)
    }
}

/// An acknowledgement without more ado.
pub fn answer(packet_id: PacketId) -> Ack<'static> {
    Ack { packet_id, reason: ReasonCode::Success, properties: Properties::NONE }
}

/// A PUBLISH whose stamp and packet identifier are filled in for each message.
struct Message {
    version: codec::packet::ProtocolVersion,
    frame: Vec<u8>,
    packet_id_at: Option<usize>,
    stamp_at: usize,
    run: u32,
    publisher: u32,
}

impl Message {
    fn new(plan: &Plan, number: usize) -> Result<Message, ClientError> {
        let topic = plan.topic_of(number);
        let topic =
            Topic::new(&topic).map_err(|_| ClientError::Protocol("this is no topic to publish to"))?;
        let payload = vec![b'x'; plan.size];
        let publish = Publish {
            dup: false,
            qos: plan.qos,
            retain: false,
            topic: Some(topic),
            packet_id: None,
            properties: Properties::NONE,
            payload: &payload,
        };
        let mut frame = Vec::new();
        let head = codec::encode_publish_head(&publish, plan.version, &mut frame)?;
        let stamp_at = frame.len();
        frame.extend_from_slice(&payload);
        Ok(Message {
            version: plan.version,
            frame,
            packet_id_at: head.packet_id_at,
            stamp_at,
            run: plan.run,
            publisher: number as u32,
        })
    }

    #[inline]
    fn append(&self, number: u64, sent: u64, packet_id: Option<PacketId>, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        if let (Some(at), Some(packet_id)) = (self.packet_id_at, packet_id) {
            out[start + at..][..2].copy_from_slice(&packet_id.get().to_be_bytes());
        }
        let stamp = Stamp { run: self.run, publisher: self.publisher, number, sent };
        out[start + self.stamp_at..][..Stamp::LEN].copy_from_slice(&stamp.to_bytes());
    }
}

/// Messages that the broker has not acknowledged, by packet identifier. Where nothing is acknowledged, there are none.
struct Unacknowledged {
    began: Vec<Option<Instant>>,
    free: Vec<PacketId>,
}

impl Unacknowledged {
    fn new(most: usize) -> Unacknowledged {
        let most = most.min(usize::from(u16::MAX)) as u16;
        Unacknowledged {
            began: vec![None; usize::from(most)],
            free: (1..=most).rev().filter_map(PacketId::new).collect(),
        }
    }

    fn room(&self) -> u64 {
        if self.began.is_empty() { u64::MAX } else { self.free.len() as u64 }
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.began.len()
    }

    fn begin(&mut self, now: Instant) -> Option<PacketId> {
        let packet_id = self.free.pop()?;
        self.began[usize::from(packet_id.get()) - 1] = Some(now);
        Some(packet_id)
    }

    fn end(&mut self, packet_id: PacketId) -> Result<Instant, ClientError> {
        let began = self.began.get_mut(usize::from(packet_id.get()) - 1).and_then(Option::take);
        let began = began.ok_or(ClientError::Protocol("it acknowledges what was not sent"))?;
        self.free.push(packet_id);
        Ok(began)
    }
}
