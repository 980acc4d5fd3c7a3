//! A connect that takes time: between its CONNECT and its CONNACK something has to be found out.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::Broker;
use super::batch::Batch;
use super::client::Attachment;
use super::connect::{Connected, Refused};
use crate::access::Identity;
use crate::codec;
use crate::codec::packet::{Connect, Packet, ProtocolVersion, ReasonCode};

/// How far a CONNECT has got.
pub enum Progress {
    /// It is accepted.
    Open(Connected),
    /// It waits: go on with [`Broker::poll_connect`].
    Pending(Box<PendingConnect>),
}

/// What a connect waits for. Dropped, it is called off. The error is the CONNACK's reason code.
pub type Wait<T> = Pin<Box<dyn Future<Output = Result<T, ReasonCode>> + Send>>;

/// A CONNECT that waits. Nothing of the client's session is touched yet.
pub struct PendingConnect {
    frame: Box<[u8]>,
    version: ProtocolVersion,
    /// Given away when the connection opens.
    attachment: Option<Attachment>,
    stage: Stage,
}

/// The steps from CONNECT to CONNACK, in their order.
pub(super) enum Stage {
    /// What other nodes know of its session is awaited.
    Opening(Identity, Wait<()>),
}

impl PendingConnect {
    /// A CONNECT, whose bytes are `frame`, at this stage.
    pub(super) fn new(
        frame: &[u8],
        version: ProtocolVersion,
        attachment: Attachment,
        stage: Stage,
    ) -> Box<PendingConnect> {
        Box::new(PendingConnect { frame: frame.into(), version, attachment: Some(attachment), stage })
    }

    /// What the client speaks.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Bytes kept of the CONNECT.
    pub fn size(&self) -> usize {
        self.frame.len()
    }

    fn connect(&self) -> Result<Box<Connect<'_>>, ReasonCode> {
        match codec::decode(&self.frame, self.version) {
            Ok(Packet::Connect(connect)) => Ok(connect),
            _ => Err(ReasonCode::UnspecifiedError), // It was one when it came.
        }
    }
}

impl Broker {
    /// Goes on with a connect that waits. The task is woken when there is more to do.
    pub fn poll_connect(
        &self,
        pending: &mut PendingConnect,
        cx: &mut Context<'_>,
        batch: &mut Batch,
    ) -> Poll<Result<Connected, Refused>> {
        let identity = match &mut pending.stage {
            Stage::Opening(identity, wait) => {
                ready!(wait.as_mut().poll(cx)).map_err(Refused)?;
                identity.clone()
            }
        };
        let attachment = pending.attachment.take().ok_or(Refused(ReasonCode::UnspecifiedError))?;
        let connect = pending.connect().map_err(Refused)?;
        Poll::Ready(self.open(&connect, identity, attachment, batch))
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
    fn waiting() -> (Box<PendingConnect>, oneshot::Sender<Result<(), ReasonCode>>) {
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
        let attachment = Attachment { direct: None, signal: Arc::new(Signal::default()) };
        let (done, outcome) = oneshot::channel();
        let wait: Wait<()> = Box::pin(async { outcome.await.expect("the test sends it") });
        let stage = Stage::Opening(Identity::ANONYMOUS, wait);
        (PendingConnect::new(&frame, ProtocolVersion::V500, attachment, stage), done)
    }

    #[test]
    fn a_session_is_opened_when_the_wait_is_over() {
        let (broker, mut cx) = (broker(), Context::from_waker(Waker::noop()));
        let (mut pending, done) = waiting();
        assert!(broker.poll_connect(&mut pending, &mut cx, &mut batch()).is_pending());
        assert_eq!(broker.census().connected, 0);
        done.send(Ok(())).expect("awaited");
        let Poll::Ready(Ok(connected)) = broker.poll_connect(&mut pending, &mut cx, &mut batch()) else {
            panic!("not accepted");
        };
        assert_eq!((connected.client.id(), broker.census().connected), ("c", 1));
    }

    #[test]
    fn a_wait_may_end_in_a_refusal() {
        let (broker, mut cx) = (broker(), Context::from_waker(Waker::noop()));
        let (mut pending, done) = waiting();
        done.send(Err(ReasonCode::ServerBusy)).expect("awaited");
        let refused = broker.poll_connect(&mut pending, &mut cx, &mut batch());
        assert!(matches!(refused, Poll::Ready(Err(Refused(ReasonCode::ServerBusy)))));
        assert_eq!(broker.census().connected + broker.census().disconnected, 0);
    }
}
