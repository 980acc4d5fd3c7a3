//! The driver of one link: from a connected stream to its end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rumormq_gossip::{Message, MessageError, ReplicaId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, timeout};

use super::frame::{Frame, FrameError};
use super::handshake::{Established, HandshakeError, open_into, shake_hands};
use super::kind;
use super::probes::Probes;
use super::secure::{RecordOpener, RecordSealer, SecureError};
use super::socket;
use super::tls::{ReadHalf, WriteHalf};
use crate::cluster::Cluster;
use crate::cluster::forward::wire::{self, MalformedForward};
use crate::cluster::introductions::Introduction;
use crate::cluster::peer::{Link, Peer};
use crate::cluster::relay::Relayed;
use crate::cluster::source::{Source, read_body};

/// Time for the handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// A link on which nothing arrives for so long is cut. Routing does not wait for that.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Between two pings, each way.
const PING_INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks whether an acknowledgement is still to be held back.
const HELD_LOOK: Duration = Duration::from_millis(5);
/// Bytes read at once.
const READ_MAX: usize = 256 << 10;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It never was one.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// It was taking its time while too many others came.
    #[error("the peer did not finish its handshake while others waited for their turn")]
    CrowdedOut,
    /// The peer connected and did not say who it is.
    #[error("the peer did not finish its handshake in time")]
    Late,
    /// The peer did not say what it had to in time.
    #[error("the peer is silent")]
    Silent,
    /// The peer closed it, or it broke.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// It leads back to this node: one of its seeds is its own address.
    #[error("the address is this node's own")]
    Itself,
    /// Another node has this node's name.
    #[error("the peer has this node's name, as {0}; rename one of the two")]
    SameName(ReplicaId),
    /// The cluster has as many members as it may.
    #[error("there is no room for {0} among the members")]
    NotAdmitted(ReplicaId),
    /// The peer has, or had a moment ago, an answer of another node with this node's name.
    #[error("a peer of this name may still live: {0}")]
    NameContested(ReplicaId),
    /// Another link to the peer took its place, or this node stops.
    #[error("the link is not needed any more")]
    Superseded,
    /// A record does not open.
    #[error(transparent)]
    Secure(#[from] SecureError),
    /// A frame is too long.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame of a type that may not be passed over.
    #[error("the peer sent a frame of unknown type {0}")]
    UnknownFrame(u8),
    /// A frame's body cannot be read.
    #[error("the peer sent a malformed frame of type {0}")]
    MalformedFrame(u8),
    /// A forward cannot be read.
    #[error(transparent)]
    Forward(#[from] MalformedForward),
    /// A forward is missing in the stream.
    #[error("the peer's stream of forwards has a gap before {0}")]
    ForwardGap(u64),
    /// The replicated sets refuse the peer's message.
    #[error("the peer sent a message that cannot be: {0}")]
    Gossip(#[from] rumormq_gossip::MessageError),
}

impl LinkError {
    /// The value of the `reason` label of `gossip_rejected_total`; none where the peer is not to blame.
    pub fn rejection(&self) -> Option<&'static str> {
        match self {
            LinkError::Handshake(error) => error.rejection(),
            LinkError::CrowdedOut => Some("link_crowded_out"),
            LinkError::Late => Some("link_late"),
            LinkError::SameName(_) => Some("link_same_name"),
            LinkError::NotAdmitted(_) => Some("link_not_admitted"),
            LinkError::Secure(_)
            | LinkError::Frame(_)
            | LinkError::UnknownFrame(_)
            | LinkError::MalformedFrame(_)
            | LinkError::Forward(_)
            | LinkError::ForwardGap(_) => Some("link_protocol"),
            // A link that was just replaced may still deliver something.
            LinkError::Gossip(MessageError::NotLinked(_)) => None,
            LinkError::Gossip(_) => Some("link_protocol"),
            LinkError::Silent
            | LinkError::Io(_)
            | LinkError::NameContested(_)
            | LinkError::Superseded
            | LinkError::Itself => None,
        }
    }
}

/// Runs a link until it ends. `dialled` says which end this is.
pub async fn run(cluster: Arc<Cluster>, stream: TcpStream, dialled: bool) -> Result<(), LinkError> {
    socket::tune(&stream)?;
    let credentials = cluster.credentials();
    let mut greeted_as = None;
    let shake = shake_hands(stream, dialled, &credentials, || {
        let hello = cluster.hello();
        greeted_as = Some(hello.replica.clone());
        hello
    });
    let shake = timeout(HANDSHAKE_MAX, shake);
    let established = if dialled {
        shake.await.map_err(|_| LinkError::Silent)??
    } else {
        let place = cluster.handshakes().enter();
        tokio::select! {
            established = shake => established.map_err(|_| LinkError::Late)??,
            () = place.lost() => return Err(LinkError::CrowdedOut),
        }
    };
    let Established { stream, sealer, opener, input, plain, hello, protocol } = established;
    let Some(me) = greeted_as else { return Err(LinkError::Superseded) };
    let (peer, link, received) = cluster.handle_link_up(&me, &hello, protocol, dialled)?;
    let (read, write) = stream.into_halves();
    let reader = Reader {
        cluster: &cluster,
        peer: &peer,
        link: &link,
        source: Source::new(&cluster, peer.clone(), link.replica.clone(), received, false),
        relayed: Relayed::default(),
        opener,
        input,
        plain,
    };
    let _up = Up { cluster: &cluster, peer: &peer, link: &link };
    tokio::select! {
        result = reader.run(read) => result,
        result = write_frames(&peer, &link, write, sealer) => result,
        () = link.closed.notified() => Err(LinkError::Superseded),
    }
}

/// However the task of a link ends, the cluster hears of it.
struct Up<'a> {
    cluster: &'a Cluster,
    peer: &'a Peer,
    link: &'a Link,
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.cluster.handle_link_down(self.peer, self.link);
    }
}

