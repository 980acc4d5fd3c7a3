//! A connect that takes time: between its CONNECT and its CONNACK something has to be found out.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::Broker;
use super::authentication::{Answer, Proof, answer, auth};
use super::batch::Batch;
use super::client::Attachment;
use super::open::Connected;
use super::refused::Refused;
use crate::access::Identity;
use crate::access::hashing::Verification;
use crate::access::method::Exchange;
use crate::cluster::takeover::{Arrival, Superseded};
use crate::codec;
use crate::codec::packet::{Auth, Connect, Packet, ProtocolVersion, ReasonCode};
use crate::observation::trace::Happening;
use crate::session::outbox::Outbox;

/// What a connect waits for. Dropped, it is called off. The error is the CONNACK's reason code.
pub type Wait<T> = Pin<Box<dyn Future<Output = Result<T, ReasonCode>> + Send>>;

/// A CONNECT that waits. Nothing of the client's session is touched yet.
pub struct PendingConnect {
    frame: Box<[u8]>,
    version: ProtocolVersion,
    max_packet_size: u32,
    /// Given away when the connection opens.
    attachment: Option<Attachment>,
    stage: Stage,
    /// AUTH packets for the client.
    outbox: Outbox,
}

/// The steps from CONNECT to CONNACK, in their order.
pub(super) enum Stage {
    /// Its password is checked.
    Hashing(Verification),
    /// It proves by AUTH packets who it is: the next one is awaited.
    Exchanging(Box<dyn Exchange>),
    /// It is known who it is.
    Known(Proof),
    /// What other nodes know of its session is awaited.
    Opening(Proof, Wait<Option<Arrival>>),
    /// It is done.
    Over,
}

impl PendingConnect {
    /// A CONNECT at this stage.
    pub(super) fn new(
        connect: &Connect<'_>,
        frame: &[u8],
        attachment: Attachment,
        stage: Stage,
    ) -> Box<PendingConnect> {
        Box::new(PendingConnect {
            frame: frame.into(),
            version: connect.version,
            max_packet_size: connect.properties.maximum_packet_size.map_or(u32::MAX, |size| size.get()),
            attachment: Some(attachment),
            stage,
            outbox: Outbox::default(),
        })
    }

    /// What the client speaks.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// The client's Maximum Packet Size in bytes.
    pub fn max_packet_size(&self) -> u32 {
        self.max_packet_size
    }

    /// The client identifier that it asks for.
    pub fn client_id(&self) -> &str {
        self.connect().map(|connect| connect.client_id).unwrap_or_default()
    }

    /// Bytes kept of the CONNECT.
    pub fn size(&self) -> usize {
        self.frame.len()
    }

    /// Whether the client has the next word, and has been sent everything that was said to it.
    pub fn awaits_auth(&self) -> bool {
        matches!(self.stage, Stage::Exchanging(_)) && self.outbox.is_empty()
    }

    /// AUTH packets to be written.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Says something to the client.
    pub(super) fn ask(&mut self, data: &[u8], broker: &Broker) -> Result<(), Refused> {
        let mut outbox = std::mem::take(&mut self.outbox);
        let connect = self.connect()?;
        let method = connect.properties.authentication_method.unwrap_or_default();
        let packet = auth(ReasonCode::ContinueAuthentication, method, data); // [MQTT-4.12.0-2]
        codec::encode(&packet, self.version, self.max_packet_size, outbox.buffer())
            .map_err(|_| Refused(ReasonCode::PacketTooLarge))?;
        broker.metrics.packets_out.auth.inc();
        broker.trace_auth(Happening::Sent, connect.client_id, &packet);
        drop(connect);
        self.outbox = outbox;
        Ok(())
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.attachment.as_ref().and_then(|attachment| attachment.peer)
    }

    fn connect(&self) -> Result<Box<Connect<'_>>, Refused> {
        match codec::decode(&self.frame, self.version) {
            Ok(Packet::Connect(connect)) => Ok(connect),
            _ => Err(Refused(ReasonCode::UnspecifiedError)), // It was one when it came.
        }
    }
}

impl Broker {
    /// What has to be awaited, once it is known who the client is, before its session is opened: that it is here. What
    /// refuses the client comes first, so that no session moves for nothing.
    pub(super) fn before_open(
        &self,
        connect: &Connect<'_>,
        identity: &Identity,
    ) -> Result<Option<Wait<Option<Arrival>>>, Refused> {
        let id = connect.client_id;
        if id.len() > self.limits().max_client_id_len {
            return Err(Refused(ReasonCode::ClientIdentifierNotValid));
        }
        if id.is_empty() {
            return Ok(None); // It gets one that nobody has.
        }
        self.check_will(connect, id, identity)?;
        let cluster = self.cluster.get().filter(|_| !connect.clean_start);
        let Some(mut arrival) = cluster.and_then(|cluster| cluster.ask_for_session(id, Instant::now()))
        else {
            return Ok(None);
        };
        Ok(Some(Box::pin(async move {
            let outcome = arrival.wait().await;
            // Another connection of the client was quicker, or comes after this one.
            outcome.map(|()| Some(arrival)).map_err(|Superseded| ReasonCode::ServerBusy)
        })))
    }

