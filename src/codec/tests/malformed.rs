//! What peers may not send, and what it is called.

use super::wire::wire;
use super::*;
use crate::topic::TopicError;
use DecodeError::*;

type Offence = (&'static [ProtocolVersion], &'static str, DecodeError, &'static str);

const OLD: &[ProtocolVersion] = &[V310, V311];
const NEW: &[ProtocolVersion] = &[V500];
const ALL: &[ProtocolVersion] = &EVERY_VERSION;

fn check(table: &[Offence]) {
    for &(versions, text, error, statement) in table {
        for &version in versions {
            assert_eq!(decode(&wire(text), version), Err(error), "{version:?} {text}: {statement}");
        }
    }
}

#[test]
fn frames() {
    check(&[
        (ALL, "", Truncated, "2.1"),
        (ALL, "C0", Truncated, "2.1"),
        (ALL, "C0 80", Truncated, "2.1.4"),
        (ALL, "C0 01", Truncated, "2.1.4"),
        (ALL, "C0 00 00", TrailingBytes, "2.1.4"),
        (ALL, "30 FFFFFFFF 7F", VariableByteIntegerTooLong, "1.5.5"),
        (ALL, "30 80808080 00", VariableByteIntegerTooLong, "1.5.5"),
        (NEW, "C0 8000", VariableByteIntegerNotMinimal, "MQTT-1.5.5-1"),
        (NEW, "C0 80808000", VariableByteIntegerNotMinimal, "MQTT-1.5.5-1"),
        (NEW, "30 8500 <ab> 00", VariableByteIntegerNotMinimal, "MQTT-1.5.5-1"),
        (ALL, "10 8F00 <MQTT> 05 02 003C 00 <ab>", VariableByteIntegerNotMinimal, "MQTT-1.5.5-1"),
        (ALL, "00 00", PacketType(0), "2.1.2"),
        (ALL, "0F 00", PacketType(0), "2.1.2"),
        (OLD, "F0 00", PacketType(15), "2.2.1 of 3.1.1"),
    ]);
}

/// The flags of every type but PUBLISH are fixed [MQTT-2.1.3-1, MQTT-2.2.2-1 and -2 of 3.1.1].
#[test]
fn fixed_header_flags() {
    let bodies = [
        (0x10, "[<MQTT> 04 02 003C <ab>]"),
        (0x20, "02 00 00"),
        (0x40, "02 1234"),
        (0x50, "02 1234"),
        (0x62, "02 1234"),
        (0x70, "02 1234"),
        (0x82, "[000A <a> 00]"),
        (0x90, "03 000A 00"),
        (0xA2, "[000A <a>]"),
        (0xB0, "02 000A"),
        (0xC0, "00"),
        (0xD0, "00"),
        (0xE0, "00"),
    ];
    for (legal, body) in bodies {
        for flags in 0..16 {
            let first = legal & 0xF0 | flags;
            let bytes = wire(&format!("{first:02X} {body}"));
            let version = V311;
            let expected = if first == legal { Ok(()) } else { Err(FixedHeaderFlags) };
            assert_eq!(decode(&bytes, version).map(drop), expected, "{first:02X}");
        }
    }
    check(&[
        (NEW, "F1 00", FixedHeaderFlags, "MQTT-3.15.1-1"),
        (NEW, "F8 00", FixedHeaderFlags, "MQTT-3.15.1-1"),
        (NEW, "60 02 1234", FixedHeaderFlags, "MQTT-3.6.1-1"),
        (NEW, "80 [000A [] <a> 00]", FixedHeaderFlags, "MQTT-3.8.1-1"),
        (NEW, "A0 [000A [] <a>]", FixedHeaderFlags, "MQTT-3.10.1-1"),
        (NEW, "E1 00", FixedHeaderFlags, "MQTT-3.14.1-1"),
        (&[V311, V500], "6A 02 1234", FixedHeaderFlags, "MQTT-3.6.1-1"),
        (&[V310], "48 02 1234", FixedHeaderFlags, "nothing that is sent again"),
    ]);
}

#[test]
fn strings() {
    check(&[
        (OLD, "30 04 0002 C328", StringNotUtf8, "MQTT-1.5.4-1"),
        (OLD, "30 05 0003 EDA080", StringNotUtf8, "MQTT-1.5.4-1: U+D800"),
        (OLD, "30 05 0003 EDBFBF", StringNotUtf8, "MQTT-1.5.4-1: U+DFFF"),
        (OLD, "30 04 0002 C080", StringNotUtf8, "MQTT-1.5.4-1: overlong"),
        (OLD, "30 06 0004 F4908080", StringNotUtf8, "MQTT-1.5.4-1: above U+10FFFF"),
        (OLD, "30 04 0002 61C3", StringNotUtf8, "MQTT-1.5.4-1: cut"),
        (OLD, "30 05 0003 610062", StringHasNull, "MQTT-1.5.4-2"),
        (NEW, "30 [0003 610062 []]", StringHasNull, "MQTT-1.5.4-2"),
        (NEW, "30 [<a> [03 0001 00]]", StringHasNull, "MQTT-1.5.4-2"),
        (NEW, "30 [<a> [08 0001 00]]", StringHasNull, "MQTT-1.5.4-2"),
        (NEW, "30 [<a> [08 0001 FF]]", StringNotUtf8, "MQTT-3.3.2-13"),
        (NEW, "30 [<a> [03 0001 FF]]", StringNotUtf8, "MQTT-3.3.2-19"),
        (NEW, "30 [<a> [26 <k> 0001 FF]]", StringNotUtf8, "MQTT-1.5.7-1"),
        (NEW, "30 [<a> [26 0001 FF <v>]]", StringNotUtf8, "MQTT-1.5.7-1"),
        (NEW, "30 [<a> [26 <k> 0001 00]]", StringHasNull, "MQTT-1.5.7-1"),
        (ALL, "10 [<MQTT> 04 02 003C 0001 FF]", StringNotUtf8, "MQTT-3.1.3-4"),
        (ALL, "10 [<MQTT> 04 02 003C 0001 00]", StringHasNull, "MQTT-1.5.4-2"),
        (ALL, "10 [<MQTT> 04 06 003C <ab> 0001 FF <bye>]", StringNotUtf8, "MQTT-3.1.3-11"),
        (ALL, "10 [<MQTT> 04 06 003C <ab> 0001 00 <bye>]", StringHasNull, "MQTT-1.5.4-2"),
        (ALL, "10 [<MQTT> 04 82 003C <ab> 0001 FF]", StringNotUtf8, "MQTT-3.1.3-12"),
        (ALL, "10 [<MQTT> 04 82 003C <ab> 0001 00]", StringHasNull, "MQTT-1.5.4-2"),
        (OLD, "82 [000A 0001 FF 00]", StringNotUtf8, "MQTT-3.8.3-1"),
        (NEW, "82 [000A [] 0001 00 00]", StringHasNull, "MQTT-1.5.4-2"),
        (OLD, "A2 [000A 0001 FF]", StringNotUtf8, "MQTT-3.10.3-1"),
        (NEW, "A2 [000A [] 0001 00]", StringHasNull, "MQTT-1.5.4-2"),
    ]);
}

#[test]
fn connects() {
    check(&[
        (ALL, "10 00", Truncated, "3.1.2.1"),
        (ALL, "10 [<MQTt> 04 02 003C <ab>]", ProtocolName, "MQTT-3.1.2-1"),
        (ALL, "10 [<> 04 02 003C <ab>]", ProtocolName, "MQTT-3.1.2-1"),
        (ALL, "10 [<MQTTX> 05 02 003C [] <ab>]", ProtocolName, "MQTT-3.1.2-1"),
        (ALL, "10 [0004 FFFFFFFF 04 02 003C <ab>]", ProtocolName, "MQTT-3.1.2-1"),
        (ALL, "10 [<MQTT> 03 02 003C <ab>]", ProtocolLevel(3), "MQTT-3.1.2-2"),
        (ALL, "10 [<MQTT> 06 02 003C [] <ab>]", ProtocolLevel(6), "MQTT-3.1.2-2"),
        (ALL, "10 [<MQTT> 00 02 003C <ab>]", ProtocolLevel(0), "MQTT-3.1.2-2"),
        (ALL, "10 [<MQTT> 84 02 003C <ab>]", ProtocolLevel(0x84), "MQTT-3.1.2-2"),
        (ALL, "10 [<MQIsdp> 04 02 003C <ab>]", ProtocolLevel(4), "MQTT-3.1.2-2"),
        (ALL, "10 [<MQIsdp> 83 02 003C <ab>]", ProtocolLevel(0x83), "MQTT-3.1.2-2"),
        (ALL, "10 [<MQTT>]", Truncated, "3.1.2.2"),
        (ALL, "10 [<MQTT> 04]", Truncated, "3.1.2.3"),
        (ALL, "10 [<MQTT> 04 02 00]", Truncated, "3.1.2.10"),
        (ALL, "10 [<MQTT> 04 02 003C]", Truncated, "MQTT-3.1.3-3"),
        (ALL, "10 [<MQTT> 05 02 003C []]", Truncated, "MQTT-3.1.3-3"),
        (ALL, "10 [<MQTT> 05 02 003C]", Truncated, "MQTT-2.2.2-1"),
        (ALL, "10 [<MQTT> 04 03 003C <ab>]", ConnectFlagReserved, "MQTT-3.1.2-3"),
        (ALL, "10 [<MQTT> 05 01 003C [] <ab>]", ConnectFlagReserved, "MQTT-3.1.2-3"),
        (ALL, "10 [<MQIsdp> 03 03 003C <ab>]", ConnectFlagReserved, "MQTT-3.1.2-3"),
        (ALL, "10 [<MQTT> 04 0A 003C <ab>]", WillFlags, "MQTT-3.1.2-11"),
        (ALL, "10 [<MQTT> 05 12 003C [] <ab>]", WillFlags, "MQTT-3.1.2-11"),
        (ALL, "10 [<MQTT> 05 1A 003C [] <ab>]", WillFlags, "MQTT-3.1.2-11"),
        (ALL, "10 [<MQTT> 04 22 003C <ab>]", WillFlags, "MQTT-3.1.2-13"),
        (ALL, "10 [<MQTT> 04 1E 003C <ab> <w> <bye>]", QoS, "MQTT-3.1.2-14 of 3.1.1"),
        (ALL, "10 [<MQTT> 05 1E 003C [] <ab> [] <w> <bye>]", QoS, "MQTT-3.1.2-12"),
        (ALL, "10 [<MQIsdp> 03 1E 003C <ab> <w> <bye>]", QoS, "MQTT-3.1.2-14 of 3.1.1"),
        (ALL, "10 [<MQTT> 04 06 003C <ab>]", Truncated, "MQTT-3.1.2-9"),
        (ALL, "10 [<MQTT> 04 06 003C <ab> <w>]", Truncated, "MQTT-3.1.2-9"),
        (ALL, "10 [<MQTT> 05 06 003C [] <ab> [] <w>]", Truncated, "MQTT-3.1.2-9"),
        (ALL, "10 [<MQTT> 05 06 003C [] <ab>]", Truncated, "MQTT-3.1.2-9"),
        (ALL, "10 [<MQTT> 04 42 003C <ab> <p>]", PasswordWithoutUserName, "MQTT-3.1.2-22 of 3.1.1"),
        (ALL, "10 [<MQIsdp> 03 42 003C <ab> <p>]", PasswordWithoutUserName, "MQTT-3.1.2-22 of 3.1.1"),
        (ALL, "10 [<MQTT> 04 82 003C <ab>]", Truncated, "MQTT-3.1.2-17"),
        (ALL, "10 [<MQTT> 04 C2 003C <ab> <u>]", Truncated, "MQTT-3.1.2-19"),
        (ALL, "10 [<MQTT> 05 42 003C [] <ab>]", Truncated, "MQTT-3.1.2-19"),
        (ALL, "10 [<MQIsdp> 03 82 003C <ab> 00]", Truncated, "missing is one thing, cut another"),
        (ALL, "10 [<MQTT> 04 02 003C <ab> <u>]", TrailingBytes, "MQTT-3.1.2-16"),
        (ALL, "10 [<MQTT> 04 82 003C <ab> <u> <p>]", TrailingBytes, "MQTT-3.1.2-18"),
        (ALL, "10 [<MQTT> 05 02 003C [] <ab> <u>]", TrailingBytes, "MQTT-3.1.2-16"),
        (ALL, "10 [<MQTT> 04 00 003C <>]", ClientIdEmpty, "MQTT-3.1.3-8 of 3.1.1"),
        (ALL, "10 [<MQIsdp> 03 02 003C <>]", ClientIdEmpty, "3.1, section 3.1"),
        (ALL, "10 [<MQTT> 04 06 003C <ab> <w/#> <bye>]", WillTopic(TopicError::Wildcard), "MQTT-4.7.0-1"),
        (ALL, "10 [<MQTT> 05 06 003C [] <ab> [] <+> <bye>]", WillTopic(TopicError::Wildcard), "MQTT-4.7.0-1"),
        (ALL, "10 [<MQTT> 04 06 003C <ab> <> <bye>]", WillTopic(TopicError::Empty), "MQTT-4.7.3-1"),
        (ALL, "10 [<MQTT> 05 06 003C [] <ab> [01 01] <w> 0001 FF]", WillPayloadFormat, "3.1.3.2.3"),
        (ALL, "10 [<MQTT> 05 02 003C [16 <x>] <ab>]", AuthenticationDataAlone, "3.1.2.11.10"),
        (ALL, "10 [<MQTT> 05 02 003C [18 00000001] <ab>]", PropertyNotAllowed(0x18), "3.1.3.2.2"),
        (ALL, "10 [<MQTT> 05 06 003C [] <ab> [11 00000001] <w> <bye>]", PropertyNotAllowed(0x11), "3.1.3.2"),
        (
            ALL,
            "10 [<MQTT> 05 06 003C [] <ab> [08 <a/+>] <w> <bye>]",
            ResponseTopic(TopicError::Wildcard),
            "MQTT-3.3.2-14",
        ),
        (ALL, "10 [<MQTT> 05 02 003C [17 02] <ab>]", PropertyValue(0x17), "3.1.2.11.7"),
        (ALL, "10 [<MQTT> 05 02 003C [19 FF] <ab>]", PropertyValue(0x19), "3.1.2.11.6"),
        (ALL, "10 [<MQTT> 05 02 003C [21 0000] <ab>]", PropertyValue(0x21), "3.1.2.11.3"),
        (ALL, "10 [<MQTT> 05 02 003C [27 00000000] <ab>]", PropertyValue(0x27), "3.1.2.11.4"),
    ]);
}

#[test]
fn connacks() {
    check(&[
        (OLD, "20 01 00", Truncated, "3.2.2 of 3.1.1"),
        (OLD, "20 03 00 00 00", TrailingBytes, "3.2.2 of 3.1.1"),
        (&[V311, V500], "20 03 02 00 00", ConnAckFlags, "MQTT-3.2.2-1"),
        (ALL, "20 03 80 00 00", ConnAckFlags, "MQTT-3.2.2-1"),
        (&[V310], "20 02 01 00", ConnAckFlags, "the whole byte is reserved in 3.1"),
        (OLD, "20 02 00 06", ReasonCodeNotAllowed(6), "MQTT-3.2.2-8"),
        (OLD, "20 02 00 87", ReasonCodeNotAllowed(0x87), "MQTT-3.2.2-8"),
        (&[V311], "20 02 01 05", SessionPresentOnRefusal, "MQTT-3.2.2-4 of 3.1.1"),
        (NEW, "20 [01 87 []]", SessionPresentOnRefusal, "MQTT-3.2.2-6"),
        (NEW, "20 02 00 00", Truncated, "MQTT-2.2.2-1"),
        (NEW, "20 [00 00 [] 00]", TrailingBytes, "3.2.3"),
        (NEW, "20 [00 01 []]", ReasonCodeNotAllowed(1), "MQTT-3.2.2-8"),
        (NEW, "20 [00 8E []]", ReasonCodeNotAllowed(0x8E), "MQTT-3.2.2-8"),
        (NEW, "20 [00 FF []]", ReasonCodeNotAllowed(0xFF), "MQTT-3.2.2-8"),
        (NEW, "20 [00 00 [24 02]]", PropertyValue(0x24), "3.2.2.3.4"),
        (NEW, "20 [00 00 [25 02]]", PropertyValue(0x25), "3.2.2.3.5"),
        (NEW, "20 [00 00 [28 02]]", PropertyValue(0x28), "3.2.2.3.11"),
        (NEW, "20 [00 00 [29 02]]", PropertyValue(0x29), "3.2.2.3.12"),
        (NEW, "20 [00 00 [2A 02]]", PropertyValue(0x2A), "3.2.2.3.13"),
        (NEW, "20 [00 00 [21 0000]]", PropertyValue(0x21), "3.2.2.3.3"),
        (NEW, "20 [00 00 [27 00000000]]", PropertyValue(0x27), "3.2.2.3.6"),
    ]);
}

#[test]
fn publishes() {
    check(&[
        (ALL, "30 00", Truncated, "MQTT-3.3.2-1"),
        (ALL, "30 02 0001", Truncated, "MQTT-3.3.2-1"),
        (ALL, "36 [<a> 000A 00]", QoS, "MQTT-3.3.1-4"),
        (ALL, "3E [<a> 000A 00]", QoS, "MQTT-3.3.1-4"),
        (ALL, "38 [<a> 00]", DupAtQoS0, "MQTT-3.3.1-2"),
        (ALL, "39 [<a> 00]", DupAtQoS0, "MQTT-3.3.1-2"),
        (ALL, "32 [<a> 0000 00]", PacketIdZero, "MQTT-2.2.1-3"),
        (ALL, "34 [<a> 0000 00]", PacketIdZero, "MQTT-2.2.1-3"),
        (ALL, "32 [<a>]", Truncated, "2.2.1"),
        (ALL, "32 [<a> 00]", Truncated, "2.2.1"),
        (OLD, "30 [<>]", TopicMissing, "MQTT-4.7.3-1"),
        (NEW, "30 [<> []]", TopicMissing, "3.3.2.1"),
        (NEW, "30 [<> [26 <k> <v>]]", TopicMissing, "3.3.2.1"),
        (ALL, "30 [<#> 00]", Topic(TopicError::Wildcard), "MQTT-3.3.2-2"),
        (ALL, "30 [<a/+/b> 00]", Topic(TopicError::Wildcard), "MQTT-3.3.2-2"),
        (ALL, "30 [<a+> 00]", Topic(TopicError::Wildcard), "MQTT-3.3.2-2"),
        (NEW, "30 [<a>]", Truncated, "MQTT-2.2.2-1"),
        (NEW, "30 [<a> 05 23 0001]", Truncated, "2.2.2.1"),
        (NEW, "30 [<a> 02 23 0001]", Truncated, "2.2.2.1: the value leaves the section"),
        (NEW, "30 [<a> 8000]", VariableByteIntegerNotMinimal, "MQTT-1.5.5-1"),
        (NEW, "30 [<a> FFFFFFFFFF]", VariableByteIntegerTooLong, "1.5.5"),
        (NEW, "30 [<a> [23 0000]]", TopicAliasZero, "MQTT-3.3.2-8"),
        (NEW, "30 [<> [23 0000]]", TopicAliasZero, "MQTT-3.3.2-8"),
        (NEW, "30 [<a> [01 02]]", PropertyValue(0x01), "3.3.2.3.2"),
        (NEW, "30 [<a> [0B 00]]", PropertyValue(0x0B), "3.3.2.3.8"),
        (NEW, "30 [<a> [0B 8100]]", VariableByteIntegerNotMinimal, "MQTT-1.5.5-1"),
        (NEW, "30 [<a> [0B FFFFFFFF01]]", VariableByteIntegerTooLong, "1.5.5"),
        (NEW, "30 [<a> [08 <a/#>]]", ResponseTopic(TopicError::Wildcard), "MQTT-3.3.2-14"),
        (NEW, "30 [<a> [08 <>]]", ResponseTopic(TopicError::Empty), "MQTT-4.7.3-1"),
        (NEW, "30 [<a> [09 0002 00]]", Truncated, "1.5.6"),
        (NEW, "30 [<a> [26 <k>]]", Truncated, "1.5.7"),
    ]);
}

#[test]
fn acks() {
    for first in ["40", "50", "62", "70"] {
        let table: &[(&[ProtocolVersion], &str, DecodeError)] = &[
            (ALL, "00", Truncated),
            (ALL, "01 12", Truncated),
            (ALL, "02 0000", PacketIdZero),
            (OLD, "03 1234 00", TrailingBytes),
            (OLD, "04 1234 00 00", TrailingBytes),
            (NEW, "03 1234 01", ReasonCodeNotAllowed(1)),
            (NEW, "03 1234 81", ReasonCodeNotAllowed(0x81)),
            (NEW, "03 1234 03", ReasonCodeNotAllowed(3)),
            (NEW, "04 1234 00 01", Truncated),
            (NEW, "05 1234 00 00 00", TrailingBytes),
            (NEW, "[1234 00 [11 00000001]]", PropertyNotAllowed(0x11)),
            (NEW, "[1234 00 [1F <a> 1F <a>]]", PropertyRepeated(0x1F)),
        ];
        for &(versions, rest, error) in table {
            for &version in versions {
                let bytes = wire(&format!("{first} {rest}"));
                assert_eq!(decode(&bytes, version), Err(error), "{version:?} {first} {rest}");
            }
        }
    }
    check(&[
        (NEW, "40 03 1234 92", ReasonCodeNotAllowed(0x92), "MQTT-3.4.2-1"),
        (NEW, "50 03 1234 92", ReasonCodeNotAllowed(0x92), "MQTT-3.5.2-1"),
        (NEW, "62 03 1234 10", ReasonCodeNotAllowed(0x10), "MQTT-3.6.2-1"),
        (NEW, "62 03 1234 80", ReasonCodeNotAllowed(0x80), "MQTT-3.6.2-1"),
        (NEW, "70 03 1234 87", ReasonCodeNotAllowed(0x87), "MQTT-3.7.2-1"),
    ]);
}

#[test]
fn subscribes() {
    check(&[
        (ALL, "82 00", Truncated, "2.2.1"),
        (OLD, "82 [0000 <a> 00]", PacketIdZero, "MQTT-2.3.1-1 of 3.1.1"),
        (NEW, "82 [0000 [] <a> 00]", PacketIdZero, "MQTT-2.2.1-3"),
        (OLD, "82 02 000A", NoFilters, "MQTT-3.8.3-3 of 3.1.1"),
        (NEW, "82 03 000A 00", NoFilters, "MQTT-3.8.3-2"),
        (NEW, "82 02 000A", Truncated, "MQTT-2.2.2-1"),
        (OLD, "82 [000A <a>]", Truncated, "MQTT-3.8.3-2"),
        (NEW, "82 [000A [] <a> 00 <b>]", Truncated, "MQTT-3.8.3-2"),
        (OLD, "82 [000A <a> 03]", SubscriptionQoS, "MQTT-3-8.3-4 of 3.1.1"),
        (NEW, "82 [000A [] <a> 03]", SubscriptionQoS, "3.8.3.1"),
        (OLD, "82 [000A <a> 04]", SubscriptionOptions, "MQTT-3-8.3-4 of 3.1.1"),
        (OLD, "82 [000A <a> 10]", SubscriptionOptions, "MQTT-3-8.3-4 of 3.1.1"),
        (OLD, "82 [000A <a> 80]", SubscriptionOptions, "MQTT-3-8.3-4 of 3.1.1"),
        (NEW, "82 [000A [] <a> 40]", SubscriptionOptions, "MQTT-3.8.3-5"),
        (NEW, "82 [000A [] <a> 80]", SubscriptionOptions, "MQTT-3.8.3-5"),
        (NEW, "82 [000A [] <a> 00 <b> C1]", SubscriptionOptions, "MQTT-3.8.3-5"),
        (NEW, "82 [000A [] <a> 30]", RetainHandling, "3.8.3.1"),
        (NEW, "82 [000A [] <$share/g/a> 04]", NoLocalOnShared, "MQTT-3.8.3-4"),
        (NEW, "82 [000A [0B 00] <a> 00]", PropertyValue(0x0B), "3.8.2.1.2"),
        (NEW, "82 [000A [0B 01 0B 02] <a> 00]", PropertyRepeated(0x0B), "3.8.2.1.2"),
        (NEW, "82 [000A [1F <a>] <a> 00]", PropertyNotAllowed(0x1F), "2.2.2.2"),
        (ALL, "A2 00", Truncated, "2.2.1"),
        (OLD, "A2 [0000 <a>]", PacketIdZero, "MQTT-2.3.1-1 of 3.1.1"),
        (NEW, "A2 [0000 [] <a>]", PacketIdZero, "MQTT-2.2.1-3"),
        (OLD, "A2 02 000A", NoFilters, "MQTT-3.10.3-2"),
        (NEW, "A2 03 000A 00", NoFilters, "MQTT-3.10.3-2"),
        (NEW, "A2 [000A [0B 01] <a>]", PropertyNotAllowed(0x0B), "2.2.2.2"),
        (OLD, "A2 [000A <a> 00]", Truncated, "3.10.3"),
    ]);
}

#[test]
fn answers() {
    check(&[
        (ALL, "90 00", Truncated, "2.2.1"),
        (OLD, "90 03 0000 00", PacketIdZero, "2.3.1 of 3.1.1"),
        (OLD, "90 02 000A", NoReasonCodes, "MQTT-3.8.4-5 of 3.1.1"),
        (NEW, "90 03 000A 00", NoReasonCodes, "MQTT-3.8.4-6"),
        (NEW, "90 02 000A", Truncated, "MQTT-2.2.2-1"),
        (OLD, "90 03 000A 03", ReasonCodeNotAllowed(3), "MQTT-3.9.3-2 of 3.1.1"),
        (OLD, "90 03 000A 87", ReasonCodeNotAllowed(0x87), "MQTT-3.9.3-2 of 3.1.1"),
        (NEW, "90 [000A [] 03]", ReasonCodeNotAllowed(3), "MQTT-3.9.3-2"),
        (NEW, "90 [000A [] 00 11]", ReasonCodeNotAllowed(0x11), "MQTT-3.9.3-2"),
        (NEW, "90 [000A [11 00000000] 00]", PropertyNotAllowed(0x11), "2.2.2.2"),
        (OLD, "B0 01 00", Truncated, "2.3.1 of 3.1.1"),
        (OLD, "B0 03 000A 00", TrailingBytes, "3.11.3 of 3.1.1"),
        (ALL, "B0 02 0000", PacketIdZero, "2.2.1"),
        (NEW, "B0 03 000A 00", NoReasonCodes, "3.11.3"),
        (NEW, "B0 [000A [] 01]", ReasonCodeNotAllowed(1), "MQTT-3.11.3-2"),
        (NEW, "B0 [000A [] 97]", ReasonCodeNotAllowed(0x97), "MQTT-3.11.3-2"),
    ]);
}

#[test]
fn ends() {
    check(&[
        (ALL, "C0 01 00", TrailingBytes, "3.12"),
        (ALL, "D0 01 00", TrailingBytes, "3.13"),
        (OLD, "E0 01 00", TrailingBytes, "3.14 of 3.1.1"),
        (NEW, "E0 01 01", ReasonCodeNotAllowed(1), "MQTT-3.14.2-1"),
        (NEW, "E0 01 84", ReasonCodeNotAllowed(0x84), "MQTT-3.14.2-1"),
        (NEW, "E0 01 86", ReasonCodeNotAllowed(0x86), "MQTT-3.14.2-1"),
        (NEW, "E0 02 00 01", Truncated, "2.2.2.1"),
        (NEW, "E0 03 00 00 00", TrailingBytes, "3.14.3"),
        (NEW, "E0 [00 [15 <M>]]", PropertyNotAllowed(0x15), "2.2.2.2"),
        (NEW, "E0 [00 [11 00000001 11 00000001]]", PropertyRepeated(0x11), "3.14.2.2.2"),
        (NEW, "F0 01 00", Truncated, "3.15.2.1"),
        (NEW, "F0 02 18 00", AuthenticationMethodMissing, "3.15.2.2.2"),
        (NEW, "F0 [18 [16 <x>]]", AuthenticationMethodMissing, "3.15.2.2.2"),
        (NEW, "F0 [00 [26 <k> <v>]]", AuthenticationMethodMissing, "3.15.2.2.2"),
        (NEW, "F0 [01 [15 <M>]]", ReasonCodeNotAllowed(1), "MQTT-3.15.2-1"),
        (NEW, "F0 [87 [15 <M>]]", ReasonCodeNotAllowed(0x87), "MQTT-3.15.2-1"),
        (NEW, "F0 [18 [15 <M>] 00]", TrailingBytes, "3.15.3"),
        (NEW, "F0 [18 [15 <M> 15 <M>]]", PropertyRepeated(0x15), "3.15.2.2.2"),
    ]);
}

#[test]
fn unknown_properties() {
    for id in (0..=0x7F).filter(|id| !PROPERTIES.iter().any(|&(known, ..)| known == *id)) {
        let bytes = wire(&format!("30 [<a> [{id:02X}]]"));
        assert_eq!(decode(&bytes, V500), Err(PropertyUnknown(id.into())));
    }
    check(&[
        (NEW, "30 [<a> [8001]]", PropertyUnknown(0x80), "2.2.2.2"),
        (NEW, "30 [<a> [FFFFFF7F]]", PropertyUnknown(0x0FFF_FFFF), "2.2.2.2"),
        (NEW, "30 [<a> [8100 01]]", VariableByteIntegerNotMinimal, "MQTT-1.5.5-1"),
    ]);
}

/// Properties, a legal value, and the packets that carry them (table 2-4), by their letters in `PACKETS`: written down
/// a second time, as the codec's own table is what is tested.
const PROPERTIES: [(u8, &str, &str); 27] = [
    (0x01, "01", "PW"),
    (0x02, "00000001", "PW"),
    (0x03, "<x>", "PW"),
    (0x08, "<x>", "PW"),
    (0x09, "<x>", "PW"),
    (0x0B, "01", "PS"),
    (0x11, "00000001", "CcD"),
    (0x12, "<x>", "c"),
    (0x13, "0001", "c"),
    (0x15, "<x>", "CcA"),
    (0x16, "<x>", "CcA"),
    (0x17, "01", "C"),
    (0x18, "00000001", "W"),
    (0x19, "01", "C"),
    (0x1A, "<x>", "c"),
    (0x1C, "<x>", "cD"),
    (0x1F, "<x>", "c1234suDA"),
    (0x21, "0001", "Cc"),
    (0x22, "0001", "Cc"),
    (0x23, "0001", "P"),
    (0x24, "01", "c"),
    (0x25, "01", "c"),
    (0x26, "<x> <x>", "CWcP1234SsUuDA"),
    (0x27, "00000001", "Cc"),
    (0x28, "01", "c"),
    (0x29, "01", "c"),
    (0x2A, "01", "c"),
];

/// A packet of each type with a gap for properties.
const PACKETS: [(char, &str); 14] = [
    ('C', "10 [<MQTT> 05 02 003C [%] <ab>]"),
    ('W', "10 [<MQTT> 05 06 003C [] <ab> [%] <w> <bye>]"),
    ('c', "20 [00 00 [%]]"),
    ('P', "30 [<a> [%]]"),
    ('1', "40 [1234 00 [%]]"),
    ('2', "50 [1234 00 [%]]"),
    ('3', "62 [1234 00 [%]]"),
    ('4', "70 [1234 00 [%]]"),
    ('S', "82 [000A [%] <a> 00]"),
    ('s', "90 [000A [%] 00]"),
    ('U', "A2 [000A [%] <a>]"),
    ('u', "B0 [000A [%] 00]"),
    ('D', "E0 [00 [%]]"),
    ('A', "F0 [18 [%]]"),
];

/// Every property in every packet: once, twice and cut short.
#[test]
fn property_legality() {
    for (letter, packet) in PACKETS {
        // What the packet asks for besides the property on trial.
        let needed = |id| match (letter, id) {
            ('A', 0x15) => "",
            ('A', _) => "15 <m> ",
            ('C', 0x16) => "15 <m> ",
            _ => "",
        };
        for (id, value, carriers) in PROPERTIES {
            let with = |properties: &str| wire(&packet.replace('%', &format!("{}{properties}", needed(id))));
            let once = decode(&with(&format!("{id:02X} {value}")), V500).map(drop);
            let twice = decode(&with(&format!("{id:02X} {value} {id:02X} {value}")), V500).map(drop);
            let cut = decode(&with(&format!("{id:02X}")), V500).map(drop);
            if !carriers.contains(letter) {
                assert_eq!(once, Err(PropertyNotAllowed(id)), "{id:02X} in {packet}");
                continue;
            }
            let repeatable = id == 0x26 || (id == 0x0B && letter == 'P');
            assert_eq!(once, Ok(()), "{id:02X} in {packet}");
            assert_eq!(
                twice,
                if repeatable { Ok(()) } else { Err(PropertyRepeated(id)) },
                "{id:02X} in {packet}"
            );
            assert_eq!(cut, Err(Truncated), "{id:02X} in {packet}");
        }
    }
}

/// Every value of a byte as a reason code of every packet (table 2-6, and the lists of chapter 3).
#[test]
fn reason_code_legality() {
    let common = "00 10 80 83 87 90 91 97 99";
    let table = [
        ("20 [00 % []]", "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F"),
        ("40 [1234 %]", common),
        ("50 [1234 %]", common),
        ("62 [1234 %]", "00 92"),
        ("70 [1234 %]", "00 92"),
        ("90 [000A [] %]", "00 01 02 80 83 87 8F 91 97 9E A1 A2"),
        ("B0 [000A [] %]", "00 11 80 83 87 8F 91"),
        (
            "E0 [%]",
            "00 04 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2",
        ),
        ("F0 [% [15 <m>]]", "00 18 19"),
    ];
    for (packet, legal) in table {
        let legal = wire(legal);
        for value in 0..=255 {
            let result = decode(&wire(&packet.replace('%', &format!("{value:02X}"))), V500).map(drop);
            let expected = if legal.contains(&value) { Ok(()) } else { Err(ReasonCodeNotAllowed(value)) };
            assert_eq!(result, expected, "{packet}");
        }
    }
}

/// What 5.0 is told: the broad codes for most, a narrow one where there is one for the matter.
#[test]
fn reason_codes_of_offences() {
    let table = [
        (Truncated, ReasonCode::MalformedPacket),
        (FixedHeaderFlags, ReasonCode::MalformedPacket),
        (PropertyNotAllowed(1), ReasonCode::MalformedPacket),
        (PropertyRepeated(1), ReasonCode::ProtocolError),
        (TopicMissing, ReasonCode::ProtocolError),
        (NoLocalOnShared, ReasonCode::ProtocolError),
        (PacketTooLarge { len: 2, max: 1 }, ReasonCode::PacketTooLarge),
        (ProtocolLevel(6), ReasonCode::UnsupportedProtocolVersion),
        (TopicAliasZero, ReasonCode::TopicAliasInvalid),
        (Topic(TopicError::Wildcard), ReasonCode::TopicNameInvalid),
        (ClientIdEmpty, ReasonCode::ClientIdentifierNotValid),
        (WillPayloadFormat, ReasonCode::PayloadFormatInvalid),
    ];
    for (error, reason) in table {
        assert_eq!(error.reason_code(), reason, "{error}");
    }
}

/// A CONNECT that is refused is still answered in its own version.
#[test]
fn versions_of_refused_connects() {
    let table = [
        ("10 [<MQTT> 05 FF]", Some(V500)),
        ("10 [<MQTT> 04 FF]", Some(V311)),
        ("10 [<MQIsdp> 03 FF]", Some(V310)),
        ("10 [<MQTT> 06]", Some(V500)),
        ("10 [<MQTT> 03]", Some(V311)),
        ("10 [<MQTT> 84]", Some(V311)),
        ("10 [<MQTT> 85]", Some(V500)),
        ("10 [<MQIsdp> 83]", Some(V311)),
        ("10 [<MQTX> 04]", None),
        ("10 [<MQTT>]", None),
        ("11 [<MQTT> 04]", None),
        ("30 [<MQTT> 04]", None),
        ("20 [<MQTT> 04]", None),
        ("", None),
    ];
    for (text, version) in table {
        assert_eq!(connect_version(&wire(text)), version, "{text}");
    }
}