/// Writes the frames that wait, and a ping every so often.
async fn write_frames(
    peer: &Peer,
    link: &Link,
    mut write: WriteHalf,
    mut sealer: Option<RecordSealer>,
) -> Result<(), LinkError> {
    let (mut frames, mut sealed, mut relayed) = (Vec::new(), Vec::new(), Vec::new());
    let mut ping = tokio::time::interval(PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut probes = Probes::new(Instant::now());
    let probe = tokio::time::sleep_until(link.started.into());
    tokio::pin!(probe);
    loop {
        let mut due = false;
        tokio::select! {
            () = link.wake.notified() => {}
            _ = ping.tick() => due = true,
            () = &mut probe, if probes.due().is_some() => {
                due = probes.handle_due(link.heard(), link.round_trip(), Instant::now());
                if let Some(due) = probes.due() {
                    probe.as_mut().reset(due.into());
                }
            }
        }
        loop {
            frames.clear();
            if !peer.take_queue(link.id, &mut frames, Instant::now()) {
                return Err(LinkError::Superseded);
            }
            if link.carried.is_any() {
                // Looked for afterwards and written before: what the peer passes on is there before what this node told
                // the peer after it.
                link.carried.take(link.id, &mut relayed, Instant::now());
                relayed.append(&mut frames);
                std::mem::swap(&mut frames, &mut relayed);
            }
            if std::mem::take(&mut due) {
                let sent_micros = link.started.elapsed().as_micros() as u64;
                wire::append_small(&mut frames, kind::PING, &sent_micros);
            }
            if frames.is_empty() {
                break;
            }
            if !is_pong(&frames) {
                let was_due = probes.due();
                probes.handle_written(link.round_trip(), Instant::now());
                if let Some(due) = probes.due().filter(|_| was_due.is_none()) {
                    probe.as_mut().reset(due.into());
                }
            }
            match &mut sealer {
                None => write_within(&mut write, &frames).await?,
                Some(sealer) => {
                    sealed.clear();
                    sealer.seal(&frames, &mut sealed)?;
                    write_within(&mut write, &sealed).await?;
                }
            }
        }
        for buffer in [&mut frames, &mut sealed, &mut relayed] {
            if buffer.capacity() > READ_MAX {
                *buffer = Vec::new();
            }
        }
    }
}

/// Whether these frames are only an answer to a ping. An answer to an answer is not waited for.
fn is_pong(frames: &[u8]) -> bool {
    let first = Frame::parse(frames).ok().flatten();
    first.is_some_and(|(frame, length)| frame.kind == kind::PONG && length == frames.len())
}

/// A peer that takes nothing for too long is as good as silent.
async fn write_within(write: &mut WriteHalf, bytes: &[u8]) -> Result<(), LinkError> {
    let written = async {
        write.write_all(bytes).await?;
        write.flush().await
    };
    Ok(timeout(SILENCE_MAX, written).await.map_err(|_| LinkError::Silent)??)
}

struct Reader<'a> {
    cluster: &'a Arc<Cluster>,
    peer: &'a Arc<Peer>,
    link: &'a Arc<Link>,
    source: Source,
    relayed: Relayed,
    opener: Option<RecordOpener>,
    input: BytesMut,
    plain: Vec<u8>,
}

