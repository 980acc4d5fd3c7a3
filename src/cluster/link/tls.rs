//! Links within TLS: both ends show a certificate of an authority that the other end trusts.
//!
//! TLS 1.3 alone, as no older node has to be spoken to. No session is resumed: each link is checked against the files as they
//! were read last.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rumormq_gossip::NodeName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::identity::NodeIdentity;
use crate::pki::{FileError, certificate, files};

/// What both ends derive from a TLS session to bind the proof of the cookie to it.
const BINDING_LABEL: &[u8] = b"EXPORTER-rumormq-link";

/// Time for a peer that is turned away to hear why.
const LINGER: Duration = Duration::from_millis(500);

/// The files that links within TLS live on; PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTlsFiles {
    /// The node's certificate, then those that lead to an authority the other nodes trust.
    pub certificate: PathBuf,
    /// The private key of the first one.
    pub key: PathBuf,
    /// The authorities whose nodes are let in.
    pub ca: PathBuf,
}

/// Why the files do not serve. All of these are for the operator to put right.
#[derive(Debug, thiserror::Error)]
pub enum LinkTlsError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Certificate and key are not a pair, or the other nodes would refuse the certificate.
    #[error("nodes cannot use the certificate {} with the key {}: {reason}; give both with --cluster-tls-certificate-file and --cluster-tls-key-file", files.certificate.display(), files.key.display())]
    Unfit {
        /// All files.
        files: LinkTlsFiles,
        /// What is wrong.
        reason: String,
    },
    /// The certificate speaks for other nodes.
    #[error(
        "the certificate {} is for {identity}, not for {node}: it needs the host of the node's name as a DNS name or an \
         address, or the URI rumormq:{node}, among its alternative names",
        path.display()
    )]
    OtherNode {
        /// The certificate's file.
        path: PathBuf,
        /// Whom it names.
        identity: NodeIdentity,
        /// This node.
        node: NodeName,
    },
}

/// What handshakes need, as the files were when they were read.
pub struct LinkTls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

/// A stream within TLS whose peer has shown a certificate.
pub struct Encrypted<S> {
    /// The stream.
    pub stream: TlsStream<S>,
    /// Whom the peer's certificate names.
    pub identity: NodeIdentity,
    /// The same at both ends, and different in every session.
    pub binding: [u8; 32],
}

impl LinkTls {
    /// Reads the files of the node `me`, and checks that its peers will take them.
    pub fn load(files: &LinkTlsFiles, me: &NodeName) -> Result<LinkTls, LinkTlsError> {
        let tls = LinkTls::load_unchecked(files)?;
        let identity = NodeIdentity::of(&tls.1);
        if identity.names(me) {
            return Ok(tls.0);
        }
        Err(LinkTlsError::OtherNode { path: files.certificate.clone(), identity, node: me.clone() })
    }

