//! P7: whoever does not belong to the cluster changes nothing in it, and is counted.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rumormq::cluster::link::frame;
use rumormq::cluster::link::hello::{Addresses, Hello, ProtocolRange};
use rumormq::cluster::link::kind;
use rumormq::cluster::link::preamble::Preamble;
use rumormq::cluster::link::secure::{HANDSHAKE_LEN, Initiator, SecureChannel, prologue};
use rumormq_gossip::seal::{ClusterKeys, Cookie};
use rumormq_gossip::{Incarnation, NodeName, ReplicaId};

use crate::clients::{connect, message, subscriber, time_of_puback};
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits};
use crate::support::client::Q1;

const COOKIE: &str = "a secret for tests only";
const CLUSTER: &str = "rumormq";

/// Two nodes and a subscriber, before and after intruders have tried their luck.
struct Fortress {
    nodes: [Process; 2],
    routes: Vec<(String, Vec<String>)>,
}

impl Fortress {
    fn build(settings: impl Fn(Launch) -> Launch) -> Fortress {
        let one = settings(Launch::new("n1")).start();
        let two = settings(Launch::new("n2")).join(one.cluster_addr()).start();
        await_converged(&[&one, &two]);
        Fortress { nodes: [one, two], routes: Vec::new() }
    }

    fn address(&self) -> SocketAddr {
        self.nodes[0].cluster_addr()
    }

    /// Runs `attack`, and checks that nothing has changed but the counters of `reasons`.
    fn withstands(&mut self, attack: impl FnOnce(SocketAddr), reasons: &[&str]) {
        let [one, two] = &self.nodes;
        let mut client = subscriber(two, "c", &["still/here"], Q1);
        self.routes = one.routes();
        let counts = || reasons.iter().map(|reason| one.rejected(reason)).collect::<Vec<f64>>();
        let before = counts();
        attack(self.address());
        awaits(&format!("counted as {reasons:?}"), PATIENCE, || {
            counts().iter().zip(&before).all(|(now, before)| now > before)
        });
        await_converged(&[one, two]);
        assert_eq!(one.routes(), self.routes);
        assert_eq!(two.routes(), self.routes);
        for node in &self.nodes {
            assert_eq!(node.cluster().members.len(), 2, "on {}", node.name());
            assert!(!node.log().contains("panicked"));
        }
        time_of_puback(&mut connect(one, "p"), "still/here", "x");
        assert_eq!(message(&mut client), "x");
    }
}

fn keys(cluster: &str, cookie: &str) -> ClusterKeys {
    ClusterKeys::derive(cluster, &[Cookie::new(cookie.as_bytes()).expect("long enough")]).expect("keys")
}

fn hello(name: &str, cluster: &str) -> Hello {
    Hello {
        cluster: cluster.to_owned(),
        protocol: ProtocolRange { min: 1, max: 1 },
        replica: ReplicaId {
            name: NodeName::parse(name).expect("a name"),
            incarnation: Incarnation(u64::MAX / 2),
        },
        addresses: Addresses { cluster: "127.0.0.1:9".to_owned(), mqtt: None, http: None },
        gossip: Vec::new(),
        forwards_received: Default::default(),
        wall_clock_ms: 0,
    }
}

fn hello_frame(hello: &Hello) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, kind::HELLO, false, |out| hello.encode(out)).expect("it fits");
    bytes
}

/// Connects, and says this; returns when the node has closed the connection, as it must.
fn says(address: SocketAddr, bytes: &[u8]) {
    let mut stream = dial(address);
    // The node may close before it has read everything.
    let _ = stream.write_all(bytes);
    is_closed(stream);
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the node listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    stream
}

fn is_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the node keeps the connection: {error}"),
    }
}