    /// The client goes on in its exchange. Follow it with [`Broker::poll_connect`].
    pub fn handle_connect_auth(&self, pending: &mut PendingConnect, auth: &Auth<'_>) -> Result<(), Refused> {
        let connect = pending.connect()?;
        self.trace_auth(Happening::Received, connect.client_id, &Packet::Auth(auth.clone()));
        let same_method = auth.properties.authentication_method == connect.properties.authentication_method;
        // [MQTT-4.12.0-3], [MQTT-4.12.0-5]
        if auth.reason != ReasonCode::ContinueAuthentication || !same_method {
            return Err(Refused(ReasonCode::ProtocolError));
        }
        drop(connect);
        let Stage::Exchanging(exchange) = &mut pending.stage else {
            return Err(Refused(ReasonCode::ProtocolError));
        };
        match answer(&mut **exchange, Some(auth.properties.authentication_data.unwrap_or_default())) {
            Ok(Answer::Ask(data)) => pending.ask(&data, self),
            Ok(Answer::Proved(proof)) => {
                pending.stage = Stage::Known(proof);
                Ok(())
            }
            Err(denial) => Err(self.deny(denial, &*pending.connect()?, pending.peer())),
        }
    }

    /// Goes on with a connect that waits. The task is woken when there is more to do.
    pub fn poll_connect(
        &self,
        pending: &mut PendingConnect,
        cx: &mut Context<'_>,
        batch: &mut Batch,
    ) -> Poll<Result<Connected, Refused>> {
        // What has arrived for this connection is kept for it until it is open.
        let mut _arrival = None;
        loop {
            match &mut pending.stage {
                Stage::Hashing(verification) => match ready!(verification.as_mut().poll(cx)) {
                    Ok(identity) => pending.stage = Stage::Known(Proof { identity, said: None }),
                    Err(denial) => {
                        return Poll::Ready(Err(self.deny(denial, &*pending.connect()?, pending.peer())));
                    }
                },
                Stage::Exchanging(_) => return Poll::Pending,
                Stage::Opening(_, wait) => {
                    _arrival = ready!(wait.as_mut().poll(cx)).map_err(Refused)?;
                    break;
                }
                Stage::Known(_) => {
                    let Stage::Known(proof) = std::mem::replace(&mut pending.stage, Stage::Over) else {
                        break;
                    };
                    match self.before_open(&*pending.connect()?, &proof.identity)? {
                        Some(wait) => pending.stage = Stage::Opening(proof, wait),
                        None => {
                            pending.stage = Stage::Known(proof);
                            break;
                        }
                    }
                }
                Stage::Over => break,
            }
        }
        let stage = std::mem::replace(&mut pending.stage, Stage::Over);
        let (Stage::Known(proof) | Stage::Opening(proof, _)) = stage else {
            return Poll::Ready(Err(Refused(ReasonCode::UnspecifiedError)));
        };
        let attachment = pending.attachment.take().ok_or(Refused(ReasonCode::UnspecifiedError))?;
        Poll::Ready(self.open(&*pending.connect()?, proof, attachment, batch))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;
    use crate::broker::client::Signal;
    use crate::broker::tests::{batch, broker};
    use crate::codec::packet::Properties;

    /// A connect that waits until the test sends the outcome.
    fn waiting() -> (Box<PendingConnect>, oneshot::Sender<Result<Option<Arrival>, ReasonCode>>) {
        let connect = Connect {
            version: ProtocolVersion::V500,
            clean_start: true,
            keep_alive_secs: 10,
            client_id: "c",
            will: None,
            username: None,
            password: None,
            properties: Properties::NONE,
        };
        let mut frame = Vec::new();
        let packet = Packet::Connect(Box::new(connect));
        codec::encode(&packet, ProtocolVersion::V500, u32::MAX, &mut frame).expect("a CONNECT");
        let attachment =
            Attachment { direct: None, signal: Arc::new(Signal::default()), peer: None, listener: None };
        let (done, outcome) = oneshot::channel();
        let wait: Wait<Option<Arrival>> = Box::pin(async { outcome.await.expect("the test sends it") });
        let Ok(Packet::Connect(connect)) = codec::decode(&frame, ProtocolVersion::V500) else {
            panic!("a CONNECT");
        };
        let proof = Proof { identity: Identity::ANONYMOUS, said: None };
        (PendingConnect::new(&connect, &frame, attachment, Stage::Opening(proof, wait)), done)
    }

    #[test]
    fn a_session_is_opened_when_the_wait_is_over() {
        let (broker, mut cx) = (broker(), Context::from_waker(Waker::noop()));
        let (mut pending, done) = waiting();
        assert!(broker.poll_connect(&mut pending, &mut cx, &mut batch()).is_pending());
        assert_eq!(broker.census().connected, 0);
        assert!(done.send(Ok(None)).is_ok(), "awaited");
        let Poll::Ready(Ok(connected)) = broker.poll_connect(&mut pending, &mut cx, &mut batch()) else {
            panic!("not accepted");
        };
        assert_eq!((connected.client.id(), broker.census().connected), ("c", 1));
    }

    #[test]
    fn a_wait_may_end_in_a_refusal() {
        let (broker, mut cx) = (broker(), Context::from_waker(Waker::noop()));
        let (mut pending, done) = waiting();
        assert!(done.send(Err(ReasonCode::ServerBusy)).is_ok(), "awaited");
        let refused = broker.poll_connect(&mut pending, &mut cx, &mut batch());
        assert!(matches!(refused, Poll::Ready(Err(Refused(ReasonCode::ServerBusy)))));
        assert_eq!(broker.census().connected + broker.census().disconnected, 0);
    }
}