    /// Reads the files, whichever node they are for: with them, and that node's certificate.
    fn load_unchecked(files: &LinkTlsFiles) -> Result<(LinkTls, CertificateDer<'static>), LinkTlsError> {
        let unfit = |reason: String| LinkTlsError::Unfit { files: files.clone(), reason };
        let chain = files::certificates(&files.certificate, "--cluster-tls-certificate-file")?;
        let key = files::private_key(&files.key, "--cluster-tls-key-file")?;
        let roots = Arc::new(files::authorities(&files.ca, "--cluster-tls-ca-file")?);
        let provider = Arc::new(default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| unfit(error.to_string()))?;
        let servers = Arc::new(AnyMember { roots, algorithms: provider.signature_verification_algorithms });

        let (own, intermediates) = chain.split_first().ok_or_else(|| unfit("there is none".to_owned()))?;
        if let Some(warning) = certificate::validity_warning(own, SystemTime::now()) {
            tracing::warn!(
                "the certificate in {} {warning}: replace the file, and send SIGHUP",
                files.certificate.display()
            );
        }
        let now = UnixTime::now();
        let checks = [
            servers.verify(own, intermediates, now),
            clients.verify_client_cert(own, intermediates, now).map(drop),
        ];
        if let Some(error) = checks.into_iter().filter_map(Result::err).find(|error| !is_about_dates(error)) {
            let hint = "it has to be of an authority in --cluster-tls-ca-file, for servers and for clients";
            return Err(unfit(format!("{error}; {hint}")));
        }
        let own = own.clone();

        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unfit(error.to_string()))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| unfit(error.to_string()))?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unfit(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(servers)
            .with_client_auth_cert(chain, key)
            .map_err(|error| unfit(error.to_string()))?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        let tls = LinkTls { connector: Arc::new(client).into(), acceptor: Arc::new(server).into() };
        Ok((tls, own))
    }

    /// Runs the handshake from either end. It says nothing yet of who the peer is: that follows with HELLO.
    pub async fn shake_hands<S>(&self, stream: S, dialled: bool) -> io::Result<Encrypted<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if dialled {
            // Not sent, and not compared with anything.
            let nobody = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
            let stream = self.connector.connect(nobody, stream).await?;
            let session = stream.get_ref().1;
            let binding = session.export_keying_material([0; 32], BINDING_LABEL, None);
            Encrypted::new(TlsStream::Client(stream), binding)
        } else {
            let accepted = self.acceptor.accept(stream).into_fallible().await;
            let stream = match accepted {
                Ok(stream) => stream,
                Err((error, stream)) => {
                    linger(stream).await;
                    return Err(error);
                }
            };
            let session = stream.get_ref().1;
            let binding = session.export_keying_material([0; 32], BINDING_LABEL, None);
            Encrypted::new(TlsStream::Server(stream), binding)
        }
    }
}

impl<S> Encrypted<S> {
    fn new(stream: TlsStream<S>, binding: Result<[u8; 32], TlsError>) -> io::Result<Encrypted<S>> {
        let binding = binding.map_err(io::Error::other)?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let identity = NodeIdentity::of(shown.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?);
        Ok(Encrypted { stream, identity, binding })
    }
}

/// The peer's certificate was refused while it went on speaking: closed at once, its end would drop the alert that says so.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    const UNREAD_MAX: u64 = 64 << 10;
    let until_closed = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(UNREAD_MAX), &mut tokio::io::sink()).await
    };
    // It is given up either way.
    let _ = timeout(LINGER, until_closed).await;
}

/// Takes any certificate of the authorities: nodes are dialled at addresses, before it is known who is there. What the
/// certificate is good for shows when the peer has given its name.
#[derive(Debug)]
struct AnyMember {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyMember {
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)
    }
}

impl ServerCertVerifier for AnyMember {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.verify(certificate, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The operator is warned of dates; a node whose certificate has expired goes on with the links it has.
fn is_about_dates(error: &TlsError) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        TlsError::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
        )
    )
}

/// A link's stream, within TLS or not.
pub enum LinkStream<S> {
    /// Frames or records as they are.
    Clear(S),
    /// Within TLS.
    Tls(Box<TlsStream<S>>),
}

/// What a link is read from.
pub type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
/// What a link is written to. Nothing counts as sent before it is flushed.
pub type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

impl LinkStream<TcpStream> {
    /// Divides it between a reader and a writer.
    pub fn into_halves(self) -> (ReadHalf, WriteHalf) {
        match self {
            LinkStream::Clear(stream) => {
                let (read, write) = stream.into_split();
                (Box::new(read), Box::new(write))
            }
            LinkStream::Tls(stream) => {
                let (read, write) = tokio::io::split(*stream);
                (Box::new(read), Box::new(write))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for LinkStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            LinkStream::Clear(stream) => Pin::new(stream).poll_read(cx, buffer),
            LinkStream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LinkStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            LinkStream::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
            LinkStream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            LinkStream::Clear(stream) => Pin::new(stream).poll_flush(cx),
            LinkStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            LinkStream::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            LinkStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
