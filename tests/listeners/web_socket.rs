//! WebSocket: its opening, its frames, its end.

use std::io::{Read, Write};
use std::net::TcpStream;

use rumormq::broker::Limits;
use rumormq::codec::packet::{Connect, Packet};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

use crate::every_transport::{bytes_of, with_will};
use crate::support::client::{Client, Q0, Q1, V500, connect, options, publish};
use crate::transport::{Listening, Transport, WsStream};

type WsClient = Client<WsStream<TcpStream>>;

fn open(listening: &Listening) -> WsStream<TcpStream> {
    WsStream::open(listening.tcp(Transport::Ws)).expect("a WebSocket")
}

#[track_caller]
fn client(listening: &Listening, connect: Connect<'_>) -> WsClient {
    Client::connect_over(open(listening), connect)
}

/// The connection ends, with this code.
#[track_caller]
fn is_closed_with(mut client: WsClient, code: u16) {
    client.is_closed();
    assert_eq!(client.stream_mut().close_code, Some(code));
}

fn connect_bytes(client_id: &str) -> Vec<u8> {
    bytes_of(&[Packet::Connect(Box::new(connect(client_id)))])
}

#[test]
fn the_sub_protocol_is_asked_for() {
    let listening = Listening::start();
    for protocol in ["mqtt", "mqttv3.1"] {
        let stream = WsStream::open_with(listening.tcp(Transport::Ws), Some(protocol)).expect("a WebSocket");
        Client::connect_over(stream, connect("c")).disconnects();
    }
    for protocol in [None, Some("chat")] {
        let error = WsStream::open_with(listening.tcp(Transport::Ws), protocol).err().expect("refused");
        assert!(error.contains("400"), "{error}");
    }
    listening.node.awaits("both are counted", || listening.failures("ws", "websocket") == 2);
}

