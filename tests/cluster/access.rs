//! Users and permissions, where the clients are on different nodes.

use std::path::PathBuf;

use rumormq::access::password::PasswordVerifier;
use rumormq::codec::packet::{Connect, Packet};

use crate::processes::{Launch, PATIENCE, Process, awaits, start_cluster_with};
use crate::support::client::{Client, Q1, ack, lasting, options, publish, subscribe};

struct Files(PathBuf);

impl Files {
    fn new(name: &str, rules: &str) -> Files {
        let directory =
            std::env::temp_dir().join(format!("rumormq-cluster-access-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let hash = |password: &str| PasswordVerifier::hash(password.as_bytes()).expect("hashed");
        let users = format!("alice:{}\nbob:{}\n", hash("a-secret"), hash("b-secret"));
        std::fs::write(directory.join("users"), users).expect("written");
        std::fs::write(directory.join("rules"), rules).expect("written");
        Files(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn as_user<'a>(username: &'a str, password: &'a str, connect: Connect<'a>) -> Connect<'a> {
    Connect { username: Some(username), password: Some(password.as_bytes()), ..connect }
}

/// Connects as a user, and expects CONNACK to say whether there was a session.
#[track_caller]
fn open(node: &Process, connect: Connect<'_>, present: bool) -> Client {
    let mut client = node.beside(|| Client::start(node.mqtt_addr(), connect));
    client.gets(if present { "CONNACK 0x00 present" } else { "CONNACK 0x00" });
    client
}

#[test]
fn a_session_moves_for_its_user_and_for_nobody_else() {
    let files = Files::new("moves", "user alice\ntopic a/#\nuser bob\ntopic b/#\n");
    let nodes = start_cluster_with(2, |launch| {
        launch.flag("--password-file", &files.path("users")).flag("--acl-file", &files.path("rules"))
    });
    let alice = || as_user("alice", "a-secret", lasting("x", 1000));
    let bob = || as_user("bob", "b-secret", lasting("x", 1000));
    let mut x = open(&nodes[0], alice(), false);
    x.sends(Packet::Subscribe(subscribe(1, &[("a/#", options(Q1)), ("b/#", options(Q1))])));
    x.gets("SUBACK 1 0x01 0x87");
    x.disconnects();
    let mut publisher = open(&nodes[1], as_user("alice", "a-secret", lasting("p", 0)), false);
    publisher.publishes(publish(1, Q1, "a/1", "one"));
    // A wrong password moves nothing.
    let mut guesser = Client::start(nodes[1].mqtt_addr(), as_user("alice", "guess", lasting("x", 1000)));
    guesser.gets("CONNACK 0x86");
    guesser.is_closed();
    let mut x = open(&nodes[1], alice(), true);
    x.gets("PUBLISH 1 q1 a/1 one");
    x.sends(Packet::PubAck(ack(1)));
    x.waits();
    x.disconnects();
    publisher.publishes(publish(2, Q1, "a/2", "two"));
    let mut stranger = open(&nodes[0], bob(), false);
    stranger.waits();
    stranger.subscribes(&[("b/#", options(Q1)), ("a/#", options(Q1))], "0x01 0x87");
    awaits("the session of alice is over", PATIENCE, || {
        nodes[1].routes() == [("b/#".to_owned(), vec![nodes[0].name().to_owned()])]
    });
}

/// Both use one client identifier, each on a side of a partition. When the sides meet, the one who has connected last has his
/// session, and nothing of the other's.
#[test]
fn a_session_of_another_user_beyond_a_partition_is_not_joined() {
    let files = Files::new("apart", "user alice\ntopic #\nuser bob\ntopic #\n");
    let launch = |launch: Launch| {
        launch.flag("--password-file", &files.path("users")).flag("--acl-file", &files.path("rules"))
    };
    let Some(nodes) = crate::p5_partitions::hosts_with::<2>(launch) else { return };
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two nodes") };
    let bob = || as_user("bob", "b-secret", lasting("x", 1000));
    let mut x = open(n1, bob(), false);
    x.subscribes(&[("b/#", options(Q1))], "0x01");
    x.disconnects();
    host.isolate();
    let mut alice = open(n2, as_user("alice", "a-secret", lasting("x", 1000)), false);
    alice.subscribes(&[("a/#", options(Q1)), ("b/#", options(Q1))], "0x01 0x01");
    alice.disconnects();
    let mut publisher = open(n2, as_user("alice", "a-secret", lasting("p", 0)), false);
    let mut x = open(n1, bob(), true);
    publisher.publishes(publish(1, Q1, "a/1", "for alice"));
    host.heal();
    awaits("alice's session is over", PATIENCE, || {
        n2.metric("sessions", &["state=\"disconnected\""]) == 0.0
            && n1.routes() == [("b/#".to_owned(), vec![n1.name().to_owned()])]
    });
    publisher.publishes(publish(2, Q1, "a/2", "for nobody"));
    publisher.publishes(publish(3, Q1, "b/1", "for bob"));
    x.gets("PUBLISH 1 q1 b/1 for bob");
}
