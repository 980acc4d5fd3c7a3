//! Application messages: borrowed while they pass through, owned where they have to stay.

mod carried;

mod ticket;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::packet::{Properties, PropertySet, QoS};
use crate::topic::Topic;
pub use carried::CarriedProperties;
pub use ticket::{Origin, PortableTicket, Settlement, Ticket};

/// Payloads of at least this many bytes are shared instead of copied.
pub const SHARED_PAYLOAD_MIN: usize = 2048;

/// An application message on its way to subscribers, borrowed from the packet, will or store it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Application<'a> {
    /// Where it was published.
    pub topic: Topic<'a>,
    /// The payload.
    pub payload: &'a [u8],
    /// The bytes that `payload` lies in, where it can be kept without a copy.
    pub backing: Option<&'a Bytes>,
    /// QoS of the publish.
    pub qos: QoS,
    /// Retain flag of the publish.
    pub retain: bool,
    /// Properties of the publish. Only those that travel with a message are looked at.
    pub properties: &'a PropertySet<'a>,
    /// When it stops being worth delivering [MQTT-3.3.2-5].
    pub expires_at: Option<Instant>,
}

impl Application<'_> {
    /// The payload as bytes that outlive the borrow: shared where it is large and shareable, copied otherwise, so that
    /// a small message that stays never keeps a whole read buffer alive.
    pub fn payload_bytes(&self) -> Bytes {
        match self.backing {
            Some(backing) if self.payload.len() >= SHARED_PAYLOAD_MIN => backing.slice_ref(self.payload),
            _ => Bytes::copy_from_slice(self.payload),
        }
    }

    /// A copy that can be kept.
    pub fn to_message(&self) -> Message {
        Message {
            topic: self.topic.as_str().into(),
            payload: self.payload_bytes(),
            qos: self.qos,
            retain: self.retain,
            properties: MessageProperties::of(self.properties),
            expires_at: self.expires_at,
            publish: None,
            taken_at: None,
        }
    }
}

/// Names a publish in the whole cluster, so that two copies of it that took different ways are known for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishId {
    /// Stands for the replica it was published at.
    pub origin: u64,
    /// The origin's count of publishes.
    pub number: u64,
}

/// An application message that is kept.
#[derive(Clone, Debug)]
pub struct Message {
    topic: Box<str>,
    payload: Bytes,
    /// QoS of the publish.
    pub qos: QoS,
    /// Retain flag of the publish.
    pub retain: bool,
    properties: Option<Box<MessageProperties>>,
    /// When it stops being worth delivering.
    pub expires_at: Option<Instant>,
    /// Its name, where copies of it went to other nodes.
    pub publish: Option<PublishId>,
    /// Since when this node has it for its subscribers, where that is known.
    pub taken_at: Option<Instant>,
}

/// A message in a form that can travel to another node: what is left of its lifetime stands for its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableMessage {
    topic: Box<str>,
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
    qos: QoS,
    retain: bool,
    properties: Option<Box<MessageProperties>>,
    remaining_ms: Option<u64>,
    publish: Option<PublishId>,
}

impl PortableMessage {
    /// The message as it is at `now`.
    pub fn of(message: &Message, now: Instant) -> PortableMessage {
        let remaining = message.expires_at.map(|expires_at| expires_at.saturating_duration_since(now));
        PortableMessage {
            topic: message.topic.clone(),
            payload: message.payload.to_vec(),
            qos: message.qos,
            retain: message.retain,
            properties: message.properties.clone(),
            remaining_ms: remaining.map(|remaining| remaining.as_millis() as u64),
            publish: message.publish,
        }
    }

    /// The message again; none where its topic is not one.
    pub fn into_message(self, now: Instant) -> Option<Message> {
        Topic::new(&self.topic).ok()?;
        let response_topic =
            self.properties.as_ref().and_then(|properties| properties.response_topic.as_deref());
        response_topic.map(Topic::new).transpose().ok()?;
        let expires_at = match self.remaining_ms {
            None => None,
            Some(remaining) => Some(now.checked_add(Duration::from_millis(remaining))?),
        };
        Some(Message {
            topic: self.topic,
            payload: self.payload.into(),
            qos: self.qos,
            retain: self.retain,
            properties: self.properties,
            expires_at,
            publish: self.publish,
            taken_at: Some(now),
        })
    }
}

/// Properties that travel with a message unaltered [MQTT-3.3.2-4, MQTT-3.3.2-15 to -20].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MessageProperties {
    payload_format_indicator: Option<bool>,
    content_type: Option<Box<str>>,
    response_topic: Option<Box<str>>,
    correlation_data: Option<Box<[u8]>>,
    user_properties: Vec<(Box<str>, Box<str>)>,
}