impl Reader<'_> {
    async fn run(mut self, mut read: ReadHalf) -> Result<(), LinkError> {
        loop {
            open_into(&mut self.opener, &mut self.input, &mut self.plain)?;
            self.handle_frames(Instant::now())?;
            // The writer has its turn, and other tasks theirs, however much there is to read.
            tokio::task::yield_now().await;
            self.input.reserve(READ_MAX);
            let count = loop {
                let patience = if self.is_held() { HELD_LOOK } else { SILENCE_MAX };
                match timeout(patience, read.read_buf(&mut self.input)).await {
                    Ok(count) => break count?,
                    Err(_) if self.is_held() => self.acknowledge_held(Instant::now()),
                    Err(_) => return Err(LinkError::Silent),
                }
            };
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// Handles all frames that are complete.
    fn handle_frames(&mut self, now: Instant) -> Result<(), LinkError> {
        let plain = std::mem::take(&mut self.plain);
        let mut used = 0;
        self.link.note_heard(now);
        self.source.begin(now);
        let result = loop {
            match Frame::parse(&plain[used..]) {
                Ok(Some((frame, length))) => {
                    used += length;
                    if let Err(error) = self.handle_frame(frame, now) {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        let answers = self.source.finish(now);
        if !answers.is_empty() {
            self.peer.send_on_link(&self.link.replica, |out| out.extend_from_slice(&answers));
        }
        self.plain = plain;
        self.plain.drain(..used);
        if self.plain.is_empty() && self.plain.capacity() > 4 * READ_MAX {
            self.plain = Vec::new();
        }
        result
    }

    /// Acknowledges what was received, where that was held back long enough.
    fn acknowledge_held(&mut self, now: Instant) {
        if let Some(answer) = self.source.held_answer(now) {
            self.peer.send_on_link(&self.link.replica, |out| out.extend_from_slice(&answer));
        }
        self.relayed.acknowledge_held((self.peer, self.link), now);
    }

    fn is_held(&self) -> bool {
        self.source.is_held() || self.relayed.is_held()
    }

    fn handle_frame(&mut self, frame: Frame<'_>, now: Instant) -> Result<(), LinkError> {
        if self.source.handle_frame(self.cluster, frame, now)? {
            return Ok(());
        }
        match frame.kind {
            kind::GOSSIP => {
                let message: Message = read_body(frame)?;
                Ok(self.cluster.handle_gossip(&self.link.replica, message, frame.body.len(), now)?)
            }
            kind::PING => {
                let sent_micros: u64 = read_body(frame)?;
                self.peer.send_on_link(&self.link.replica, |out| {
                    wire::append_small(out, kind::PONG, &sent_micros);
                });
                Ok(())
            }
            kind::PONG => {
                let sent_micros: u64 = read_body(frame)?;
                let round_trip = self.link.handle_pong(sent_micros, now);
                self.cluster.handle_pong(self.link, round_trip, now);
                Ok(())
            }
            kind::RELAY => self.cluster.pass_on(&self.link.replica, frame.body),
            kind::RELAYED => self.relayed.handle(self.cluster, (self.peer, self.link), frame.body, now),
            kind::INTRODUCTIONS => {
                let introductions: Vec<Introduction> = read_body(frame)?;
                self.cluster.handle_introductions(introductions);
                Ok(())
            }
            _ if frame.skip_if_unknown => Ok(()),
            unknown => Err(LinkError::UnknownFrame(unknown)),
        }
    }
}
