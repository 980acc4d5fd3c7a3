//! Packets and their bytes, in both directions unless the table says otherwise.

use std::num::{NonZeroU16, NonZeroU32};

use super::wire::wire;
use super::*;

type Vector = (&'static [ProtocolVersion], &'static str, Packet<'static>);

const OLD: &[ProtocolVersion] = &[V310, V311];
const NEW: &[ProtocolVersion] = &[V500];
const ALL: &[ProtocolVersion] = &EVERY_VERSION;

#[test]
fn vectors_decode_and_encode() {
    let groups = [connects(), connacks(), publishes(), acks(), subscribes(), answers(), ends()];
    for (versions, text, packet) in groups.into_iter().flatten() {
        for &version in versions {
            let bytes = wire(text);
            assert_eq!(frame_len(&bytes, u32::MAX), Ok(Some(bytes.len())), "{text}");
            assert_eq!(decode(&bytes, version).as_ref(), Ok(&packet), "{version:?} {text}");
            assert_eq!(encoded(&packet, version), Ok(bytes), "{version:?} {text}");
        }
    }
}

/// No prefix of a packet is a packet: what is cut off is missed.
#[test]
fn truncated_vectors_do_not_decode() {
    let groups = [connects(), connacks(), publishes(), acks(), subscribes(), answers(), ends()];
    for (versions, text, _) in groups.into_iter().flatten() {
        let bytes = wire(text);
        for len in 0..bytes.len() {
            let announced = frame_len(&bytes[..len], u32::MAX).unwrap();
            assert!(announced.is_none_or(|announced| announced == bytes.len()), "{text} cut at {len}");
            for &version in versions {
                let error = decode(&bytes[..len], version).unwrap_err();
                assert_eq!(error, DecodeError::Truncated, "{version:?} {text} cut at {len}");
            }
        }
    }
}

/// Every property is in some vector, so that no row of the property table goes untested.
#[test]
fn vectors_show_every_property() {
    let groups = [connects(), connacks(), publishes(), acks(), subscribes(), answers(), ends()];
    let mut seen = PropertySet::default();
    let mut collect = |properties: &Properties<'static>| merge(&mut seen, properties);
    for (_, _, packet) in groups.into_iter().flatten() {
        match &packet {
            Packet::Connect(packet) => {
                collect(&packet.properties);
                packet.will.iter().for_each(|will| collect(&will.properties));
            }
            Packet::ConnAck(packet) => collect(&packet.properties),
            Packet::Publish(packet) => collect(&packet.properties),
            Packet::PubAck(packet) | Packet::PubRec(packet) => collect(&packet.properties),
            Packet::PubRel(packet) | Packet::PubComp(packet) => collect(&packet.properties),
            Packet::Subscribe(packet) => collect(&packet.properties),
            Packet::Unsubscribe(packet) => collect(&packet.properties),
            Packet::SubAck(packet) | Packet::UnsubAck(packet) => collect(&packet.properties),
            Packet::Disconnect(packet) => collect(&packet.properties),
            Packet::Auth(packet) => collect(&packet.properties),
            Packet::PingReq | Packet::PingResp => {}
        }
    }
    let shown = format!("{seen:?}");
    assert!(!shown.contains("None") && !shown.contains("[]"), "{shown}");
}

fn merge(seen: &mut PropertySet<'static>, properties: &PropertySet<'static>) {
    macro_rules! merge {
        ($($field:ident)*) => {$(
            if properties.$field != PropertySet::EMPTY.$field {
                seen.$field = properties.$field.clone();
            }
        )*};
    }
    merge! {
        payload_format_indicator message_expiry_interval_secs content_type response_topic correlation_data
        subscription_identifiers session_expiry_interval_secs assigned_client_identifier server_keep_alive_secs
        authentication_method authentication_data request_problem_information will_delay_interval_secs
        request_response_information response_information server_reference reason_string receive_maximum
        topic_alias_maximum topic_alias maximum_qos retain_available user_properties maximum_packet_size
        wildcard_subscription_available subscription_identifiers_available shared_subscription_available
    }
}

fn connects() -> Vec<Vector> {
    let plain = Connect {
        version: V311,
        clean_start: true,
        keep_alive_secs: 60,
        client_id: "ab",
        will: None,
        username: None,
        password: None,
        properties: Properties::NONE,
    };
    let will = Will {
        topic: topic("w/t"),
        payload: b"bye",
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Properties::NONE,
    };
    let connect = |connect| Packet::Connect(Box::new(connect));
    vec![
        (ALL, "10 [<MQIsdp> 03 02 003C <ab>]", connect(Connect { version: V310, ..plain.clone() })),
        (ALL, "10 0E 0004 4D515454 04 02 003C 0002 6162", connect(plain.clone())),
        (ALL, "10 [<MQTT> 05 02 003C [] <ab>]", connect(Connect { version: V500, ..plain.clone() })),
        (
            ALL,
            "10 [<MQTT> 04 02 0000 <>]",
            connect(Connect { client_id: "", keep_alive_secs: 0, ..plain.clone() }),
        ),
        (
            ALL,
            "10 [<MQTT> 05 00 FFFF [] <>]",
            connect(Connect {
                version: V500,
                clean_start: false,
                client_id: "",
                keep_alive_secs: 65_535,
                ..plain.clone()
            }),
        ),
        (
            ALL,
            "10 [<MQIsdp> 03 EE 003C <ab> <w/t> <bye> <u> <p>]",
            connect(Connect {
                version: V310,
                will: Some(will.clone()),
                username: Some("u"),
                password: Some(b"p"),
                ..plain.clone()
            }),
        ),
        (
            ALL,
            "10 [<MQTT> 04 EE 003C <ab> <w/t> <bye> <u> <p>]",
            connect(Connect {
                will: Some(will.clone()),
                username: Some("u"),
                password: Some(b"p"),
                ..plain.clone()
            }),
        ),
        (
            ALL,
            "10 [<MQTT> 04 86 003C <ab> <w/t> <> <>]",
            connect(Connect {
                will: Some(Will { payload: b"", qos: QoS::AtMostOnce, retain: false, ..will.clone() }),
                username: Some(""),
                ..plain.clone()
            }),
        ),
        (
            ALL,
            "10 [<MQTT> 05 42 003C [] <ab> 0003 00FF01]", // 5.0 takes a password alone.
            connect(Connect { version: V500, password: Some(&[0, 0xFF, 1]), ..plain.clone() }),
        ),
        (
            ALL,
            "10 [<MQTT> 05 D6 003C \
             [11 00000E10  15 <SCRAM>  16 <n,,>  17 00  19 01  21 0014  22 000A  26 <k> <v>  26 <k> <w>  27 00010000] \
             <ab> [01 01  02 0000003C  03 <text/plain>  08 <r/t>  09 <id>  18 0000001E  26 <> <>] <w/t> <bye> <u> <p>]",
            connect(Connect {
                version: V500,
                will: Some(Will {
                    qos: QoS::ExactlyOnce,
                    retain: false,
                    properties: properties(|set| {
                        set.payload_format_indicator = Some(true);
                        set.message_expiry_interval_secs = Some(60);
                        set.content_type = Some("text/plain");
                        set.response_topic = Some(topic("r/t"));
                        set.correlation_data = Some(b"id");
                        set.will_delay_interval_secs = Some(30);
                        set.user_properties = vec![("", "")];
                    }),
                    ..will.clone()
                }),
                username: Some("u"),
                password: Some(b"p"),
                properties: properties(|set| {
                    set.session_expiry_interval_secs = Some(3600);
                    set.authentication_method = Some("SCRAM");
                    set.authentication_data = Some(b"n,,");
                    set.request_problem_information = Some(false);
                    set.request_response_information = Some(true);
                    set.receive_maximum = NonZeroU16::new(20);
                    set.topic_alias_maximum = Some(10);
                    set.user_properties = vec![("k", "v"), ("k", "w")];
                    set.maximum_packet_size = NonZeroU32::new(65_536);
                }),
                ..plain.clone()
            }),
        ),
    ]
}

fn connacks() -> Vec<Vector> {
    let connack = |session_present, reason, properties| {
        Packet::ConnAck(ConnAck { session_present, reason, properties })
    };
    let refusal = |reason| connack(false, reason, Properties::NONE);
    vec![
        (OLD, "20 02 00 00", connack(false, ReasonCode::Success, Properties::NONE)),
        (&[V311], "20 02 01 00", connack(true, ReasonCode::Success, Properties::NONE)),
        (OLD, "20 02 00 01", refusal(ReasonCode::UnsupportedProtocolVersion)),
        (OLD, "20 02 00 02", refusal(ReasonCode::ClientIdentifierNotValid)),
        (OLD, "20 02 00 03", refusal(ReasonCode::ServerUnavailable)),
        (OLD, "20 02 00 04", refusal(ReasonCode::BadUserNameOrPassword)),
        (OLD, "20 02 00 05", refusal(ReasonCode::NotAuthorized)),
        (NEW, "20 03 00 00 00", connack(false, ReasonCode::Success, Properties::NONE)),
        (NEW, "20 03 01 00 00", connack(true, ReasonCode::Success, Properties::NONE)),
        (NEW, "20 03 00 84 00", refusal(ReasonCode::UnsupportedProtocolVersion)),
        (NEW, "20 03 00 9F 00", refusal(ReasonCode::ConnectionRateExceeded)),
        (
            NEW,
            "20 [00 9D [1C <b:1883>  1F <moved>]]",
            connack(
                false,
                ReasonCode::ServerMoved,
                properties(|set| {
                    set.server_reference = Some("b:1883");
                    set.reason_string = Some("moved");
                }),
            ),
        ),
        (
            NEW,
            "20 [00 00 [11 FFFFFFFF  12 <auto-1>  13 0078  15 <M>  16 <>  1A <resp/>  21 FFFF  22 0000 \
             24 01  25 00  26 <a> <b>  27 00000001  28 01  29 00  2A 01]]",
            connack(
                false,
                ReasonCode::Success,
                properties(|set| {
                    set.session_expiry_interval_secs = Some(u32::MAX);
                    set.assigned_client_identifier = Some("auto-1");
                    set.server_keep_alive_secs = Some(120);
                    set.authentication_method = Some("M");
                    set.authentication_data = Some(b"");
                    set.response_information = Some("resp/");
                    set.receive_maximum = NonZeroU16::new(65_535);
                    set.topic_alias_maximum = Some(0);
                    set.maximum_qos = Some(QoS::AtLeastOnce);
                    set.retain_available = Some(false);
                    set.user_properties = vec![("a", "b")];
                    set.maximum_packet_size = NonZeroU32::new(1);
                    set.wildcard_subscription_available = Some(true);
                    set.subscription_identifiers_available = Some(false);
                    set.shared_subscription_available = Some(true);
                }),
            ),
        ),
        (
            NEW,
            "20 [01 00 [24 00]]",
            connack(true, ReasonCode::Success, properties(|set| set.maximum_qos = Some(QoS::AtMostOnce))),
        ),
    ]
}

fn publishes() -> Vec<Vector> {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: Some(topic("a/b")),
        packet_id: None,
        properties: Properties::NONE,
        payload: b"hi",
    };
    let acknowledged = Publish { qos: QoS::AtLeastOnce, packet_id: Some(packet_id(10)), ..publish.clone() };
    let exactly_once =
        Publish { qos: QoS::ExactlyOnce, packet_id: Some(packet_id(0xFFFF)), ..publish.clone() };
    let empty = Publish { payload: b"", ..publish.clone() };
    vec![
        (OLD, "30 07 0003 612F62 6869", Packet::Publish(publish.clone())),
        (OLD, "30 [<a/b>]", Packet::Publish(empty.clone())),
        (OLD, "31 [<a/b>]", Packet::Publish(Publish { retain: true, ..empty.clone() })),
        (OLD, "32 [<a/b> 000A 'hi']", Packet::Publish(acknowledged.clone())),
        (
            OLD,
            "3B [<a/b> 000A 'hi']",
            Packet::Publish(Publish { dup: true, retain: true, ..acknowledged.clone() }),
        ),
        (OLD, "34 [<a/b> FFFF 'hi']", Packet::Publish(exactly_once.clone())),
        (OLD, "3C [<a/b> FFFF 'hi']", Packet::Publish(Publish { dup: true, ..exactly_once.clone() })),
        (
            OLD,
            "30 [<\u{FEFF}/ä>]",
            Packet::Publish(Publish { topic: Some(topic("\u{FEFF}/ä")), ..empty.clone() }),
        ),
        (NEW, "30 08 0003 612F62 00 6869", Packet::Publish(publish.clone())),
        (
            NEW,
            "31 [<$SYS/x> [] '']",
            Packet::Publish(Publish { retain: true, topic: Some(topic("$SYS/x")), ..empty }),
        ),
        (NEW, "32 [<a/b> 000A [] 'hi']", Packet::Publish(acknowledged.clone())),
        (
            NEW,
            "3D [<a/b> FFFF [] 'hi']",
            Packet::Publish(Publish { dup: true, retain: true, ..exactly_once }),
        ),
        (
            NEW,
            "30 [<> [23 0001] 'hi']",
            Packet::Publish(Publish {
                topic: None,
                properties: properties(|set| set.topic_alias = NonZeroU16::new(1)),
                ..publish
            }),
        ),
        (
            NEW,
            "32 [<a/b> 000A [01 00  02 00000001  03 <>  08 </>  09 0001 FF  0B 01  0B FFFFFF7F  0B 8001 \
             26 <k> <v>  26 <k> <v>  26 <j> <>  23 FFFF] 'hi']",
            Packet::Publish(Publish {
                properties: properties(|set| {
                    set.payload_format_indicator = Some(false);
                    set.message_expiry_interval_secs = Some(1);
                    set.content_type = Some("");
                    set.response_topic = Some(topic("/"));
                    set.correlation_data = Some(&[0xFF]);
                    set.subscription_identifiers =
                        [1, 268_435_455, 128].into_iter().filter_map(NonZeroU32::new).collect();
                    set.topic_alias = NonZeroU16::new(0xFFFF);
                    set.user_properties = vec![("k", "v"), ("k", "v"), ("j", "")];
                }),
                ..acknowledged
            }),
        ),
    ]
}

