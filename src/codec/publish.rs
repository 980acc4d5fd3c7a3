//! PUBLISH (3.3), the packet that everything else is there for: without properties neither direction allocates.

use super::error::{DecodeError, EncodeError};
use super::fixed_header::{PUBLISH, PacketType};
use super::packet::{PacketId, ProtocolVersion, Publish, QoS};
use super::property::{self, Omit};
use super::reader::Reader;
use super::variable_byte_integer::width_of;
use super::writer::{put_string, put_u16, set_length};

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// What [`encode_publish_head`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishHead {
    /// Where in `out` the two bytes of the packet identifier are, if the QoS is not 0.
    pub packet_id_at: Option<usize>,
    /// Where in `out` the two bytes of the topic alias are, if there is one.
    pub topic_alias_at: Option<usize>,
    /// Length of the whole packet in bytes, its payload included.
    pub frame_len: usize,
}

#[inline]
pub(super) fn decode(
    flags: u8,
    mut body: Reader<'_>,
    version: ProtocolVersion,
) -> Result<Publish<'_>, DecodeError> {
    let qos = QoS::from_bits(flags >> 1 & 0b11).ok_or(DecodeError::QoS)?;
    let dup = flags & DUP != 0;
    if dup && qos == QoS::AtMostOnce {
        return Err(DecodeError::DupAtQoS0);
    }
    let topic = body.topic_or_empty(DecodeError::Topic)?;
    let packet_id = if qos == QoS::AtMostOnce { None } else { Some(body.packet_id()?) };
    let properties = property::decode(&mut body, PUBLISH, version)?;
    if topic.is_none() && properties.topic_alias.is_none() {
        return Err(DecodeError::TopicMissing);
    }
    Ok(Publish { dup, qos, retain: flags & RETAIN != 0, topic, packet_id, properties, payload: body.rest() })
}

/// Leaves in `out` what it wrote before an error.
pub(super) fn encode(
    publish: &Publish<'_>,
    version: ProtocolVersion,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if publish.qos != QoS::AtMostOnce && publish.packet_id.is_none() {
        return Err(EncodeError::PacketIdMissing);
    }
    let head = append_head(publish, version, out)?;
    if head.frame_len > limit {
        return Err(EncodeError::TooLarge);
    }
    out.extend_from_slice(publish.payload);
    Ok(())
}

/// Appends all of a PUBLISH but its payload, which only counts for the remaining length: the caller sends it after the
/// head. A head is good for several receivers of one version, each with its own packet identifier written over the two
/// bytes at [`PublishHead::packet_id_at`]; they are zero if `publish` has none. Whether the receiver takes
/// [`PublishHead::frame_len`] bytes is the caller's to check.
///
/// DUP is left out at QoS 0 [MQTT-3.3.1-2].
///
/// # Errors
/// No topic and no alias, a property that is too long, or a packet above 268,435,455 bytes. `out` is as it was.
pub fn encode_publish_head(
    publish: &Publish<'_>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Result<PublishHead, EncodeError> {
    let start = out.len();
    let head = append_head(publish, version, out);
    if head.is_err() {
        out.truncate(start);
    }
    head
}

#[inline]
fn append_head(
    publish: &Publish<'_>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Result<PublishHead, EncodeError> {
    let alias = version == ProtocolVersion::V500 && publish.properties.topic_alias.is_some();
    let topic = match publish.topic {
        Some(topic) => topic.as_str(),
        None if alias => "",
        None => return Err(EncodeError::TopicMissing),
    };
    let acknowledged = publish.qos != QoS::AtMostOnce;
    // Exact without properties; with them the length may turn out a byte wider.
    let expected = 2
        + topic.len()
        + if acknowledged { 2 } else { 0 }
        + usize::from(version == ProtocolVersion::V500)
        + publish.payload.len();
    let reserved = width_of(expected);
    let start = out.len();
    out.reserve(1 + reserved + expected - publish.payload.len());
    out.push(first_byte(publish));
    out.resize(start + 1 + reserved, 0);
    put_string(topic, out)?;
    if acknowledged {
        put_u16(publish.packet_id.map_or(0, PacketId::get), out);
    }
    property::encode(&publish.properties, PUBLISH, version, Omit::Nothing, out)?;
    let remaining = out.len() - start - 1 - reserved + publish.payload.len();
    let width = set_length(out, start + 1, reserved, remaining)?;
    let packet_id_at = if acknowledged { Some(start + 1 + width + 2 + topic.len()) } else { None };
    let topic_alias_at = if alias { Some(out.len() - 2) } else { None };
    Ok(PublishHead { packet_id_at, topic_alias_at, frame_len: 1 + width + remaining })
}

#[inline]
fn first_byte(publish: &Publish<'_>) -> u8 {
    let mut byte = PacketType::Publish.first_byte() | (publish.qos as u8) << 1;
    if publish.dup && publish.qos != QoS::AtMostOnce {
        byte |= DUP;
    }
    if publish.retain {
        byte |= RETAIN;
    }
    byte
}
