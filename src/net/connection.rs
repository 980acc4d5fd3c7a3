//! The driver of one connection: reads, hands packets to the broker, writes what other tasks could not.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, ReadBuf};
use tokio::time::Sleep;

use super::door::Place;
use super::transport::Transport;
use crate::broker::batch::Batch;
use crate::broker::client::{Attachment, Client, Close, Signal, write_out};
use crate::broker::connection::{ClientConnection, End, Hold};
use crate::broker::{Broker, Connected, Ending, Limits, PendingConnect, Progress, Refused, Request};
use crate::codec;
use crate::codec::DecodeError;
use crate::codec::packet::{
    ConnAck, Connect, Disconnect, Packet, Properties, PropertySet, ProtocolVersion, ReasonCode,
};
use crate::observation::trace::{self, Happening};
use crate::session::outbox::Outbox;

/// A client's connection, from accept to close. It is one future, small while idle: the read buffer belongs to the
/// thread, the write buffer exists while there is something to write.
pub struct Connection<T> {
    broker: Arc<Broker>,
    transport: T,
    signal: Arc<Signal>,
    phase: Phase,
    /// The beginning of a packet whose end has not come yet, or packets that had to wait.
    partial: BytesMut,
    /// `partial` begins with a whole packet.
    held_back: bool,
    /// The first packet in `partial` waits for the node to catch up.
    waits: bool,
    /// Clients that the last turn promised to flush and did not get to.
    touched: Vec<Arc<Client>>,
    timer: Pin<Box<Sleep>>,
    /// When the last packet had come.
    last_read: Instant,
    /// Bytes held of what all clients together may hold before they are let in.
    held: usize,
    /// Of the time when it began, and from CONNACK on what its client was granted.
    limits: Arc<Limits>,
    place: Place,
}

enum Phase {
    /// CONNECT is awaited.
    Connecting,
    /// CONNECT came; what is needed to answer it is awaited. What the client sends behind it waits, too.
    Pending(Box<PendingConnect>),
    Open(Box<Open>),
    /// Our last words are written; what the peer still sends is read and thrown away, so that its stack does not
    /// discard them.
    Closing {
        rest: Outbox,
        shut: bool,
    },
}

struct Open {
    client: ClientConnection,
    version: ProtocolVersion,
    /// Longest silence of the client.
    silence_max: Option<Duration>,
    /// The timer also ends the memory of the client's matches.
    remembers: bool,
    /// How often the end was put off that another task asked for.
    close_put_off: u8,
}

