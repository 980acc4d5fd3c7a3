//! SUBSCRIBE and UNSUBSCRIBE (3.8, 3.10).

use super::error::{DecodeError, EncodeError};
use super::fixed_header::{PacketType, SUBSCRIBE, UNSUBSCRIBE};
use super::packet::{ProtocolVersion, QoS, RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe};
use super::property::{self, Omit};
use super::reader::Reader;
use super::writer::{frame, put_string, put_u16};

const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RESERVED: u8 = 0b1100_0000;
const RETAIN_HANDLING_SHIFT: u32 = 4;

pub(super) fn decode_subscribe(
    mut body: Reader<'_>,
    version: ProtocolVersion,
) -> Result<Subscribe<'_>, DecodeError> {
    let packet_id = body.packet_id()?;
    let properties = property::decode(&mut body, SUBSCRIBE, version)?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        let filter = body.string()?;
        let options = decode_options(body.u8()?, version)?;
        if options.no_local && filter.starts_with("$share/") {
            return Err(DecodeError::NoLocalOnShared);
        }
        filters.push((filter, options));
    }
    if filters.is_empty() {
        return Err(DecodeError::NoFilters);
    }
    Ok(Subscribe { packet_id, filters, properties })
}

fn decode_options(bits: u8, version: ProtocolVersion) -> Result<SubscriptionOptions, DecodeError> {
    let reserved = if version == ProtocolVersion::V500 { RESERVED } else { !QOS };
    if bits & reserved != 0 {
        return Err(DecodeError::SubscriptionOptions); // [MQTT-3.8.3-5], [MQTT-3-8.3-4] of 3.1.1
    }
    Ok(SubscriptionOptions {
        qos: QoS::from_bits(bits & QOS).ok_or(DecodeError::SubscriptionQoS)?,
        no_local: bits & NO_LOCAL != 0,
        retain_as_published: bits & RETAIN_AS_PUBLISHED != 0,
        retain_handling: match bits >> RETAIN_HANDLING_SHIFT {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::RetainHandling),
        },
    })
}

pub(super) fn encode_subscribe(
    subscribe: &Subscribe<'_>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if subscribe.filters.is_empty() {
        return Err(EncodeError::NothingListed);
    }
    frame(PacketType::Subscribe, out, |out| {
        put_u16(subscribe.packet_id.get(), out);
        property::encode(&subscribe.properties, SUBSCRIBE, version, Omit::Nothing, out)?;
        for (filter, options) in &subscribe.filters {
            put_string(filter, out)?;
            out.push(encode_options(*options, version));
        }
        Ok(())
    })
}

fn encode_options(options: SubscriptionOptions, version: ProtocolVersion) -> u8 {
    let mut bits = options.qos as u8;
    if version == ProtocolVersion::V500 {
        bits |= (options.retain_handling as u8) << RETAIN_HANDLING_SHIFT;
        if options.no_local {
            bits |= NO_LOCAL;
        }
        if options.retain_as_published {
            bits |= RETAIN_AS_PUBLISHED;
        }
    }
    bits
}

pub(super) fn decode_unsubscribe(
    mut body: Reader<'_>,
    version: ProtocolVersion,
) -> Result<Unsubscribe<'_>, DecodeError> {
    let packet_id = body.packet_id()?;
    let properties = property::decode(&mut body, UNSUBSCRIBE, version)?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(body.string()?);
    }
    if filters.is_empty() {
        return Err(DecodeError::NoFilters);
    }
    Ok(Unsubscribe { packet_id, filters, properties })
}

pub(super) fn encode_unsubscribe(
    unsubscribe: &Unsubscribe<'_>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if unsubscribe.filters.is_empty() {
        return Err(EncodeError::NothingListed);
    }
    frame(PacketType::Unsubscribe, out, |out| {
        put_u16(unsubscribe.packet_id.get(), out);
        property::encode(&unsubscribe.properties, UNSUBSCRIBE, version, Omit::Nothing, out)?;
        unsubscribe.filters.iter().try_for_each(|filter| put_string(filter, out))
    })
}
