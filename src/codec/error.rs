use super::packet::ReasonCode;
use crate::topic::TopicError;

/// What the peer did wrong in one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The packet is longer than this side takes; both in bytes.
    #[error("a packet of {len} bytes, more than the {max} taken here")]
    PacketTooLarge {
        /// Of the whole packet.
        len: usize,
        /// The limit.
        max: u32,
    },
    /// A variable byte integer goes on after its fourth byte (1.5.5).
    #[error("a variable byte integer of more than four bytes")]
    VariableByteIntegerTooLong,
    /// A variable byte integer has more bytes than its value needs [MQTT-1.5.5-1].
    #[error("a variable byte integer with bytes to spare")]
    VariableByteIntegerNotMinimal,
    /// The version knows no such packet type (2.1.2).
    #[error("packet type {0} does not exist")]
    PacketType(u8),
    /// The fixed header's flags are not what the packet type prescribes [MQTT-2.1.3-1].
    #[error("reserved flags in the fixed header")]
    FixedHeaderFlags,
    /// A field runs over the end of the packet, or of the properties.
    #[error("the packet ends too early")]
    Truncated,
    /// Bytes follow the last field.
    #[error("the packet goes on after its last field")]
    TrailingBytes,
    /// A string is not UTF-8 [MQTT-1.5.4-1].
    #[error("a string is not UTF-8")]
    StringNotUtf8,
    /// A string contains U+0000 [MQTT-1.5.4-2].
    #[error("a string contains U+0000")]
    StringHasNull,
    /// A packet identifier is zero [MQTT-2.2.1-3].
    #[error("packet identifier 0")]
    PacketIdZero,
    /// A QoS of 3 in a PUBLISH [MQTT-3.3.1-4] or a will [MQTT-3.1.2-12].
    #[error("QoS 3")]
    QoS,

    /// CONNECT names another protocol [MQTT-3.1.2-1].
    #[error("not the name of an MQTT protocol")]
    ProtocolName,
    /// CONNECT names MQTT, but a protocol level that is not spoken here [MQTT-3.1.2-2]. Bridges that mark themselves
    /// with the level's high bit are told so too, and come again without it.
    #[error("protocol level {0} is not spoken here")]
    ProtocolLevel(u8),
    /// The reserved connect flag is set [MQTT-3.1.2-3].
    #[error("the reserved connect flag is set")]
    ConnectFlagReserved,
    /// Will QoS or Will Retain without Will Flag [MQTT-3.1.2-11, MQTT-3.1.2-13].
    #[error("will QoS or will retain without a will")]
    WillFlags,
    /// Before 5.0, a password needs a user name [MQTT-3.1.2-22 of 3.1.1].
    #[error("a password without a user name")]
    PasswordWithoutUserName,
    /// Before 5.0, an empty client identifier needs Clean Session [MQTT-3.1.3-8 of 3.1.1], and 3.1 has no empty ones.
    #[error("no client identifier for a session that shall last")]
    ClientIdEmpty,
    /// The will topic is no topic name [MQTT-4.7.0-1, MQTT-4.7.3-1].
    #[error("will topic: {0}")]
    WillTopic(#[source] TopicError),
    /// The will's payload is not the UTF-8 that its Payload Format Indicator claims (3.1.3.2.3).
    #[error("a will that claims to be text and is not")]
    WillPayloadFormat,

    /// Reserved CONNACK flags [MQTT-3.2.2-1].
    #[error("reserved CONNACK flags are set")]
    ConnAckFlags,
    /// Session Present in a CONNACK that refuses [MQTT-3.2.2-6].
    #[error("a CONNACK that refuses speaks of a session")]
    SessionPresentOnRefusal,

    /// DUP at QoS 0 [MQTT-3.3.1-2].
    #[error("a PUBLISH of QoS 0 marked as a duplicate")]
    DupAtQoS0,
    /// Neither topic nor topic alias (3.3.2.1).
    #[error("a PUBLISH without a topic")]
    TopicMissing,
    /// The topic is no topic name [MQTT-3.3.2-2].
    #[error("topic: {0}")]
    Topic(#[source] TopicError),
    /// The response topic is no topic name [MQTT-3.3.2-14].
    #[error("response topic: {0}")]
    ResponseTopic(#[source] TopicError),
    /// Topic alias 0 [MQTT-3.3.2-8].
    #[error("topic alias 0")]
    TopicAliasZero,

    /// No filter in a SUBSCRIBE [MQTT-3.8.3-2] or an UNSUBSCRIBE [MQTT-3.10.3-2].
    #[error("a request without a topic filter")]
    NoFilters,
    /// Reserved bits in the subscription options [MQTT-3.8.3-5].
    #[error("reserved subscription options are set")]
    SubscriptionOptions,
    /// A maximum QoS of 3 in the subscription options (3.8.3.1).
    #[error("a subscription of QoS 3")]
    SubscriptionQoS,
    /// A retain handling of 3 (3.8.3.1).
    #[error("retain handling 3")]
    RetainHandling,
    /// No Local on a shared subscription [MQTT-3.8.3-4].
    #[error("no local on a shared subscription")]
    NoLocalOnShared,
    /// No reason code in a SUBACK or an UNSUBACK [MQTT-3.8.4-6].
    #[error("an answer without a reason code")]
    NoReasonCodes,

    /// The reason code does not exist, or not in this type of packet (2.4).
    #[error("reason code {0:#04x} does not belong here")]
    ReasonCodeNotAllowed(u8),
    /// The property does not exist (2.2.2.2).
    #[error("property {0:#04x} does not exist")]
    PropertyUnknown(u32),
    /// The property does not belong into this type of packet (2.2.2.2).
    #[error("property {0:#04x} does not belong here")]
    PropertyNotAllowed(u8),
    /// The property is there more than once (2.2.2.2).
    #[error("property {0:#04x} stands here twice")]
    PropertyRepeated(u8),
    /// The property has a value that it may not have.
    #[error("property {0:#04x} has a value out of its range")]
    PropertyValue(u8),
    /// Authentication data without a method (3.1.2.11.10).
    #[error("authentication data without a method")]
    AuthenticationDataAlone,
    /// An AUTH without a method (3.15.2.2.2).
    #[error("an AUTH without a method")]
    AuthenticationMethodMissing,
}

impl DecodeError {
    /// What CONNACK or DISCONNECT of 5.0 call this (4.13).
    pub fn reason_code(&self) -> ReasonCode {
        use DecodeError::*;
        match self {
            PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            ProtocolName | ProtocolLevel(_) => ReasonCode::UnsupportedProtocolVersion,
            ClientIdEmpty => ReasonCode::ClientIdentifierNotValid,
            Topic(_) | WillTopic(_) | ResponseTopic(_) => ReasonCode::TopicNameInvalid,
            WillPayloadFormat => ReasonCode::PayloadFormatInvalid,
            TopicAliasZero => ReasonCode::TopicAliasInvalid,
            PacketIdZero
            | SessionPresentOnRefusal
            | TopicMissing
            | NoFilters
            | SubscriptionQoS
            | RetainHandling
            | NoLocalOnShared
            | NoReasonCodes
            | ReasonCodeNotAllowed(_)
            | PropertyRepeated(_)
            | PropertyValue(_)
            | AuthenticationDataAlone
            | AuthenticationMethodMissing => ReasonCode::ProtocolError,
            VariableByteIntegerTooLong
            | VariableByteIntegerNotMinimal
            | PacketType(_)
            | FixedHeaderFlags
            | Truncated
            | TrailingBytes
            | StringNotUtf8
            | StringHasNull
            | QoS
            | ConnectFlagReserved
            | WillFlags
            | PasswordWithoutUserName
            | ConnAckFlags
            | DupAtQoS0
            | SubscriptionOptions
            | PropertyUnknown(_)
            | PropertyNotAllowed(_) => ReasonCode::MalformedPacket,
        }
    }
}

/// Why a packet cannot be written; the fault is this side's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// More than the receiver, or the protocol, takes.
    #[error("the packet is larger than the receiver takes")]
    TooLarge,
    /// The version knows no such packet, or no such meaning of it.
    #[error("the version has no such packet")]
    NotInVersion,
    /// A string of more than 65,535 bytes, or a number above the property's range.
    #[error("a field is larger than its length can say")]
    FieldTooLarge,
    /// A PUBLISH above QoS 0 has no packet identifier.
    #[error("a PUBLISH above QoS 0 without a packet identifier")]
    PacketIdMissing,
    /// A PUBLISH has no topic, and no alias stands for it.
    #[error("a PUBLISH without a topic")]
    TopicMissing,
    /// A SUBSCRIBE, UNSUBSCRIBE or answer to one lists nothing.
    #[error("a request or answer without a topic filter")]
    NothingListed,
    /// The reason code does not exist in this type of packet.
    #[error("the reason code does not belong into this packet")]
    ReasonCodeNotAllowed,
}
