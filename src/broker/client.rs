//! A client as the rest of the broker sees it: its session behind one short lock, and the way to its connection.

use std::hash::{Hash, Hasher};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use rumormq_gossip::Stamp;

use super::batch::Batch;
use super::delivery_time::ReadAt;
use super::session_record::SessionRecord;
use crate::observation::trace::Tap;
use crate::session::frames::Frames;
use crate::session::outbox::{MAX_SLICES, Outbox};
use crate::session::{Delivered, Delivery, Sent, Session};

/// Writes to a connection's socket from any task, without waiting. Only plain TCP can; other transports are written by
/// the connection's own task.
pub trait DirectWrite: Send + Sync {
    /// Writes what the socket takes now; `WouldBlock` where it takes nothing.
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// Why the broker ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Another connection has the client identifier now [MQTT-3.1.4-3].
    TakenOver {
        /// Whether the last write ended with a packet, so that a DISCONNECT may follow.
        between_frames: bool,
    },
    /// Another client has a subscription that it had exclusively.
    SubscriptionLost,
    /// It had a subscription that the rules do not allow any more.
    Forbidden,
    /// An operator wants it gone.
    Kicked {
        /// Whether the last write ended with a packet, so that a DISCONNECT may follow.
        between_frames: bool,
    },
    /// The node stops.
    ShuttingDown,
    /// The node leaves its cluster for good.
    Leaving,
    /// The socket failed.
    Broken,
}

/// How other tasks reach a connection's task.
#[derive(Debug, Default)]
pub struct Signal {
    /// Wakes the connection's task.
    pub waker: AtomicWaker,
    /// It is in the broker's list of those that wait for the node to catch up.
    pub(super) waiting: AtomicBool,
    close: Mutex<Option<Close>>,
}

impl Signal {
    /// Asks the connection to end; the first reason stays.
    pub fn close(&self, why: Close) {
        self.close.lock().get_or_insert(why);
        self.waker.wake();
    }

    /// Why the connection is to end, if it is.
    pub fn closing(&self) -> Option<Close> {
        *self.close.lock()
    }
}

/// A client's connection, as its session knows it.
pub struct Attachment {
    /// Writes from any task, where the transport can.
    pub direct: Option<Arc<dyn DirectWrite>>,
    /// Reaches the connection's task.
    pub signal: Arc<Signal>,
    /// The client's address; of a part of this node, none.
    pub peer: Option<SocketAddr>,
    /// The setting that its listener is named by; of a part of this node, none.
    pub listener: Option<&'static str>,
}

/// One client; outlives its connections for as long as its session does.
pub struct Client {
    id: Box<str>,
    /// The stamp of the claim with which this node has the session. Beside the state, for it is read where that cannot be
    /// locked.
    claim: AtomicU64,
    /// Connections that have opened and have no claim yet.
    claiming: AtomicU32,
    /// Somebody may trace it: there is a tap.
    pub(super) traced: AtomicBool,
    /// Guards nothing but the order of changes to the client's subscriptions, which are kept in three places: its
    /// record, the trie and the interest of this node. Taken before any other lock.
    subscriptions: Mutex<()>,
    state: Mutex<ClientState>,
}

/// What a client's lock guards. The lock is held for the length of a few memory copies, never across a system call.
pub struct ClientState {
    /// The session's protocol state.
    pub session: Session,
    /// What the broker keeps about the session beside it.
    pub record: Box<SessionRecord>,
    /// The connection, while one is open.
    pub attachment: Option<Attachment>,
    /// Counts connections, so that a late word of an earlier one is not taken for the present one's.
    pub epoch: u64,
    /// Someone writes the outbox at the moment, without the lock.
    flushing: bool,
    /// A connection that was taken over while someone wrote to it.
    former: Option<Box<Former>>,
    /// The connection's task is to write: the socket refused bytes, or no other task can.
    blocked: bool,
    /// What was written last may have ended within a packet.
    within_frame: bool,
    /// Someone has promised to flush.
    touched: bool,
    /// Retained messages are owed to the client: its connection sends more when it can take more.
    pub owes_retained: bool,
    /// SUBSCRIBE packets whose SUBACK waits for other nodes.
    pub pending_subscribes: usize,
    /// The connection is not read from at the moment.
    pub throttled: bool,
    /// Bytes written and not counted yet.
    written: u64,
    /// When a message was read that the connection's task is to write.
    read_at: ReadAt,
    /// Where those who trace the client see what is sent to it.
    pub(super) tap: Option<Box<Tap>>,
}

