//! Publishes of the node's operator: like those of a client, but nobody is asked whether they are allowed.

use std::future::poll_fn;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Broker;
use super::batch::Batch;
use super::client::{Attachment, Client, Signal, Subscriber};
use super::delayed::DelayedFull;
use super::detour::Detour;
use super::publish::Publisher;
use super::rewrite::RewriteCache;
use super::session_record::SessionRecord;
use crate::access::Identity;
use crate::codec;
use crate::codec::packet::{PacketId, ProtocolVersion, Publish, QoS, ReasonCode};
use crate::message::{Application, Message};
use crate::session::Session;

/// Longest that an acknowledgement is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of an operator's publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Whether anybody is subscribed, on this node or another.
    pub matched: bool,
    /// Whether it is where a client would have its acknowledgement; that of QoS 0 is at once.
    pub acknowledged: bool,
}

/// Why it was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// What clients are not offered, either.
    #[error("the node takes no QoS above {0}: that is how it is configured (max_qos)")]
    QoS(u8),
    /// The same.
    #[error("the node keeps no retained messages: that is how it is configured (retain_available)")]
    Retain,
    /// It claims to be text and is not.
    #[error("the payload is not UTF-8, and payload_format_indicator says that it is")]
    PayloadFormat,
    /// Nobody could take it.
    #[error("as a packet it would have more than {0} bytes, which is the node's limit (max_packet_size)")]
    TooLarge(u32),
    /// The topic cannot be published to, or not be renamed as the rules say.
    #[error("this topic cannot be published to")]
    Topic,
    /// It is the broker's own.
    #[error("topics below $SYS are the broker's own")]
    SystemTopic,
    /// As many as may wait do.
    #[error("as many delayed messages as may wait do so already (max_delayed_messages, max_delayed_bytes)")]
    DelayedFull,
    /// A node that wants it cannot be reached.
    #[error(
        "a node that wants it cannot be reached, and its buffer here is full (forward_overflow = \"refuse\")"
    )]
    ForwardFull,
}

impl Broker {
    /// Publishes a message on the operator's behalf, and waits until it is as safe as it is for a client when that gets its
    /// acknowledgement.
    pub async fn publish_for_operator(&self, message: Message) -> Result<Published, Unpublished> {
        self.check(&message)?;
        let client = self.operator();
        let signal = Arc::new(Signal::default());
        client.lock().attach(Attachment { direct: None, signal: signal.clone(), peer: None, listener: None });
        let deadline = tokio::time::Instant::now() + PATIENCE;
        if message.qos > QoS::AtMostOnce {
            let caught_up = poll_fn(|cx| {
                signal.waker.register(cx.waker());
                if self.wait_until_caught_up(&signal) { Poll::Pending } else { Poll::Ready(()) }
            });
            // As long as clients wait, which is not for ever.
            let _ = tokio::time::timeout_at(deadline, caught_up).await;
        }
        let matched = self.publish_as(&client, &message)?;
        let acknowledged = poll_fn(|cx| {
            signal.waker.register(cx.waker());
            let mut state = client.lock();
            // Whoever confirms the last one wakes who is not read from.
            state.throttled = true;
            if state.session.unacknowledged() == 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        let acknowledged = tokio::time::timeout_at(deadline, acknowledged).await.is_ok();
        Ok(Published { matched, acknowledged })
    }

    /// What a client would be disconnected for, or could not even say.
    fn check(&self, message: &Message) -> Result<(), Unpublished> {
        let limits = self.limits();
        let capabilities = &limits.capabilities;
        if message.qos > capabilities.max_qos {
            return Err(Unpublished::QoS(capabilities.max_qos as u8));
        }
        if message.retain && !capabilities.retain_available {
            return Err(Unpublished::Retain);
        }
        let properties = message.properties();
        if properties.payload_format_indicator == Some(true)
            && std::str::from_utf8(message.payload()).is_err()
        {
            return Err(Unpublished::PayloadFormat);
        }
        let max_packet_size = limits.max_packet_size;
        let packet = Publish {
            dup: false,
            qos: message.qos,
            retain: message.retain,
            topic: crate::topic::Topic::new(message.topic()).ok(),
            packet_id: None,
            properties,
            payload: message.payload(),
        };
        let head = codec::encode_publish_head(&packet, ProtocolVersion::V500, &mut Vec::new());
        match head.is_ok_and(|head| head.frame_len <= max_packet_size as usize) {
            true => Ok(()),
            false => Err(Unpublished::TooLarge(max_packet_size)),
        }
    }

    /// A client that is nobody's, and in no list.
    fn operator(&self) -> Arc<Client> {
        let record = SessionRecord { identity: Identity::NODE, ..SessionRecord::default() };
        Arc::new(Client::new("", Session::new(self.limits().session.clone()), record))
    }

    /// Returns whether anybody is subscribed.
    fn publish_as(&self, client: &Arc<Client>, message: &Message) -> Result<bool, Unpublished> {
        let mut batch = Batch::new(Instant::now());
        let epoch = client.lock().epoch;
        let publisher = (message.qos > QoS::AtMostOnce).then(|| Publisher {
            client,
            epoch,
            packet_id: PacketId::from(NonZeroU16::MIN),
        });
        let result = message.with_application(|application| {
            let detour = match self.may_detour(application.topic) {
                true => self.detour(client, application.topic, &mut RewriteCache::default()),
                false => Ok(None),
            };
            let detour = detour.map_err(|reason| match reason {
                ReasonCode::NotAuthorized => Unpublished::SystemTopic,
                _ => Unpublished::Topic,
            })?;
            let topic = detour.as_ref().and_then(Detour::topic).unwrap_or(application.topic);
            let application = &Application { topic, ..*application };
            let matches = self.router.matches(topic, Some(&Subscriber(client.clone())));
            let matched =
                !(matches.locals.is_empty() && matches.peers.is_empty() && matches.groups.is_empty());
            if let Some(Detour { delay: Some(delay), .. }) = detour {
                let kept = self.delay(application, delay, client, batch.now);
                return kept.map(|()| matched).map_err(|DelayedFull| Unpublished::DelayedFull);
            }
            if publisher.is_some() && self.may_refuse() && self.refuses(&matches) {
                self.metrics.messages_dropped.with_label_values(&["forward_full"]).inc();
                return Err(Unpublished::ForwardFull);
            }
            let retained = self.retain(application, batch.now);
            // Whoever subscribes in between gets it one way or the other.
            let matches = self.router.matches(topic, Some(&Subscriber(client.clone())));
            self.publish(application, &matches, Some(client), retained, publisher, &mut batch);
            Ok(matched)
        });
        batch.flush();
        batch.report(&self.metrics);
        result.unwrap_or(Err(Unpublished::Topic))
    }
}
