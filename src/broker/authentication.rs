//! Who is it? By certificate, by password, or by an exchange of AUTH packets (4.12).

use std::net::SocketAddr;
use std::time::Instant;

use super::Broker;
use super::refused::Refused;
use crate::access::hashing::Verification;
use crate::access::method::{Exchange, Step};
use crate::access::{Credentials, Denial, Identity, Verdict};
use crate::codec::packet::{Auth, Connect, Packet, PropertySet, ReasonCode};

/// Who a client has proved to be.
#[derive(Debug)]
pub(super) struct Proof {
    pub identity: Identity,
    /// What the Authentication Method has to say with the yes, where there is a method.
    pub said: Option<Vec<u8>>,
}

/// How far a look at a CONNECT has led.
pub(super) enum Authentication {
    /// It is known who the client is.
    Proved(Proof),
    /// The client is asked this, and has to prove by AUTH packets who it is.
    Asking(Box<dyn Exchange>, Vec<u8>),
    /// Its password is checked.
    Hashing(Verification),
}

/// How a method answers the client.
pub(super) enum Answer {
    /// It asks on, by an AUTH packet with this data.
    Ask(Vec<u8>),
    /// It is content.
    Proved(Proof),
}

impl Broker {
    /// Looks who the client is.
    pub(super) fn authenticate(
        &self,
        connect: &Connect<'_>,
        certificate: Option<&str>,
        peer: Option<SocketAddr>,
    ) -> Result<Authentication, Refused> {
        let access = self.access();
        if let Some(name) = connect.properties.authentication_method {
            let Some(method) = access.method(name) else {
                return Err(self.deny(Denial::Method, connect, peer)); // [MQTT-4.12.0-1]
            };
            let mut exchange = method.begin();
            return match answer(&mut *exchange, connect.properties.authentication_data) {
                Ok(Answer::Ask(data)) => Ok(Authentication::Asking(exchange, data)),
                Ok(Answer::Proved(proof)) => Ok(Authentication::Proved(proof)),
                Err(denial) => Err(self.deny(denial, connect, peer)),
            };
        }
        let (username, password) = (connect.username, connect.password);
        let peer_ip = peer.map(|peer| peer.ip());
        let credentials = Credentials { username, password, certificate, peer: peer_ip };
        match access.check(credentials) {
            Verdict::Known(identity) => Ok(Authentication::Proved(Proof { identity, said: None })),
            Verdict::Denied(denial) => Err(self.deny(denial, connect, peer)),
            Verdict::Hashing(verification) => Ok(Authentication::Hashing(verification)),
        }
    }

    /// Counts a client that is not let in. What it is told does not say which users there are.
    pub(super) fn deny(&self, denial: Denial, connect: &Connect<'_>, peer: Option<SocketAddr>) -> Refused {
        self.metrics.authentications.with_label_values(&[denial.label()]).inc();
        self.trace_denied(connect.client_id, denial);
        if let Some(suppressed) = self.denials.may_log(denial, Instant::now()) {
            let (client, username) = (connect.client_id, connect.username.unwrap_or_default());
            let peer = peer.map(tracing::field::display);
            tracing::warn!(
                client,
                username,
                peer,
                suppressed,
                "client not let in: {denial}; {}",
                denial.advice()
            );
        }
        Refused(reason_code(denial))
    }
}

/// Lets a method answer what a client says.
pub(super) fn answer(exchange: &mut dyn Exchange, data: Option<&[u8]>) -> Result<Answer, Denial> {
    match exchange.step(data) {
        Step::Continue(data) => Ok(Answer::Ask(data)),
        Step::Done(identity, said) => Ok(Answer::Proved(Proof { identity, said: Some(said) })),
        Step::Refused => Err(Denial::Proof),
    }
}

/// An AUTH packet of this method [MQTT-4.12.0-5].
pub(super) fn auth<'a>(reason: ReasonCode, method: &'a str, data: &'a [u8]) -> Packet<'a> {
    let set = PropertySet {
        authentication_method: Some(method),
        authentication_data: (!data.is_empty()).then_some(data),
        ..PropertySet::EMPTY
    };
    Packet::Auth(Auth { reason, properties: set.into() })
}

/// What a client is told.
pub(super) fn reason_code(denial: Denial) -> ReasonCode {
    match denial {
        Denial::WrongPassword => ReasonCode::BadUserNameOrPassword,
        Denial::Anonymous | Denial::Proof => ReasonCode::NotAuthorized,
        Denial::Method => ReasonCode::BadAuthenticationMethod,
        Denial::Busy => ReasonCode::QuotaExceeded,
    }
}
