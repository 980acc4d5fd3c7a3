//! SUBACK and UNSUBACK (3.9, 3.11).

use super::error::{DecodeError, EncodeError};
use super::fixed_header::PacketType;
use super::packet::{ProtocolVersion, ReasonCode, ReasonCodes};
use super::property::{self, Omit};
use super::reader::Reader;
use super::reason_code;
use super::writer::{frame, put_u16};

pub(super) fn decode(
    packet_type: PacketType,
    mut body: Reader<'_>,
    version: ProtocolVersion,
) -> Result<ReasonCodes<'_>, DecodeError> {
    let packet_id = body.packet_id()?;
    let properties = property::decode(&mut body, packet_type.carrier(), version)?;
    if has_no_codes(packet_type, version) {
        return body.finish(ReasonCodes { packet_id, reasons: Vec::new(), properties });
    }
    if body.is_empty() {
        return Err(DecodeError::NoReasonCodes);
    }
    let read = |&value: &u8| match version {
        ProtocolVersion::V500 => reason_code::decode(value, packet_type.carrier()),
        _ => reason_code::decode_suback_return_code(value),
    };
    let reasons = body.rest().iter().map(read).collect::<Result<Vec<ReasonCode>, _>>()?;
    Ok(ReasonCodes { packet_id, reasons, properties })
}

pub(super) fn encode(
    packet_type: PacketType,
    answer: &ReasonCodes<'_>,
    version: ProtocolVersion,
    omit: Omit,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    frame(packet_type, out, |out| {
        put_u16(answer.packet_id.get(), out);
        property::encode(&answer.properties, packet_type.carrier(), version, omit, out)?;
        if has_no_codes(packet_type, version) {
            return Ok(());
        }
        if answer.reasons.is_empty() {
            return Err(EncodeError::NothingListed);
        }
        for &reason in &answer.reasons {
            out.push(match version {
                ProtocolVersion::V500 => reason_code::encode(reason, packet_type.carrier())?,
                _ => reason_code::encode_suback_return_code(reason)?,
            });
        }
        Ok(())
    })
}

/// An UNSUBACK before 5.0 is a packet identifier and nothing else.
fn has_no_codes(packet_type: PacketType, version: ProtocolVersion) -> bool {
    packet_type == PacketType::UnsubAck && version != ProtocolVersion::V500
}
