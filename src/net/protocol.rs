//! The ways in which MQTT comes.

use std::sync::Arc;

use super::tls::Tls;

/// What clients of a listener speak.
#[derive(Clone)]
pub enum Protocol {
    /// MQTT over plain TCP.
    Mqtt,
    /// MQTT over TLS.
    Mqtts(Arc<Tls>),
    /// MQTT over WebSocket.
    Ws,
    /// MQTT over WebSocket over TLS.
    Wss(Arc<Tls>),
}

impl Protocol {
    /// Its name: that of the setting which says where it listens.
    pub fn name(&self) -> &'static str {
        match self {
            Protocol::Mqtt => "mqtt",
            Protocol::Mqtts(_) => "mqtts",
            Protocol::Ws => "ws",
            Protocol::Wss(_) => "wss",
        }
    }
}
