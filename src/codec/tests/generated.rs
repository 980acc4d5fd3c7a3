//! Properties of the codec that hold for whatever is generated. A failure prints the smallest input that shows it.

use std::num::{NonZeroU16, NonZeroU32};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Where generated packets take their decisions from; when it has run dry, all further ones are zero.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn u8(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes([self.u8(), self.u8(), self.u8(), self.u8()])
    }

    fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.u8()) % choices.len()]
    }

    fn optional<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.flag() { Some(make(self)) } else { None }
    }

    fn several<T>(&mut self, at_least: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = at_least + usize::from(self.u8() % 4);
        (0..count).map(|_| make(self)).collect()
    }

    /// Short texts mostly, and some that lengths of one byte do not measure.
    fn string(&mut self) -> &'static str {
        const TEXT: &str = "the Quick/brown ƒöx 🦊 jumps $over/the \u{FEFF}lazy dog, and its tail + # goes on and on \
            and on, so that a string of it and another one make properties of more than one hundred and twenty-seven bytes";
        let start = usize::from(self.u8() % 16);
        let len = usize::from(self.u8());
        let end = (start + if len < 200 { len % 8 } else { len }).min(TEXT.len());
        let end = (start..=end).rev().find(|&end| TEXT.is_char_boundary(end)).unwrap_or(start);
        &TEXT[start..end]
    }

    fn topic(&mut self) -> crate::topic::Topic<'static> {
        topic(self.one_of(&["a", "/", "a/b", "$SYS/x", "ƒ/🦊", "a topic name/of/more/levels/than/usual//"]))
    }

    fn binary(&mut self) -> &'static [u8] {
        static ZEROS_AND_MORE: [u8; 300] = {
            let mut bytes = [0; 300];
            let mut index = 0;
            while index < bytes.len() {
                bytes[index] = (index * 7) as u8;
                index += 1;
            }
            bytes
        };
        let len = self.one_of(&[0, 1, 2, 5, 126, 127, 128, 300]);
        &ZEROS_AND_MORE[..len]
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(self.u16()).unwrap_or(PacketId::MAX)
    }

    fn qos(&mut self) -> QoS {
        self.one_of(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }

    fn reason(&mut self, version: ProtocolVersion, new: &[u8], old: &[u8]) -> ReasonCode {
        let values = if version == V500 { new } else { old };
        let carriers = u16::MAX;
        reason_code::decode(self.one_of(values), carriers).expect("the lists hold reason codes")
    }
}

/// Which packet the properties are for.
#[derive(PartialEq)]
enum For {
    Connect,
    Will,
    ConnAck,
    Publish,
    Answer,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
}

