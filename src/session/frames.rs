//! One application message encoded once for all subscribers that get the same bytes.

use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::outbox::Outbox;
use crate::codec::packet::{PacketId, Properties, PropertySet, ProtocolVersion, Publish, QoS};
use crate::codec::{PublishHead, encode_publish_head};
use crate::message::{
    Application, Message, QueuedMessage, SHARED_PAYLOAD_MIN, forwarded, remaining_expiry_secs,
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
    encoded: [Option<Encoded>; 12],
    message: Option<Arc<Message>>,
    payload: Option<Bytes>,
}

#[derive(Clone, Debug)]
struct Encoded {
    bytes: Range<usize>,
    packet_id_at: usize,
    frame_len: usize,
}

impl<'a> Frames<'a> {
    /// Frames of `application`, with `scratch` as the memory they are made in.
    pub fn new(application: &'a Application<'a>, scratch: &'a mut Vec<u8>, now: Instant) -> Frames<'a> {
        scratch.clear();
        Frames { application, now, scratch, encoded: [const { None }; 12], message: None, payload: None }
    }

    /// The message they are frames of.
    pub fn application(&self) -> &Application<'a> {
        self.application
    }

    /// When they are made.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The message as it is kept, made once.
    pub fn message(&mut self) -> &Arc<Message> {
        self.message.get_or_insert_with(|| Arc::new(self.application.to_message()))
    }

    /// The kept message, if one was made.
    pub fn into_message(self) -> Option<Arc<Message>> {
        self.message
    }

    /// Appends the subscriber's copy to `outbox`.
    pub fn append(&mut self, copy: &Copy<'_>, outbox: &mut Outbox) -> Result<(), TooLarge> {
        if !copy.identifiers.is_empty() || copy.dup {
            let backing = match self.application.payload.len() >= SHARED_PAYLOAD_MIN {
                true => Some(self.shared_payload()),
                false => None,
            };
            return append_copy(self.application, backing, copy, self.now, outbox);
        }
        let Encoded { bytes, packet_id_at, frame_len } = self.encoded(copy)?.clone();
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
        if self.application.payload.len() >= SHARED_PAYLOAD_MIN {
            outbox.push_shared(self.shared_payload());
        }
        Ok(())
    }

    fn shared_payload(&mut self) -> Bytes {
        self.payload.get_or_insert_with(|| self.application.payload_bytes()).clone()
    }

    fn encoded(&mut self, copy: &Copy<'_>) -> Result<&Encoded, TooLarge> {
        let properties = usize::from(copy.version == ProtocolVersion::V500);
        let variant = (properties * 2 + usize::from(copy.retain)) * 3 + copy.qos as usize;
        if self.encoded[variant].is_none() {
            let start = self.scratch.len();
            // Any identifier will do: each copy patches in its own.
            let packet_id = (copy.qos != QoS::AtMostOnce).then_some(PacketId::MIN);
            let plain = Copy { packet_id, identifiers: &[], ..*copy };
            let head = encode_head(self.application, &plain, self.now, self.scratch)?;
            if self.application.payload.len() < SHARED_PAYLOAD_MIN {
                self.scratch.extend_from_slice(self.application.payload);
            }
            let packet_id_at = head.packet_id_at.map_or(0, |at| at - start);
            let bytes = start..self.scratch.len();
            self.encoded[variant] = Some(Encoded { bytes, packet_id_at, frame_len: head.frame_len });
        }
        self.encoded[variant].as_ref().ok_or(TooLarge)
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
    let bare = application.expires_at.is_none() && copy.identifiers.is_empty() && !forwarded(set);
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
            ..PropertySet::EMPTY
        }),
    };
    let publish = Publish {
        dup: copy.dup,
        qos: copy.qos,
        retain: copy.retain,
        topic: Some(application.topic),
        packet_id: copy.packet_id,
        properties,
        payload: application.payload,
    };
    encode_publish_head(&publish, copy.version, out).map_err(|_| TooLarge)
}