fn acks() -> Vec<Vector> {
    let ack = |reason, properties| Ack { packet_id: packet_id(0x1234), reason, properties };
    let plain = ack(ReasonCode::Success, Properties::NONE);
    let not_found = ack(ReasonCode::PacketIdentifierNotFound, Properties::NONE);
    let explained = || {
        properties(|set| {
            set.reason_string = Some("no");
            set.user_properties = vec![("k", "v")];
        })
    };
    vec![
        (ALL, "40 02 1234", Packet::PubAck(plain.clone())),
        (ALL, "50 02 1234", Packet::PubRec(plain.clone())),
        (ALL, "62 02 1234", Packet::PubRel(plain.clone())),
        (ALL, "70 02 1234", Packet::PubComp(plain.clone())),
        (NEW, "40 03 1234 10", Packet::PubAck(ack(ReasonCode::NoMatchingSubscribers, Properties::NONE))),
        (NEW, "50 03 1234 97", Packet::PubRec(ack(ReasonCode::QuotaExceeded, Properties::NONE))),
        (NEW, "62 03 1234 92", Packet::PubRel(not_found.clone())),
        (NEW, "70 03 1234 92", Packet::PubComp(not_found)),
        (
            NEW,
            "40 [1234 87 [1F <no>  26 <k> <v>]]",
            Packet::PubAck(ack(ReasonCode::NotAuthorized, explained())),
        ),
        (NEW, "50 [1234 00 [1F <no>  26 <k> <v>]]", Packet::PubRec(ack(ReasonCode::Success, explained()))),
        (
            NEW,
            "62 [1234 92 [1F <no>  26 <k> <v>]]",
            Packet::PubRel(ack(ReasonCode::PacketIdentifierNotFound, explained())),
        ),
        (NEW, "70 [1234 00 [1F <no>  26 <k> <v>]]", Packet::PubComp(ack(ReasonCode::Success, explained()))),
    ]
}

