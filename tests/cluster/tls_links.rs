//! Links within TLS: who is let in, and who is told what.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rumormq::cluster::link::handshake::{Credentials, Established, HandshakeError, shake_hands};
use rumormq::cluster::link::hello::{Addresses, Hello, SPOKEN};
use rumormq::cluster::link::tls::{LinkTls, LinkTlsFiles};
use rumormq::codec::packet::QoS::{AtMostOnce, ExactlyOnce};
use rumormq_gossip::seal::LinkPsk;
use rumormq_gossip::{Incarnation, NodeName, ReplicaId};
use tokio::io::DuplexStream;
use tokio::runtime::{Builder, Runtime};

use crate::clients::{connect, message, numbers, publish_numbers, subscriber, time_of_puback};
use crate::processes::netns::Network;
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits};
use crate::support::certificates::{Authority, Identity};
use crate::support::client::Q1;

const COOKIE: &str = "a secret for tests only";

fn files(identity: &Identity, ca: &Path) -> LinkTlsFiles {
    LinkTlsFiles { certificate: identity.certificate.clone(), key: identity.key.clone(), ca: ca.to_owned() }
}

fn within_tls(launch: Launch, identity: &Identity, ca: &Path) -> Launch {
    let path = |path: &Path| path.display().to_string();
    launch
        .flag("--cluster-tls-certificate-file", &path(&identity.certificate))
        .flag("--cluster-tls-key-file", &path(&identity.key))
        .flag("--cluster-tls-ca-file", &path(ca))
}

fn name(name: &str) -> NodeName {
    NodeName::parse(name).expect("a name")
}

fn hello(node: &str) -> Hello {
    Hello {
        cluster: "rumormq".to_owned(),
        protocol: SPOKEN,
        replica: ReplicaId { name: name(node), incarnation: Incarnation(1) },
        addresses: Addresses { cluster: "127.0.0.1:9".to_owned(), mqtt: None, http: None },
        gossip: postcard::to_stdvec(&rumormq_gossip::Digest::default()).expect("it can be written"),
        forwards_received: BTreeMap::new(),
        wall_clock_ms: 0,
    }
}

/// What one end of a handshake has.
struct End {
    node: &'static str,
    credentials: Credentials,
}

impl End {
    fn new(node: &'static str, tls: Option<LinkTls>, psks: &[u8]) -> End {
        let psks = psks.iter().map(|byte| LinkPsk::from([*byte; 32])).collect();
        End { node, credentials: Credentials { cluster: "rumormq".to_owned(), psks, tls: tls.map(Arc::new) } }
    }
}

type Outcome = Result<Established<DuplexStream>, HandshakeError>;

/// What the dialling and the accepting end make of it.
fn meet(dialler: &End, acceptor: &End) -> (Outcome, Outcome) {
    let (one, other) = tokio::io::duplex(64 << 10);
    runtime().block_on(async {
        tokio::join!(
            shake_hands(one, true, &dialler.credentials, || hello(dialler.node)),
            shake_hands(other, false, &acceptor.credentials, || hello(acceptor.node)),
        )
    })
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn refusal(outcome: Outcome) -> (String, Option<&'static str>) {
    match outcome {
        Ok(_) => panic!("the peer is let in"),
        Err(error) => (error.to_string(), error.rejection()),
    }
}

#[test]
fn both_ends_check_each_other() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let load = |authority: &Authority, trusted: &Authority, node: &str| {
        let identity = authority.node(node, &["127.0.0.1"], None);
        let both = authority.certificate().with_file_name("both.pem");
        let pem = |of: &Authority| std::fs::read_to_string(of.certificate()).expect("written");
        std::fs::write(&both, pem(authority) + &pem(trusted)).expect("a writable directory");
        LinkTls::load(&files(&identity, &both), &name(node)).expect("files as they should be")
    };
    let end =
        |node, authority, trusted, psks: &[u8]| End::new(node, Some(load(authority, trusted, node)), psks);
    let (a, b) = (end("a@127.0.0.1", &ours, &ours, &[1]), end("b@127.0.0.1", &ours, &ours, &[2, 1]));
    let (dialler, acceptor) = meet(&a, &b);
    let (dialler, acceptor) = (dialler.expect("let in"), acceptor.expect("let in"));
    assert_eq!(
        (dialler.hello.replica.name, acceptor.hello.replica.name),
        (name("b@127.0.0.1"), name("a@127.0.0.1"))
    );
    assert!(dialler.sealer.is_none() && dialler.opener.is_none(), "nothing is sealed twice");
    assert!(acceptor.sealer.is_none() && acceptor.opener.is_none());

    // An authority that one end does not know. Whoever finds out says so to the other.
    let stranger = end("s@127.0.0.1", &theirs, &ours, &[1]);
    for (dialler, acceptor) in [(&a, &stranger), (&stranger, &a)] {
        let (dialler, acceptor) = meet(dialler, acceptor);
        for (text, reason) in [refusal(dialler), refusal(acceptor)] {
            assert_eq!(reason, Some("link_tls"), "{text}");
            assert!(text.contains("UnknownIssuer") || text.contains("UnknownCA"), "{text}");
        }
    }
    // The certificate is right and the cookie is not.
    let (dialler, acceptor) = meet(&b, &a);
    assert_eq!(refusal(dialler).0, "the peer does not accept this node's cookie, the first of its own");
    assert_eq!(refusal(acceptor).0, "the peer has no accepted cookie of this cluster");
}

