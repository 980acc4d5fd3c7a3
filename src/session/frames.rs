//! One application message encoded once for all subscribers that get the same bytes.

use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::outbound_alias::{self, Naming};
use super::outbox::Outbox;
use crate::codec::packet::{PacketId, Properties, PropertySet, ProtocolVersion, Publish, QoS};
use crate::codec::{PublishHead, encode_publish_head};
use crate::message::{
    Application, Message, PublishId, QueuedMessage, SHARED_PAYLOAD_MIN, forwarded, remaining_expiry_secs,
};

/// What one subscriber's copy of a message looks like.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    /// Protocol version of the subscriber's connection.
    pub version: ProtocolVersion,
    /// The subscriber's Maximum Packet Size, in bytes.
    pub max_packet_size: u32,
    /// QoS of the copy.
    pub qos: QoS,
    /// Retain flag of the copy.
    pub retain: bool,
    /// Subscription identifiers to name.
    pub identifiers: &'a [NonZeroU32],
    /// For QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// Whether it was sent before.
    pub dup: bool,
    /// How it names its topic.
    pub naming: Naming,
}

/// The packet would exceed the receiver's Maximum Packet Size [MQTT-3.1.2-24].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// The frames of one message, made when the first subscriber needs them.
#[derive(Debug)]
pub struct Frames<'a> {
    application: &'a Application<'a>,
    now: Instant,
    scratch: &'a mut Vec<u8>,
    /// One for each variant that was needed, of which there are rarely more than two.
    encoded: SmallVec<[Encoded; 2]>,
    topic_hash: Option<u64>,
    message: Option<Arc<Message>>,
    payload: Option<Bytes>,
    publish: Option<PublishId>,
}

/// What makes frames of one message differ, but for the numbers patched into each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variant {
    has_properties: bool,
    has_alias: bool,
    retain: bool,
    qos: QoS,
}

#[derive(Clone, Debug)]
struct Encoded {
    variant: Variant,
    bytes: Range<usize>,
    packet_id_at: usize,
    topic_alias_at: usize,
    frame_len: usize,
}

impl<'a> Frames<'a> {
    /// Frames of `application`, with `scratch` as the memory they are made in.
    pub fn new(application: &'a Application<'a>, scratch: &'a mut Vec<u8>, now: Instant) -> Frames<'a> {
        scratch.clear();
        Frames {
            application,
            now,
            scratch,
            encoded: SmallVec::new(),
            topic_hash: None,
            message: None,
            payload: None,
            publish: None,
        }
    }

    /// With the message as it is kept, where that is there already.
    pub fn with_message(mut self, message: Option<Arc<Message>>) -> Frames<'a> {
        self.message = message;
        self
    }

