//! TLS for clients: certificates and keys from files, and the stream that comes of a handshake.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::{Ticketer, default_provider};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::{TlsAcceptor, server};

use super::opening_error::OpeningError;
use super::transport::{Tcp, Transport};
use crate::pki::{FileError, certificate, files};

/// The files that a node's TLS listeners live on.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The node's certificate, then those that lead to an authority clients know; PEM.
    pub certificate: PathBuf,
    /// The private key of the first one; PEM.
    pub key: PathBuf,
    /// The authorities whose clients are known, if clients are asked for certificates; PEM.
    pub client_ca: Option<PathBuf>,
    /// Whether a client may go without.
    pub client_certificates: ClientCertificates,
}

/// Whether a client that is asked for a certificate has to have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// The handshake fails without.
    Required,
    /// A client without one comes in, unnamed; one with a bad one does not.
    Optional,
}

/// Why the files do not make a TLS listener. All of them are for the operator to put right.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file does not serve.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate and the key are not a pair, or of a kind that is not supported.
    #[error("the certificate {} and the key {} cannot be used: {error}; give the key that belongs to the certificate with --tls-key-file", certificate.display(), key.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        error: tokio_rustls::rustls::Error,
    },
}

/// What a handshake needs, as the files were when they were last read.
pub struct Tls {
    /// Guards which files are read the next time.
    files: RwLock<TlsFiles>,
    /// Guards which configuration the next handshake takes.
    config: RwLock<Arc<ServerConfig>>,
}

/// What was read of the files.
pub(crate) struct TlsConfig(TlsFiles, Arc<ServerConfig>);

impl Tls {
    /// Reads the files.
    pub fn load(files: TlsFiles) -> Result<Tls, TlsError> {
        let config = RwLock::new(files.read()?);
        Ok(Tls { files: RwLock::new(files), config })
    }

    /// Reads the files again: connections that come from now on get what is in them. After an error nothing has changed.
    pub fn reload(&self) -> Result<(), TlsError> {
        let files = self.files.read().clone();
        self.replace(TlsConfig::read(files)?);
        Ok(())
    }

    /// Gives connections that come from now on what was read.
    pub(crate) fn replace(&self, read: TlsConfig) {
        *self.files.write() = read.0;
        *self.config.write() = read.1;
    }

    /// Runs the handshake with a client.
    pub(super) async fn accept(&self, stream: Tcp) -> Result<TlsStream, OpeningError> {
        let config = self.config.read().clone();
        let stream = TlsAcceptor::from(config).accept(stream).await.map_err(OpeningError::Tls)?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate_name = shown.and_then(certificate::name).map(String::into_boxed_str);
        Ok(TlsStream { stream, certificate_name })
    }
}

impl TlsConfig {
    /// Reads these files, for [`Tls::replace`].
    pub(crate) fn read(files: TlsFiles) -> Result<TlsConfig, TlsError> {
        let config = files.read()?;
        Ok(TlsConfig(files, config))
    }
}

impl TlsFiles {
    /// TLS 1.2 and 1.3.
    fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = files::certificates(&self.certificate, "--tls-certificate-file")?;
        if let Some(warning) = certificate::validity_warning(&chain[0], SystemTime::now()) {
            tracing::warn!(
                "the certificate in {} {warning}: replace the file, and send SIGHUP",
                self.certificate.display()
            );
        }
        let key = files::private_key(&self.key, "--tls-key-file")?;
        let provider = Arc::new(default_provider());
        let pair =
            |error| TlsError::Pair { certificate: self.certificate.clone(), key: self.key.clone(), error };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_client_cert_verifier(self.client_verifier()?)
            .with_single_cert(chain, key)
            .map_err(pair)?;
        // Clients that come back prove with a ticket who they were, and save both sides a signature.
        config.ticketer = Ticketer::new().map_err(pair)?;
        Ok(Arc::new(config))
    }

    fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let Some(path) = &self.client_ca else { return Ok(WebPkiClientVerifier::no_client_auth()) };
        let flag = "--tls-client-ca-file";
        let roots = files::authorities(path, flag)?;
        let provider = Arc::new(default_provider());
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if self.client_certificates == ClientCertificates::Optional {
            verifier = verifier.allow_unauthenticated();
        }
        verifier.build().map_err(|error| {
            FileError::Authorities { path: path.clone(), reason: error.to_string(), flag }.into()
        })
    }
}

impl FromStr for ClientCertificates {
    type Err = ();

    fn from_str(text: &str) -> Result<ClientCertificates, ()> {
        match text {
            "required" => Ok(ClientCertificates::Required),
            "optional" => Ok(ClientCertificates::Optional),
            _ => Err(()),
        }
    }
}

impl fmt::Display for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientCertificates::Required => "required",
            ClientCertificates::Optional => "optional",
        })
    }
}

/// A client's connection, encrypted. What the socket does not take at once of a write is kept, at most 64 KiB, until
/// [`AsyncWrite::poll_flush`].
pub struct TlsStream {
    stream: server::TlsStream<Tcp>,
    certificate_name: Option<Box<str>>,
}

impl Transport for TlsStream {
    fn peer(&self) -> Option<SocketAddr> {
        self.stream.get_ref().0.peer()
    }

    fn certificate_name(&self) -> Option<&str> {
        self.certificate_name.as_deref()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
