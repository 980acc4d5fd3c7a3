//! The properties of 5.0 (2.2.2): one table row each, read by both directions.

use std::num::{NonZeroU16, NonZeroU32};

use super::error::{DecodeError, EncodeError};
use super::fixed_header::{
    AUTH, CONNACK, CONNECT, Carriers, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK,
    SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, WILL,
};
use super::packet::{Properties, PropertySet, ProtocolVersion, QoS};
use super::reader::Reader;
use super::variable_byte_integer::{MAX_VARIABLE_BYTE_INTEGER, width_of};
use super::writer::{length_prefixed, put_binary, put_string, set_length};
use crate::topic::Topic;

const MESSAGE: Carriers = PUBLISH | WILL;
const ACKS: Carriers = PUBACK | PUBREC | PUBREL | PUBCOMP | SUBACK | UNSUBACK;
const ANY: Carriers = CONNECT | MESSAGE | CONNACK | ACKS | SUBSCRIBE | UNSUBSCRIBE | DISCONNECT | AUTH;

const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
const REASON_STRING: u8 = 0x1F;
const TOPIC_ALIAS: u8 = 0x23;
const USER_PROPERTY: u8 = 0x26;

/// Turns the table below into the three functions that need it.
macro_rules! properties {
    ($($id:literal $field:ident $carriers:expr;)*) => {
        /// Where the property may stand; nowhere if there is none of this identifier.
        fn carriers(id: u8) -> Carriers {
            match id {
                $($id => $carriers,)*
                _ => 0,
            }
        }

        /// Reads the value of one property into its field.
        fn read<'a>(id: u8, set: &mut PropertySet<'a>, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
            match id {
                $($id => set.$field.read(id, reader),)*
                _ => Err(DecodeError::PropertyUnknown(id.into())),
            }
        }

        /// Appends every property that is set, may stand in `carrier` and is not to be omitted.
        fn write(
            set: &PropertySet<'_>,
            carrier: Carriers,
            omit: Omit,
            out: &mut Vec<u8>,
        ) -> Result<(), EncodeError> {
            $(if $carriers & carrier != 0 && !omit.covers($id) {
                set.$field.write($id, out)?;
            })*
            Ok(())
        }
    };
}

properties! {
    0x01 payload_format_indicator MESSAGE;
    0x02 message_expiry_interval_secs MESSAGE;
    0x03 content_type MESSAGE;
    0x08 response_topic MESSAGE;
    0x09 correlation_data MESSAGE;
    0x0B subscription_identifiers PUBLISH | SUBSCRIBE;
    0x11 session_expiry_interval_secs CONNECT | CONNACK | DISCONNECT;
    0x12 assigned_client_identifier CONNACK;
    0x13 server_keep_alive_secs CONNACK;
    0x15 authentication_method CONNECT | CONNACK | AUTH;
    0x16 authentication_data CONNECT | CONNACK | AUTH;
    0x17 request_problem_information CONNECT;
    0x18 will_delay_interval_secs WILL;
    0x19 request_response_information CONNECT;
    0x1A response_information CONNACK;
    0x1C server_reference CONNACK | DISCONNECT;
    0x1F reason_string CONNACK | ACKS | DISCONNECT | AUTH;
    0x21 receive_maximum CONNECT | CONNACK;
    0x22 topic_alias_maximum CONNECT | CONNACK;
    0x24 maximum_qos CONNACK;
    0x25 retain_available CONNACK;
    0x26 user_properties ANY;
    0x27 maximum_packet_size CONNECT | CONNACK;
    0x28 wildcard_subscription_available CONNACK;
    0x29 subscription_identifiers_available CONNACK;
    0x2A shared_subscription_available CONNACK;
    0x23 topic_alias PUBLISH; // Last, so that its place in a packet is known.
}

/// What is left out of a packet to make it fit the receiver's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omit {
    Nothing,
    ReasonString,
    ReasonStringAndUserProperties,
}

impl Omit {
    /// In the order to try.
    pub(super) const STEPS: [Omit; 3] =
        [Omit::Nothing, Omit::ReasonString, Omit::ReasonStringAndUserProperties];

    fn covers(self, id: u8) -> bool {
        match self {
            Omit::Nothing => false,
            Omit::ReasonString => id == REASON_STRING,
            Omit::ReasonStringAndUserProperties => id == REASON_STRING || id == USER_PROPERTY,
        }
    }
}

/// Reads the property length and the properties of `carrier`; before 5.0 there are none.
#[inline]
pub(super) fn decode<'a>(
    reader: &mut Reader<'a>,
    carrier: Carriers,
    version: ProtocolVersion,
) -> Result<Properties<'a>, DecodeError> {
    if version != ProtocolVersion::V500 {
        return Ok(Properties::NONE);
    }
    let len = reader.variable_byte_integer()?;
    let section = reader.bytes(len as usize)?;
    if section.is_empty() { Ok(Properties::NONE) } else { decode_section(section, carrier) }
}

