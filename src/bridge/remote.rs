//! The way to the other broker: TCP, with TLS where it is spoken there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::config::{BridgeConfig, BridgeTls};

/// Why a bridge cannot be set up. All of them are for the operator to put right.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A file cannot be read, or is not PEM.
    #[error("bridge {bridge}: cannot read {}: {error}", path.display())]
    Pem {
        /// Which bridge.
        bridge: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PemError,
    },
    /// The password file cannot be read.
    #[error("bridge {bridge}: cannot read {}: {error}", path.display())]
    Password {
        /// Which bridge.
        bridge: String,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The certificates or the address do not do for TLS.
    #[error("bridge {bridge}: TLS to {address} cannot be set up: {reason}")]
    Tls {
        /// Which bridge.
        bridge: String,
        /// The other broker.
        address: String,
        /// What is wrong.
        reason: String,
    },
}

/// A stream to the other broker.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where the other broker is, and how it is spoken to.
pub struct Remote {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Remote {
    /// Reads the files that TLS needs.
    pub fn new(config: &BridgeConfig) -> Result<Remote, RemoteError> {
        let tls = config.tls.as_ref().map(|tls| connector(config, tls)).transpose()?;
        Ok(Remote { address: config.address.clone(), tls })
    }

    /// Opens a stream.
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(&self.address).await?;
        // A socket that refuses is gone already.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
        }
    }
}

fn connector(
    config: &BridgeConfig,
    tls: &BridgeTls,
) -> Result<(TlsConnector, ServerName<'static>), RemoteError> {
    let pem =
        |path: &Path, error| RemoteError::Pem { bridge: config.name.clone(), path: path.to_owned(), error };
    let unfit = |reason: String| RemoteError::Tls {
        bridge: config.name.clone(),
        address: config.address.clone(),
        reason,
    };
    let chain = |path: &Path| -> Result<Vec<CertificateDer<'static>>, RemoteError> {
        let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let all = all.map_err(|error| pem(path, error))?;
        if all.is_empty() { Err(pem(path, PemError::NoItemsFound)) } else { Ok(all) }
    };
    let mut roots = RootCertStore::empty();
    for authority in chain(&tls.ca_file)? {
        roots.add(authority).map_err(|error| unfit(error.to_string()))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit(error.to_string()))?
        .with_root_certificates(roots);
    let client = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| pem(key, error))?;
            builder
                .with_client_auth_cert(chain(certificate)?, key)
                .map_err(|error| unfit(error.to_string()))?
        }
    };
    let host = config.address.rsplit_once(':').map_or(config.address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|error| unfit(error.to_string()))?;
    Ok((TlsConnector::from(Arc::new(client)), name))
}
