//! Who is let in: passwords, and the exchange of AUTH packets (4.12).

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rsasl::config::SASLConfig;
use rsasl::mechname::Mechname;
use rsasl::prelude::{SASLClient, Session};
use rumormq::access::AccessConfig;
use rumormq::access::password::PasswordVerifier;
use rumormq::access::password_file::PasswordFile;
use rumormq::access::scram::ScramVerifier;
use rumormq::broker::Limits;
use rumormq::codec::packet::{Auth, Connect, Packet, PropertySet, ReasonCode};

use crate::support::client::{Client, Q0, Q1, V311, V500, connect, lasting, options, publish, subscribe};
use crate::support::node::Node;

/// `alice` and `bob` have a password, `carol` can prove hers by SCRAM only, `dave` both ways.
static CONTENT: LazyLock<String> = LazyLock::new(|| {
    let hash = |password: &str| PasswordVerifier::hash(password.as_bytes()).expect("hashed");
    let scram = |password: &str| {
        let iterations = NonZeroU32::new(4096).expect("not zero");
        ScramVerifier::new(password, b"0123456789abcdef", iterations)
    };
    format!(
        "alice:{}\nbob:{}\ncarol:{}\ndave:{}\ndave:{}\n",
        hash("a-secret"),
        hash("b-secret"),
        scram("c-secret"),
        hash("d-secret"),
        scram("d-secret"),
    )
});

fn access() -> AccessConfig {
    let passwords = PasswordFile::parse(&CONTENT).expect("a password file");
    AccessConfig { passwords: Some(Arc::new(passwords)), ..AccessConfig::default() }
}

fn node() -> Node {
    Node::with_access(Limits::default(), access())
}

fn counted(node: &Node, result: &str) -> u64 {
    node.broker.metrics.authentications.with_label_values(&[result]).get()
}

fn as_user<'a>(connect: Connect<'a>, username: &'a str, password: &'a str) -> Connect<'a> {
    Connect { username: Some(username), password: Some(password.as_bytes()), ..connect }
}

#[test]
fn the_right_password_opens_and_no_other() {
    let node = node();
    for (username, password, answer) in [
        ("alice", "a-secret", "CONNACK 0x00"),
        ("alice", "b-secret", "CONNACK 0x86"),
        ("alice", "", "CONNACK 0x86"),
        ("nobody", "a-secret", "CONNACK 0x86"),
        ("carol", "c-secret", "CONNACK 0x86"),
        ("dave", "d-secret", "CONNACK 0x00"),
        // Now that the right one is remembered.
        ("alice", "b-secret", "CONNACK 0x86"),
        ("alice", "a-secret", "CONNACK 0x00"),
    ] {
        for version in [V500, V311] {
            let mut client =
                node.start_connect(Connect { version, ..as_user(connect("c"), username, password) });
            match (version, answer) {
                (_, "CONNACK 0x00") => {
                    client.gets(answer);
                    client.waits();
                }
                _ => {
                    client.gets(answer);
                    client.is_closed();
                }
            }
        }
    }
    assert_eq!((counted(&node, "accepted"), counted(&node, "wrong_password")), (6, 10));
}

#[test]
fn who_gives_no_name_needs_permission() {
    let strict = node();
    for version in [V500, V311] {
        let mut client = strict.start_connect(Connect { version, ..connect("c") });
        client.gets("CONNACK 0x87");
        client.is_closed();
    }
    let open = Node::with_access(Limits::default(), AccessConfig { allow_anonymous: true, ..access() });
    open.connect("c").waits();
    open.connect_v311("c").waits();
    // Whoever gives a name has to prove it all the same; a password alone is nobody's.
    let mut named = open.start_connect(as_user(connect("c"), "alice", "guess"));
    named.gets("CONNACK 0x86");
    let mut alone = open.start_connect(Connect { password: Some(b"a-secret"), ..connect("c") });
    alone.gets("CONNACK 0x86");
    assert_eq!(counted(&open, "accepted"), 2);
}

/// [MQTT-3.1.4-5]: while a password is hashed, what follows CONNECT waits.
#[test]
fn what_follows_connect_is_held_until_it_is_accepted() {
    let node = node();
    let mut client = node.start_connect(as_user(connect("c"), "bob", "b-secret"));
    client.sends(Packet::Subscribe(subscribe(1, &[("a", options(Q1))])));
    client.sends(Packet::Publish(publish(5, Q1, "a", "x")));
    client.gets("CONNACK 0x00");
    client.gets("SUBACK 1 0x01");
    client.gets_all_of(&["PUBLISH 1 q1 a x", "PUBACK 5"]);
}

/// [MQTT-3.1.4-6].
#[test]
fn nothing_behind_a_wrong_password_is_handled() {
    let node = node();
    let mut listener = node.connect_with(as_user(connect("l"), "alice", "a-secret"));
    listener.subscribes(&[("#", options(Q0))], "0x00");
    let mut refused = node.start_connect(as_user(connect("c"), "bob", "guess"));
    let _ = refused.try_sends(Packet::Publish(publish(1, Q0, "a", "x")));
    refused.gets("CONNACK 0x86");
    refused.is_closed();
    listener.waits();
}