fn decode_section(section: &[u8], carrier: Carriers) -> Result<Properties<'_>, DecodeError> {
    let mut reader = Reader::new(section);
    let mut set = PropertySet::default();
    while !reader.is_empty() {
        let id = reader.variable_byte_integer()?;
        let id = u8::try_from(id).map_err(|_| DecodeError::PropertyUnknown(id))?;
        match carriers(id) {
            0 => return Err(DecodeError::PropertyUnknown(id.into())),
            carriers if carriers & carrier == 0 => return Err(DecodeError::PropertyNotAllowed(id)),
            _ => read(id, &mut set, &mut reader)?,
        }
    }
    // A message may match several subscriptions, but a subscription has one identifier (3.8.2.1.2).
    if carrier == SUBSCRIBE && set.subscription_identifiers.len() > 1 {
        return Err(DecodeError::PropertyRepeated(SUBSCRIPTION_IDENTIFIER));
    }
    Ok(set.into())
}

/// Appends the property length and those properties that may stand in `carrier`; before 5.0 nothing.
#[inline]
pub(super) fn encode(
    properties: &Properties<'_>,
    carrier: Carriers,
    version: ProtocolVersion,
    omit: Omit,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if version != ProtocolVersion::V500 {
        return Ok(());
    }
    if properties.is_empty() {
        out.push(0); // [MQTT-2.2.2-1]
        return Ok(());
    }
    length_prefixed(out, |out| write(properties, carrier, omit, out))
}

/// A field of the property set.
trait Field<'a> {
    fn read(&mut self, id: u8, reader: &mut Reader<'a>) -> Result<(), DecodeError>;
    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError>;
}

/// The type of a property that stands at most once.
trait Value<'a>: Sized {
    fn read(id: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    /// Appends identifier and value, each in as many bytes as it has.
    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError>;
}

impl<'a, V: Value<'a>> Field<'a> for Option<V> {
    fn read(&mut self, id: u8, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        if self.is_some() {
            return Err(DecodeError::PropertyRepeated(id));
        }
        *self = Some(V::read(id, reader)?);
        Ok(())
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.as_ref().map_or(Ok(()), |value| value.write(id, out))
    }
}

/// Subscription identifiers.
impl<'a> Field<'a> for Vec<NonZeroU32> {
    fn read(&mut self, id: u8, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let value = reader.variable_byte_integer()?;
        self.push(NonZeroU32::new(value).ok_or(DecodeError::PropertyValue(id))?);
        Ok(())
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        for identifier in self {
            let value = identifier.get() as usize;
            if value > MAX_VARIABLE_BYTE_INTEGER {
                return Err(EncodeError::FieldTooLarge);
            }
            out.push(id);
            let (at, width) = (out.len(), width_of(value));
            out.extend_from_slice(&[0; 4][..width]);
            set_length(out, at, width, value)?;
        }
        Ok(())
    }
}

/// User properties.
impl<'a> Field<'a> for Vec<(&'a str, &'a str)> {
    fn read(&mut self, _: u8, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        self.push((reader.string()?, reader.string()?));
        Ok(())
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        for (name, value) in self {
            out.push(id);
            put_string(name, out)?;
            put_string(value, out)?;
        }
        Ok(())
    }
}

impl<'a> Value<'a> for bool {
    fn read(id: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::PropertyValue(id)),
        }
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&[id, u8::from(*self)]);
        Ok(())
    }
}

/// Maximum QoS, which is never 2 on the wire: a server without a maximum does not send it (3.2.2.3.4).
impl<'a> Value<'a> for QoS {
    fn read(id: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            0 => Ok(QoS::AtMostOnce),
            1 => Ok(QoS::AtLeastOnce),
            _ => Err(DecodeError::PropertyValue(id)),
        }
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if *self != QoS::ExactlyOnce {
            out.extend_from_slice(&[id, *self as u8]);
        }
        Ok(())
    }
}

impl<'a> Value<'a> for u16 {
    fn read(_: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.u16()
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.push(id);
        out.extend_from_slice(&self.to_be_bytes());
        Ok(())
    }
}

impl<'a> Value<'a> for NonZeroU16 {
    fn read(id: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let zero =
            if id == TOPIC_ALIAS { DecodeError::TopicAliasZero } else { DecodeError::PropertyValue(id) };
        NonZeroU16::new(reader.u16()?).ok_or(zero)
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.get().write(id, out)
    }
}

impl<'a> Value<'a> for u32 {
    fn read(_: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.u32()
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.push(id);
        out.extend_from_slice(&self.to_be_bytes());
        Ok(())
    }
}

impl<'a> Value<'a> for NonZeroU32 {
    fn read(id: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        NonZeroU32::new(reader.u32()?).ok_or(DecodeError::PropertyValue(id))
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.get().write(id, out)
    }
}

impl<'a> Value<'a> for &'a [u8] {
    fn read(_: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.binary()
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.push(id);
        put_binary(self, out)
    }
}

impl<'a> Value<'a> for &'a str {
    fn read(_: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.string()
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.as_bytes().write(id, out)
    }
}

/// The response topic.
impl<'a> Value<'a> for Topic<'a> {
    fn read(_: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.topic(DecodeError::ResponseTopic)
    }

    fn write(&self, id: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.as_str().write(id, out)
    }
}
