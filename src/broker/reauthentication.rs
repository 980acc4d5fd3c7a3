//! A client that proves again who it is, while it is connected (4.12.1).

use super::Broker;
use super::authentication::{Answer, answer, auth};
use super::connection::{ClientConnection, End};
use crate::access::Denial;
use crate::access::method::Exchange;
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
}

impl ClientConnection {
    /// An AUTH packet: begins an exchange, or goes on with it.
    pub(super) fn handle_auth(&mut self, broker: &Broker, packet: &Auth<'_>) -> Result<(), End> {
        let violation = Err(End::Violation(ReasonCode::ProtocolError));
        let Some(state) = &mut self.reauthentication else { return violation }; // [MQTT-4.12.0-7]
        if packet.properties.authentication_method != Some(&*state.method) {
            return violation; // [MQTT-4.12.0-5], [MQTT-4.12.1-1]
        }
        let (exchange, data) = match (packet.reason, &mut state.exchange) {
            (ReasonCode::ReAuthenticate, none @ None) => {
                let Some(method) = broker.access.method(&state.method) else { return violation };
                (none.insert(method.begin()), packet.properties.authentication_data)
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                (exchange, Some(packet.properties.authentication_data.unwrap_or_default()))
            }
            _ => return violation,
        };
        let (reason, said) = match answer(&mut **exchange, data) {
            Ok(Answer::Ask(data)) => (ReasonCode::ContinueAuthentication, data),
            // A connection has one user: another one has to connect.
            Ok(Answer::Proved(proof)) if proof.identity == self.client.lock().record.identity => {
                state.exchange = None;
                broker.metrics.authentications.with_label_values(&["accepted_again"]).inc();
                (ReasonCode::Success, proof.said.unwrap_or_default())
            }
            Ok(Answer::Proved(_)) | Err(_) => {
                broker.metrics.authentications.with_label_values(&[Denial::Proof.label()]).inc();
                return Err(End::Violation(ReasonCode::NotAuthorized)); // [MQTT-4.12.1-2]
            }
        };
        let mut client = self.client.lock();
        if client.epoch == self.epoch {
            client.session.send(&auth(reason, &state.method, &said));
        }
        Ok(())
    }
}
