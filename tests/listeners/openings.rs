//! What comes before MQTT is bounded: in time, and in number.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rumormq::broker::Limits;
use rumormq::codec::packet::{ConnAck, Packet, ReasonCode};

use crate::support::client::{Client, connect};
use crate::transport::{Listening, TRANSPORTS, Transport};

#[test]
fn half_open_handshakes_keep_nobody_out() {
    const SILENT: usize = 100;
    let patience = Duration::from_millis(500);
    let listening = Listening::with(Limits { connect_timeout: patience, ..Limits::default() });
    let beginnings: [(Transport, &str, &[u8]); 6] = [
        (Transport::Tls, "mqtts", b""),
        (Transport::Tls, "mqtts", &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]),
        (Transport::Ws, "ws", b""),
        (Transport::Ws, "ws", b"GET /mqtt HTTP/1.1\r\nHost: "),
        (Transport::Wss, "wss", b""),
        (Transport::Wss, "wss", &[0x16]),
    ];
    let mut silent: Vec<TcpStream> = Vec::new();
    for (transport, _, bytes) in beginnings {
        for _ in 0..SILENT {
            let mut stream = listening.tcp(transport);
            stream.write_all(bytes).expect("accepted");
            silent.push(stream);
        }
    }
    for transport in TRANSPORTS {
        listening.connect(transport, connect("c")).disconnects();
    }
    for stream in &mut silent {
        assert!(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)), "closed");
    }
    for listener in ["mqtts", "ws", "wss"] {
        let all = || listening.failures(listener, "timeout") == 2 * SILENT as u64;
        listening.node.awaits("all are counted", all);
    }
}

#[test]
fn connections_count_whatever_they_come_by() {
    // Who says nothing is told nothing, and closed after this.
    let patience = Duration::from_millis(500);
    let limits = Limits { max_connections: 3, connect_timeout: patience, ..Limits::default() };
    let listening = Listening::with(limits);
    let mut clients = [Transport::Tcp, Transport::Wss, Transport::Ws]
        .map(|transport| listening.connect(transport, connect(&format!("{transport:?}"))));
    for transport in TRANSPORTS {
        let refused = listening.tcp(transport).read(&mut [0; 1]);
        assert!(matches!(refused, Ok(0) | Err(_)), "{transport:?}");
    }
    let full = listening.node.broker.metrics.connects.with_label_values(&["full"]).get();
    assert_eq!(full, TRANSPORTS.len() as u64);
    clients.iter_mut().for_each(|client| client.waits());
    let [tcp, wss, ws] = clients;
    wss.disconnects();
    listening.node.awaits("the place is free", || {
        let mut next = Client::start(listening.address(Transport::Tcp), connect("next"));
        let answer = next.frame().expect("an answer");
        matches!(answer.packet(), Packet::ConnAck(ConnAck { reason: ReasonCode::Success, .. }))
    });
    drop((tcp, ws));
}