fn subscribes() -> Vec<Vector> {
    let options = |qos| SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let two = vec![("a/b", options(QoS::AtLeastOnce)), ("c/#", options(QoS::ExactlyOnce))];
    let subscribe =
        |filters, properties| Packet::Subscribe(Subscribe { packet_id: packet_id(10), filters, properties });
    let unsubscribe = |filters, properties| {
        Packet::Unsubscribe(Unsubscribe { packet_id: packet_id(10), filters, properties })
    };
    vec![
        (OLD, "82 0E 000A 0003 612F62 01 0003 632F23 02", subscribe(two.clone(), Properties::NONE)),
        (
            OLD,
            "82 [000A <not+valid> 00]",
            subscribe(vec![("not+valid", options(QoS::AtMostOnce))], Properties::NONE),
        ),
        (NEW, "82 [000A [] <a/b> 01 <c/#> 02]", subscribe(two, Properties::NONE)),
        (
            NEW,
            "82 [000A [0B FFFFFF7F  26 <k> <v>] <a> 2E <$share/g/a> 19]",
            subscribe(
                vec![
                    (
                        "a",
                        SubscriptionOptions {
                            qos: QoS::ExactlyOnce,
                            no_local: true,
                            retain_as_published: true,
                            retain_handling: RetainHandling::DoNotSend,
                        },
                    ),
                    (
                        "$share/g/a",
                        SubscriptionOptions {
                            qos: QoS::AtLeastOnce,
                            no_local: false,
                            retain_as_published: true,
                            retain_handling: RetainHandling::SendIfNew,
                        },
                    ),
                ],
                properties(|set| {
                    set.subscription_identifiers = NonZeroU32::new(268_435_455).into_iter().collect();
                    set.user_properties = vec![("k", "v")];
                }),
            ),
        ),
        (OLD, "A2 0C 000A 0003 612F62 0003 632F64", unsubscribe(vec!["a/b", "c/d"], Properties::NONE)),
        (NEW, "A2 [000A [] <#>]", unsubscribe(vec!["#"], Properties::NONE)),
        (
            NEW,
            "A2 [000A [26 <k> <v>] <a/b> <$share/g/a>]",
            unsubscribe(vec!["a/b", "$share/g/a"], properties(|set| set.user_properties = vec![("k", "v")])),
        ),
    ]
}

