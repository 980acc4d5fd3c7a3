//! The first two to five bytes of every packet (2.1).

use super::error::DecodeError;
use super::packet::ProtocolVersion;
use super::reader::Reader;
use super::variable_byte_integer::{variable_byte_integer, width_of};

/// The packet types (2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

/// A set of packet types, one bit each: the columns of the tables that say what may stand where.
pub(super) type Carriers = u16;

pub(super) const CONNECT: Carriers = PacketType::Connect.carrier();
pub(super) const CONNACK: Carriers = PacketType::ConnAck.carrier();
pub(super) const PUBLISH: Carriers = PacketType::Publish.carrier();
pub(super) const PUBACK: Carriers = PacketType::PubAck.carrier();
pub(super) const PUBREC: Carriers = PacketType::PubRec.carrier();
pub(super) const PUBREL: Carriers = PacketType::PubRel.carrier();
pub(super) const PUBCOMP: Carriers = PacketType::PubComp.carrier();
pub(super) const SUBSCRIBE: Carriers = PacketType::Subscribe.carrier();
pub(super) const SUBACK: Carriers = PacketType::SubAck.carrier();
pub(super) const UNSUBSCRIBE: Carriers = PacketType::Unsubscribe.carrier();
pub(super) const UNSUBACK: Carriers = PacketType::UnsubAck.carrier();
pub(super) const DISCONNECT: Carriers = PacketType::Disconnect.carrier();
pub(super) const AUTH: Carriers = PacketType::Auth.carrier();
/// The will of a CONNECT has properties of its own; packet type 0 is reserved, so its bit is free.
pub(super) const WILL: Carriers = 1;

impl PacketType {
    pub(super) const fn carrier(self) -> Carriers {
        1 << self as u8
    }

    /// The first byte of a packet of this type; PUBLISH has flags to add [MQTT-2.1.3-1].
    pub(super) const fn first_byte(self) -> u8 {
        let flags = match self {
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    fn from_nibble(nibble: u8, version: ProtocolVersion) -> Result<Self, DecodeError> {
        Ok(match nibble {
            1 => PacketType::Connect,
            2 => PacketType::ConnAck,
            3 => PacketType::Publish,
            4 => PacketType::PubAck,
            5 => PacketType::PubRec,
            6 => PacketType::PubRel,
            7 => PacketType::PubComp,
            8 => PacketType::Subscribe,
            9 => PacketType::SubAck,
            10 => PacketType::Unsubscribe,
            11 => PacketType::UnsubAck,
            12 => PacketType::PingReq,
            13 => PacketType::PingResp,
            14 => PacketType::Disconnect,
            15 if version == ProtocolVersion::V500 => PacketType::Auth,
            _ => return Err(DecodeError::PacketType(nibble)),
        })
    }
}

/// A fixed header whose type and flags are legal.
#[derive(Clone, Copy, Debug)]
pub(super) struct FixedHeader {
    pub(super) packet_type: PacketType,
    /// Meaningful for PUBLISH alone.
    pub(super) flags: u8,
    /// Whether the remaining length has no byte to spare.
    minimal: bool,
}

impl FixedHeader {
    /// Splits a frame into its header and the rest, which must be as long as the header says.
    #[inline]
    pub(super) fn split(
        frame: &[u8],
        version: ProtocolVersion,
    ) -> Result<(FixedHeader, Reader<'_>), DecodeError> {
        let (&first, rest) = frame.split_first().ok_or(DecodeError::Truncated)?;
        let (len, width) = variable_byte_integer(rest)?.ok_or(DecodeError::Truncated)?;
        let body = &rest[width..];
        if body.len() != len as usize {
            let short = body.len() < len as usize;
            return Err(if short { DecodeError::Truncated } else { DecodeError::TrailingBytes });
        }
        let packet_type = PacketType::from_nibble(first >> 4, version)?;
        if packet_type != PacketType::Publish {
            check_flags(first, packet_type, version)?;
        }
        let header =
            FixedHeader { packet_type, flags: first & 0x0F, minimal: width == width_of(len as usize) };
        if packet_type != PacketType::Connect {
            header.check_minimal(version)?;
        }
        Ok((header, Reader::new(body)))
    }

    /// 5.0 wants the shortest remaining length [MQTT-1.5.5-1]; the older texts do not, so old clients may pad it.
    #[inline]
    pub(super) fn check_minimal(&self, version: ProtocolVersion) -> Result<(), DecodeError> {
        if !self.minimal && version == ProtocolVersion::V500 {
            return Err(DecodeError::VariableByteIntegerNotMinimal);
        }
        Ok(())
    }
}

fn check_flags(first: u8, packet_type: PacketType, version: ProtocolVersion) -> Result<(), DecodeError> {
    let expected = packet_type.first_byte();
    // In 3.1 what is sent again is marked so, also where 3.1.1 has reserved the bit.
    let ignored = if version == ProtocolVersion::V310 && expected & 0b0010 != 0 { 0b1000 } else { 0 };
    if first & !ignored != expected {
        return Err(DecodeError::FixedHeaderFlags);
    }
    Ok(())
}

/// The length of the first packet in `bytes`, its fixed header included; none while the header is incomplete. The
/// packet itself need not be there yet. A padded remaining length passes here: only [`decode`] knows whether the
/// version forbids it.
///
/// # Errors
/// A remaining length of more than four bytes, or a packet of more than `max_packet_size` bytes, told as soon as its
/// length is known.
///
/// [`decode`]: super::decode
#[inline]
pub fn frame_len(bytes: &[u8], max_packet_size: u32) -> Result<Option<usize>, DecodeError> {
    let Some((_, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((remaining, width)) = variable_byte_integer(rest)? else { return Ok(None) };
    let len = 1 + width + remaining as usize;
    if len > max_packet_size as usize {
        return Err(DecodeError::PacketTooLarge { len, max: max_packet_size });
    }
    Ok(Some(len))
}

/// Whether a stream that begins like this may still turn out to begin with a CONNECT.
pub fn may_be_connect(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|&first| first == PacketType::Connect.first_byte())
}
