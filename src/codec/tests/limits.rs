//! Sizes: where frames end, what does not fit, and what is left out to make it fit.

use super::wire::wire;
use super::*;

#[test]
fn frame_lengths() {
    type FrameLen = Result<Option<usize>, DecodeError>;
    let table: &[(&[u8], u32, FrameLen)] = &[
        (&[], 100, Ok(None)),
        (&[0x30], 100, Ok(None)),
        (&[0x30, 0x80], 100, Ok(None)),
        (&[0x30, 0xFF, 0xFF, 0xFF], u32::MAX, Ok(None)),
        (&[0xC0, 0], 2, Ok(Some(2))),
        (&[0xC0, 0], 1, Err(DecodeError::PacketTooLarge { len: 2, max: 1 })),
        (&[0x30, 0x7F], u32::MAX, Ok(Some(129))),
        (&[0x30, 0x80, 0x01], u32::MAX, Ok(Some(131))),
        (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], u32::MAX, Ok(Some(268_435_460))),
        (
            &[0x30, 0xFF, 0xFF, 0xFF, 0x7F],
            1000,
            Err(DecodeError::PacketTooLarge { len: 268_435_460, max: 1000 }),
        ),
        (&[0x30, 0x80, 0x00, 1, 2, 3], 100, Ok(Some(3))), // Whether padding is allowed is for decode to say.
        (&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], u32::MAX, Err(DecodeError::VariableByteIntegerTooLong)),
    ];
    for &(bytes, max, expected) in table {
        assert_eq!(frame_len(bytes, max), expected, "{bytes:02X?} {max}");
    }
}

/// Around each width of the remaining length.
#[test]
fn publishes_of_every_width() {
    for version in EVERY_VERSION {
        for around in [0x80_usize, 0x4000, 0x20_0000] {
            for payload in around - 12..around + 2 {
                let payload = vec![7; payload];
                let publish = Publish {
                    dup: false,
                    qos: QoS::AtLeastOnce,
                    retain: false,
                    topic: Some(topic("a/b")),
                    packet_id: Some(packet_id(0xABCD)),
                    properties: Properties::NONE,
                    payload: &payload,
                };
                check_publish(&publish, version);
                let aliased = properties(|set| set.topic_alias = std::num::NonZeroU16::new(5));
                check_publish(&Publish { properties: aliased, ..publish }, version);
            }
        }
    }
}

fn check_publish(publish: &Publish<'_>, version: ProtocolVersion) {
    let mut out = vec![0xEE; 3];
    let head = encode_publish_head(publish, version, &mut out).unwrap();
    let at = head.packet_id_at.unwrap();
    assert_eq!(out[at..at + 2], [0xAB, 0xCD]);
    out[at..at + 2].copy_from_slice(&[0, 1]);
    out.extend_from_slice(publish.payload);
    assert_eq!(out.len() - 3, head.frame_len);
    assert_eq!(frame_len(&out[3..], u32::MAX), Ok(Some(head.frame_len)));
    let Ok(Packet::Publish(decoded)) = decode(&out[3..], version) else {
        panic!("a head and a payload decode")
    };
    assert_eq!(decoded.packet_id, Some(packet_id(1)));
    assert_eq!((decoded.topic, decoded.payload), (publish.topic, publish.payload));
}

#[test]
fn a_head_has_room_for_the_packet_id_of_each_receiver() {
    let publish = Publish {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: false,
        topic: Some(topic("a")),
        packet_id: None,
        properties: Properties::NONE,
        payload: b"hi",
    };
    let mut out = Vec::new();
    let head = encode_publish_head(&publish, V311, &mut out).unwrap();
    assert_eq!(head, PublishHead { packet_id_at: Some(5), topic_alias_at: None, frame_len: 9 });
    assert_eq!(out, wire("3C 07 <a> 0000"));
    assert_eq!(encoded(&Packet::Publish(publish.clone()), V311), Err(EncodeError::PacketIdMissing));

    out.clear();
    let head = encode_publish_head(&Publish { qos: QoS::AtMostOnce, ..publish }, V500, &mut out).unwrap();
    assert_eq!(head, PublishHead { packet_id_at: None, topic_alias_at: None, frame_len: 8 });
    assert_eq!(out, wire("30 06 <a> 00"));
}