fn answers() -> Vec<Vector> {
    let codes = |reasons: &[ReasonCode], properties| ReasonCodes {
        packet_id: packet_id(10),
        reasons: reasons.to_vec(),
        properties,
    };
    let granted =
        [ReasonCode::Success, ReasonCode::GrantedQoS1, ReasonCode::GrantedQoS2, ReasonCode::UnspecifiedError];
    let explained = || {
        properties(|set| {
            set.reason_string = Some("no");
            set.user_properties = vec![("k", "v")];
        })
    };
    vec![
        (OLD, "90 06 000A 00 01 02 80", Packet::SubAck(codes(&granted, Properties::NONE))),
        (NEW, "90 07 000A 00 00 01 02 80", Packet::SubAck(codes(&granted, Properties::NONE))),
        (
            NEW,
            "90 [000A [1F <no>  26 <k> <v>] 87 8F 91 97 9E A1 A2]",
            Packet::SubAck(codes(
                &[
                    ReasonCode::NotAuthorized,
                    ReasonCode::TopicFilterInvalid,
                    ReasonCode::PacketIdentifierInUse,
                    ReasonCode::QuotaExceeded,
                    ReasonCode::SharedSubscriptionsNotSupported,
                    ReasonCode::SubscriptionIdentifiersNotSupported,
                    ReasonCode::WildcardSubscriptionsNotSupported,
                ],
                explained(),
            )),
        ),
        (OLD, "B0 02 000A", Packet::UnsubAck(codes(&[], Properties::NONE))),
        (
            NEW,
            "B0 [000A [] 00 11]",
            Packet::UnsubAck(codes(
                &[ReasonCode::Success, ReasonCode::NoSubscriptionExisted],
                Properties::NONE,
            )),
        ),
        (
            NEW,
            "B0 [000A [1F <no>  26 <k> <v>] 87]",
            Packet::UnsubAck(codes(&[ReasonCode::NotAuthorized], explained())),
        ),
    ]
}

