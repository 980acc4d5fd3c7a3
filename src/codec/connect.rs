//! CONNECT (3.1).

use super::error::{DecodeError, EncodeError};
use super::fixed_header::{CONNECT, FixedHeader, PacketType, WILL};
use super::packet::{Connect, ProtocolVersion, QoS, Will};
use super::property::{self, Omit};
use super::reader::Reader;
use super::variable_byte_integer::variable_byte_integer;
use super::writer::{frame, put_binary, put_string, put_u16};

const RESERVED: u8 = 0b0000_0001;
const CLEAN_START: u8 = 0b0000_0010;
const WILL_FLAG: u8 = 0b0000_0100;
const WILL_QOS_SHIFT: u32 = 3;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// What the name and level at the start of a CONNECT say.
enum Protocol {
    Spoken(ProtocolVersion),
    UnknownLevel { level: u8, answer: ProtocolVersion },
}

/// The version in which to answer a CONNECT that is refused by what it is, as far as its beginning tells; none if that is no
/// CONNECT of MQTT. To a level that is not spoken here, 3.1.1 answers below 5 and 5.0 above.
pub fn connect_version(beginning: &[u8]) -> Option<ProtocolVersion> {
    let (&first, rest) = beginning.split_first()?;
    let (_, width) = variable_byte_integer(rest).ok()??;
    if first != PacketType::Connect.first_byte() {
        return None;
    }
    match read_protocol(&mut Reader::new(&rest[width..])).ok()? {
        Protocol::Spoken(version) | Protocol::UnknownLevel { answer: version, .. } => Some(version),
    }
}

fn read_protocol(body: &mut Reader<'_>) -> Result<Protocol, DecodeError> {
    let name = body.binary()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(DecodeError::ProtocolName);
    }
    let level = body.u8()?;
    Ok(match (name, level) {
        (b"MQTT", 5) => Protocol::Spoken(ProtocolVersion::V500),
        (b"MQTT", 4) => Protocol::Spoken(ProtocolVersion::V311),
        (b"MQIsdp", 3) => Protocol::Spoken(ProtocolVersion::V310),
        _ => {
            // Bridges set the high bit.
            let newer = level & 0x7F >= ProtocolVersion::V500 as u8;
            let answer = if newer { ProtocolVersion::V500 } else { ProtocolVersion::V311 };
            Protocol::UnknownLevel { level, answer }
        }
    })
}

pub(super) fn decode<'a>(header: &FixedHeader, mut body: Reader<'a>) -> Result<Connect<'a>, DecodeError> {
    let version = match read_protocol(&mut body)? {
        Protocol::Spoken(version) => version,
        Protocol::UnknownLevel { level, .. } => return Err(DecodeError::ProtocolLevel(level)),
    };
    header.check_minimal(version)?;
    let flags = body.u8()?;
    let will_flags = check_flags(flags, version)?;
    let clean_start = flags & CLEAN_START != 0;
    let keep_alive_secs = body.u16()?;
    let properties = property::decode(&mut body, CONNECT, version)?;
    if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
        return Err(DecodeError::AuthenticationDataAlone);
    }
    let client_id = body.string()?;
    let may_be_empty = match version {
        ProtocolVersion::V310 => false,
        ProtocolVersion::V311 => clean_start, // [MQTT-3.1.3-7 of 3.1.1]
        ProtocolVersion::V500 => true,
    };
    if client_id.is_empty() && !may_be_empty {
        return Err(DecodeError::ClientIdEmpty);
    }
    let will = match will_flags {
        Some((qos, retain)) => Some(decode_will(&mut body, qos, retain, version)?),
        None => None,
    };
    // 3.1 lets the flags promise what a packet of the first MQTT then does not have.
    let has =
        |flag, body: &Reader<'_>| flags & flag != 0 && !(version == ProtocolVersion::V310 && body.is_empty());
    let username = if has(USER_NAME, &body) { Some(body.string()?) } else { None };
    let password = if has(PASSWORD, &body) { Some(body.binary()?) } else { None };
    body.finish(Connect {
        version,
        clean_start,
        keep_alive_secs,
        client_id,
        will,
        username,
        password,
        properties,
    })
}

/// Gives Will QoS and Will Retain, if there is a will.
fn check_flags(flags: u8, version: ProtocolVersion) -> Result<Option<(QoS, bool)>, DecodeError> {
    if flags & RESERVED != 0 {
        return Err(DecodeError::ConnectFlagReserved);
    }
    // [MQTT-3.1.2-22 of 3.1.1]; 5.0 allows a password alone.
    if flags & PASSWORD != 0 && flags & USER_NAME == 0 && version != ProtocolVersion::V500 {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    let (qos, retain) = (flags >> WILL_QOS_SHIFT & 0b11, flags & WILL_RETAIN != 0);
    if flags & WILL_FLAG != 0 {
        let qos = QoS::from_bits(qos).ok_or(DecodeError::QoS)?;
        Ok(Some((qos, retain)))
    } else if (qos != 0 || retain) && version != ProtocolVersion::V310 {
        Err(DecodeError::WillFlags)
    } else {
        Ok(None)
    }
}

fn decode_will<'a>(
    body: &mut Reader<'a>,
    qos: QoS,
    retain: bool,
    version: ProtocolVersion,
) -> Result<Will<'a>, DecodeError> {
    let properties = property::decode(body, WILL, version)?;
    let topic = body.topic(DecodeError::WillTopic)?;
    let payload = body.binary()?;
    if properties.payload_format_indicator == Some(true) && std::str::from_utf8(payload).is_err() {
        return Err(DecodeError::WillPayloadFormat);
    }
    Ok(Will { topic, payload, qos, retain, properties })
}

pub(super) fn encode(connect: &Connect<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let version = connect.version;
    if version != ProtocolVersion::V500 && connect.password.is_some() && connect.username.is_none() {
        return Err(EncodeError::NotInVersion);
    }
    frame(PacketType::Connect, out, |out| {
        put_string(if version == ProtocolVersion::V310 { "MQIsdp" } else { "MQTT" }, out)?;
        out.extend_from_slice(&[version as u8, flags(connect)]);
        put_u16(connect.keep_alive_secs, out);
        property::encode(&connect.properties, CONNECT, version, Omit::Nothing, out)?;
        put_string(connect.client_id, out)?;
        if let Some(will) = &connect.will {
            property::encode(&will.properties, WILL, version, Omit::Nothing, out)?;
            put_string(will.topic.as_str(), out)?;
            put_binary(will.payload, out)?;
        }
        if let Some(username) = connect.username {
            put_string(username, out)?;
        }
        connect.password.map_or(Ok(()), |password| put_binary(password, out))
    })
}

fn flags(connect: &Connect<'_>) -> u8 {
    let mut flags = 0;
    let mut set_if = |condition: bool, flag: u8| flags |= if condition { flag } else { 0 };
    set_if(connect.clean_start, CLEAN_START);
    set_if(connect.username.is_some(), USER_NAME);
    set_if(connect.password.is_some(), PASSWORD);
    if let Some(will) = &connect.will {
        set_if(true, WILL_FLAG | (will.qos as u8) << WILL_QOS_SHIFT);
        set_if(will.retain, WILL_RETAIN);
    }
    flags
}
