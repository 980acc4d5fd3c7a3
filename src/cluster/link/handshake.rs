//! From a connected stream to a link: preamble, keys, HELLO.

use std::io;

use bytes::BytesMut;
use rumormq_gossip::seal::LinkPsk;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frame::{self, Frame, FrameError};
use super::hello::{self, Hello, HelloError};
use super::kind;
use super::preamble::{Preamble, PreambleError};
use super::secure::{HANDSHAKE_LEN, Initiator, RecordOpener, RecordSealer, SecureError, respond};

/// What both ends must share.
#[derive(Clone)]
pub struct Credentials {
    /// Name of the cluster.
    pub cluster: String,
    /// Keys of the accepted cookies, the one to use first; none on a trusted network.
    pub psks: Vec<LinkPsk>,
}

/// Why a stream did not become a link. All but the last are the peer's doing.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It began with something else.
    #[error(transparent)]
    Preamble(#[from] PreambleError),
    /// It does not hold the key, or its records do not open.
    #[error(transparent)]
    Secure(#[from] SecureError),
    /// Its first frame was not to be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Its first frame was not HELLO.
    #[error("the peer began with a frame of type {0}")]
    NotHello(u8),
    /// Its HELLO was not acceptable.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

impl HandshakeError {
    /// The value of the `reason` label of `gossip_rejected_total`; none where the peer is not to blame.
    pub fn rejection(&self) -> Option<&'static str> {
        match self {
            HandshakeError::Preamble(_) | HandshakeError::NotHello(_) | HandshakeError::Frame(_) => {
                Some("link_malformed")
            }
            HandshakeError::Secure(_) => Some("link_wrong_key"),
            HandshakeError::Hello(HelloError::OtherCluster { .. }) => Some("link_other_cluster"),
            HandshakeError::Hello(_) => Some("link_hello"),
            HandshakeError::Io(_) => None,
        }
    }
}

/// A stream after the handshake, with what the peer said.
pub struct Established<S> {
    /// The stream.
    pub stream: S,
    /// Seals what we send; none on a trusted network.
    pub sealer: Option<RecordSealer>,
    /// Opens what the peer sends.
    pub opener: Option<RecordOpener>,
    /// Bytes read behind the HELLO, as they came.
    pub input: BytesMut,
    /// Bytes opened behind the HELLO.
    pub plain: Vec<u8>,
    /// The peer's HELLO.
    pub hello: Hello,
    /// The protocol version that both ends speak from here on.
    pub protocol: u16,
}

/// Runs the handshake from either end. `hello` is made when the keys are agreed on, so that it is fresh.
pub async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    dialled: bool,
    credentials: &Credentials,
    hello: impl FnOnce() -> Hello,
) -> Result<Established<S>, HandshakeError> {
    let preamble = if credentials.psks.is_empty() { Preamble::Plain } else { Preamble::Sealed };
    stream.write_all(&preamble.bytes()).await?;
    let mut theirs = [0; Preamble::LEN];
    stream.read_exact(&mut theirs).await?;
    preamble.expect(&theirs)?;
    let channel = match credentials.psks.first() {
        None => None,
        Some(psk) if dialled => {
            let (initiator, message) = Initiator::new(&credentials.cluster, psk)?;
            stream.write_all(&message).await?;
            let mut reply = [0; HANDSHAKE_LEN];
            stream.read_exact(&mut reply).await?;
            Some(initiator.finish(&reply)?)
        }
        Some(_) => {
            let mut message = [0; HANDSHAKE_LEN];
            stream.read_exact(&mut message).await?;
            let (reply, channel) = respond(&credentials.cluster, &credentials.psks, &message)?;
            stream.write_all(&reply).await?;
            Some(channel)
        }
    };
    let (mut sealer, mut opener) = channel.map(|channel| (channel.sealer, channel.opener)).unzip();

    let mine = hello();
    let mut out = Vec::new();
    frame::append(&mut out, kind::HELLO, false, |out| mine.encode(out))?;
    if let Some(sealer) = &mut sealer {
        let plain = std::mem::take(&mut out);
        sealer.seal(&plain, &mut out)?;
    }
    stream.write_all(&out).await?;

    let (mut input, mut plain) = (BytesMut::new(), Vec::new());
    let hello = loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        open_into(&mut opener, &mut input, &mut plain)?;
        if let Some((frame, length)) = Frame::parse(&plain)? {
            if frame.kind != kind::HELLO {
                return Err(HandshakeError::NotHello(frame.kind));
            }
            let hello = Hello::decode(frame.body)?;
            plain.drain(..length);
            break hello;
        }
        if plain.len() + input.len() > hello::MAX_LEN + frame::HEAD_LEN + 4096 {
            return Err(HelloError::TooLong(plain.len()).into());
        }
    };
    let protocol = hello::negotiate(&mine, &hello)?;
    Ok(Established { stream, sealer, opener, input, plain, hello, protocol })
}

/// Moves what has arrived into `plain`, opened where the link is sealed.
pub fn open_into(
    opener: &mut Option<RecordOpener>,
    input: &mut BytesMut,
    plain: &mut Vec<u8>,
) -> Result<(), SecureError> {
    match opener {
        None => {
            plain.extend_from_slice(input);
            input.clear();
        }
        Some(opener) => {
            let used = opener.open(input, plain)?;
            bytes::Buf::advance(input, used);
        }
    }
    Ok(())
}