fn ends() -> Vec<Vector> {
    let disconnect = |reason, properties| Packet::Disconnect(Disconnect { reason, properties });
    let auth = |reason, properties| Packet::Auth(Auth { reason, properties });
    vec![
        (ALL, "C0 00", Packet::PingReq),
        (ALL, "D0 00", Packet::PingResp),
        (ALL, "E0 00", disconnect(ReasonCode::Success, Properties::NONE)),
        (NEW, "E0 01 04", disconnect(ReasonCode::DisconnectWithWill, Properties::NONE)),
        (NEW, "E0 01 8E", disconnect(ReasonCode::SessionTakenOver, Properties::NONE)),
        (NEW, "E0 [00 [11 00000000]]", {
            disconnect(ReasonCode::Success, properties(|set| set.session_expiry_interval_secs = Some(0)))
        }),
        (
            NEW,
            "E0 [9C [1C <other>  1F <full>  26 <k> <v>]]",
            disconnect(
                ReasonCode::UseAnotherServer,
                properties(|set| {
                    set.server_reference = Some("other");
                    set.reason_string = Some("full");
                    set.user_properties = vec![("k", "v")];
                }),
            ),
        ),
        (NEW, "F0 00", auth(ReasonCode::Success, Properties::NONE)),
        (
            NEW,
            "F0 [18 [15 <SCRAM>  16 0002 00FF  1F <more>  26 <k> <v>]]",
            auth(
                ReasonCode::ContinueAuthentication,
                properties(|set| {
                    set.authentication_method = Some("SCRAM");
                    set.authentication_data = Some(&[0, 0xFF]);
                    set.reason_string = Some("more");
                    set.user_properties = vec![("k", "v")];
                }),
            ),
        ),
        (NEW, "F0 [19 [15 <M>]]", {
            auth(ReasonCode::ReAuthenticate, properties(|set| set.authentication_method = Some("M")))
        }),
        (NEW, "F0 [00 [15 <M>]]", {
            auth(ReasonCode::Success, properties(|set| set.authentication_method = Some("M")))
        }),
    ]
}