/// What was written to a client by whomever, and not counted before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Bytes that the socket took.
    pub bytes: u64,
    /// Packets given to the outbox.
    pub packets: Sent,
    /// The time that a message took whose writing was left to the connection's task.
    pub delay: Option<Duration>,
    /// Nothing waits to be written.
    pub all: bool,
}

struct Former {
    epoch: u64,
    signal: Arc<Signal>,
    why: Farewell,
}

/// What the connection is told, given whether a DISCONNECT may follow.
type Farewell = fn(bool) -> Close;

impl Client {
    /// A client without a connection.
    pub fn new(id: &str, session: Session, record: SessionRecord) -> Client {
        let state = ClientState {
            session,
            record: Box::new(record),
            attachment: None,
            epoch: 0,
            flushing: false,
            former: None,
            blocked: false,
            within_frame: false,
            touched: false,
            owes_retained: false,
            pending_subscribes: 0,
            throttled: false,
            written: 0,
            read_at: ReadAt::default(),
            tap: None,
        };
        Client {
            id: id.into(),
            claim: AtomicU64::new(0),
            claiming: AtomicU32::new(0),
            traced: AtomicBool::new(false),
            subscriptions: Mutex::default(),
            state: Mutex::new(state),
        }
    }

    /// The client identifier.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The claim with which this node has the session; the highest there is while it is being made.
    pub fn claim(&self) -> Stamp {
        match self.claiming.load(Ordering::Acquire) {
            0 => Stamp(self.claim.load(Ordering::Acquire)),
            _ => Stamp(u64::MAX),
        }
    }

    /// This node has claimed the session anew.
    pub fn set_claim(&self, claim: Stamp) {
        self.claim.fetch_max(claim.0, Ordering::AcqRel); // Of two connections the later one may say so first.
    }

    /// A connection of the client has opened here and claims the session: until [`Client::end_claim`] nobody else's claim
    /// is later. Called under the client's lock.
    pub fn begin_claim(&self) {
        self.claiming.fetch_add(1, Ordering::AcqRel);
    }

    /// The connection has claimed the session.
    pub fn end_claim(&self, claim: Stamp) {
        self.set_claim(claim);
        self.claiming.fetch_sub(1, Ordering::AcqRel);
    }

    /// Locks the client. Nothing that is called under the lock may lock a second client.
    pub fn lock(&self) -> MutexGuard<'_, ClientState> {
        self.state.lock()
    }

    /// To be held while subscriptions are added or removed, in all places where they are kept.
    pub fn change_subscriptions(&self) -> MutexGuard<'_, ()> {
        self.subscriptions.lock()
    }

    /// Writes the outbox to the socket as far as the socket takes it; the rest is left to the connection's task.
    /// Returns what was written, by whomever, since it was last asked. With `timed` the time is taken that the rest needs,
    /// since `now`.
    pub fn flush(&self, now: Instant, timed: bool) -> Written {
        let mut state = self.state.lock();
        flush(&mut state, now);
        if timed && state.blocked {
            state.read_at.note(now);
        }
        state.take_written()
    }

    /// The same for one who has nowhere to count it: whoever writes next does.
    pub fn flush_uncounted(&self, now: Instant) {
        flush(&mut self.state.lock(), now);
    }

    /// The connection may be read from again: wakes its task if it waits for that.
    pub fn unthrottle(&self) {
        self.state.lock().unthrottle();
    }

    /// The connection's task writes, with its own transport, what other tasks could not; what the transport refuses again,
    /// it must wake that task for. Nothing where `epoch` is over.
    pub fn drain(
        &self,
        epoch: u64,
        write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        now: Instant,
    ) -> Option<Written> {
        let mut state = self.state.lock();
        if state.epoch != epoch {
            return None;
        }
        if state.blocked && !state.flushing {
            state.blocked = false;
            self::write(&mut state, write, now);
        }
        Some(state.take_written())
    }
}