#[test]
fn passwords_that_wait_are_bounded() {
    let access = AccessConfig { max_pending_authentications: 0, ..access() };
    let node = Node::with_access(Limits::default(), access);
    let mut client = node.start_connect(as_user(connect("c"), "alice", "a-secret"));
    client.gets("CONNACK 0x97");
    client.is_closed();
    let mut old = node.start_connect(Connect { version: V311, ..as_user(connect("c"), "alice", "a-secret") });
    old.gets("CONNACK 0x88");
    old.is_closed();
    assert_eq!(counted(&node, "busy"), 2);
}

/// Knowing a client identifier is not enough to get at what waits for somebody else.
#[test]
fn a_session_is_not_handed_to_another_user() {
    let node = node();
    let mut alice = node.connect_with(as_user(lasting("c", 100), "alice", "a-secret"));
    alice.subscribes(&[("a", options(Q1))], "0x01");
    alice.disconnects();
    let mut bob = node.start_connect(as_user(lasting("c", 100), "bob", "b-secret"));
    bob.gets("CONNACK 0x00");
    bob.publishes(publish(1, Q1, "a", "x"));
    bob.disconnects();
    let mut bob = node.start_connect(as_user(lasting("c", 100), "bob", "b-secret"));
    bob.gets("CONNACK 0x00 present");
}

/// A client that speaks SCRAM by means of somebody else's library.
struct Prover {
    client: Client,
    session: Session,
    said: Vec<u8>,
}

const METHOD: &str = "SCRAM-SHA-256";

impl Prover {
    fn session(name: &str, password: &str) -> (Session, Vec<u8>) {
        let config = SASLConfig::with_credentials(None, name.to_owned(), password.to_owned()).expect("valid");
        let mechanism = Mechname::parse(METHOD.as_bytes()).expect("a name");
        let mut session = SASLClient::new(config).start_suggested(&[mechanism]).expect("known");
        let mut said = Vec::new();
        session.step(None, &mut said).expect("the first message");
        (session, said)
    }

    /// Sends CONNECT.
    fn start(node: &Node, name: &str, password: &str) -> Prover {
        let (session, said) = Prover::session(name, password);
        let set = PropertySet {
            authentication_method: Some(METHOD),
            authentication_data: Some(&said),
            ..PropertySet::EMPTY
        };
        let client = node.start_connect(Connect { properties: set.into(), ..connect("c") });
        Prover { client, session, said: Vec::new() }
    }

    /// Begins once more, while connected.
    fn begin_again(&mut self, name: &str, password: &str) {
        (self.session, self.said) = Prover::session(name, password);
        self.sends_auth(ReasonCode::ReAuthenticate);
    }

    /// Gets what the server asks.
    #[track_caller]
    fn is_asked(&mut self) {
        let frame = self.client.frame().expect("AUTH");
        let Packet::Auth(auth) = frame.packet() else { panic!("{:?} instead of AUTH", frame.packet()) };
        assert_eq!(auth.reason, ReasonCode::ContinueAuthentication); // [MQTT-4.12.0-2]
        assert_eq!(auth.properties.authentication_method, Some(METHOD)); // [MQTT-4.12.0-5]
        self.said.clear();
        let data = auth.properties.authentication_data.expect("data");
        self.session.step(Some(data), &mut self.said).expect("an answer");
    }

    fn sends_auth(&mut self, reason: ReasonCode) {
        let set = PropertySet {
            authentication_method: Some(METHOD),
            authentication_data: Some(&self.said),
            ..PropertySet::EMPTY
        };
        self.client.sends(Packet::Auth(Auth { reason, properties: set.into() }));
    }

    /// Answers, and gets a CONNACK or AUTH that says yes and that the server knows the password, too.
    #[track_caller]
    fn is_let_in(&mut self) {
        self.sends_auth(ReasonCode::ContinueAuthentication);
        let frame = self.client.frame().expect("an answer");
        let (reason, set) = match frame.packet() {
            Packet::ConnAck(connack) => (connack.reason, connack.properties),
            Packet::Auth(auth) => (auth.reason, auth.properties),
            other => panic!("{other:?}"),
        };
        assert_eq!((reason, set.authentication_method), (ReasonCode::Success, Some(METHOD)));
        let data = set.authentication_data.expect("data");
        self.session.step(Some(data), &mut Vec::new()).expect("the server's proof");
    }
}

/// [MQTT-4.12.0-2], [MQTT-4.12.0-3], [MQTT-4.12.0-5].
#[test]
fn a_client_proves_that_it_knows_its_password() {
    let node = node();
    for (name, password) in [("carol", "c-secret"), ("dave", "d-secret")] {
        let mut prover = Prover::start(&node, name, password);
        prover.is_asked();
        prover.is_let_in();
        prover.client.waits();
    }
}

