//! DISCONNECT and AUTH (3.14, 3.15): a reason code and properties.

use super::ack::{decode_reason, encode_reason};
use super::error::{DecodeError, EncodeError};
use super::fixed_header::{AUTH, PacketType};
use super::packet::{Auth, Disconnect, ProtocolVersion, ReasonCode};
use super::property::{self, Omit};
use super::reader::Reader;
use super::reason_code;
use super::writer::frame;

pub(super) fn decode_disconnect(
    mut body: Reader<'_>,
    version: ProtocolVersion,
) -> Result<Disconnect<'_>, DecodeError> {
    let (reason, properties) = decode_reason(PacketType::Disconnect, &mut body, version)?;
    body.finish(Disconnect { reason, properties })
}

/// Before 5.0 only a client disconnects, and only in peace; who has another reason just closes the connection.
pub(super) fn encode_disconnect(
    disconnect: &Disconnect<'_>,
    version: ProtocolVersion,
    omit: Omit,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if version != ProtocolVersion::V500 && disconnect.reason != ReasonCode::Success {
        return Err(EncodeError::NotInVersion);
    }
    frame(PacketType::Disconnect, out, |out| {
        encode_reason(PacketType::Disconnect, disconnect.reason, &disconnect.properties, version, omit, out)
    })
}

pub(super) fn decode_auth(mut body: Reader<'_>) -> Result<Auth<'_>, DecodeError> {
    let auth = if body.is_empty() {
        Auth { reason: ReasonCode::Success, properties: Default::default() }
    } else {
        let reason = reason_code::decode(body.u8()?, AUTH)?;
        Auth { reason, properties: property::decode(&mut body, AUTH, ProtocolVersion::V500)? }
    };
    // 3.15.2.1 lets a plain success leave out everything; in all else 3.15.2.2.2 wants the method.
    if auth.properties.authentication_method.is_none() && !is_plain(&auth) {
        return Err(DecodeError::AuthenticationMethodMissing);
    }
    body.finish(auth)
}

pub(super) fn encode_auth(
    auth: &Auth<'_>,
    version: ProtocolVersion,
    omit: Omit,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if version != ProtocolVersion::V500 {
        return Err(EncodeError::NotInVersion);
    }
    frame(PacketType::Auth, out, |out| {
        if is_plain(auth) {
            return Ok(());
        }
        out.push(reason_code::encode(auth.reason, AUTH)?);
        property::encode(&auth.properties, AUTH, version, omit, out)
    })
}

fn is_plain(auth: &Auth<'_>) -> bool {
    auth.reason == ReasonCode::Success && auth.properties.is_empty()
}