/// The handshake of a peer that has the cookie.
fn sealed(address: SocketAddr, cluster: &str, cookie: &str) -> (TcpStream, SecureChannel) {
    let mut stream = dial(address);
    stream.write_all(&Preamble::Sealed.bytes()).expect("the node reads");
    let psks = keys(cluster, cookie).link_psks();
    let (initiator, first) =
        Initiator::new(&prologue(Preamble::Sealed, cluster, &[]), &psks[0]).expect("a handshake");
    stream.write_all(&first).expect("the node reads");
    let mut reply = [0; Preamble::LEN + HANDSHAKE_LEN];
    stream.read_exact(&mut reply).expect("the node answers");
    let reply = reply[Preamble::LEN..].try_into().expect("as long");
    (stream, initiator.finish(&reply).expect("the same cookie"))
}

fn says_sealed(address: SocketAddr, frames: &[u8]) {
    let (mut stream, mut channel) = sealed(address, CLUSTER, COOKIE);
    let mut records = Vec::new();
    channel.sealer.seal(frames, &mut records).expect("sealed");
    let _ = stream.write_all(&records);
    is_closed(stream);
}

#[test]
fn p7_bounded_nonsense_on_the_link_port() {
    let mut fortress = Fortress::build(|launch| launch);
    let plain = Preamble::Plain.bytes();
    let noise: Vec<u8> =
        (0..100_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fortress.withstands(|address| says(address, &noise), &["link_malformed"]);
    fortress.withstands(|address| says(address, b"GET / HTTP/1.1\r\n\r\n"), &["link_malformed"]);
    fortress.withstands(|address| says(address, &[&plain[..], &noise].concat()), &["link_malformed"]);
    // A frame that would take all memory.
    let endless = [&plain[..], &[0xff, 0xff, 0xff, 0xff, kind::HELLO, 0], &noise].concat();
    fortress.withstands(|address| says(address, &endless), &["link_malformed"]);
    // One that is not HELLO, and one that is none inside.
    let ping = [&plain[..], &[0, 0, 0, 0, kind::PING, 0]].concat();
    fortress.withstands(|address| says(address, &ping), &["link_malformed"]);
    let empty = [&plain[..], &[3, 0, 0, 0, kind::HELLO, 0, 1, 2, 3]].concat();
    fortress.withstands(|address| says(address, &empty), &["link_hello"]);
    // Another cluster, and a cookie where there is none.
    let other = [&plain[..], &hello_frame(&hello("x@127.0.0.1", "other"))].concat();
    fortress.withstands(|address| says(address, &other), &["link_other_cluster"]);
    fortress.withstands(|address| says(address, &Preamble::Sealed.bytes()), &["link_mode"]);
    // Every beginning of a handshake, cut off.
    let whole = [&plain[..], &hello_frame(&hello("x@127.0.0.1", "other"))].concat();
    for length in 0..whole.len() - 1 {
        let mut stream = dial(fortress.address());
        stream.write_all(&whole[..length]).expect("the node reads");
        stream.shutdown(Shutdown::Write).expect("connected");
        is_closed(stream);
    }
    fortress.withstands(|address| says(address, &noise), &["link_malformed"]);
}

#[test]
fn p7_bounded_strangers_with_and_without_cookies() {
    let mut fortress = Fortress::build(|launch| launch.cookie(COOKIE));
    let plain_hello = [&Preamble::Plain.bytes()[..], &hello_frame(&hello("x@127.0.0.1", CLUSTER))].concat();
    fortress.withstands(|address| says(address, &plain_hello), &["link_mode"]);
    // A wrong cookie, and the right one of another cluster.
    for (cluster, cookie) in [(CLUSTER, "another secret, as long"), ("other", COOKIE)] {
        let psks = keys(cluster, cookie).link_psks();
        let (_, first) =
            Initiator::new(&prologue(Preamble::Sealed, cluster, &[]), &psks[0]).expect("a handshake");
        let bytes = [&Preamble::Sealed.bytes()[..], &first].concat();
        fortress.withstands(|address| says(address, &bytes), &["link_wrong_key"]);
    }
    // The right cookie, and then nonsense.
    fortress.withstands(|address| says_sealed(address, &[0xff; 100]), &["link_malformed"]);
    fortress.withstands(
        |address| says_sealed(address, &hello_frame(&hello("x@127.0.0.1", "other"))),
        &["link_other_cluster"],
    );
    // A record that was changed on the way.
    let tampered = |address| {
        let (mut stream, mut channel) = sealed(address, CLUSTER, COOKIE);
        let mut records = Vec::new();
        channel.sealer.seal(&hello_frame(&hello("x@127.0.0.1", CLUSTER)), &mut records).expect("sealed");
        let last = records.len() - 1;
        records[last] ^= 1;
        let _ = stream.write_all(&records);
        is_closed(stream);
    };
    fortress.withstands(tampered, &["link_wrong_key"]);
    // Nodes that are started with other settings do not get in either.
    let address = fortress.address();
    let alone = |launch: Launch| launch.join(address).flag("--join-grace", "500ms").start();
    let strangers = [
        alone(Launch::new("without")),
        alone(Launch::new("wrong").cookie("another secret, as long")),
        alone(Launch::new("elsewhere").cookie(COOKIE).flag("--cluster-name", "other")),
    ];
    fortress.withstands(|_| (), &[]);
    for stranger in &strangers {
        await_converged(&[stranger]);
    }
}

#[test]
fn p7_bounded_nonsense_in_datagrams() {
    let plain = Fortress::build(|launch| launch);
    let sealed = Fortress::build(|launch| launch.cookie(COOKIE));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    for mut fortress in [plain, sealed] {
        let total = |fortress: &Fortress| fortress.nodes[0].metric("gossip_rejected_total", &[]);
        let before = total(&fortress);
        let noise = |address| {
            for length in 0..1400_usize {
                let bytes: Vec<u8> = (0..length)
                    .map(|at| ((at * 31 + length).wrapping_mul(2_654_435_761) >> 7) as u8)
                    .collect();
                socket.send_to(&bytes, address).expect("sent");
            }
        };
        fortress.withstands(noise, &[]);
        awaits("datagrams are counted", PATIENCE, || total(&fortress) > before);
        println!("{} datagrams turned away", total(&fortress) - before);
    }
}

/// Messages that pass every check of the link, from a peer that has the cookie and lost its mind.
#[test]
fn p7_bounded_a_member_that_talks_nonsense_is_cut_off() {
    let fortress = Fortress::build(|launch| launch.cookie(COOKIE));
    let hello = hello_frame(&hello("mad@127.0.0.1", CLUSTER));
    for kind in 0..=255_u8 {
        let (mut stream, mut channel) = sealed(fortress.address(), CLUSTER, COOKIE);
        let mut frames = hello.clone();
        for length in [0, 1, 7, 40, 300] {
            let body: Vec<u8> =
                (0..length).map(|at: u32| (at.wrapping_mul(0x9E37_79B9) >> 9) as u8).collect();
            frame::append(&mut frames, kind, false, |out| out.extend_from_slice(&body)).expect("it fits");
        }
        let mut records = Vec::new();
        channel.sealer.seal(&frames, &mut records).expect("sealed");
        let _ = stream.write_all(&records);
        let _ = stream.shutdown(Shutdown::Write);
        is_closed(stream);
    }
    let [one, two] = &fortress.nodes;
    let mut client = subscriber(two, "c", &["still/here"], Q1);
    time_of_puback(&mut connect(one, "p"), "still/here", "x");
    assert_eq!(message(&mut client), "x");
    assert_eq!(one.routes(), two.routes());
    awaits("nobody counts on it", PATIENCE, || {
        one.state_of("mad@127.0.0.1") != Some(rumormq::admin::view::MemberState::Alive)
    });
}

/// Connections that say nothing do not keep real nodes out.
#[test]
fn p7_bounded_silent_connections_keep_nobody_out() {
    let one = Launch::new("n1").start();
    let silent: Vec<TcpStream> = (0..300).map(|_| dial(one.cluster_addr())).collect();
    let began = std::time::Instant::now();
    let two = Launch::new("n2").join(one.cluster_addr()).start();
    await_converged(&[&one, &two]);
    println!("joined {:?} beside {} silent connections", began.elapsed(), silent.len());
    assert!(began.elapsed() < Duration::from_secs(8));
}