impl MessageProperties {
    fn of(set: &PropertySet<'_>) -> Option<Box<MessageProperties>> {
        let kept = MessageProperties {
            payload_format_indicator: set.payload_format_indicator,
            content_type: set.content_type.map(Into::into),
            response_topic: set.response_topic.map(|topic| topic.as_str().into()),
            correlation_data: set.correlation_data.map(Into::into),
            user_properties: set.user_properties.iter().map(|&(k, v)| (k.into(), v.into())).collect(),
        };
        let nothing = kept.payload_format_indicator.is_none()
            && kept.content_type.is_none()
            && kept.response_topic.is_none()
            && kept.correlation_data.is_none()
            && kept.user_properties.is_empty();
        (!nothing).then(|| Box::new(kept))
    }

    fn size(&self) -> usize {
        let length = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        size_of::<MessageProperties>()
            + length(&self.content_type)
            + length(&self.response_topic)
            + self.correlation_data.as_ref().map_or(0, |data| data.len())
            + self.user_properties.iter().map(|(k, v)| k.len() + v.len() + 32).sum::<usize>()
    }
}

/// Whether `set` has any property that travels with a message.
pub fn forwarded(set: &PropertySet<'_>) -> bool {
    set.payload_format_indicator.is_some()
        || set.content_type.is_some()
        || set.response_topic.is_some()
        || set.correlation_data.is_some()
        || !set.user_properties.is_empty()
}

impl Message {
    /// The topic it was published to.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The same message under this name.
    pub fn named(self, publish: Option<PublishId>) -> Message {
        Message { publish, ..self }
    }

    /// The same message, which the node has since then.
    pub fn taken(self, at: Instant) -> Message {
        Message { taken_at: Some(at), ..self }
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The properties that travel with it.
    pub fn properties(&self) -> Properties<'_> {
        let Some(kept) = &self.properties else { return Properties::NONE };
        let set = PropertySet {
            payload_format_indicator: kept.payload_format_indicator,
            content_type: kept.content_type.as_deref(),
            response_topic: kept.response_topic.as_deref().and_then(|topic| Topic::new(topic).ok()),
            correlation_data: kept.correlation_data.as_deref(),
            user_properties: kept.user_properties.iter().map(|(k, v)| (&**k, &**v)).collect(),
            ..PropertySet::EMPTY
        };
        set.into()
    }

    /// Calls `deliver` with the message as it passes through.
    pub fn with_application<R>(&self, deliver: impl FnOnce(&Application<'_>) -> R) -> Option<R> {
        let properties = self.properties();
        let topic = Topic::new(&self.topic).ok()?;
        Some(deliver(&Application {
            topic,
            payload: &self.payload,
            backing: Some(&self.payload),
            qos: self.qos,
            retain: self.retain,
            properties: &properties,
            expires_at: self.expires_at,
        }))
    }

    /// Memory it takes, roughly, in bytes.
    pub fn size(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |properties| properties.size());
        size_of::<Message>() + self.topic.len() + self.payload.len() + properties
    }

    /// Whether its expiry has passed.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// The Message Expiry Interval to send at `now`: what is left, in whole seconds, rounded up [MQTT-3.3.2-6].
pub fn remaining_expiry_secs(expires_at: Option<Instant>, now: Instant) -> Option<u32> {
    let left = expires_at?.saturating_duration_since(now);
    let secs = (left + Duration::from_nanos(999_999_999)).as_secs();
    Some(u32::try_from(secs).unwrap_or(u32::MAX))
}

/// A message for one subscriber.
#[derive(Clone, Debug)]
pub struct QueuedMessage {
    /// The message, shared by all its subscribers.
    pub message: Arc<Message>,
    /// QoS it is delivered with.
    pub qos: QoS,
    /// Retain flag it is delivered with.
    pub retain: bool,
    identifiers: Option<Arc<[NonZeroU32]>>,
    /// For a message of a shared subscription.
    pub ticket: Option<Arc<Ticket>>,
}

impl QueuedMessage {
    /// One subscriber's share in `message`.
    pub fn new(message: Arc<Message>, qos: QoS, retain: bool, identifiers: &[NonZeroU32]) -> QueuedMessage {
        let identifiers = (!identifiers.is_empty()).then(|| identifiers.into());
        QueuedMessage { message, qos, retain, identifiers, ticket: None }
    }

    /// Given to its subscriber as a member of a group.
    pub fn with_ticket(self, ticket: Option<&Arc<Ticket>>) -> QueuedMessage {
        QueuedMessage { ticket: ticket.cloned(), ..self }
    }

    /// It is with its subscriber, or need not get there: nobody else is to get it.
    pub fn consume(&self) {
        if let Some(ticket) = &self.ticket {
            ticket.consume();
        }
    }

    /// Identifiers of the subscriptions it matched.
    pub fn identifiers(&self) -> &[NonZeroU32] {
        self.identifiers.as_deref().unwrap_or(&[])
    }

    /// Bytes it counts for in a queue's bound. A shared message counts in full for each of its subscribers.
    pub fn size(&self) -> usize {
        self.message.size() + size_of::<QueuedMessage>() + size_of_val(self.identifiers())
    }
}