impl ClientState {
    fn leave_to_owner(&mut self) {
        self.blocked = true;
        if let Some(attachment) = &self.attachment {
            attachment.signal.waker.wake();
        }
    }

    /// Takes what was written since it was last asked.
    pub fn take_written(&mut self) -> Written {
        let all = self.session.outbox().is_empty() && !self.flushing;
        Written {
            bytes: std::mem::take(&mut self.written),
            packets: self.session.take_sent(),
            delay: if all { self.read_at.take() } else { None },
            all,
        }
    }

    /// Opens the next connection: whatever state of writing the one before left is void.
    pub fn attach(&mut self, attachment: Attachment) -> u64 {
        self.epoch += 1;
        self.flushing = false;
        self.blocked = false;
        self.within_frame = false;
        self.throttled = false;
        self.read_at = ReadAt::default();
        self.attachment = Some(attachment);
        self.epoch
    }

    /// From now on only the connection's own task writes. False, and nothing is done, while somebody else does.
    pub fn reserve_for_owner(&mut self) -> bool {
        self.blocked |= !self.flushing;
        !self.flushing
    }

    /// Whether the next byte on the connection may have to be the rest of a packet that somebody else has begun to write.
    pub fn is_interrupted(&self) -> bool {
        self.within_frame || self.flushing
    }

    /// Ends the connection, if there is one, because another comes [MQTT-3.1.4-3].
    pub fn take_over(&mut self) {
        self.part(|between_frames| Close::TakenOver { between_frames });
    }

    /// Ends the connection, if there is one, because an operator wants it so.
    pub fn kick(&mut self) {
        self.part(|between_frames| Close::Kicked { between_frames });
    }

    /// Takes the connection from the session, and has it end by itself.
    fn part(&mut self, why: Farewell) {
        let Some(Attachment { signal, .. }) = self.attachment.take() else { return };
        if !self.flushing {
            return signal.close(why(!self.within_frame));
        }
        // Whoever writes to it at the moment will know in what state it is left.
        let former = Former { epoch: self.epoch, signal, why };
        if let Some(earlier) = self.former.replace(Box::new(former)) {
            earlier.signal.close((earlier.why)(false));
        }
    }

    /// A connection that has been taken over is not written to any more.
    fn release_former(&mut self, epoch: u64, between_frames: bool) {
        if let Some(former) = self.former.take_if(|former| former.epoch == epoch) {
            former.signal.close((former.why)(between_frames));
        }
    }

    /// For how long the socket has not taken what it should, as far as that was timed.
    pub(super) fn blocked_for(&self, now: Instant) -> Option<Duration> {
        self.blocked.then(|| self.read_at.age(now)).flatten()
    }

    /// Makes the connection that was there a former one, without opening another.
    pub fn void(&mut self) {
        self.epoch += 1;
        self.attachment = None;
        self.session.handle_disconnected();
    }

    /// The caller will flush; true if it has to remember to.
    pub fn touch(&mut self) -> bool {
        !std::mem::replace(&mut self.touched, true)
    }

    fn unthrottle(&mut self) {
        if (std::mem::take(&mut self.throttled) || self.owes_retained)
            && let Some(attachment) = &self.attachment
        {
            attachment.signal.waker.wake();
        }
    }
}

/// Writes what the socket takes, and wakes the connection's task for the rest.
fn flush(state: &mut MutexGuard<'_, ClientState>, now: Instant) {
    state.touched = false;
    if state.flushing || state.blocked || state.session.outbox().is_empty() {
        return;
    }
    let Some(attachment) = &state.attachment else { return };
    if let Some(direct) = attachment.direct.clone() {
        write(state, &mut |slices| direct.try_write_vectored(slices), now);
        if state.blocked {
            state.leave_to_owner();
        }
    } else {
        state.leave_to_owner();
    }
}

