//! The ways in which MQTT comes.

use std::sync::Arc;

use super::origins::PageOrigins;
use super::tls::Tls;

/// What clients of a listener speak.
#[derive(Clone)]
pub enum Protocol {
    /// MQTT over plain TCP.
    Mqtt,
    /// MQTT over TLS.
    Mqtts(Arc<Tls>),
    /// MQTT over WebSocket, for pages from there and for all others.
    Ws(PageOrigins),
    /// The same over TLS.
    Wss(Arc<Tls>, PageOrigins),
}

impl Protocol {
    /// Its name: that of the setting which says where it listens.
    pub fn name(&self) -> &'static str {
        match self {
            Protocol::Mqtt => "mqtt",
            Protocol::Mqtts(_) => "mqtts",
            Protocol::Ws(_) => "ws",
            Protocol::Wss(..) => "wss",
        }
    }
}
