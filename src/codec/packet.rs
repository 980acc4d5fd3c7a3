//! The control packets, one model for all protocol versions. A decoded packet borrows from the bytes it was read from;
//! whoever keeps a part of it copies that part.

use std::num::{NonZeroU16, NonZeroU32};
use std::ops::{Deref, DerefMut};

use crate::topic::Topic;

/// The protocol level of CONNECT. Only the codec asks for it; everything else asks what was negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ProtocolVersion {
    /// 3.1, whose CONNECT names the protocol `MQIsdp`.
    V310 = 3,
    /// 3.1.1.
    V311 = 4,
    /// 5.0.
    V500 = 5,
}

/// Quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum QoS {
    /// Delivered at most once.
    AtMostOnce = 0,
    /// Delivered at least once.
    AtLeastOnce = 1,
    /// Delivered exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS with these two bits; none for 3, which is no QoS.
    #[inline]
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

/// A packet identifier; never zero [MQTT-2.2.1-3].
pub type PacketId = NonZeroU16;

/// A control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Packet<'a> {
    Connect(Box<Connect<'a>>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(ReasonCodes<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(ReasonCodes<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// CONNECT (3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// What the client speaks.
    pub version: ProtocolVersion,
    /// Clean Start of 5.0, Clean Session of 3.1.1.
    pub clean_start: bool,
    /// Keep alive in seconds; 0 is none.
    pub keep_alive_secs: u16,
    /// The client identifier; may be empty.
    pub client_id: &'a str,
    /// The will, if the Will Flag is set.
    pub will: Option<Will<'a>>,
    /// User name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// Properties.
    pub properties: Properties<'a>,
}

/// The will of a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will Topic.
    pub topic: Topic<'a>,
    /// Will Payload.
    pub payload: &'a [u8],
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Properties.
    pub properties: Properties<'a>,
}

/// CONNACK (3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Session Present.
    pub session_present: bool,
    /// Reason code; on 3.1.1 the codec translates it to a return code.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

/// PUBLISH (3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Re-delivery flag.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Topic name; none only where a topic alias stands for it.
    pub topic: Option<Topic<'a>>,
    /// Present exactly if `qos` is not 0 [MQTT-2.2.1-2].
    pub packet_id: Option<PacketId>,
    /// Properties.
    pub properties: Properties<'a>,
    /// The application message.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7) have one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Of the PUBLISH.
    pub packet_id: PacketId,
    /// Success where the wire leaves it out.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

/// SUBSCRIBE (3.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Answered by the SUBACK of the same id.
    pub packet_id: PacketId,
    /// At least one [MQTT-3.8.3-2]. The text is valid UTF-8 without U+0000; whether it is a valid filter is the
    /// session's to say, filter by filter.
    pub filters: Vec<(&'a str, SubscriptionOptions)>,
    /// Properties.
    pub properties: Properties<'a>,
}

/// Options of one subscription (3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent for a subscription (3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every subscribe.
    Send = 0,
    /// Only if the subscription is new.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// UNSUBSCRIBE (3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Answered by the UNSUBACK of the same id.
    pub packet_id: PacketId,
    /// At least one [MQTT-3.10.3-2].
    pub filters: Vec<&'a str>,
    /// Properties.
    pub properties: Properties<'a>,
}

/// SUBACK and UNSUBACK (3.9, 3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonCodes<'a> {
    /// Of the request.
    pub packet_id: PacketId,
    /// One a filter, in the request's order [MQTT-3.9.3-1]. Not sent in a 3.1.1 UNSUBACK.
    pub reasons: Vec<ReasonCode>,
    /// Properties.
    pub properties: Properties<'a>,
}

/// DISCONNECT (3.14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Normal disconnection where the wire leaves it out.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

/// AUTH (3.15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success where the wire leaves it out.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

/// A packet's properties: reads like a [`PropertySet`], and takes no memory while it has none.
#[derive(Clone, Debug, Default)]
pub struct Properties<'a>(Option<Box<PropertySet<'a>>>);

impl Properties<'_> {
    /// No properties.
    pub const NONE: Self = Properties(None);

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.as_deref().is_none_or(|set| *set == PropertySet::EMPTY)
    }
}

