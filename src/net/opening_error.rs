//! What goes wrong before the first packet.

use std::io;
use std::net::IpAddr;

/// Why an accepted connection did not become a stream of MQTT.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// The peer took longer than `connect_timeout`.
    #[error("it took too long")]
    Timeout,
    /// There were too many at a time, and this one took longest.
    #[error("there were too many at a time")]
    CrowdedOut,
    /// A proxy went away before it had said for whom it speaks.
    #[error("PROXY protocol: {0}")]
    Proxy(io::Error),
    /// A trusted proxy did not say for whom it speaks.
    #[error(
        "the trusted proxy {0} sends no PROXY protocol header: let it send one, or take it out of --trusted-proxies"
    )]
    NoProxyHeader(IpAddr),
    /// Somebody said to be a proxy who is not known as one.
    #[error("{0} sends a PROXY protocol header and is none of --trusted-proxies")]
    UntrustedProxy(IpAddr),
    /// The peer went away, or does not speak TLS as it should.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The peer asked for no WebSocket with MQTT in it.
    #[error("WebSocket: {0}")]
    WebSocket(Box<tokio_tungstenite::tungstenite::Error>),
}

impl OpeningError {
    /// The label of the counter.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            OpeningError::Timeout => "timeout",
            OpeningError::CrowdedOut => "crowded_out",
            OpeningError::Proxy(_) | OpeningError::NoProxyHeader(_) => "proxy_header",
            OpeningError::UntrustedProxy(_) => "untrusted_proxy",
            OpeningError::Tls(_) => "tls",
            OpeningError::WebSocket(_) => "websocket",
        }
    }
}