/// [MQTT-4.12.0-4].
#[test]
fn a_client_that_proves_nothing_is_refused() {
    let node = node();
    for (name, password) in [("carol", "guess"), ("alice", "a-secret"), ("nobody", "x")] {
        let mut prover = Prover::start(&node, name, password);
        prover.is_asked();
        prover.sends_auth(ReasonCode::ContinueAuthentication);
        prover.client.gets("CONNACK 0x87");
        prover.client.is_closed();
    }
    assert_eq!(counted(&node, "not_proved"), 3);
}

/// [MQTT-3.1.2-30], [MQTT-3.1.4-6], [MQTT-3.15.2-1], [MQTT-4.12.0-3], [MQTT-4.12.0-5].
#[test]
fn during_the_exchange_only_its_own_packets_are_taken() {
    let node = node();
    let said = b"x".as_slice();
    let auth = |reason, method| {
        let set = PropertySet {
            authentication_method: method,
            authentication_data: Some(said),
            ..PropertySet::EMPTY
        };
        Packet::Auth(Auth { reason, properties: set.into() })
    };
    for packet in [
        Packet::PingReq,
        Packet::Publish(publish(1, Q1, "a", "x")),
        auth(ReasonCode::ReAuthenticate, Some(METHOD)),
        auth(ReasonCode::Success, Some(METHOD)),
        auth(ReasonCode::ContinueAuthentication, Some("SCRAM-SHA-1")),
    ] {
        let mut prover = Prover::start(&node, "carol", "c-secret");
        prover.is_asked();
        prover.client.sends(packet);
        prover.client.gets("CONNACK 0x82");
        prover.client.is_closed();
    }
    let mut prover = Prover::start(&node, "carol", "c-secret");
    prover.is_asked();
    prover.client.disconnects();
}

#[test]
fn an_exchange_has_the_time_of_a_connect() {
    let limits = Limits { connect_timeout: Duration::from_millis(300), ..Limits::default() };
    let node = Node::with_access(limits, access());
    let begin = Instant::now();
    let mut prover = Prover::start(&node, "carol", "c-secret");
    prover.is_asked();
    prover.client.gets("CONNACK 0x89");
    prover.client.is_closed();
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

/// A client may let the server begin; SCRAM has it begin itself then.
#[test]
fn a_connect_without_data_is_asked_for_it() {
    let node = node();
    let set = PropertySet { authentication_method: Some(METHOD), ..PropertySet::EMPTY };
    let client = node.start_connect(Connect { properties: set.into(), ..connect("c") });
    let (session, said) = Prover::session("carol", "c-secret");
    let mut prover = Prover { client, session, said };
    let frame = prover.client.frame().expect("AUTH");
    let Packet::Auth(auth) = frame.packet() else { panic!("{:?} instead of AUTH", frame.packet()) };
    assert_eq!(auth.properties.authentication_data, None);
    prover.sends_auth(ReasonCode::ContinueAuthentication);
    prover.is_asked();
    prover.is_let_in();
}

/// [MQTT-4.12.1-1].
#[test]
fn a_client_may_prove_itself_again() {
    let node = node();
    let mut prover = Prover::start(&node, "carol", "c-secret");
    prover.is_asked();
    prover.is_let_in();
    for _ in 0..2 {
        prover.begin_again("carol", "c-secret");
        prover.is_asked();
        prover.is_let_in();
        prover.client.waits();
    }
    assert_eq!(counted(&node, "accepted_again"), 2);
}

/// [MQTT-4.12.1-2]: nor can it become somebody else.
#[test]
fn a_client_that_does_not_prove_itself_again_is_disconnected() {
    let node = node();
    for (name, password) in [("carol", "guess"), ("dave", "d-secret")] {
        let mut prover = Prover::start(&node, "carol", "c-secret");
        prover.is_asked();
        prover.is_let_in();
        prover.begin_again(name, password);
        prover.is_asked();
        prover.sends_auth(ReasonCode::ContinueAuthentication);
        prover.client.gets("DISCONNECT 0x87");
        prover.client.is_closed();
    }
}

/// [MQTT-4.12.0-6], [MQTT-4.12.0-7], [MQTT-4.12.1-1].
#[test]
fn auth_without_a_method_or_out_of_turn_is_a_protocol_error() {
    let node = node();
    let auth = |reason, method| {
        let set = PropertySet { authentication_method: Some(method), ..PropertySet::EMPTY };
        Packet::Auth(Auth { reason, properties: set.into() })
    };
    let mut by_password = node.connect_with(as_user(connect("p"), "alice", "a-secret"));
    by_password.sends(auth(ReasonCode::ReAuthenticate, METHOD));
    by_password.gets("DISCONNECT 0x82");
    by_password.is_closed();
    for packet in [
        auth(ReasonCode::ContinueAuthentication, METHOD),
        auth(ReasonCode::Success, METHOD),
        auth(ReasonCode::ReAuthenticate, "SCRAM-SHA-1"),
    ] {
        let mut prover = Prover::start(&node, "carol", "c-secret");
        prover.is_asked();
        prover.is_let_in();
        prover.client.sends(packet);
        prover.client.gets("DISCONNECT 0x82");
        prover.client.is_closed();
    }
}
