//! From a connected stream to a link: preamble, keys, HELLO.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rumormq_gossip::NodeName;
use rumormq_gossip::seal::LinkPsk;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::rustls;

use super::frame::{self, Frame, FrameError};
use super::hello::{self, Hello, HelloError};
use super::identity::NodeIdentity;
use super::kind;
use super::preamble::{Preamble, PreambleError};
use super::secure::{
    self, HANDSHAKE_LEN, Initiator, RecordOpener, RecordSealer, SecureChannel, SecureError, respond,
};
use super::tls::{Encrypted, LinkStream, LinkTls};

/// What both ends must share.
#[derive(Clone)]
pub struct Credentials {
    /// Name of the cluster.
    pub cluster: String,
    /// Keys of the accepted cookies, the one to use first; none on a trusted network.
    pub psks: Vec<LinkPsk>,
    /// Certificates and what to check others with, where links run within TLS.
    pub tls: Option<Arc<LinkTls>>,
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
    /// It does not show a certificate that holds, or takes ours for one that does not.
    #[error("TLS with the peer fails: {0}")]
    Tls(rustls::Error),
    /// Its certificate is another node's.
    #[error("the peer calls itself {name}, and its certificate is for {identity}")]
    OtherNode {
        /// What it said.
        name: NodeName,
        /// Whom the certificate names.
        identity: NodeIdentity,
    },
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
    Io(io::Error),
}

impl From<io::Error> for HandshakeError {
    /// What TLS finds comes as an error of the stream.
    fn from(error: io::Error) -> HandshakeError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(inner) => HandshakeError::Tls(inner.clone()),
            None => HandshakeError::Io(error),
        }
    }
}

impl HandshakeError {
    /// The value of the `reason` label of `gossip_rejected_total`; none where the peer is not to blame.
    pub fn rejection(&self) -> Option<&'static str> {
        match self {
            HandshakeError::Preamble(PreambleError::Unknown)
            | HandshakeError::NotHello(_)
            | HandshakeError::Frame(_) => Some("link_malformed"),
            HandshakeError::Preamble(_) => Some("link_mode"),
            HandshakeError::Tls(_) => Some("link_tls"),
            HandshakeError::OtherNode { .. } => Some("link_other_node"),
            HandshakeError::Secure(_) => Some("link_wrong_key"),
            HandshakeError::Hello(HelloError::OtherCluster { .. }) => Some("link_other_cluster"),
            HandshakeError::Hello(HelloError::NoCommonProtocol { .. }) => Some("link_no_common_protocol"),
            HandshakeError::Hello(_) => Some("link_hello"),
            HandshakeError::Io(_) => None,
        }
    }
}

/// A stream after the handshake, with what the peer said.
pub struct Established<S> {
    /// The stream.
    pub stream: LinkStream<S>,
    /// Seals what we send; none on a trusted network, nor within TLS.
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
    let preamble = Preamble::new(credentials.tls.is_some(), !credentials.psks.is_empty());
    stream.write_all(&preamble.bytes()).await?;
    let mut theirs = [0; Preamble::LEN];
    stream.read_exact(&mut theirs).await?;
    preamble.expect(&theirs)?;
    let (mut stream, identity, binding) = match &credentials.tls {
        None => (LinkStream::Clear(stream), None, Vec::new()),
        Some(tls) => {
            let Encrypted { stream, identity, binding } = tls.shake_hands(stream, dialled).await?;
            (LinkStream::Tls(Box::new(stream)), Some(identity), binding.to_vec())
        }
    };
    let prologue = secure::prologue(preamble, &credentials.cluster, &binding);
    let channel = prove_cookie(&mut stream, dialled, &prologue, &credentials.psks).await?;
    // Within TLS the proof is all that is wanted.
    let channel = channel.filter(|_| identity.is_none());
    let (mut sealer, mut opener) = channel.map(|channel| (channel.sealer, channel.opener)).unzip();

    let mine = hello();
    let mut out = Vec::new();
    frame::append(&mut out, kind::HELLO, false, |out| mine.encode(out))?;
    if let Some(sealer) = &mut sealer {
        let plain = std::mem::take(&mut out);
        sealer.seal(&plain, &mut out)?;
    }
    stream.write_all(&out).await?;
    stream.flush().await?;

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
    if let Some(identity) = identity
        && !identity.names(&hello.replica.name)
    {
        return Err(HandshakeError::OtherNode { name: hello.replica.name, identity });
    }
    let protocol = hello::negotiate(&mine, &hello)?;
    Ok(Established { stream, sealer, opener, input, plain, hello, protocol })
}

/// Shows, where there are cookies, that both ends have one in common: the Noise handshake, with the keys that come of it.
async fn prove_cookie<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    dialled: bool,
    prologue: &[u8],
    psks: &[LinkPsk],
) -> Result<Option<SecureChannel>, HandshakeError> {
    let Some(first) = psks.first() else { return Ok(None) };
    let mut message = [0; HANDSHAKE_LEN];
    if !dialled {
        stream.read_exact(&mut message).await?;
        let (reply, channel) = respond(prologue, psks, &message)?;
        stream.write_all(&reply).await?;
        stream.flush().await?;
        return Ok(Some(channel));
    }
    let (initiator, proof) = Initiator::new(prologue, first)?;
    stream.write_all(&proof).await?;
    stream.flush().await?;
    match stream.read_exact(&mut message).await {
        Ok(_) => Ok(Some(initiator.finish(&message)?)),
        // This is how a responder says no.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(SecureError::Refused.into()),
        Err(error) => Err(error.into()),
    }
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