fn property_set(source: &mut Source<'_>, carrier: For, version: ProtocolVersion) -> Properties<'static> {
    use For::*;
    if version != V500 || source.flag() {
        return Properties::NONE;
    }
    let mut set = PropertySet {
        user_properties: source.several(0, |s| (s.string(), s.string())),
        ..PropertySet::EMPTY
    };
    let positive = |s: &mut Source<'_>| NonZeroU16::new(s.u16()).unwrap_or(NonZeroU16::MIN);
    let identifier = |s: &mut Source<'_>| NonZeroU32::new(s.u32() >> 4).unwrap_or(NonZeroU32::MIN);
    if matches!(carrier, Publish | Will) {
        set.payload_format_indicator = source.optional(Source::flag);
        set.message_expiry_interval_secs = source.optional(Source::u32);
        set.content_type = source.optional(Source::string);
        set.response_topic = source.optional(Source::topic);
        set.correlation_data = source.optional(Source::binary);
    }
    if carrier == Publish {
        set.subscription_identifiers = source.several(0, identifier);
        set.topic_alias = source.optional(positive);
    }
    if carrier == Will {
        set.will_delay_interval_secs = source.optional(Source::u32);
    }
    if carrier == Subscribe {
        set.subscription_identifiers = source.optional(identifier).into_iter().collect();
    }
    if matches!(carrier, Connect | ConnAck | Disconnect) {
        set.session_expiry_interval_secs = source.optional(Source::u32);
    }
    if matches!(carrier, Connect | ConnAck | Auth) {
        set.authentication_method = source.optional(Source::string);
        set.authentication_data = set.authentication_method.and(source.optional(Source::binary));
    }
    if matches!(carrier, Connect | ConnAck) {
        set.receive_maximum = source.optional(positive);
        set.topic_alias_maximum = source.optional(Source::u16);
        set.maximum_packet_size = source.optional(identifier);
    }
    if carrier == Connect {
        set.request_problem_information = source.optional(Source::flag);
        set.request_response_information = source.optional(Source::flag);
    }
    if carrier == ConnAck {
        set.assigned_client_identifier = source.optional(Source::string);
        set.server_keep_alive_secs = source.optional(Source::u16);
        set.response_information = source.optional(Source::string);
        set.maximum_qos = source.optional(|s| s.one_of(&[QoS::AtMostOnce, QoS::AtLeastOnce]));
        set.retain_available = source.optional(Source::flag);
        set.wildcard_subscription_available = source.optional(Source::flag);
        set.subscription_identifiers_available = source.optional(Source::flag);
        set.shared_subscription_available = source.optional(Source::flag);
    }
    if matches!(carrier, ConnAck | Disconnect) {
        set.server_reference = source.optional(Source::string);
    }
    if matches!(carrier, ConnAck | Answer | Disconnect | Auth) {
        set.reason_string = source.optional(Source::string);
    }
    set.into()
}

/// A packet that `version` can carry whole.
fn generate(source: &mut Source<'_>, version: ProtocolVersion) -> Packet<'static> {
    let new = version == V500;
    match source.u8() % if new { 15 } else { 14 } {
        0 => Packet::Connect(Box::new(connect(source, version))),
        1 => {
            let reason =
                source.reason(version, &[0, 0, 0x80, 0x84, 0x9F], &[0, 0, 0x84, 0x85, 0x86, 0x87, 0x88]);
            let may_be_present = reason == ReasonCode::Success && version != V310;
            let session_present = source.flag() && may_be_present;
            let properties = property_set(source, For::ConnAck, version);
            Packet::ConnAck(ConnAck { session_present, reason, properties })
        }
        2 => Packet::PubAck(ack(source, version, &[0, 0x10, 0x80, 0x99])),
        3 => Packet::PubRec(ack(source, version, &[0, 0x10, 0x80, 0x99])),
        4 => Packet::PubRel(ack(source, version, &[0, 0x92])),
        5 => Packet::PubComp(ack(source, version, &[0, 0x92])),
        6 => Packet::Subscribe(Subscribe {
            packet_id: source.packet_id(),
            filters: source.several(1, |s| (s.string(), options(s, version))),
            properties: property_set(source, For::Subscribe, version),
        }),
        7 => Packet::SubAck(ReasonCodes {
            packet_id: source.packet_id(),
            reasons: source.several(1, |s| s.reason(version, &[0, 1, 2, 0x80, 0xA2], &[0, 1, 2, 0x80])),
            properties: property_set(source, For::Answer, version),
        }),
        8 => Packet::Unsubscribe(Unsubscribe {
            packet_id: source.packet_id(),
            filters: source.several(1, Source::string),
            properties: property_set(source, For::Unsubscribe, version),
        }),
        9 => Packet::UnsubAck(ReasonCodes {
            packet_id: source.packet_id(),
            reasons: if new {
                source.several(1, |s| s.reason(version, &[0, 0x11, 0x8F], &[]))
            } else {
                vec![]
            },
            properties: property_set(source, For::Answer, version),
        }),
        10 => Packet::PingReq,
        11 => Packet::PingResp,
        12 => Packet::Disconnect(Disconnect {
            reason: source.reason(version, &[0, 4, 0x81, 0xA2], &[0]),
            properties: property_set(source, For::Disconnect, version),
        }),
        13 => Packet::Publish(publish(source, version)),
        _ => {
            let mut properties = property_set(source, For::Auth, version);
            properties.authentication_method = Some(source.string());
            Packet::Auth(Auth { reason: source.reason(version, &[0, 0x18, 0x19], &[]), properties })
        }
    }
}

fn connect(source: &mut Source<'_>, version: ProtocolVersion) -> Connect<'static> {
    let username = source.optional(Source::string);
    let client_id = source.string();
    Connect {
        version,
        clean_start: source.flag(),
        keep_alive_secs: source.u16(),
        client_id: if client_id.is_empty() && version != V500 { "id" } else { client_id },
        will: source.optional(|source| will(source, version)),
        username,
        password: if username.is_some() || version == V500 { source.optional(Source::binary) } else { None },
        properties: property_set(source, For::Connect, version),
    }
}

fn will(source: &mut Source<'_>, version: ProtocolVersion) -> Will<'static> {
    let properties = property_set(source, For::Will, version);
    let text = properties.payload_format_indicator == Some(true);
    Will {
        topic: source.topic(),
        payload: if text { source.string().as_bytes() } else { source.binary() },
        qos: source.qos(),
        retain: source.flag(),
        properties,
    }
}

fn publish(source: &mut Source<'_>, version: ProtocolVersion) -> Publish<'static> {
    let qos = source.qos();
    let acknowledged = qos != QoS::AtMostOnce;
    let properties = property_set(source, For::Publish, version);
    let may_be_missing = properties.topic_alias.is_some() && source.flag();
    Publish {
        dup: source.flag() && acknowledged,
        qos,
        retain: source.flag(),
        topic: if may_be_missing { None } else { Some(source.topic()) },
        packet_id: acknowledged.then(|| source.packet_id()),
        properties,
        payload: source.binary(),
    }
}

fn ack(source: &mut Source<'_>, version: ProtocolVersion, reasons: &[u8]) -> Ack<'static> {
    Ack {
        packet_id: source.packet_id(),
        reason: source.reason(version, reasons, &[0]),
        properties: property_set(source, For::Answer, version),
    }
}

fn options(source: &mut Source<'_>, version: ProtocolVersion) -> SubscriptionOptions {
    use RetainHandling::*;
    let new = version == V500;
    SubscriptionOptions {
        qos: source.qos(),
        no_local: new && source.flag(),
        retain_as_published: new && source.flag(),
        retain_handling: if new { source.one_of(&[Send, SendIfNew, DoNotSend]) } else { Send },
    }
}

fn any_version() -> impl Strategy<Value = ProtocolVersion> {
    prop::sample::select(&EVERY_VERSION[..])
}

/// Decoding does not panic, and what it accepts is what can be written and read again.
fn accepted_packets_can_be_written(bytes: &[u8], version: ProtocolVersion) -> Result<(), TestCaseError> {
    let _ = frame_len(bytes, u32::MAX);
    let _ = connect_version(bytes);
    let Ok(packet) = decode(bytes, version) else { return Ok(()) };
    prop_assert_eq!(frame_len(bytes, u32::MAX), Ok(Some(bytes.len())));
    let again = encoded(&packet, version);
    prop_assert!(again.is_ok(), "{:?}: {:?}", again, packet);
    let again = again.unwrap_or_default();
    prop_assert_eq!(decode(&again, version), Ok(packet));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_is_written_is_read(decisions in vec(any::<u8>(), 0..300), version in any_version()) {
        let packet = generate(&mut Source(&decisions), version);
        let bytes = encoded(&packet, version).unwrap();
        prop_assert_eq!(decode(&bytes, version), Ok(packet));

        // The frame ends where it ends, whatever follows, and not before.
        let followed = [&bytes[..], &decisions[..]].concat();
        prop_assert_eq!(frame_len(&followed, u32::MAX), Ok(Some(bytes.len())));
        for cut in 0..bytes.len() {
            let announced = frame_len(&bytes[..cut], u32::MAX).unwrap();
            prop_assert!(announced.is_none_or(|announced| announced == bytes.len()));
            prop_assert_eq!(decode(&bytes[..cut], version), Err(DecodeError::Truncated));
        }
    }

    #[test]
    fn no_limit_is_overstepped(decisions in vec(any::<u8>(), 0..300), version in any_version(), max in 0..300_u32) {
        let packet = generate(&mut Source(&decisions), version);
        let mut out = vec![0xEE; 7];
        match encode(&packet, version, max, &mut out) {
            Ok(()) => {
                prop_assert!(out.len() - 7 <= max as usize);
                prop_assert!(decode(&out[7..], version).is_ok());
            }
            Err(error) => prop_assert_eq!((error, out), (EncodeError::TooLarge, vec![0xEE; 7])),
        }
    }

    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..60), version in any_version()) {
        accepted_packets_can_be_written(&bytes, version)?;
    }

    /// As above, but past the check of the length.
    #[test]
    fn arbitrary_bodies(first: u8, body in vec(any::<u8>(), 0..60), version in any_version()) {
        let frame = [&[first, body.len() as u8], &body[..]].concat();
        accepted_packets_can_be_written(&frame, version)?;
    }

    #[test]
    fn damaged_packets(
        decisions in vec(any::<u8>(), 0..300),
        version in any_version(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(&generate(&mut Source(&decisions), version), version).unwrap();
        for (index, value) in damage {
            *index.get_mut(&mut bytes) = value;
        }
        for version in EVERY_VERSION {
            accepted_packets_can_be_written(&bytes, version)?;
        }
    }

    /// Cut at every length, with a header that knows of the cut.
    #[test]
    fn shortened_packets(decisions in vec(any::<u8>(), 0..100), version in any_version()) {
        let bytes = encoded(&generate(&mut Source(&decisions), version), version).unwrap();
        let header = 2 + usize::from(bytes[1] >= 0x80);
        for cut in header..bytes.len() {
            let mut shortened = Vec::new();
            shortened.push(bytes[0]);
            writer::length_prefixed(&mut shortened, |out| {
                out.extend_from_slice(&bytes[header..cut]);
                Ok(())
            })
            .unwrap();
            accepted_packets_can_be_written(&shortened, version)?;
        }
    }
}
