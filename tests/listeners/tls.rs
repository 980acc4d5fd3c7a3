//! Certificates: the broker's, and those of clients.

use std::io::{Read, Write};
use std::path::PathBuf;

use rumormq::broker::Limits;
use rumormq::net::tls::{ClientCertificates, Tls, TlsFiles};
use tokio_rustls::rustls::ClientConfig;

use crate::support::certificates::Authority;
use crate::support::client::{Client, Q1, connect, options, publish, tcp};
use crate::transport::{Listening, TLS_1_2, TLS_1_3, TlsStream, Transport, tls_client, tls_stream};

const VERSIONS: &[&tokio_rustls::rustls::SupportedProtocolVersion] = &[TLS_1_2, TLS_1_3];

fn open(listening: &Listening, config: ClientConfig) -> TlsStream {
    tls_stream(listening.tcp(Transport::Tls), config)
}

/// Whether the handshake succeeds. In TLS 1.3 a client learns only by reading that its certificate was refused.
fn is_let_in(listening: &Listening, config: ClientConfig) -> bool {
    let mut stream = open(listening, config);
    let ping = [0x10, 0x0d, 0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, 0x02, 0x00, 0x00, 0x00, 0x01, b'c'];
    let written = stream.write_all(&ping).and_then(|()| stream.flush());
    written.is_ok() && stream.read(&mut [0; 4]).is_ok_and(|count| count > 0)
}

#[test]
fn both_versions_are_spoken() {
    let listening = Listening::start();
    for version in VERSIONS {
        let stream = open(&listening, tls_client(&listening.authority, None, &[version]));
        let mut client = Client::connect_over(stream, connect("c"));
        client.subscribes(&[("t", options(Q1))], "0x01");
        assert_eq!(client.stream_mut().conn.protocol_version(), Some(version.version));
        client.disconnects();
    }
}

#[test]
fn certificates_are_asked_for_as_the_operator_says() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let (good, bad) = (known.client("device-1"), unknown.client("device-1"));
    for (mode, without) in [(ClientCertificates::Required, false), (ClientCertificates::Optional, true)] {
        let listening = Listening::with_clients_of(Some(&known), mode, Limits::default());
        for version in VERSIONS {
            let config = |identity| tls_client(&listening.authority, identity, &[version]);
            assert!(is_let_in(&listening, config(Some(&good))), "{mode} {version:?}");
            assert!(!is_let_in(&listening, config(Some(&bad))), "{mode} {version:?}");
            assert_eq!(is_let_in(&listening, config(None)), without, "{mode} {version:?}");
        }
        let refused = if without { 2 } else { 4 };
        listening.node.awaits("all are counted", || listening.failures("mqtts", "tls") == refused);
    }
}

#[test]
fn a_client_of_another_authority_refuses_the_broker() {
    let (listening, other) = (Listening::start(), Authority::new());
    assert!(!is_let_in(&listening, tls_client(&other, None, VERSIONS)));
}

#[test]
fn certificates_read_again_are_for_new_connections() {
    let listening = Listening::start();
    let config = || tls_client(&listening.authority, None, VERSIONS);
    let shown = |stream: &TlsStream| stream.conn.peer_certificates().expect("shown")[0].clone();
    let mut before = Client::connect_over(open(&listening, config()), connect("before"));
    let files = listening.authority.server();
    listening.tls.reload().expect("files as they should be");
    let mut after = Client::connect_over(open(&listening, config()), connect("after"));
    assert_ne!(shown(before.stream_mut()), shown(after.stream_mut()));
    before.waits();
    std::fs::write(&files.key, "no key").expect("a file of this test");
    let error = listening.tls.reload().unwrap_err().to_string();
    assert!(error.contains("no private key in PEM form; give the right file with --tls-key-file"), "{error}");
    let mut still = Client::connect_over(open(&listening, config()), connect("still"));
    assert_eq!(shown(still.stream_mut()), shown(after.stream_mut()));
    still.publishes(publish(1, Q1, "t", "works"));
}

#[test]
fn clients_come_back_with_a_ticket() {
    let listening = Listening::start();
    let config = tls_client(&listening.authority, None, &[TLS_1_3]);
    let kinds = [0, 1].map(|_| {
        let mut client = Client::connect_over(open(&listening, config.clone()), connect("c"));
        client.waits();
        client.stream_mut().conn.handshake_kind().expect("done")
    });
    use tokio_rustls::rustls::HandshakeKind::{Full, Resumed};
    assert_eq!(kinds, [Full, Resumed]);
}

#[test]
fn bad_files_are_blamed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.server();
    let good = TlsFiles {
        certificate: good.certificate,
        key: good.key,
        client_ca: None,
        client_certificates: ClientCertificates::Required,
    };
    let missing = PathBuf::from("/does/not/exist.pem");
    let empty = authority.certificate().with_file_name("empty.pem");
    std::fs::write(&empty, "").expect("a writable target directory");
    let broken = authority.certificate().with_file_name("broken.pem");
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&broken, text).expect("a writable target directory");
    for (files, message) in [
        (TlsFiles { certificate: missing.clone(), ..good.clone() }, "cannot read certificate from"),
        (TlsFiles { certificate: good.key.clone(), ..good.clone() }, "has no certificate in PEM form"),
        (TlsFiles { certificate: empty.clone(), ..good.clone() }, "right file with --tls-certificate-file"),
        (TlsFiles { certificate: broken.clone(), ..good.clone() }, "cannot be used: "),
        (TlsFiles { key: missing.clone(), ..good.clone() }, "cannot read private key from"),
        (TlsFiles { key: good.certificate.clone(), ..good.clone() }, "has no private key in PEM form"),
        (TlsFiles { key: other.server().key, ..good.clone() }, "cannot be used: "),
        (TlsFiles { client_ca: Some(missing), ..good.clone() }, "right file with --tls-client-ca-file"),
        (TlsFiles { client_ca: Some(empty), ..good.clone() }, "right file with --tls-client-ca-file"),
        (TlsFiles { client_ca: Some(broken), ..good.clone() }, "right file with --tls-client-ca-file"),
    ] {
        let error = Tls::load(files.clone()).err().expect("bad files").to_string();
        assert!(error.contains(message), "{error}");
        let all = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
        assert!(all.into_iter().flatten().any(|path| error.contains(path.to_str().unwrap())), "{error}");
    }
}

#[test]
fn other_protocols_are_turned_away() {
    let listening = Listening::start();
    // MQTT without TLS to the port with it.
    for transport in [Transport::Tls, Transport::Wss] {
        let mut plain = Client::start(listening.address(transport), connect("plain"));
        let mut alert = Vec::new();
        let _ = plain.stream_mut().read_to_end(&mut alert);
        assert!(alert.is_empty() || alert[0] == 0x15, "an alert of TLS at most: {alert:x?}");
    }
    listening.node.awaits("both are counted", || {
        listening.failures("mqtts", "tls") == 1 && listening.failures("wss", "tls") == 1
    });
    // And the other way.
    let mut stream =
        tls_stream(tcp(listening.address(Transport::Tcp)), tls_client(&listening.authority, None, VERSIONS));
    assert!(stream.write_all(b"x").and_then(|()| stream.flush()).is_err());
}
