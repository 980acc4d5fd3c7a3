//! CONNACK (3.2).

use super::error::{DecodeError, EncodeError};
use super::fixed_header::{CONNACK, PacketType};
use super::packet::{ConnAck, ProtocolVersion, ReasonCode};
use super::property::{self, Omit};
use super::reader::Reader;
use super::reason_code;
use super::writer::frame;

const SESSION_PRESENT: u8 = 1;

pub(super) fn decode(mut body: Reader<'_>, version: ProtocolVersion) -> Result<ConnAck<'_>, DecodeError> {
    let flags = body.u8()?;
    // In 3.1 the whole byte is reserved.
    let known = if version == ProtocolVersion::V310 { 0 } else { SESSION_PRESENT };
    if flags & !known != 0 {
        return Err(DecodeError::ConnAckFlags);
    }
    let session_present = flags != 0;
    let reason = match version {
        ProtocolVersion::V500 => reason_code::decode(body.u8()?, CONNACK)?,
        _ => reason_code::decode_return_code(body.u8()?)?,
    };
    if session_present && reason != ReasonCode::Success {
        return Err(DecodeError::SessionPresentOnRefusal);
    }
    let properties = property::decode(&mut body, CONNACK, version)?;
    body.finish(ConnAck { session_present, reason, properties })
}

/// A CONNACK that refuses has no session present, whatever it says [MQTT-3.2.2-6].
pub(super) fn encode(
    connack: &ConnAck<'_>,
    version: ProtocolVersion,
    omit: Omit,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let reason = match version {
        ProtocolVersion::V500 => reason_code::encode(connack.reason, CONNACK)?,
        _ => reason_code::encode_return_code(connack.reason)?,
    };
    let session_present =
        connack.session_present && connack.reason == ReasonCode::Success && version != ProtocolVersion::V310;
    frame(PacketType::ConnAck, out, |out| {
        out.extend_from_slice(&[u8::from(session_present), reason]);
        property::encode(&connack.properties, CONNACK, version, omit, out)
    })
}
