//! PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7), which differ in type and in reason codes alone.

use super::error::{DecodeError, EncodeError};
use super::fixed_header::PacketType;
use super::packet::{Ack, Properties, ProtocolVersion, ReasonCode};
use super::property::{self, Omit};
use super::reader::Reader;
use super::reason_code;
use super::writer::{frame, put_u16};

#[inline]
pub(super) fn decode(
    packet_type: PacketType,
    mut body: Reader<'_>,
    version: ProtocolVersion,
) -> Result<Ack<'_>, DecodeError> {
    let packet_id = body.packet_id()?;
    let (reason, properties) = decode_reason(packet_type, &mut body, version)?;
    body.finish(Ack { packet_id, reason, properties })
}

/// The end of an acknowledgement or a DISCONNECT: a reason code and properties, which 5.0 may leave out from the end
/// (3.4.2.1, 3.14.2.1) and the older versions do not have.
#[inline]
pub(super) fn decode_reason<'a>(
    packet_type: PacketType,
    body: &mut Reader<'a>,
    version: ProtocolVersion,
) -> Result<(ReasonCode, Properties<'a>), DecodeError> {
    if version != ProtocolVersion::V500 || body.is_empty() {
        return Ok((ReasonCode::Success, Properties::NONE));
    }
    let carrier = packet_type.carrier();
    let reason = reason_code::decode(body.u8()?, carrier)?;
    if body.is_empty() {
        return Ok((reason, Properties::NONE));
    }
    Ok((reason, property::decode(body, carrier, version)?))
}

pub(super) fn encode(
    packet_type: PacketType,
    ack: &Ack<'_>,
    version: ProtocolVersion,
    omit: Omit,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    frame(packet_type, out, |out| {
        put_u16(ack.packet_id.get(), out);
        encode_reason(packet_type, ack.reason, &ack.properties, version, omit, out)
    })
}

/// The opposite of [`decode_reason`], as short as it may be.
pub(super) fn encode_reason(
    packet_type: PacketType,
    reason: ReasonCode,
    properties: &Properties<'_>,
    version: ProtocolVersion,
    omit: Omit,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if version != ProtocolVersion::V500 {
        return Ok(());
    }
    let carrier = packet_type.carrier();
    let start = out.len();
    out.push(reason_code::encode(reason, carrier)?);
    property::encode(properties, carrier, version, omit, out)?;
    let property_bytes = out.len() - start - 2;
    if property_bytes == 0 {
        out.truncate(if reason == ReasonCode::Success { start } else { start + 1 });
    }
    Ok(())
}
