//! Behind a proxy that speaks the PROXY protocol, the client's address is the one that the proxy names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use proxy_header::{ProxiedAddress, ProxyHeader, Tlv};
use rumormq::broker::Limits;
use rumormq::codec::packet::Packet;
use rumormq::net::tls::ClientCertificates;

use crate::support::client::{Client, Q0, connect, options};
use crate::support::node::Node;
use crate::transport::{Listening, TRANSPORTS, Transport};

const CLIENT: &str = "192.0.2.7:5000";

/// All listeners of a broker whose proxies are in these networks.
fn behind(proxies: &[&str]) -> Listening {
    let limits = Limits { connect_timeout: Duration::from_millis(500), ..Limits::default() };
    Listening::over(Node::behind(proxies, limits), None, ClientCertificates::Required)
}

fn header(version: u8) -> Vec<u8> {
    let addresses = ProxiedAddress::stream(
        CLIENT.parse().expect("an address"),
        "192.0.2.1:1883".parse().expect("an address"),
    );
    let mut bytes = Vec::new();
    match version {
        1 => ProxyHeader::with_address(addresses).encode_v1(&mut bytes),
        _ => {
            let unknown = Tlv::Custom(0xE5, b"something"[..].into());
            ProxyHeader::with_tlvs(Some(addresses), [unknown]).encode_v2(&mut bytes)
        }
    }
    .expect("it fits");
    bytes
}

/// The address that `$SYS` tells of the next client that connects.
fn address_of(observer: &mut Client) -> serde_json::Value {
    let frame = observer.frame().expect("open");
    let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH: {:?}", frame.packet()) };
    let event: serde_json::Value = serde_json::from_slice(publish.payload).expect("JSON");
    event["ipaddress"].clone()
}

/// Says hello for nobody, as a proxy that connects itself.
fn observer(listening: &Listening) -> Client {
    let mut tcp = listening.tcp(Transport::Tcp);
    tcp.write_all(b"PROXY UNKNOWN\r\n").expect("accepted");
    let mut observer = Client::connect_over(tcp, connect("o"));
    observer.subscribes(&[("$SYS/brokers/+/clients/+/connected", options(Q0))], "0x00");
    observer
}

#[test]
fn a_proxy_names_its_clients_on_every_listener() {
    let listening = behind(&["127.0.0.0/8"]);
    let mut observer = observer(&listening);
    for transport in TRANSPORTS {
        for version in [1, 2] {
            let mut tcp = listening.tcp(transport);
            tcp.write_all(&header(version)).expect("accepted");
            let client = Client::connect_over(listening.open_over(transport, tcp), connect("c"));
            assert_eq!(address_of(&mut observer), "192.0.2.7", "{transport:?}, version {version}");
            client.disconnects();
        }
    }
}

/// A header may share a segment with what follows it, and may be cut anywhere.
#[test]
fn a_header_comes_in_any_pieces() {
    let listening = behind(&["127.0.0.1/32"]);
    let mut observer = observer(&listening);
    let bytes = header(2);
    for cut in [1, 11, 16, bytes.len() - 1] {
        let mut tcp = listening.tcp(Transport::Tcp);
        tcp.set_nodelay(true).expect("a socket");
        tcp.write_all(&bytes[..cut]).expect("accepted");
        std::thread::sleep(Duration::from_millis(20)); // A segment of its own, mostly; if not, it is the case of one.
        tcp.write_all(&bytes[cut..]).expect("accepted");
        let _client = Client::connect_over(tcp, connect("c"));
        assert_eq!(address_of(&mut observer), "192.0.2.7", "cut at {cut}");
    }
}

fn ends(mut stream: TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("above zero");
    assert!(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)), "closed");
}

#[test]
fn a_trusted_proxy_has_to_send_a_header_and_others_must_not() {
    let listening = behind(&["127.0.0.1/32"]);
    for (transport, listener) in TRANSPORTS.into_iter().zip(["mqtt", "mqtts", "ws", "wss"]) {
        for said in [&b"\x10\x10\x00\x04MQTT"[..], b"PROXY TCP4 nonsense\r\n"] {
            let mut tcp = listening.tcp(transport);
            tcp.write_all(said).expect("accepted");
            ends(tcp);
        }
        ends(listening.tcp(transport)); // Silence is not waited for without end.
        listening.node.awaits("they are counted", || {
            (listening.failures(listener, "proxy_header"), listening.failures(listener, "timeout")) == (2, 1)
        });
        let before = listening.failures(listener, "proxy_header");
        drop(listening.tcp(transport)); // As a load balancer looks whether a port is open.
        ends(listening.tcp(transport));
        assert_eq!(listening.failures(listener, "proxy_header"), before);
    }

    let listening = behind(&["192.0.2.0/24"]);
    listening.connect(Transport::Tcp, connect("c")).disconnects();
    for (transport, listener) in TRANSPORTS.into_iter().zip(["mqtt", "mqtts", "ws", "wss"]) {
        for version in [1, 2] {
            let mut tcp = listening.tcp(transport);
            tcp.write_all(&header(version)).expect("accepted");
            ends(tcp);
        }
        listening.node.awaits("they are counted", || listening.failures(listener, "untrusted_proxy") == 2);
    }
}