/// Writes of one outbox that one task makes in a row for others.
const ROUNDS_MAX: usize = 4;

/// Takes the outbox, writes it with the lock released, and goes on while others have appended more. Leaves `blocked`
/// where the writer would.
fn write(
    state: &mut MutexGuard<'_, ClientState>,
    write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    now: Instant,
) {
    let epoch = state.epoch;
    state.flushing = true;
    let mut rounds = 0;
    while !state.session.outbox().is_empty() {
        if rounds == ROUNDS_MAX {
            // Others append as fast as this task writes: let the connection's own task serve its client.
            state.flushing = false;
            state.leave_to_owner();
            return;
        }
        rounds += 1;
        let mut taken = state.session.outbox().take();
        if state.tap.is_some() {
            state.trace_written(&taken);
        }
        let length = taken.len();
        let result = MutexGuard::unlocked(state, || write_out(&mut taken, write));
        state.written += (length - taken.len()) as u64;
        if state.epoch != epoch {
            state.release_former(epoch, taken.is_empty());
            taken.recycle();
            return;
        }
        let done = taken.is_empty();
        state.within_frame = !done;
        match result {
            Ok(()) if done => {
                taken.recycle();
                state.session.handle_drained(now);
                state.unthrottle();
            }
            Ok(()) => {
                if let Some(tap) = &mut state.tap {
                    tap.handle_put_back(taken.len());
                }
                state.session.outbox().put_back(taken);
                state.flushing = false;
                state.blocked = true;
                return;
            }
            Err(_) => {
                taken.recycle();
                if let Some(attachment) = &state.attachment {
                    attachment.signal.close(Close::Broken);
                }
                break;
            }
        }
    }
    state.flushing = false;
}