/// Other spellings of what `encode` spells in one way: they decode to what the right column decodes to.
#[test]
fn other_spellings() {
    let table: &[(&[ProtocolVersion], &str, &str)] = &[
        (OLD, "C0 8000", "C0 00"), // The older texts do not ask for the shortest remaining length.
        (OLD, "30 84808000 <ab>", "30 04 <ab>"),
        (&[V310], "6A 02 1234", "62 02 1234"), // Marked as sent again, as 3.1 does.
        (&[V310], "8A [000A <a> 00]", "82 [000A <a> 00]"),
        (&[V310], "AA [000A <a>]", "A2 [000A <a>]"),
        (ALL, "10 [<MQIsdp> 03 3A 003C <ab>]", "10 [<MQIsdp> 03 02 003C <ab>]"), // 3.1 ignores will bits alone.
        (ALL, "10 [<MQIsdp> 03 C2 003C <ab>]", "10 [<MQIsdp> 03 02 003C <ab>]"),
        (ALL, "10 [<MQIsdp> 03 C2 003C <ab> <u>]", "10 [<MQIsdp> 03 82 003C <ab> <u>]"),
        (NEW, "40 03 1234 00", "40 02 1234"),
        (NEW, "40 04 1234 00 00", "40 02 1234"),
        (NEW, "50 04 1234 10 00", "50 03 1234 10"),
        (NEW, "E0 01 00", "E0 00"),
        (NEW, "E0 02 00 00", "E0 00"),
        (NEW, "E0 02 8E 00", "E0 01 8E"),
        (NEW, "F0 02 00 00", "F0 00"),
        (NEW, "E0 [9C [26 <k> <v>  1F <full>]]", "E0 [9C [1F <full>  26 <k> <v>]]"), // In any order.
    ];
    for &(versions, other, usual) in table {
        for &version in versions {
            let (other, usual) = (wire(other), wire(usual));
            let packet = decode(&other, version).unwrap();
            assert_eq!(encoded(&packet, version).unwrap(), usual, "{version:?} {other:02X?}");
        }
    }
}