/// No set and an empty set are the same properties.
impl PartialEq for Properties<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            _ => **self == **other,
        }
    }
}

impl Eq for Properties<'_> {}

impl<'a> From<PropertySet<'a>> for Properties<'a> {
    fn from(set: PropertySet<'a>) -> Self {
        Properties(Some(Box::new(set)))
    }
}

impl<'a> Deref for Properties<'a> {
    type Target = PropertySet<'a>;

    fn deref(&self) -> &PropertySet<'a> {
        static EMPTY: PropertySet<'static> = PropertySet::EMPTY;
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl<'a> DerefMut for Properties<'a> {
    fn deref_mut(&mut self) -> &mut PropertySet<'a> {
        self.0.get_or_insert_default()
    }
}

/// Every property of 5.0 (2.2.2.2). Which packet may carry which is a table in the codec; decode refuses the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub struct PropertySet<'a> {
    pub payload_format_indicator: Option<bool>,
    pub message_expiry_interval_secs: Option<u32>,
    pub content_type: Option<&'a str>,
    pub response_topic: Option<Topic<'a>>,
    pub correlation_data: Option<&'a [u8]>,
    pub subscription_identifiers: Vec<NonZeroU32>,
    pub session_expiry_interval_secs: Option<u32>,
    pub assigned_client_identifier: Option<&'a str>,
    pub server_keep_alive_secs: Option<u16>,
    pub authentication_method: Option<&'a str>,
    pub authentication_data: Option<&'a [u8]>,
    pub request_problem_information: Option<bool>,
    pub will_delay_interval_secs: Option<u32>,
    pub request_response_information: Option<bool>,
    pub response_information: Option<&'a str>,
    pub server_reference: Option<&'a str>,
    pub reason_string: Option<&'a str>,
    pub receive_maximum: Option<NonZeroU16>,
    pub topic_alias_maximum: Option<u16>,
    pub topic_alias: Option<NonZeroU16>,
    pub maximum_qos: Option<QoS>,
    pub retain_available: Option<bool>,
    pub user_properties: Vec<(&'a str, &'a str)>,
    pub maximum_packet_size: Option<NonZeroU32>,
    pub wildcard_subscription_available: Option<bool>,
    pub subscription_identifiers_available: Option<bool>,
    pub shared_subscription_available: Option<bool>,
}

impl PropertySet<'_> {
    /// Nothing set.
    pub const EMPTY: Self = PropertySet {
        payload_format_indicator: None,
        message_expiry_interval_secs: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        subscription_identifiers: Vec::new(),
        session_expiry_interval_secs: None,
        assigned_client_identifier: None,
        server_keep_alive_secs: None,
        authentication_method: None,
        authentication_data: None,
        request_problem_information: None,
        will_delay_interval_secs: None,
        request_response_information: None,
        response_information: None,
        server_reference: None,
        reason_string: None,
        receive_maximum: None,
        topic_alias_maximum: None,
        topic_alias: None,
        maximum_qos: None,
        retain_available: None,
        user_properties: Vec::new(),
        maximum_packet_size: None,
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
    };
}

/// Reason codes (2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum ReasonCode {
    /// Also Normal Disconnection and Granted QoS 0.
    Success = 0x00,
    GrantedQoS1 = 0x01,
    GrantedQoS2 = 0x02,
    DisconnectWithWill = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    ReAuthenticate = 0x19,
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecificError = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8A,
    ServerShuttingDown = 0x8B,
    BadAuthenticationMethod = 0x8C,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9A,
    QoSNotSupported = 0x9B,
    UseAnotherServer = 0x9C,
    ServerMoved = 0x9D,
    SharedSubscriptionsNotSupported = 0x9E,
    ConnectionRateExceeded = 0x9F,
    MaximumConnectTime = 0xA0,
    SubscriptionIdentifiersNotSupported = 0xA1,
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl ReasonCode {
    /// Whether the code says that something was refused (2.4).
    pub fn is_error(self) -> bool {
        self as u8 >= 0x80
    }
}