/// Reason string first, then user properties, then nothing [MQTT-3.2.2-19 and its like]. Each form is written as long
/// as it fits, and the next one from a byte less.
#[test]
fn what_is_left_out_to_fit() {
    let table: &[&[&str]] = &[
        &["90 [000A [1F <why> 26 <k> <v>] 80 00]", "90 [000A [26 <k> <v>] 80 00]", "90 [000A [] 80 00]"],
        &["B0 [000A [1F <why> 26 <k> <v>] 00]", "B0 [000A [26 <k> <v>] 00]", "B0 [000A [] 00]"],
        &["40 [000A 87 [1F <why> 26 <k> <v>]]", "40 [000A 87 [26 <k> <v>]]", "40 [000A 87]"],
        &["50 [000A 87 [1F <why> 26 <k> <v>]]", "50 [000A 87 [26 <k> <v>]]", "50 [000A 87]"],
        &["70 [000A 92 [1F <why> 26 <k> <v>]]", "70 [000A 92 [26 <k> <v>]]", "70 [000A 92]"],
        &["62 [000A 00 [1F <why> 26 <k> <v>]]", "62 [000A 00 [26 <k> <v>]]", "62 [000A]"],
        &[
            "20 [00 00 [12 <id> 1F <why> 26 <k> <v>]]",
            "20 [00 00 [12 <id> 26 <k> <v>]]",
            "20 [00 00 [12 <id>]]",
        ],
        &["E0 [8B [1F <why> 26 <k> <v>]]", "E0 [8B [26 <k> <v>]]", "E0 [8B]"],
        &["E0 [00 [1F <why>]]", "E0 []"],
        &["F0 [18 [15 <m> 1F <why> 26 <k> <v>]]", "F0 [18 [15 <m> 26 <k> <v>]]", "F0 [18 [15 <m>]]"],
        // Requests and messages keep what they have.
        &["10 [<MQTT> 05 02 003C [26 <k> <v>] <ab>]"],
        &["82 [000A [26 <k> <v>] <a> 00]"],
        &["A2 [000A [26 <k> <v>] <a>]"],
        &["30 [<a> [26 <k> <v>] 'hi']"],
    ];
    for &forms in table {
        let forms: Vec<_> = forms.iter().map(|form| wire(form)).collect();
        let packet = decode(&forms[0], V500).unwrap();
        for (index, form) in forms.iter().enumerate() {
            let fitting = |max| {
                let mut out = b"before".to_vec();
                let result = encode(&packet, V500, max as u32, &mut out);
                assert!(result.is_ok() || out == b"before");
                result.map(|()| out[b"before".len()..].to_vec())
            };
            assert_eq!(fitting(form.len()), Ok(form.clone()), "{packet:?}");
            let next = forms.get(index + 1).cloned().ok_or(EncodeError::TooLarge);
            assert_eq!(fitting(form.len() - 1), next, "{packet:?}");
        }
    }
}

#[test]
fn what_cannot_be_written() {
    let long = "x".repeat(65_536);
    let ack =
        |properties| Packet::PubAck(Ack { packet_id: packet_id(1), reason: ReasonCode::Success, properties });
    let connect = Connect {
        version: V311,
        clean_start: true,
        keep_alive_secs: 0,
        client_id: "ab",
        will: None,
        username: None,
        password: None,
        properties: Properties::NONE,
    };
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: None,
        packet_id: None,
        properties: Properties::NONE,
        payload: b"",
    };
    let identifier =
        |value| properties(|set| set.subscription_identifiers.extend(std::num::NonZeroU32::new(value)));
    let table = [
        (ack(properties(|set| set.reason_string = Some(&long))), V500, EncodeError::FieldTooLarge),
        (ack(properties(|set| set.user_properties = vec![("k", &long)])), V500, EncodeError::FieldTooLarge),
        (
            Packet::Connect(Box::new(Connect { client_id: &long, ..connect.clone() })),
            V311,
            EncodeError::FieldTooLarge,
        ),
        (
            Packet::Connect(Box::new(Connect { password: Some(b"p"), ..connect })),
            V311,
            EncodeError::NotInVersion,
        ),
        (Packet::Publish(publish.clone()), V500, EncodeError::TopicMissing),
        (
            Packet::Publish(Publish {
                topic: Some(topic("a")),
                properties: identifier(268_435_456),
                ..publish
            }),
            V500,
            EncodeError::FieldTooLarge,
        ),
        (
            Packet::PubRel(Ack {
                packet_id: packet_id(1),
                reason: ReasonCode::NotAuthorized,
                properties: Properties::NONE,
            }),
            V500,
            EncodeError::ReasonCodeNotAllowed,
        ),
        (
            Packet::Subscribe(Subscribe {
                packet_id: packet_id(1),
                filters: vec![],
                properties: Properties::NONE,
            }),
            V311,
            EncodeError::NothingListed,
        ),
        (
            Packet::Unsubscribe(Unsubscribe {
                packet_id: packet_id(1),
                filters: vec![],
                properties: Properties::NONE,
            }),
            V500,
            EncodeError::NothingListed,
        ),
        (
            Packet::SubAck(ReasonCodes {
                packet_id: packet_id(1),
                reasons: vec![],
                properties: Properties::NONE,
            }),
            V311,
            EncodeError::NothingListed,
        ),
    ];
    for (packet, version, error) in table {
        let mut out = vec![1, 2];
        assert_eq!(encode(&packet, version, u32::MAX, &mut out), Err(error), "{packet:.60?}");
        assert_eq!(out, [1, 2]);
    }
}

/// A property where it does not belong is a property that is not sent, so a will's may become its message's.
#[test]
fn properties_that_do_not_belong_are_left_out() {
    let set = properties(|set| {
        set.will_delay_interval_secs = Some(5);
        set.content_type = Some("x");
        set.maximum_qos = Some(QoS::ExactlyOnce);
    });
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: Some(topic("a")),
        packet_id: None,
        properties: set.clone(),
        payload: b"",
    };
    assert_eq!(encoded(&Packet::Publish(publish), V500), Ok(wire("30 [<a> [03 <x>]]")));
    let ack = Ack { packet_id: packet_id(1), reason: ReasonCode::Success, properties: set.clone() };
    assert_eq!(encoded(&Packet::PubAck(ack), V500), Ok(wire("40 02 0001")));
    // No maximum is said by saying nothing (3.2.2.3.4).
    let connack = ConnAck { session_present: true, reason: ReasonCode::ServerBusy, properties: set };
    assert_eq!(encoded(&Packet::ConnAck(connack), V500), Ok(wire("20 [00 89 []]")));
}