/// A downgrade is nothing to negotiate: either end only does what it is set up for.
#[test]
fn ends_that_are_protected_differently_tell_each_other() {
    let authority = Authority::new();
    let tls = || {
        let identity = authority.node("n", &["127.0.0.1"], None);
        Some(
            LinkTls::load(&files(&identity, &authority.certificate()), &name("n@127.0.0.1")).expect("loaded"),
        )
    };
    let plain = End::new("p@127.0.0.1", None, &[]);
    let sealed = End::new("p@127.0.0.1", None, &[1]);
    let encrypted = End::new("p@127.0.0.1", tls(), &[]);
    let both = End::new("p@127.0.0.1", tls(), &[1]);
    let has_none = "the peer has no TLS between nodes, this node wants it";
    let wants = "the peer wants TLS between nodes, this node has no --cluster-tls-certificate-file";
    for (one, other) in [(&plain, &encrypted), (&plain, &both), (&sealed, &encrypted), (&sealed, &both)] {
        let (dialler, acceptor) = meet(one, other);
        assert_eq!(
            (refusal(dialler), refusal(acceptor)),
            ((wants.to_owned(), Some("link_mode")), (has_none.to_owned(), Some("link_mode")))
        );
        let (dialler, acceptor) = meet(other, one);
        assert_eq!((refusal(dialler).0, refusal(acceptor).0), (has_none.to_owned(), wants.to_owned()));
    }
    let (dialler, acceptor) = meet(&encrypted, &both);
    assert_eq!(refusal(dialler).0, "the peer has a cookie, this node has none");
    assert_eq!(refusal(acceptor).0, "the peer has no cookie, this node has one");
}

/// Whoever has a certificate of the cluster's authority is not thereby any node of the cluster.
#[test]
fn a_certificate_is_good_for_its_own_node_alone() {
    let authority = Authority::new();
    let ca = authority.certificate();
    let host = authority.node("host", &["127.0.0.1", "*.mq.example.org"], None);
    let one = authority.node("one", &["127.0.0.1"], Some("rumormq:a@127.0.0.1"));
    let load = |identity: &Identity, node: &str| LinkTls::load(&files(identity, &ca), &name(node));
    assert!(load(&host, "any@127.0.0.1").is_ok() && load(&host, "any@n1.mq.example.org").is_ok());
    let error = load(&one, "b@127.0.0.1").err().expect("it is for another").to_string();
    assert!(error.contains("is for 127.0.0.1, rumormq:a@127.0.0.1, not for b@127.0.0.1"), "{error}");
    assert!(error.contains("the URI rumormq:b@127.0.0.1"), "{error}");

    // One that has stolen the name.
    let thief = End::new("b@127.0.0.1", Some(load(&one, "a@127.0.0.1").expect("its own")), &[]);
    let honest = End::new("c@127.0.0.1", Some(load(&host, "c@127.0.0.1").expect("its own")), &[]);
    for (_, outcome) in [meet(&thief, &honest), {
        let (found, other) = meet(&honest, &thief);
        (other, found)
    }] {
        let (text, reason) = refusal(outcome);
        assert_eq!(reason, Some("link_other_node"));
        let expected =
            "the peer calls itself b@127.0.0.1, and its certificate is for 127.0.0.1, rumormq:a@127.0.0.1";
        assert_eq!(text, expected);
    }
    // A client's certificate is no node's.
    let client = authority.client("a client");
    let error = load(&client, "a@127.0.0.1").err().expect("for clients only").to_string();
    assert!(error.contains("for servers and for clients"), "{error}");
}

/// Three nodes, and everything that links carry.
fn carries_everything(launch: impl Fn(&str) -> Launch, hosts: &[&str]) {
    let authority = Authority::new();
    let identity = authority.node("all", hosts, None);
    let start = |name: &str, seed: Option<&Process>| {
        let launch = within_tls(launch(name).cookie(COOKIE), &identity, &authority.certificate());
        match seed {
            Some(seed) => launch.join(seed.cluster_addr()).start(),
            None => launch.start(),
        }
    };
    let one = start("n1", None);
    let (two, mut three) = (start("n2", Some(&one)), start("n3", Some(&one)));
    await_converged(&[&one, &two, &three]);
    let mut publisher = connect(&one, "p");
    for (qos, count) in [(AtMostOnce, 200), (Q1, 500), (ExactlyOnce, 500)] {
        let topic = format!("t/{}", qos as u8);
        let mut clients =
            [subscriber(&two, &topic, &[&topic], qos), subscriber(&three, &topic, &[&topic], qos)];
        publish_numbers(&mut publisher, &topic, qos, 0..count, 50);
        for client in &mut clients {
            assert_eq!(numbers_of(client, count), numbers(0..count));
        }
    }
    // More than a record holds.
    let mut client = subscriber(&three, "large", &["large"], Q1);
    let large = "x".repeat(300_000);
    time_of_puback(&mut publisher, "large", &large);
    assert!(message(&mut client) == large);
    three.kill();
    three.restart();
    await_converged(&[&one, &two, &three]);
    let mut client = subscriber(&three, "again", &["again"], Q1);
    time_of_puback(&mut publisher, "again", "x");
    assert_eq!(message(&mut client), "x");
}