#[test]
fn pages_from_elsewhere_are_turned_away() {
    let listening = Listening::for_pages_of(&["https://app.example.org"]);
    let opens = |origin: Option<&str>| {
        let mut stream = listening.tcp(Transport::Ws);
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{origin}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("accepted");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert_eq!(opens(Some("https://app.example.org")), "HTTP/1.1 101");
    assert_eq!(opens(None), "HTTP/1.1 101", "no browser");
    assert_eq!(opens(Some("https://evil.example.org")), "HTTP/1.1 403");
    assert_eq!(opens(Some("null")), "HTTP/1.1 403");
    listening.node.awaits("both are counted", || listening.failures("ws", "websocket") == 2);
}

#[test]
fn what_is_no_request_for_a_web_socket_is_turned_away() {
    let listening = Listening::start();
    let requests = [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "POST /mqtt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "GET /mqtt HTTP/1.0\r\n\r\n".to_owned(),
        "\u{10}\r\u{0}\u{4}MQTT\u{4}\u{2}\u{0}\u{0}\u{0}\u{1}c\r\n\r\n".to_owned(),
        format!("GET /mqtt HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200)),
        format!("GET /mqtt HTTP/1.1\r\nX: {}", "y".repeat(200_000)),
    ];
    for (count, request) in requests.iter().enumerate() {
        let mut stream = listening.tcp(Transport::Ws);
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 101"), "{request}");
        let counted = || listening.failures("ws", "websocket") == count as u64 + 1;
        listening.node.awaits("it is counted", counted);
    }
}

#[test]
fn text_is_refused_and_leaves_the_will() {
    let listening = Listening::start();
    let mut mourner = listening.connect(Transport::Tcp, connect("mourner"));
    mourner.subscribes(&[("wills/#", options(Q0))], "0x00");
    let mut texter = client(&listening, with_will("texter"));
    texter.stream_mut().socket.send(Message::text("hello")).expect("open");
    mourner.gets("PUBLISH q0 wills/w gone");
    is_closed_with(texter, 1003);
    // Also as the first thing that comes.
    let mut first = open(&listening);
    first.socket.send(Message::text("hello")).expect("open");
    is_closed_with(Client::over(first, V500), 1003);
}

#[test]
fn a_broken_frame_ends_it() {
    let listening = Listening::start();
    let mut client = client(&listening, connect("c"));
    // Not masked.
    client.stream_mut().socket.get_mut().write_all(&[0x82, 0x02, 0xc0, 0x00]).expect("open");
    is_closed_with(client, 1002);
}

#[test]
fn packets_share_frames_and_span_them() {
    let listening = Listening::start();
    let mut stream = open(&listening);
    let mut bytes = connect_bytes("c");
    bytes.extend(bytes_of(&[
        Packet::Subscribe(crate::support::client::subscribe(1, &[("t", options(Q0))])),
        Packet::Publish(publish(0, Q0, "t", "one")),
        Packet::Publish(publish(0, Q0, "t", "two")),
    ]));
    let (beginning, end) = bytes.split_at(bytes.len() / 2);
    // A message in three frames, with an empty one and a ping between.
    let binary = OpCode::Data(Data::Binary);
    let continued = OpCode::Data(Data::Continue);
    let frames = [
        Frame::message(beginning.to_vec(), binary, false),
        Frame::ping(b"hello".to_vec()),
        Frame::message(Vec::new(), continued, false),
        Frame::message(end.to_vec(), continued, true),
    ];
    for frame in frames {
        stream.socket.send(Message::Frame(frame)).expect("open");
    }
    let mut client = Client::over(stream, V500);
    client.gets("CONNACK 0x00");
    client.gets_all_of(&["SUBACK 1 0x00", "PUBLISH q0 t one", "PUBLISH q0 t two"]);
    client.disconnects();
}

#[test]
fn pings_are_answered_at_any_time() {
    let listening = Listening::start();
    let mut stream = open(&listening);
    stream.socket.send(Message::Ping(b"before".to_vec().into())).expect("open");
    assert_eq!(stream.socket.read().expect("open"), Message::Pong(b"before".to_vec().into()));
    let mut client = Client::connect_over(stream, connect("c"));
    client.stream_mut().socket.send(Message::Ping(vec![7; 125].into())).expect("open");
    assert_eq!(client.stream_mut().socket.read().expect("open"), Message::Pong(vec![7; 125].into()));
    client.waits();
}

/// Who sends pings and reads no answers takes no memory for them, and is served when he reads.
#[test]
fn a_flood_of_pings_is_survived() {
    let listening = Listening::start();
    let mut client = client(&listening, connect("c"));
    let mut ping = [0; 106]; // The mask is zero, and so is the payload.
    ping[..2].copy_from_slice(&[0x89, 0x80 | 100]);
    let pings = ping.repeat(10_000);
    for _ in 0..20 {
        client.stream_mut().socket.get_mut().write_all(&pings).expect("it reads");
    }
    client.waits();
}

#[test]
fn size_is_a_matter_of_packets() {
    let listening = Listening::with(Limits { max_packet_size: 4096, ..Limits::default() });
    let mut client = client(&listening, connect("c"));
    client.subscribes(&[("t", options(Q0))], "0x00");
    // One frame, many packets.
    let payload = "x".repeat(1000);
    let packets: Vec<_> = (0..20).map(|_| Packet::Publish(publish(0, Q0, "t", &payload))).collect();
    client.sends_bytes(&bytes_of(&packets));
    for _ in &packets {
        client.gets("PUBLISH q0 t [1000 bytes]");
    }
    // The head of a frame without end, in it the head of a packet that is too large.
    let head = [0x82, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    client.stream_mut().socket.get_mut().write_all(&head).expect("open");
    client.stream_mut().socket.get_mut().write_all(&[0x30, 0xff, 0x7f]).expect("open");
    client.gets("DISCONNECT 0x95");
    is_closed_with(client, 1000);
}

#[test]
fn a_close_is_answered() {
    let listening = Listening::start();
    let mut mourner = listening.connect(Transport::Tcp, connect("mourner"));
    mourner.subscribes(&[("wills/#", options(Q1))], "0x01");
    let mut client = client(&listening, with_will("leaver"));
    let frame = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
    client.stream_mut().socket.close(Some(frame)).expect("open");
    is_closed_with(client, 1001);
    mourner.gets("PUBLISH 1 q1 wills/w gone");
}

/// What ends the WebSocket may come in one piece with the last payload.
#[test]
fn an_end_right_behind_a_packet_is_noticed() {
    let listening = Listening::start();
    let mut mourner = listening.connect(Transport::Tcp, connect("mourner"));
    mourner.subscribes(&[("#", options(Q0))], "0x00");
    let last = bytes_of(&[Packet::Publish(publish(0, Q0, "t", "last"))]);
    for (end, code) in [(0x81, 1003), (0x88, 1000)] {
        let mut client = client(&listening, with_will("leaver"));
        let mut piece = Vec::new();
        // Masked with zeros: two bytes of head, and the mask.
        piece.extend_from_slice(&[0x82, 0x80 | last.len() as u8, 0, 0, 0, 0]);
        piece.extend_from_slice(&last);
        piece.extend_from_slice(&[end, 0x80, 0, 0, 0, 0]);
        client.stream_mut().socket.get_mut().write_all(&piece).expect("open");
        mourner.gets("PUBLISH q0 t last");
        mourner.gets("PUBLISH q0 wills/w gone");
        is_closed_with(client, code);
    }
}
