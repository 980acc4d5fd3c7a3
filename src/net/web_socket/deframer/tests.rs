use proptest::prelude::*;

use super::*;

const MASK: [u8; 4] = [0x11, 0xa2, 0x33, 0xc4];

/// A frame as a client sends it.
fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let head = FrameHeader { is_final, opcode, mask: Some(MASK), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    head.format(payload.len() as u64, &mut bytes).unwrap();
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

const BINARY: OpCode = OpCode::Data(Data::Binary);
const CONTINUE: OpCode = OpCode::Data(Data::Continue);
const PING: OpCode = OpCode::Control(Control::Ping);
const PONG: OpCode = OpCode::Control(Control::Pong);
const CLOSE: OpCode = OpCode::Control(Control::Close);

/// What comes of `bytes` when they arrive in pieces of this size.
fn payload(deframer: &mut Deframer, bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut piece = piece.to_vec();
        let length = deframer.handle_bytes(&mut piece);
        out.extend_from_slice(&piece[..length]);
    }
    out
}

#[test]
fn payloads_are_a_stream_whatever_their_frames_and_pieces() {
    let large: Vec<u8> = (0..70_000u32).map(|n| n as u8).collect();
    let frames = [
        frame(BINARY, true, b"one"),
        frame(BINARY, true, b""),
        frame(BINARY, false, b"two "),
        frame(PING, true, b"are you there"),
        frame(CONTINUE, false, b"and"),
        frame(PONG, true, b""),
        frame(CONTINUE, true, b" three"),
        frame(BINARY, true, &large[..300]),
        frame(BINARY, true, &large),
    ];
    let expected = [b"onetwo and three", &large[..300], &large].concat();
    for piece in [1, 2, 3, 7, 13, 14, 15, 64, 1000, usize::MAX] {
        let mut deframer = Deframer::default();
        assert_eq!(payload(&mut deframer, &frames.concat(), piece), expected, "in pieces of {piece}");
        assert_eq!(deframer.take_ping().as_deref(), Some(&b"are you there"[..]));
        assert!(!deframer.has_ping() && !deframer.has_ended());
    }
}

#[test]
fn only_the_last_ping_is_answered() {
    let mut deframer = Deframer::default();
    payload(&mut deframer, &[frame(PING, true, b"1"), frame(PING, true, b"2")].concat(), 5);
    assert_eq!(deframer.take_ping().as_deref(), Some(&b"2"[..]));
}

#[test]
fn broken_rules_end_it_with_the_code_for_them() {
    let unmasked = [0x82, 0x01, 0x00].to_vec();
    let reserved_bit = [0xc2, 0x80, 0, 0, 0, 0].to_vec();
    let reserved_opcode = [0x83, 0x80, 0, 0, 0, 0].to_vec();
    let half_a_ping = frame(PING, false, b"");
    let long_ping = frame(PING, true, &[0; 126]);
    let no_beginning = frame(CONTINUE, true, b"x");
    let two_beginnings = [frame(BINARY, false, b"ok"), frame(BINARY, true, b"x")].concat();
    for (bytes, code) in [
        (unmasked, 1002),
        (reserved_bit, 1002),
        (reserved_opcode, 1002),
        (half_a_ping, 1002),
        (long_ping, 1002),
        (no_beginning, 1002),
        (two_beginnings, 1002),
        (frame(OpCode::Data(Data::Text), true, b"text"), 1003),
    ] {
        let mut deframer = Deframer::default();
        let all = [frame(BINARY, true, b"before "), bytes, frame(BINARY, true, b"after")].concat();
        let payload = payload(&mut deframer, &all, 4);
        assert!(payload == b"before " || payload == b"before ok", "{payload:?}");
        assert!(deframer.has_ended());
        assert_eq!(deframer.close_code(), code, "{all:x?}");
    }
}

#[test]
fn a_close_is_answered_in_kind() {
    for (payload, code) in [
        (&b""[..], 1000),
        (&[0x03, 0xe8], 1000),
        (&[0x03, 0xe9, b'b', b'y', b'e'], 1001),
        (&[0x0f, 0xa0], 4000),
        (&[0x03], 1002),
        (&[0x03, 0xed], 1002), // 1005 is never sent.
    ] {
        let mut deframer = Deframer::default();
        let mut bytes = frame(CLOSE, true, payload);
        assert_eq!(deframer.handle_bytes(&mut bytes), 0);
        assert!(deframer.has_ended());
        assert_eq!(deframer.close_code(), code, "{payload:x?}");
    }
    assert_eq!(Deframer::default().close_code(), 1000, "nobody has closed it");
}

proptest! {
    /// Whatever comes, nothing panics, and what is given is never more than what came.
    #[test]
    fn any_bytes_can_come(bytes in proptest::collection::vec(any::<u8>(), 0..400), piece in 1..40usize) {
        let mut deframer = Deframer::default();
        prop_assert!(payload(&mut deframer, &bytes, piece).len() <= bytes.len());
    }

    #[test]
    fn unmasking_is_by_byte_and_position(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), mask: [u8; 4]) {
        let expected: Vec<u8> = bytes.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        unmask(&mut bytes, mask);
        prop_assert_eq!(bytes, expected);
    }
}
