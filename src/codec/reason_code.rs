//! Which reason code may stand in which packet (table 2-6), and what the older versions have in their place.

use super::error::{DecodeError, EncodeError};
use super::fixed_header::{
    AUTH, CONNACK, Carriers, DISCONNECT, PUBACK, PUBCOMP, PUBREC, PUBREL, SUBACK, UNSUBACK,
};
use super::packet::ReasonCode::{self, *};

const PUB: Carriers = PUBACK | PUBREC;
const SUB: Carriers = SUBACK | UNSUBACK;

const TABLE: [(ReasonCode, Carriers); 43] = [
    (Success, CONNACK | PUB | PUBREL | PUBCOMP | SUB | DISCONNECT | AUTH),
    (GrantedQoS1, SUBACK),
    (GrantedQoS2, SUBACK),
    (DisconnectWithWill, DISCONNECT),
    (NoMatchingSubscribers, PUB),
    (NoSubscriptionExisted, UNSUBACK),
    (ContinueAuthentication, AUTH),
    (ReAuthenticate, AUTH),
    (UnspecifiedError, CONNACK | PUB | SUB | DISCONNECT),
    (MalformedPacket, CONNACK | DISCONNECT),
    (ProtocolError, CONNACK | DISCONNECT),
    (ImplementationSpecificError, CONNACK | PUB | SUB | DISCONNECT),
    (UnsupportedProtocolVersion, CONNACK),
    (ClientIdentifierNotValid, CONNACK),
    (BadUserNameOrPassword, CONNACK),
    (NotAuthorized, CONNACK | PUB | SUB | DISCONNECT),
    (ServerUnavailable, CONNACK),
    (ServerBusy, CONNACK | DISCONNECT),
    (Banned, CONNACK),
    (ServerShuttingDown, DISCONNECT),
    (BadAuthenticationMethod, CONNACK | DISCONNECT),
    (KeepAliveTimeout, DISCONNECT),
    (SessionTakenOver, DISCONNECT),
    (TopicFilterInvalid, SUB | DISCONNECT),
    (TopicNameInvalid, CONNACK | PUB | DISCONNECT),
    (PacketIdentifierInUse, PUB | SUB),
    (PacketIdentifierNotFound, PUBREL | PUBCOMP),
    (ReceiveMaximumExceeded, DISCONNECT),
    (TopicAliasInvalid, DISCONNECT),
    (PacketTooLarge, CONNACK | DISCONNECT),
    (MessageRateTooHigh, DISCONNECT),
    (QuotaExceeded, CONNACK | PUB | SUBACK | DISCONNECT),
    (AdministrativeAction, DISCONNECT),
    (PayloadFormatInvalid, CONNACK | PUB | DISCONNECT),
    (RetainNotSupported, CONNACK | DISCONNECT),
    (QoSNotSupported, CONNACK | DISCONNECT),
    (UseAnotherServer, CONNACK | DISCONNECT),
    (ServerMoved, CONNACK | DISCONNECT),
    (SharedSubscriptionsNotSupported, SUBACK | DISCONNECT),
    (ConnectionRateExceeded, CONNACK | DISCONNECT),
    (MaximumConnectTime, DISCONNECT),
    (SubscriptionIdentifiersNotSupported, SUBACK | DISCONNECT),
    (WildcardSubscriptionsNotSupported, SUBACK | DISCONNECT),
];

static BY_VALUE: [Option<(ReasonCode, Carriers)>; 256] = {
    let mut by_value = [None; 256];
    let mut index = 0;
    while index < TABLE.len() {
        by_value[TABLE[index].0 as usize] = Some(TABLE[index]);
        index += 1;
    }
    by_value
};

/// The reason code with this value, if it may stand in `carrier`.
#[inline]
pub(super) fn decode(value: u8, carrier: Carriers) -> Result<ReasonCode, DecodeError> {
    match BY_VALUE[usize::from(value)] {
        Some((reason, carriers)) if carriers & carrier != 0 => Ok(reason),
        _ => Err(DecodeError::ReasonCodeNotAllowed(value)),
    }
}

#[inline]
pub(super) fn encode(reason: ReasonCode, carrier: Carriers) -> Result<u8, EncodeError> {
    decode(reason as u8, carrier).map(|reason| reason as u8).map_err(|_| EncodeError::ReasonCodeNotAllowed)
}

/// A CONNACK return code of 3.1 and 3.1.1 (table 3.1 there).
pub(super) fn decode_return_code(value: u8) -> Result<ReasonCode, DecodeError> {
    Ok(match value {
        0 => Success,
        1 => UnsupportedProtocolVersion,
        2 => ClientIdentifierNotValid,
        3 => ServerUnavailable,
        4 => BadUserNameOrPassword,
        5 => NotAuthorized,
        _ => return Err(DecodeError::ReasonCodeNotAllowed(value)),
    })
}

/// The nearest return code. Where none is near, the connection is closed without a CONNACK [MQTT-3.2.2-6 of 3.1.1].
pub(super) fn encode_return_code(reason: ReasonCode) -> Result<u8, EncodeError> {
    Ok(match reason {
        Success => 0,
        UnsupportedProtocolVersion => 1,
        ClientIdentifierNotValid => 2,
        UnspecifiedError
        | ImplementationSpecificError
        | ServerUnavailable
        | ServerBusy
        | QuotaExceeded
        | UseAnotherServer
        | ServerMoved
        | ConnectionRateExceeded => 3,
        BadUserNameOrPassword => 4,
        NotAuthorized | Banned | BadAuthenticationMethod => 5,
        _ => return Err(EncodeError::NotInVersion),
    })
}

/// A SUBACK return code of 3.1.1 [MQTT-3.9.3-2 of 3.1.1].
pub(super) fn decode_suback_return_code(value: u8) -> Result<ReasonCode, DecodeError> {
    match value {
        0..=2 | 0x80 => decode(value, SUBACK),
        _ => Err(DecodeError::ReasonCodeNotAllowed(value)),
    }
}

/// 3.1.1 has one code for every failure. 3.1 has none, so its clients get the same one.
pub(super) fn encode_suback_return_code(reason: ReasonCode) -> Result<u8, EncodeError> {
    encode(reason, SUBACK).map(|value| if reason.is_error() { UnspecifiedError as u8 } else { value })
}
