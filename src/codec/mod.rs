//! MQTT on the wire: bytes to [`Packet`] and back, for 3.1, 3.1.1 and 5.0 in one model.
//!
//! A packet that [`decode`] gives obeys every rule that one packet alone can break; what [`encode`] appends would
//! decode again. What a version lacks is filled in when read and left out when written, so that nothing outside this
//! module asks for the version. The module keeps no state and knows no session: whether a packet may come now, from
//! this side, with this alias or identifier, is not its business.
//!
//! Start at [`decode`]; then one file a packet, each with its two directions; `property` and `reason_code` hold the
//! tables of what may stand where.

mod ack;
mod connack;
mod connect;
mod disconnect;
mod error;
mod fixed_header;
pub mod packet;
mod property;
mod publish;
mod reader;
mod reason_code;
mod suback;
mod subscribe;
mod variable_byte_integer;
mod writer;

pub use connect::connect_version;
pub use error::{DecodeError, EncodeError};
pub use fixed_header::{frame_len, may_be_connect};
pub use packet::Packet;
pub use publish::{PublishHead, encode_publish_head};

use fixed_header::{FixedHeader, PacketType};
use packet::ProtocolVersion;
use property::Omit;

#[cfg(test)]
mod tests;

/// Reads the packet that `frame` is, exactly: cut it out with [`frame_len`]. `version` is what the connection speaks;
/// it does not matter for CONNECT, which states its own.
///
/// # Errors
/// The first offence that the peer committed; [`DecodeError::reason_code`] is what 5.0 calls it.
#[inline]
pub fn decode(frame: &[u8], version: ProtocolVersion) -> Result<Packet<'_>, DecodeError> {
    let (header, body) = FixedHeader::split(frame, version)?;
    Ok(match header.packet_type {
        PacketType::Publish => Packet::Publish(publish::decode(header.flags, body, version)?),
        PacketType::PubAck => Packet::PubAck(ack::decode(PacketType::PubAck, body, version)?),
        PacketType::PubRec => Packet::PubRec(ack::decode(PacketType::PubRec, body, version)?),
        PacketType::PubRel => Packet::PubRel(ack::decode(PacketType::PubRel, body, version)?),
        PacketType::PubComp => Packet::PubComp(ack::decode(PacketType::PubComp, body, version)?),
        PacketType::Connect => Packet::Connect(Box::new(connect::decode(&header, body)?)),
        PacketType::ConnAck => Packet::ConnAck(connack::decode(body, version)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe::decode_subscribe(body, version)?),
        PacketType::SubAck => Packet::SubAck(suback::decode(PacketType::SubAck, body, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(subscribe::decode_unsubscribe(body, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(suback::decode(PacketType::UnsubAck, body, version)?),
        PacketType::PingReq => body.finish(Packet::PingReq)?,
        PacketType::PingResp => body.finish(Packet::PingResp)?,
        PacketType::Disconnect => Packet::Disconnect(disconnect::decode_disconnect(body, version)?),
        PacketType::Auth => Packet::Auth(disconnect::decode_auth(body)?),
    })
}

/// Appends `packet` to `out` as `version` writes it, leaving out what that version cannot carry. `max_packet_size` is
/// what the receiver takes, in bytes of the whole packet; to fit, the reason string is left out, and then the user
/// properties [MQTT-3.2.2-19, MQTT-3.2.2-20 and their like]. `version` does not matter for CONNECT, which states its
/// own.
///
/// # Errors
/// `out` is as it was. The offence is the caller's, except for [`EncodeError::TooLarge`], which the receiver's limit
/// causes and [MQTT-3.1.2-25] says what to do about.
pub fn encode(
    packet: &Packet<'_>,
    version: ProtocolVersion,
    max_packet_size: u32,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let limit = max_packet_size as usize;
    let mut result = Err(EncodeError::TooLarge);
    for omit in Omit::STEPS {
        result = append(packet, version, limit, omit, out);
        if result.is_ok() && out.len() - start > limit {
            result = Err(EncodeError::TooLarge);
        }
        if result.is_err() {
            out.truncate(start);
        }
        if result != Err(EncodeError::TooLarge) {
            break;
        }
    }
    result
}

/// Only PUBLISH heeds the limit, to save the copy of a payload that is too large anyway; it has nothing to omit.
fn append(
    packet: &Packet<'_>,
    version: ProtocolVersion,
    limit: usize,
    omit: Omit,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    match packet {
        Packet::Connect(connect) => connect::encode(connect, out),
        Packet::ConnAck(connack) => connack::encode(connack, version, omit, out),
        Packet::Publish(publish) => publish::encode(publish, version, limit, out),
        Packet::PubAck(ack) => ack::encode(PacketType::PubAck, ack, version, omit, out),
        Packet::PubRec(ack) => ack::encode(PacketType::PubRec, ack, version, omit, out),
        Packet::PubRel(ack) => ack::encode(PacketType::PubRel, ack, version, omit, out),
        Packet::PubComp(ack) => ack::encode(PacketType::PubComp, ack, version, omit, out),
        Packet::Subscribe(subscribe) => subscribe::encode_subscribe(subscribe, version, out),
        Packet::SubAck(suback) => suback::encode(PacketType::SubAck, suback, version, omit, out),
        Packet::Unsubscribe(unsubscribe) => subscribe::encode_unsubscribe(unsubscribe, version, out),
        Packet::UnsubAck(unsuback) => suback::encode(PacketType::UnsubAck, unsuback, version, omit, out),
        Packet::PingReq => writer::frame(PacketType::PingReq, out, |_| Ok(())),
        Packet::PingResp => writer::frame(PacketType::PingResp, out, |_| Ok(())),
        Packet::Disconnect(disconnect) => disconnect::encode_disconnect(disconnect, version, omit, out),
        Packet::Auth(auth) => disconnect::encode_auth(auth, version, omit, out),
    }
}