    /// The same of a publish that has this name, which stays with its kept copy.
    pub fn named(mut self, publish: Option<PublishId>) -> Frames<'a> {
        self.publish = publish;
        self
    }

    /// The message they are frames of.
    pub fn application(&self) -> &Application<'a> {
        self.application
    }

    /// The name of the publish, if it has one.
    pub fn publish(&self) -> Option<PublishId> {
        self.message.as_ref().map_or(self.publish, |message| message.publish)
    }

    /// When they are made.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The hash of the topic that topic aliases are found by, made once.
    pub(super) fn topic_hash(&mut self) -> u64 {
        *self.topic_hash.get_or_insert_with(|| outbound_alias::hash(self.application.topic))
    }

    /// The message as it is kept, made once.
    pub fn message(&mut self) -> &Arc<Message> {
        self.message.get_or_insert_with(|| {
            Arc::new(self.application.to_message().named(self.publish).taken(self.now))
        })
    }

    /// The kept message, if one was made.
    pub fn into_message(self) -> Option<Arc<Message>> {
        self.message
    }

    /// Appends the subscriber's copy to `outbox`.
    pub fn append(&mut self, copy: &Copy<'_>, outbox: &mut Outbox) -> Result<(), TooLarge> {
        if !copy.identifiers.is_empty() || copy.dup || matches!(copy.naming, Naming::Set(_)) {
            let backing = match self.application.payload.len() >= SHARED_PAYLOAD_MIN {
                true => Some(self.shared_payload()),
                false => None,
            };
            return append_copy(self.application, backing, copy, self.now, outbox);
        }
        let Encoded { bytes, packet_id_at, topic_alias_at, frame_len, .. } = self.encoded(copy)?.clone();
        if frame_len > copy.max_packet_size as usize {
            return Err(TooLarge);
        }
        let buffer = outbox.buffer();
        let start = buffer.len();
        buffer.extend_from_slice(&self.scratch[bytes]);
        if let Some(packet_id) = copy.packet_id {
            let at = start + packet_id_at;
            buffer[at..at + 2].copy_from_slice(&packet_id.get().to_be_bytes());
        }
        if let Naming::Alias(alias) = copy.naming {
            let at = start + topic_alias_at;
            buffer[at..at + 2].copy_from_slice(&alias.get().to_be_bytes());
        }
        if self.application.payload.len() >= SHARED_PAYLOAD_MIN {
            outbox.push_shared(self.shared_payload());
        }
        Ok(())
    }

    fn shared_payload(&mut self) -> Bytes {
        self.payload.get_or_insert_with(|| self.application.payload_bytes()).clone()
    }

    fn encoded(&mut self, copy: &Copy<'_>) -> Result<&Encoded, TooLarge> {
        let variant = Variant {
            has_properties: copy.version == ProtocolVersion::V500,
            has_alias: matches!(copy.naming, Naming::Alias(_)),
            retain: copy.retain,
            qos: copy.qos,
        };
        let at = match self.encoded.iter().position(|encoded| encoded.variant == variant) {
            Some(at) => at,
            None => self.encode(variant, copy)?,
        };
        Ok(&self.encoded[at])
    }

    fn encode(&mut self, variant: Variant, copy: &Copy<'_>) -> Result<usize, TooLarge> {
        let start = self.scratch.len();
        // Any identifier and alias will do: each copy patches in its own.
        let packet_id = (copy.qos != QoS::AtMostOnce).then_some(PacketId::MIN);
        let plain = Copy { packet_id, identifiers: &[], ..*copy };
        let head = encode_head(self.application, &plain, self.now, self.scratch)?;
        if self.application.payload.len() < SHARED_PAYLOAD_MIN {
            self.scratch.extend_from_slice(self.application.payload);
        }
        self.encoded.push(Encoded {
            variant,
            bytes: start..self.scratch.len(),
            packet_id_at: head.packet_id_at.map_or(0, |at| at - start),
            topic_alias_at: head.topic_alias_at.map_or(0, |at| at - start),
            frame_len: head.frame_len,
        });
        Ok(self.encoded.len() - 1)
    }
}

/// Appends a kept message to `outbox`.
pub fn append_queued(
    queued: &QueuedMessage,
    copy: &Copy<'_>,
    now: Instant,
    outbox: &mut Outbox,
) -> Result<(), TooLarge> {
    let payload = queued.message.payload().clone();
    queued
        .message
        .with_application(|application| append_copy(application, Some(payload), copy, now, outbox))
        .unwrap_or(Ok(()))
}

fn append_copy(
    application: &Application<'_>,
    payload: Option<Bytes>,
    copy: &Copy<'_>,
    now: Instant,
    outbox: &mut Outbox,
) -> Result<(), TooLarge> {
    let buffer = outbox.buffer();
    let start = buffer.len();
    let head = encode_head(application, copy, now, buffer)?;
    if head.frame_len > copy.max_packet_size as usize {
        buffer.truncate(start);
        return Err(TooLarge);
    }
    match payload {
        Some(payload) if payload.len() >= SHARED_PAYLOAD_MIN => outbox.push_shared(payload),
        _ => buffer.extend_from_slice(application.payload),
    }
    Ok(())
}

fn encode_head(
    application: &Application<'_>,
    copy: &Copy<'_>,
    now: Instant,
    out: &mut Vec<u8>,
) -> Result<PublishHead, TooLarge> {
    let set = application.properties;
    let (topic, topic_alias) = match copy.naming {
        Naming::Name => (Some(application.topic), None),
        Naming::Set(alias) => (Some(application.topic), Some(alias)),
        Naming::Alias(alias) => (None, Some(alias)),
    };
    let bare = application.expires_at.is_none()
        && copy.identifiers.is_empty()
        && topic_alias.is_none()
        && !forwarded(set);
    let properties = match bare {
        true => Properties::NONE,
        false => Properties::from(PropertySet {
            payload_format_indicator: set.payload_format_indicator,
            message_expiry_interval_secs: remaining_expiry_secs(application.expires_at, now),
            content_type: set.content_type,
            response_topic: set.response_topic,
            correlation_data: set.correlation_data,
            user_properties: set.user_properties.clone(),
            subscription_identifiers: copy.identifiers.to_vec(),
            topic_alias,
            ..PropertySet::EMPTY
        }),
    };
    let publish = Publish {
        dup: copy.dup,
        qos: copy.qos,
        retain: copy.retain,
        topic,
        packet_id: copy.packet_id,
        properties,
        payload: application.payload,
    };
    encode_publish_head(&publish, copy.version, out).map_err(|_| TooLarge)
}