/// Writes until the outbox is empty or the writer would block.
pub fn write_out(
    outbox: &mut Outbox,
    write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<()> {
    while !outbox.is_empty() {
        let (first, all) = outbox.first();
        let result = if all {
            write(&[IoSlice::new(first)])
        } else {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = outbox.slices(&mut slices);
            write(&slices[..count])
        };
        match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => outbox.advance(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A client as the router's key: equal only to itself.
#[derive(Clone)]
pub struct Subscriber(pub Arc<Client>);

impl Subscriber {
    /// Hands the client its copy of a message and remembers to flush it.
    pub fn deliver(&self, frames: &mut Frames<'_>, delivery: Delivery<'_>, batch: &mut Batch) {
        let mut state = self.0.lock();
        let delivered = state.session.deliver(frames, delivery);
        let (touch, crowded) = match delivered {
            Delivered::Sent => (state.touch(), false),
            unsent => {
                if state.tap.is_some() {
                    state.trace_unsent(self.id(), frames, unsent);
                }
                (false, batch.notes_crowd && state.attachment.is_some())
            }
        };
        drop(state);
        if crowded {
            batch.note_crowded(&self.0);
        }
        batch.count_delivered(delivered, frames.application().qos.min(delivery.qos));
        if touch {
            batch.touched.push(self.0.clone());
        }
    }
}

impl Deref for Subscriber {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl PartialEq for Subscriber {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Subscriber {}

impl Hash for Subscriber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{OnceLock, Weak};
    use std::task::{Wake, Waker};

    use super::*;
    use crate::codec::packet::{Packet, ProtocolVersion};
    use crate::session::Negotiated;

    fn refuse(_: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn take_all(slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn attachment(direct: Option<Arc<dyn DirectWrite>>, signal: Arc<Signal>) -> Attachment {
        Attachment { direct, signal, peer: None, listener: None }
    }

    struct Refusing;

    impl DirectWrite for Refusing {
        fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            refuse(slices)
        }
    }

    /// While one task writes, another appends.
    struct Refilling(OnceLock<Weak<Client>>);

    impl DirectWrite for Refilling {
        fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let client = self.0.get().and_then(Weak::upgrade).expect("set by the test");
            let answer = [0; 1000];
            client.lock().session.outbox().buffer().extend_from_slice(&answer);
            take_all(slices)
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_owner_of_a_blocked_socket_is_woken_once() {
        let now = Instant::now();
        let client = Client::new("c", Session::new(Arc::default()), SessionRecord::default());
        let signal = Arc::new(Signal::default());
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut state = client.lock();
        let epoch = state.attach(attachment(Some(Arc::new(Refusing)), signal.clone()));
        state.session.handle_connected(Negotiated {
            version: ProtocolVersion::V500,
            max_packet_size: u32::MAX,
            receive_maximum: 1,
            announced_receive_maximum: None,
            topic_alias_maximum: 0,
            problem_information: true,
        });
        state.session.send(&Packet::PingResp);
        drop(state);
        let woken = || {
            signal.waker.register(&waker);
            wakes.0.swap(0, Ordering::Relaxed)
        };
        woken();
        client.flush(now, false);
        assert_eq!(woken(), 1, "somebody has to write");
        client.flush(now, false);
        assert_eq!(woken(), 0, "somebody will");
        assert!(client.drain(epoch, &mut refuse, now).is_some());
        assert_eq!(woken(), 0, "only the socket knows when to try again");
        assert!(client.drain(epoch, &mut take_all, now).is_some_and(|written| written.all));
        assert!(client.lock().session.outbox().is_empty());
        assert!(client.drain(epoch - 1, &mut take_all, now).is_none(), "another connection's time");
    }

    /// Takes the client over while it writes, and writes all but so many bytes, then nothing more.
    struct Overtaken {
        client: OnceLock<Weak<Client>>,
        cut: usize,
    }

    impl DirectWrite for Overtaken {
        fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let client = self.client.get().and_then(Weak::upgrade).expect("set by the test");
            let mut state = client.lock();
            if state.attachment.as_ref().is_none_or(|attachment| attachment.direct.is_none()) {
                return refuse(slices);
            }
            state.take_over();
            state.attach(attachment(None, Arc::default()));
            Ok(take_all(slices)? - self.cut)
        }
    }

    #[test]
    fn whoever_writes_during_a_takeover_says_whether_a_packet_was_cut() {
        for cut in [0, 1] {
            let client = Arc::new(Client::new("c", Session::new(Arc::default()), SessionRecord::default()));
            let signal = Arc::new(Signal::default());
            let writer = Arc::new(Overtaken { client: OnceLock::new(), cut });
            writer.client.set(Arc::downgrade(&client)).expect("empty");
            let mut state = client.lock();
            state.attach(attachment(Some(writer), signal.clone()));
            state.session.outbox().buffer().extend_from_slice(&[0; 10]);
            drop(state);
            client.flush(Instant::now(), false);
            assert_eq!(signal.closing(), Some(Close::TakenOver { between_frames: cut == 0 }));
            assert!(client.lock().former.is_none());
        }
    }

    #[test]
    fn nobody_flushes_for_others_without_end() {
        let now = Instant::now();
        let client = Arc::new(Client::new("c", Session::new(Arc::default()), SessionRecord::default()));
        let signal = Arc::new(Signal::default());
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        signal.waker.register(&waker);
        let writer = Arc::new(Refilling(OnceLock::new()));
        writer.0.set(Arc::downgrade(&client)).expect("empty");
        let mut state = client.lock();
        let epoch = state.attach(attachment(Some(writer.clone()), signal.clone()));
        state.session.outbox().buffer().push(0);
        drop(state);
        client.flush(now, false);
        assert_eq!(wakes.0.swap(0, Ordering::Relaxed), 1, "the owner goes on");
        signal.waker.register(&waker);
        assert!(client.drain(epoch, &mut |slices| writer.try_write_vectored(slices), now).is_some());
        assert_eq!(wakes.0.swap(0, Ordering::Relaxed), 1, "and again after others had their turn");
        assert!(client.drain(epoch, &mut take_all, now).is_some_and(|written| written.all));
        assert!(client.lock().session.outbox().is_empty());
        assert_eq!(wakes.0.swap(0, Ordering::Relaxed), 0);
    }
}
