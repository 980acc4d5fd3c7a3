//! What comes before MQTT is bounded: in time, and in number.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rumormq::broker::Limits;

use crate::support::client::connect;
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
    let listening = Listening::with(Limits { max_connections: 3, ..Limits::default() });
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
        let stream = listening.tcp(Transport::Tcp);
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("above zero");
        // Nothing comes, where the connection was not closed.
        (&stream).read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    });
    drop((tcp, ws));
}