fn numbers_of(client: &mut crate::support::client::Client, count: u32) -> Vec<String> {
    (0..count).map(|_| message(client)).collect()
}

#[test]
fn links_within_tls_carry_everything() {
    carries_everything(Launch::new, &["127.0.0.1"]);
}

#[test]
fn links_within_tls_over_ipv6() {
    carries_everything(Launch::ipv6, &["::1"]);
}

/// Hosts that have addresses of IPv6 in a network of their own.
#[test]
fn links_within_tls_between_hosts_over_ipv6() {
    let Some(network) = Network::new() else { return };
    let hosts = ["n1", "n2", "n3"].map(|name| (name, network.host()));
    let Some(addresses) = hosts.iter().map(|(_, host)| host.ipv6()).collect::<Option<Vec<_>>>() else {
        return eprintln!("SKIPPED: no IPv6");
    };
    let launch = |name: &str| {
        let index = hosts.iter().position(|(other, _)| *other == name).expect("one of the three");
        Launch::within_at(&hosts[index].1, addresses[index], name)
    };
    let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    carries_everything(launch, &names.iter().map(String::as_str).collect::<Vec<_>>());
}

/// A node whose certificate does not fit does not start; one of another authority stays outside, and both sides say so.
#[test]
fn a_node_of_another_authority_stays_outside() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (good, bad) = (ours.node("n", &["127.0.0.1"], None), theirs.node("n", &["127.0.0.1"], None));
    let launch = |name, identity, authority: &Authority| {
        within_tls(Launch::new(name).cookie(COOKIE), identity, &authority.certificate())
    };
    let one = launch("n1", &good, &ours).start();
    let two = launch("n2", &good, &ours).join(one.cluster_addr()).start();
    await_converged(&[&one, &two]);
    let stranger = |name| launch(name, &bad, &theirs).join(one.cluster_addr()).flag("--join-grace", "300ms");
    let outside = stranger("n3").start();
    awaits("both ends count it", PATIENCE, || {
        one.rejected("link_tls") > 0.0 && outside.rejected("link_tls") > 0.0
    });
    for node in [&one, &outside] {
        let told = || node.has_logged(&["peer turned away", "TLS with the peer fails"]);
        awaits("both ends say so", PATIENCE, told);
    }
    let mut client = subscriber(&two, "c", &["still/here"], Q1);
    time_of_puback(&mut connect(&one, "p"), "still/here", "x");
    assert_eq!(message(&mut client), "x");

    let (code, error) = launch("n4", &bad, &ours).fails();
    assert!(
        code == Some(2) && error.contains("it has to be of an authority in --cluster-tls-ca-file"),
        "{error}"
    );
    let elsewhere = ours.node("elsewhere", &["10.0.0.1"], None);
    let (code, error) = launch("n4", &elsewhere, &ours).fails();
    assert!(code == Some(2) && error.contains("is for 10.0.0.1, not for n4@127.0.0.1"), "{error}");
}

/// Whatever is said to a node that wants TLS, it goes on.
#[test]
fn p7_bounded_nonsense_in_place_of_tls() {
    use rumormq::cluster::link::preamble::Preamble;
    use std::io::{Read, Write};
    let authority = Authority::new();
    let identity = authority.node("n", &["127.0.0.1"], None);
    let launch = |name| within_tls(Launch::new(name).cookie(COOKIE), &identity, &authority.certificate());
    let one = launch("n1").start();
    let noise: Vec<u8> =
        (0..50_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (bytes, reason) in [
        ([&Preamble::TlsAndCookie.bytes()[..], &noise].concat(), "link_tls"),
        ([&Preamble::TlsAndCookie.bytes()[..], &[0x16, 3, 1, 0xff, 0xff], &noise].concat(), "link_tls"),
        (Preamble::Sealed.bytes().to_vec(), "link_mode"),
        (noise.clone(), "link_malformed"),
    ] {
        let before = one.rejected(reason);
        let mut stream = std::net::TcpStream::connect(one.cluster_addr()).expect("it listens");
        let _ = stream.write_all(&bytes);
        let _ = stream.read_to_end(&mut Vec::new());
        awaits(reason, PATIENCE, || one.rejected(reason) > before);
    }
    // More than may shake hands at a time, none of which goes on.
    let silent: Vec<std::net::TcpStream> = (0..300)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(one.cluster_addr()).expect("it listens");
            stream.write_all(&Preamble::TlsAndCookie.bytes()).expect("it reads");
            stream
        })
        .collect();
    let two = launch("n2").join(one.cluster_addr()).start();
    await_converged(&[&one, &two]);
    assert!(one.rejected("link_crowded_out") > 0.0);
    drop(silent);
}
