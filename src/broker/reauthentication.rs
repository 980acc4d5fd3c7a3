//! A client that proves again who it is, while it is connected (4.12.1).

use super::Broker;
use super::authentication::{Answer, answer};
use crate::access::method::Exchange;
use crate::access::{Denial, Identity};
use crate::codec::packet::{Auth, ReasonCode};

/// What a connection keeps that was opened by an Authentication Method.
pub(super) struct ReAuthentication {
    method: Box<str>,
    /// While the client is at it; everything else goes on meanwhile.
    exchange: Option<Box<dyn Exchange>>,
}

impl ReAuthentication {
    /// For a connection that this method has opened.
    pub fn new(method: Box<str>) -> ReAuthentication {
        ReAuthentication { method, exchange: None }
    }

    /// The Authentication Method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// An AUTH packet of a client that is connected as `identity`: begins an exchange, or goes on with it. Gives the reason
    /// code and the data of the AUTH packet that answers it; the error ends the connection.
    pub fn handle_auth(
        &mut self,
        broker: &Broker,
        identity: &Identity,
        packet: &Auth<'_>,
    ) -> Result<(ReasonCode, Vec<u8>), ReasonCode> {
        let violation = Err(ReasonCode::ProtocolError);
        if packet.properties.authentication_method != Some(&*self.method) {
            return violation; // [MQTT-4.12.0-5], [MQTT-4.12.1-1]
        }
        let (exchange, data) = match (packet.reason, &mut self.exchange) {
            (ReasonCode::ReAuthenticate, none @ None) => {
                let access = broker.access();
                let Some(method) = access.method(&self.method) else { return violation };
                (none.insert(method.begin()), packet.properties.authentication_data)
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                (exchange, Some(packet.properties.authentication_data.unwrap_or_default()))
            }
            _ => return violation,
        };
        match answer(&mut **exchange, data) {
            Ok(Answer::Ask(data)) => Ok((ReasonCode::ContinueAuthentication, data)),
            // A connection has one user: another one has to connect.
            Ok(Answer::Proved(proof)) if proof.identity == *identity => {
                self.exchange = None;
                broker.metrics.authentications.with_label_values(&["accepted_again"]).inc();
                Ok((ReasonCode::Success, proof.said.unwrap_or_default()))
            }
            Ok(Answer::Proved(_)) | Err(_) => {
                broker.metrics.authentications.with_label_values(&[Denial::Proof.label()]).inc();
                Err(ReasonCode::NotAuthorized) // [MQTT-4.12.1-2]
            }
        }
    }
}