/// Bytes read at once.
const READ_BUFFER: usize = 64 << 10;
/// Larger packets are read into memory of their own.
const LARGE_FRAME: usize = READ_BUFFER / 2;
/// Reads in one turn before other tasks run.
const READS_A_TURN: usize = 4;
/// Bytes of the shortest CONNACK of 5.0.
const CONNACK_MIN: u32 = 5;
/// Time for our last words.
const LINGER: Duration = Duration::from_secs(1);
/// A publisher's matches are kept for so long after its last packet.
const MATCHES_KEPT: Duration = Duration::from_secs(60);
/// How often an end waits for others to have written to the socket, and how long each time.
const CLOSE_PUT_OFF_MAX: u8 = 100;
const CLOSE_AGAIN: Duration = Duration::from_millis(2);
/// Far enough to be never.
const NEVER: Duration = Duration::from_secs(3600 * 24 * 365);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into());
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl<T: Transport> Connection<T> {
    /// A connection that was just accepted.
    pub fn new(broker: Arc<Broker>, transport: T, place: Place) -> Connection<T> {
        let limits = broker.limits();
        let timer = Box::pin(tokio::time::sleep(limits.connect_timeout));
        Connection {
            broker,
            transport,
            signal: Arc::default(),
            phase: Phase::Connecting,
            partial: BytesMut::new(),
            held_back: false,
            waits: false,
            touched: Vec::new(),
            timer,
            last_read: Instant::now(),
            held: 0,
            limits,
            place,
        }
    }

    /// Does what can be done now. Ready when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<()> {
        if let (Some(why), false) = (self.signal.closing(), matches!(self.phase, Phase::Closing { .. })) {
            if self.puts_off_close(why) {
                batch.flush();
                self.timer.as_mut().reset((Instant::now() + CLOSE_AGAIN).into());
                if self.timer.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            self.handle_close(why, batch);
        }
        if matches!(self.phase, Phase::Closing { .. }) {
            batch.flush();
            return self.poll_closing(cx);
        }
        if let Err(stop) = self.poll_connect(cx, batch) {
            self.end(stop, batch);
            return self.poll_closing(cx);
        }
        if !batch.flush_some() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.poll_drain(cx, batch);
        for _ in 0..READS_A_TURN {
            if self.is_throttled(batch) {
                return self.poll_timer(cx, batch);
            }
            match self.poll_read(cx, batch).map(|read| read.and_then(|()| self.hold())) {
                Poll::Pending => return self.poll_timer(cx, batch),
                // What it waits for is polled at the beginning of a turn.
                Poll::Ready(Ok(())) if matches!(self.phase, Phase::Pending(_)) => break,
                Poll::Ready(Ok(())) => self.remember(),
                Poll::Ready(Err(end)) => {
                    self.end(end, batch);
                    batch.flush();
                    return self.poll_closing(cx);
                }
            }
            if !batch.flush_some() {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sees to it that clients which are not let in yet hold no more together than they may.
    fn hold(&mut self) -> Result<(), Stop> {
        let bytes = match &self.phase {
            Phase::Connecting => self.partial.capacity(),
            Phase::Pending(pending) => self.partial.capacity() + pending.size(),
            Phase::Open(_) | Phase::Closing { .. } => 0,
        };
        if bytes == self.held {
            return Ok(());
        }
        if !self.broker.connecting.change(self.held, bytes) {
            self.broker.metrics.connects.with_label_values(&["crowded_out"]).inc();
            return Err(Stop::Lost);
        }
        self.held = bytes;
        Ok(())
    }

    /// Sees to it that what is kept for a publisher is given back when it falls silent.
    fn remember(&mut self) {
        let Phase::Open(open) = &mut self.phase else { return };
        if !open.remembers && open.client.remembers_matches() {
            open.remembers = true;
            let due = open.silence_max.map_or(MATCHES_KEPT, |silence| silence.min(MATCHES_KEPT));
            self.timer.as_mut().reset((self.last_read + due).into());
        }
    }

    /// Writes what the socket refused other tasks, what they could not write, and what the transport holds back.
    fn poll_drain(&mut self, cx: &mut Context<'_>, batch: &mut Batch) {
        let transport = &mut self.transport;
        if let Phase::Open(open) = &self.phase
            && let ClientConnection { client, epoch, .. } = &open.client
            && let Some(written) =
                client.drain(*epoch, &mut |slices| try_write(transport, cx, slices), batch.now)
        {
            batch.count_written(&written);
        }
        // Its errors show when it is read.
        let _ = Pin::new(transport).poll_flush(cx);
    }

    /// Whether the client is not read from at the moment. It is woken when it may be again.
    fn is_throttled(&mut self, batch: &mut Batch) -> bool {
        let open = match &self.phase {
            Phase::Open(open) => open,
            Phase::Pending(pending) => return !pending.awaits_auth(),
            Phase::Connecting | Phase::Closing { .. } => return false,
        };
        self.waits = self.waits && self.broker.wait_until_caught_up(&self.signal);
        let hold =
            if self.waits { Some(Hold::OtherNodes) } else { open.client.before_read(&self.broker, batch) };
        if hold == Some(Hold::OtherNodes) {
            self.last_read = batch.now; // Who is not listened to is not silent.
        }
        hold.is_some()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<Result<(), Stop>> {
        if std::mem::take(&mut self.held_back) {
            self.handle_partial(batch)?;
            return Poll::Ready(Ok(()));
        }
        if !self.partial.is_empty()
            && self.frame_len(&self.partial)?.is_some_and(|length| length > LARGE_FRAME)
        {
            return self.poll_read_large(cx, batch);
        }
        READ.with_borrow_mut(|memory| {
            // What is left of the last read goes in front of this one.
            let begun = self.partial.len();
            memory[..begun].copy_from_slice(&self.partial);
            let mut buffer = ReadBuf::new(&mut memory[begun..]);
            match Pin::new(&mut self.transport).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Stop::Lost)),
                Poll::Ready(Ok(())) => {}
            }
            let count = buffer.filled().len();
            if count == 0 {
                return Poll::Ready(Err(Stop::Lost));
            }
            batch.bytes_in += count as u64;
            let mut input = &memory[..begun + count];
            while let Some(length) = self.frame_len(input)? {
                if input.len() < length {
                    break;
                }
                let (frame, rest) = input.split_at(length);
                match self.handle_frame(frame, None, batch) {
                    Err(Stop::Wait) => {
                        self.held_back = true;
                        break;
                    }
                    result => result?,
                }
                input = rest;
            }
            match input {
                [] => self.partial = BytesMut::new(),
                rest => {
                    self.partial.clear();
                    self.partial.extend_from_slice(rest);
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Reads on in a packet that is too large for the thread's memory: in place, so that its payload can be kept as it is.
    fn poll_read_large(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<Result<(), Stop>> {
        let length = self.frame_len(&self.partial)?.unwrap_or(0);
        let missing = length.saturating_sub(self.partial.len());
        // Who is not known yet gets no more memory than what he sends is worth.
        let known = matches!(self.phase, Phase::Open(_));
        self.partial.reserve(if known { missing } else { missing.min(self.partial.len()) });
        match pin!(self.transport.read_buf(&mut self.partial)).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_) | Ok(0)) => return Poll::Ready(Err(Stop::Lost)),
            Poll::Ready(Ok(count)) => batch.bytes_in += count as u64,
        }
        self.handle_partial(batch)?;
        Poll::Ready(Ok(()))
    }

    /// Handles the packets of `partial` that are complete.
    fn handle_partial(&mut self, batch: &mut Batch) -> Result<(), Stop> {
        while let Some(length) = self.frame_len(&self.partial)? {
            if self.partial.len() < length {
                break;
            }
            let frame = self.partial.split_to(length).freeze();
            match self.handle_frame(&frame, Some(&frame), batch) {
                Err(Stop::Wait) => {
                    let mut whole = BytesMut::from(&frame[..]);
                    whole.extend_from_slice(&self.partial);
                    self.partial = whole;
                    self.held_back = true;
                    break;
                }
                result => result?,
            }
        }
        if self.partial.is_empty() {
            self.partial = BytesMut::new();
        }
        Ok(())
    }

    fn frame_len(&self, input: &[u8]) -> Result<Option<usize>, Stop> {
        if matches!(self.phase, Phase::Connecting) && !codec::may_be_connect(input) {
            return Err(Stop::Lost); // [MQTT-3.1.0-1]; what else it is need not be waited for.
        }
        let limits = &self.limits;
        match &self.phase {
            Phase::Open(_) | Phase::Closing { .. } => {
                codec::frame_len(input, limits.max_packet_size).map_err(Stop::Undecodable)
            }
            Phase::Pending(pending) => {
                let max =
                    if pending.awaits_auth() { limits.max_connect_size } else { limits.max_packet_size };
                codec::frame_len(input, max)
                    .map_err(|error| Stop::refused(error.reason_code(), pending.version()))
            }
            Phase::Connecting => {
                let max = limits.max_connect_size.min(limits.max_packet_size);
                codec::frame_len(input, max).map_err(|error| match codec::connect_version(input) {
                    Some(version) => Stop::refused(error.reason_code(), version),
                    None => Stop::Undecodable(error),
                })
            }
        }
    }

    fn handle_frame(&mut self, frame: &[u8], backing: Option<&Bytes>, batch: &mut Batch) -> Result<(), Stop> {
        let result = self.handle_packet(frame, backing, batch);
        if !matches!(result, Err(Stop::Wait)) {
            batch.count_packet(frame[0]);
            self.last_read = batch.now; // Of whole packets, not of bytes [MQTT-3.1.2-22].
        }
        result
    }

    fn handle_packet(
        &mut self,
        frame: &[u8],
        backing: Option<&Bytes>,
        batch: &mut Batch,
    ) -> Result<(), Stop> {
        match &mut self.phase {
            Phase::Open(open) => {
                let packet = codec::decode(frame, open.version).map_err(Stop::Undecodable)?;
                if self.broker.must_wait(&packet) {
                    self.waits = true;
                    return Err(Stop::Wait);
                }
                open.client.handle_packet(&self.broker, &packet, backing, batch).map_err(Stop::End)
            }
            Phase::Pending(pending) if pending.awaits_auth() => {
                let version = pending.version();
                let refuse = |reason| Stop::refused(reason, version);
                match codec::decode(frame, version).map_err(|error| refuse(error.reason_code()))? {
                    Packet::Auth(auth) => self
                        .broker
                        .handle_connect_auth(pending, &auth)
                        .map_err(|Refused(reason)| refuse(reason)),
                    Packet::Disconnect(_) => Err(Stop::Lost),
                    _ => Err(refuse(ReasonCode::ProtocolError)), // [MQTT-3.1.2-30]
                }
            }
            Phase::Pending(_) => Err(Stop::Wait), // [MQTT-3.1.4-5]
            Phase::Connecting => match codec::decode(frame, ProtocolVersion::V500) {
                Ok(Packet::Connect(connect)) => self.handle_connect(&connect, frame, batch),
                Ok(_) => Err(Stop::Lost), // [MQTT-3.1.0-1]
                Err(error) => Err(match codec::connect_version(frame) {
                    Some(version) => Stop::refused(error.reason_code(), version),
                    None => Stop::Undecodable(error),
                }),
            },
            Phase::Closing { .. } => Ok(()),
        }
    }

    fn handle_connect(&mut self, connect: &Connect<'_>, frame: &[u8], batch: &mut Batch) -> Result<(), Stop> {
        let peer = self.transport.peer();
        self.broker.trace_connect(connect, peer);
        let result = self.begin_connect(connect, frame, batch);
        if let Some(refusal) = result.as_ref().err().and_then(Stop::refusal) {
            self.broker.trace_refused(connect.client_id, refusal.reason, peer);
        }
        result
    }

    fn begin_connect(&mut self, connect: &Connect<'_>, frame: &[u8], batch: &mut Batch) -> Result<(), Stop> {
        let version = connect.version;
        if connect.properties.maximum_packet_size.is_some_and(|size| size.get() < CONNACK_MIN) {
            return Err(Stop::Lost); // Neither a yes nor a no would fit [MQTT-3.1.2-24].
        }
        let max_packet_size = connect.properties.maximum_packet_size.map_or(u32::MAX, |size| size.get());
        let refused = |reason| Stop::Refused(Refusal { reason, version, max_packet_size });
        if !self.place.is_open || self.broker.sends_elsewhere() && !self.transport.is_internal() {
            return Err(refused(self.broker.reason_to_go(ReasonCode::ServerBusy)));
        }
        let (direct, peer, listener) = (self.transport.direct(), self.transport.peer(), self.place.listener);
        let attachment = Attachment { direct, signal: self.signal.clone(), peer, listener };
        let certificate = self.transport.certificate_name();
        let internal = self.transport.is_internal();
        let request = Request { connect, frame, attachment, certificate, internal };
        match self.broker.connect(request, batch) {
            Ok(Progress::Open(connected)) => self.open(version, connected, batch),
            Ok(Progress::Pending(pending)) => self.phase = Phase::Pending(pending),
            Err(Refused(reason)) => return Err(refused(reason)),
        }
        Ok(())
    }

    /// Goes on with a connect that waits.
    fn poll_connect(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Result<(), Stop> {
        let Phase::Pending(pending) = &mut self.phase else { return Ok(()) };
        let version = pending.version();
        match self.broker.poll_connect(pending, cx, batch) {
            Poll::Ready(Ok(connected)) => {
                self.open(version, connected, batch);
                self.hold()?;
            }
            Poll::Ready(Err(Refused(reason))) => {
                let max_packet_size = pending.max_packet_size();
                return Err(Stop::Refused(Refusal { reason, version, max_packet_size }));
            }
            Poll::Pending => {
                let transport = &mut self.transport;
                write_out(pending.outbox(), &mut |slices| try_write(transport, cx, slices))
                    .map_err(|_| Stop::Lost)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, version: ProtocolVersion, connected: Connected, batch: &mut Batch) {
        let silence_max = connected.silence_max;
        self.timer.as_mut().reset((Instant::now() + silence_max.unwrap_or(NEVER)).into());
        self.limits = connected.limits.clone();
        let client = ClientConnection::of(&self.broker, connected);
        client.handle_opened(&self.broker, batch);
        self.phase =
            Phase::Open(Box::new(Open { silence_max, remembers: false, close_put_off: 0, version, client }));
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let open = match &mut self.phase {
                Phase::Open(open) => open,
                Phase::Pending(pending) => {
                    let (reason, version) = (ReasonCode::ServerBusy, pending.version());
                    self.end(Stop::refused(reason, version), batch);
                    return self.poll_closing(cx);
                }
                // CONNECT did not come in time.
                Phase::Connecting | Phase::Closing { .. } => return Poll::Ready(()),
            };
            let due = self.last_read + open.silence_max.unwrap_or(NEVER);
            // Not the batch's: the timer may have become due since that began.
            if due <= Instant::now() {
                self.end(Stop::End(End::Violation(ReasonCode::KeepAliveTimeout)), batch);
                batch.flush();
                return self.poll_closing(cx);
            }
            let quiet = self.last_read + MATCHES_KEPT;
            if quiet <= Instant::now() {
                open.client.forget_matches();
            }
            open.remembers = open.client.remembers_matches();
            let next = if open.remembers { due.min(quiet) } else { due };
            self.timer.as_mut().reset(next.into());
        }
        Poll::Pending
    }

    /// Whether the end waits for another task to have written: behind half a packet there is no place for the word where to go.
    fn puts_off_close(&mut self, why: Close) -> bool {
        let (Phase::Open(open), Close::Leaving | Close::ShuttingDown) = (&mut self.phase, why) else {
            return false;
        };
        let puts_off =
            open.close_put_off < CLOSE_PUT_OFF_MAX && !open.client.client.lock().reserve_for_owner();
        open.close_put_off += u8::from(puts_off);
        puts_off
    }

    /// Another task asked for the end.
    fn handle_close(&mut self, why: Close, batch: &mut Batch) {
        let reason = match why {
            Close::TakenOver { between_frames: true } => Some(ReasonCode::SessionTakenOver),
            Close::TakenOver { between_frames: false } | Close::Broken => None,
            Close::Kicked { between_frames: true } => Some(ReasonCode::AdministrativeAction),
            Close::Kicked { between_frames: false } => None,
            Close::SubscriptionLost => Some(ReasonCode::QuotaExceeded),
            Close::Forbidden => Some(ReasonCode::NotAuthorized),
            Close::ShuttingDown => Some(self.broker.reason_to_go(ReasonCode::ServerShuttingDown)),
            Close::Leaving => Some(self.broker.reason_to_move(ReasonCode::ServerShuttingDown)),
        };
        self.end(reason.map_or(Stop::Lost, |reason| Stop::End(End::Violation(reason))), batch);
    }

    /// Says goodbye as far as the protocol lets us, and tells the broker.
    fn end(&mut self, stop: Stop, batch: &mut Batch) {
        let mut rest = Outbox::default();
        match std::mem::replace(&mut self.phase, Phase::Connecting) {
            Phase::Open(open) => {
                let ClientConnection { client, epoch, .. } = &open.client;
                let reason = stop.reason();
                let mut state = client.lock();
                let superseded = state.epoch != *epoch;
                let interrupted = state.is_interrupted() && !superseded;
                let negotiated = state.session.negotiated().filter(|_| !superseded);
                let max_packet_size = negotiated.map_or(u32::MAX, |negotiated| negotiated.max_packet_size);
                if !superseded && !interrupted {
                    rest = state.session.outbox().take();
                    if client.is_traced() {
                        state.trace_written(&rest);
                    }
                    // From here on nobody else writes to the socket.
                    state.attachment = None;
                }
                drop(state);
                if let (Some(reason), false) = (reason, interrupted) {
                    let reference = self.server_reference(reason, Some(client.id()));
                    let properties = referring_to(reference.as_deref());
                    let disconnect = Packet::Disconnect(Disconnect { reason, properties });
                    // 3.1.1 has no such packet: there, closing has to say it.
                    if codec::encode(&disconnect, open.version, max_packet_size, rest.buffer()).is_ok() {
                        self.broker.metrics.packets_out.disconnect.inc();
                        client.tell(|payload_max| {
                            trace::packet(Happening::Sent, client.id(), &disconnect, payload_max)
                        });
                    }
                }
                let ending = match stop {
                    Stop::End(End::Disconnected(ending)) => ending,
                    _ => Ending { publish_will: true, expiry_secs: None, cause: stop.cause() },
                };
                let peer = self.transport.peer().map(tracing::field::display);
                tracing::debug!(client = client.id(), peer, ?stop, "connection ends");
                self.broker.disconnect(client, *epoch, ending, batch);
            }
            before @ (Phase::Connecting | Phase::Pending(_)) => {
                if let Phase::Pending(mut pending) = before {
                    if let Some(refusal) = stop.refusal() {
                        let (id, peer) = (pending.client_id(), self.transport.peer());
                        self.broker.trace_refused(id, refusal.reason, peer);
                    }
                    rest = pending.outbox().take(); // An AUTH that is half written has to be ended.
                }
                if let Some(refusal) = stop.refusal() {
                    self.broker.metrics.connects.with_label_values(&["refused"]).inc();
                    self.refuse(refusal, &mut rest);
                }
                let peer = self.transport.peer().map(tracing::field::display);
                tracing::debug!(peer, ?stop, "connection ends before CONNECT was accepted");
            }
            Phase::Closing { rest: left, .. } => rest = left,
        }
        self.phase = Phase::Closing { rest, shut: false };
        self.partial = BytesMut::new();
        let _ = self.hold();
        self.timer.as_mut().reset((Instant::now() + LINGER).into());
    }

    /// Says no to a CONNECT, with advice if it fits.
    fn refuse(&self, refusal: Refusal, outbox: &mut Outbox) {
        let Refusal { reason, version, max_packet_size } = refusal;
        let reference = self.server_reference(reason, None);
        for properties in [referring_to(reference.as_deref()), Properties::NONE] {
            // [MQTT-3.2.2-6]
            let connack = Packet::ConnAck(ConnAck { session_present: false, reason, properties });
            if codec::encode(&connack, version, max_packet_size, outbox.buffer()).is_ok() {
                self.broker.metrics.packets_out.connack.inc();
                return;
            }
        }
    }

    fn server_reference(&self, reason: ReasonCode, client: Option<&str>) -> Option<String> {
        self.broker.server_reference(reason, client, self.transport.direct().is_some())
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Phase::Closing { rest, shut } = &mut self.phase else { return Poll::Ready(()) };
        let transport = &mut self.transport;
        if !*shut {
            let written = write_out(rest, &mut |slices| try_write(transport, cx, slices));
            if written.is_err() {
                return Poll::Ready(());
            }
            if !rest.is_empty() {
                return Poll::Pending;
            }
            match Pin::new(&mut *transport).poll_shutdown(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => *shut = true,
            }
        }
        READ.with_borrow_mut(|memory| {
            for _ in 0..READS_A_TURN {
                let mut buffer = ReadBuf::new(memory);
                match Pin::new(&mut *transport).poll_read(cx, &mut buffer) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }
}

fn referring_to(server: Option<&str>) -> Properties<'_> {
    PropertySet { server_reference: server, ..PropertySet::EMPTY }.into()
}

/// Writes what the transport takes now; its task is woken when it takes more.
fn try_write<T: Transport>(
    transport: &mut T,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> io::Result<usize> {
    match Pin::new(transport).poll_write_vectored(cx, slices) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<T: Transport> Future for Connection<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.signal.waker.register(cx.waker());
        let mut batch = Batch::new(Instant::now());
        batch.take_on(std::mem::take(&mut this.touched));
        batch.scratch = SCRATCH.take();
        let done = this.turn(cx, &mut batch);
        batch.report(&this.broker.metrics);
        this.touched = batch.touched;
        SCRATCH.set(batch.scratch);
        done
    }
}

/// Dropped with the runtime, a connection still gives its client back.
impl<T> Drop for Connection<T> {
    fn drop(&mut self) {
        let _ = self.broker.connecting.change(self.held, 0);
        if let Phase::Open(open) = &self.phase {
            let mut batch = Batch::new(Instant::now());
            let ending = Ending { publish_will: true, expiry_secs: None, cause: "shutdown" };
            self.broker.disconnect(&open.client.client, open.client.epoch, ending, &mut batch);
            batch.flush();
        }
    }
}

/// Why a connection stops being read.
#[derive(Debug)]
enum Stop {
    /// For now: the packet has to wait until the connect is done, or the node has caught up with a peer.
    Wait,
    /// End of stream, a broken socket, or something that is not worth an answer.
    Lost,
    Undecodable(DecodeError),
    Refused(Refusal),
    End(End),
}

/// What CONNACK says, and to whom.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    reason: ReasonCode,
    version: ProtocolVersion,
    max_packet_size: u32,
}

impl Stop {
    /// For a client of which only the version is known.
    fn refused(reason: ReasonCode, version: ProtocolVersion) -> Stop {
        Stop::Refused(Refusal { reason, version, max_packet_size: u32::MAX })
    }

    /// What those are told who watch clients come and go.
    fn cause(&self) -> &'static str {
        match self {
            Stop::End(End::Disconnected(ending)) => ending.cause,
            Stop::End(End::Violation(ReasonCode::KeepAliveTimeout)) => "keepalive_timeout",
            Stop::End(End::Violation(
                ReasonCode::ServerShuttingDown | ReasonCode::UseAnotherServer | ReasonCode::ServerMoved,
            )) => "shutdown",
            Stop::End(End::Violation(ReasonCode::AdministrativeAction)) => "kicked",
            Stop::End(End::Violation(_)) => "protocol_error",
            Stop::Undecodable(_) => "malformed_packet",
            Stop::Wait | Stop::Lost | Stop::Refused(_) => "tcp_closed",
        }
    }

    /// What DISCONNECT says, if one is sent.
    fn reason(&self) -> Option<ReasonCode> {
        match self {
            Stop::Undecodable(error) => Some(error.reason_code()),
            Stop::End(End::Violation(reason)) => Some(*reason),
            Stop::Wait | Stop::Lost | Stop::Refused(_) | Stop::End(End::Disconnected(_)) => None,
        }
    }

    /// What CONNACK says, if one is sent.
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Stop::Refused(refusal) => Some(*refusal),
            Stop::Wait | Stop::Lost | Stop::Undecodable(_) | Stop::End(_) => None,
        }
    }
}
