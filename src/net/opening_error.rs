//! What goes wrong before the first packet.

use std::io;

/// Why an accepted connection did not become a stream of MQTT.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// The peer took longer than `connect_timeout`.
    #[error("it took too long")]
    Timeout,
    /// There were too many at a time, and this one took longest.
    #[error("there were too many at a time")]
    CrowdedOut,
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
            OpeningError::Tls(_) => "tls",
            OpeningError::WebSocket(_) => "websocket",
        }
    }
}
