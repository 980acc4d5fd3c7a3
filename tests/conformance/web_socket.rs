//! MQTT over WebSocket (chapter 6), with nothing between the test and the bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use rumormq::codec::packet::{Packet, ProtocolVersion};
use rumormq::net::{PageOrigins, Protocol};

use crate::support::client::{PATIENCE, Q1, V500, ack, options, publish, subscribe};
use crate::support::node::Node;
use crate::{BOTH, passing};

/// A WebSocket opened by hand, and what the server answered.
fn open(node: &Node, offers: &str) -> (TcpStream, String) {
    let mut stream =
        TcpStream::connect(node.listens(Protocol::Ws(PageOrigins::default()))).expect("the broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("above zero");
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {offers}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("the broker reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.extend(byte);
    }
    (stream, String::from_utf8(answer).expect("a head of HTTP").to_ascii_lowercase())
}

const BINARY: u8 = 2;
const TEXT: u8 = 1;

/// A frame as a client sends it, masked with zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|&length| length < 126).expect("a short frame");
    let mut frame = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
    frame.extend(payload);
    frame
}

/// The next frame: its first byte and its payload; none at the end of the stream.
fn read_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    match stream.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()) => {
            return None;
        }
        Err(error) => panic!("nothing comes: {error}"),
    }
    assert!(head[1] < 126, "a short frame that is not masked");
    let mut payload = vec![0; head[1].into()];
    stream.read_exact(&mut payload).expect("a whole frame");
    Some((head[0], payload))
}

fn bytes(version: ProtocolVersion, packets: &[Packet<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        rumormq::codec::encode(packet, version, u32::MAX, &mut bytes).expect("a packet of this version");
    }
    bytes
}

/// Payloads of binary frames, and nothing else, until there are so many bytes [MQTT-6.0.0-1].
fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < length {
        let (first, payload) = read_frame(stream).expect("open");
        assert_eq!(first, 0x82, "a whole binary frame");
        read.extend(payload);
    }
    read
}

/// [MQTT-6.0.0-1], [MQTT-6.0.0-2].
#[test]
fn packets_may_share_frames_and_span_them() {
    let node = Node::start();
    for version in BOTH {
        let (mut stream, _) = open(&node, "mqtt");
        for byte in bytes(version, &[Packet::Connect(Box::new(passing(version, "c")))]) {
            stream.write_all(&frame(BINARY, &[byte])).expect("the broker reads");
        }
        let connack = read_frame(&mut stream).expect("open");
        assert_eq!((connack.0, connack.1[0]), (0x82, 0x20));
        let requests = [
            Packet::Subscribe(subscribe(1, &[("a", options(Q1))])),
            Packet::Publish(publish(7, Q1, "a", "x")),
            Packet::PubAck(ack(1)),
            Packet::PingReq,
        ];
        stream.write_all(&frame(BINARY, &bytes(version, &requests))).expect("the broker reads");
        let ends_with_a_pong: &[u8] = b"\xd0\x00";
        let message = if version == V500 {
            &b"\x32\x07\x00\x01a\x00\x01\x00x"[..]
        } else {
            b"\x32\x06\x00\x01a\x00\x01x"
        };
        let suback = if version == V500 { &b"\x90\x04\x00\x01\x00\x01"[..] } else { b"\x90\x03\x00\x01\x01" };
        let answers = [suback, message, b"\x40\x02\x00\x07", ends_with_a_pong].concat();
        assert_eq!(read(&mut stream, answers.len()), answers);
    }
}

/// [MQTT-6.0.0-1].
#[test]
fn text_ends_the_connection() {
    let node = Node::start();
    for version in BOTH {
        let (mut stream, _) = open(&node, "mqtt");
        let connect = bytes(version, &[Packet::Connect(Box::new(passing(version, "c")))]);
        stream.write_all(&frame(BINARY, &connect)).expect("the broker reads");
        read_frame(&mut stream).expect("CONNACK");
        stream.write_all(&frame(TEXT, b"\xc0\x00")).expect("the broker reads");
        let _ = stream.write_all(&frame(BINARY, b"\xc0\x00"));
        while let Some((first, _)) = read_frame(&mut stream) {
            assert_eq!(first, 0x88, "nothing but a farewell");
        }
        node.awaits("the end", || node.broker.metrics.connections.get() == 0);
    }
}

/// [MQTT-6.0.0-3], [MQTT-6.0.0-4]: who offers it gets it, and who offers nothing of MQTT is turned away.
#[test]
fn the_sub_protocol_is_mqtt() {
    let node = Node::start();
    for offers in ["mqtt", "mqttv3.1, mqtt", "chat, mqtt"] {
        let (_, answer) = open(&node, offers);
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        assert!(answer.contains("\r\nsec-websocket-protocol: mqtt\r\n"), "{answer}");
    }
    let (_, answer) = open(&node, "chat");
    assert!(answer.starts_with("http/1.1 400 "), "{answer}");
}