/// What the older versions make of packets of 5.0.
#[test]
fn what_a_version_lacks_is_left_out() {
    let table: &[(&str, ProtocolVersion, Result<&str, EncodeError>)] = &[
        ("20 [01 00 [24 01]]", V311, Ok("20 02 01 00")),
        ("20 [01 00 []]", V310, Ok("20 02 00 00")),
        ("20 [00 80 []]", V311, Ok("20 02 00 03")),
        ("20 [00 8A []]", V311, Ok("20 02 00 05")),
        ("20 [00 8C []]", V311, Ok("20 02 00 05")),
        ("20 [00 9D [1C <b>]]", V311, Ok("20 02 00 03")),
        ("20 [00 81 []]", V311, Err(EncodeError::NotInVersion)),
        ("20 [00 9B []]", V310, Err(EncodeError::NotInVersion)),
        ("32 [<a/b> 000A [01 01  23 0001] 'hi']", V311, Ok("32 [<a/b> 000A 'hi']")),
        ("30 [<> [23 0001] 'hi']", V311, Err(EncodeError::TopicMissing)),
        ("40 [1234 87 [1F <no>]]", V311, Ok("40 02 1234")),
        ("62 03 1234 92", V310, Ok("62 02 1234")),
        ("82 [000A [0B 01] <a> 2E]", V311, Ok("82 [000A <a> 02]")),
        ("A2 [000A [26 <k> <v>] <a>]", V311, Ok("A2 [000A <a>]")),
        ("90 [000A [1F <no>] 02 87 97]", V311, Ok("90 [000A 02 80 80]")),
        ("90 [000A [1F <no>] 00 9E]", V310, Ok("90 [000A 00 80]")),
        ("B0 [000A [] 00 11]", V311, Ok("B0 02 000A")),
        ("E0 [00 [11 00000000]]", V311, Ok("E0 00")),
        ("E0 01 04", V311, Err(EncodeError::NotInVersion)),
        ("E0 01 8B", V310, Err(EncodeError::NotInVersion)),
        ("F0 [18 [15 <M>]]", V311, Err(EncodeError::NotInVersion)),
    ];
    for &(new, version, old) in table {
        let new = wire(new);
        let packet = decode(&new, V500).unwrap();
        assert_eq!(encoded(&packet, version), old.map(wire), "{version:?} {new:02X?}");
    }
}
