//! What SIGHUP takes over, and what it leaves alone.

use rumormq::codec::packet::{Connect, Packet};

use crate::directory::Directory;
use crate::processes::{Launch, PATIENCE, Process, awaits};
use crate::support::client::{Client, Q0, Q1, lasting, options, publish, subscribe};

fn as_user<'a>(username: &'a str, password: &'a str, client_id: &'a str) -> Connect<'a> {
    Connect { username: Some(username), password: Some(password.as_bytes()), ..lasting(client_id, 1000) }
}

/// What a client gets for its CONNECT.
#[track_caller]
fn gets(node: &Process, connect: Connect<'_>, answer: &str) -> Client {
    let mut client = Client::start(node.mqtt_addr(), connect);
    client.gets(answer);
    client
}

/// Sends SIGHUP, and waits until the node says that it has read what it was given.
#[track_caller]
fn reload(node: &Process) {
    after_hang_up(node, "are read again");
}

/// Sends SIGHUP, and waits for one more line with these words.
#[track_caller]
fn after_hang_up(node: &Process, words: &str) {
    let count = || node.log().matches(words).count();
    let before = count();
    node.hang_up();
    awaits("the node answers SIGHUP", PATIENCE, || count() > before);
}

#[test]
fn users_come_and_go() {
    let files = Directory::new("reload-users");
    let users = files.users(&[("alice", "a-secret"), ("bob", "b-secret")]);
    let node = Launch::new("n1").flag("--password-file", &users).start();
    let mut bob = gets(&node, as_user("bob", "b-secret", "b"), "CONNACK 0x00");
    gets(&node, as_user("carol", "c-secret", "c"), "CONNACK 0x86");

    files.users(&[("alice", "another"), ("carol", "c-secret")]);
    reload(&node);
    gets(&node, as_user("carol", "c-secret", "c"), "CONNACK 0x00");
    gets(&node, as_user("alice", "a-secret", "a"), "CONNACK 0x86");
    gets(&node, as_user("alice", "another", "a"), "CONNACK 0x00");
    // Who is connected stays, until it connects again.
    bob.waits();
    bob.disconnects();
    gets(&node, as_user("bob", "b-secret", "b"), "CONNACK 0x86");
    assert!(node.has_logged(&["[access] password_file: what it says has changed", "from now on"]));
}

#[test]
fn rules_are_for_those_who_are_connected_as_well() {
    let files = Directory::new("reload-rules");
    let rules = files.write("rules", "pattern readwrite a/#\npattern readwrite b/#\n");
    let node = Launch::new("n1").flag("--acl-file", &rules).start();
    let mut reader = gets(&node, lasting("reader", 1000), "CONNACK 0x00");
    reader.subscribes(
        &[("a/#", options(Q1)), ("b/#", options(Q1)), ("$share/g/b/#", options(Q1))],
        "0x01 0x01 0x01",
    );
    let mut away = gets(&node, lasting("away", 1000), "CONNACK 0x00");
    away.subscribes(&[("b/x", options(Q1))], "0x01");
    away.disconnects();
    let mut writer = gets(&node, lasting("writer", 0), "CONNACK 0x00");
    writer.publishes(publish(1, Q1, "b/1", "before"));
    reader.gets_all_of(&["PUBLISH 1 q1 b/1 before", "PUBLISH 2 q1 b/1 before"]);

    files.write("rules", "pattern readwrite a/#\n");
    reload(&node);
    // A connection that was there publishes by the new rules.
    writer.sends(Packet::Publish(publish(2, Q1, "b/1", "after")));
    writer.gets("PUBACK 2 0x87");
    writer.publishes(publish(3, Q1, "a/1", "after"));
    // Subscriptions that are not allowed any more are over, and the client is told so in the one way there is.
    reader.gets("DISCONNECT 0x87");
    reader.is_closed();
    let mut routes = node.routes();
    routes.sort();
    assert_eq!(routes, [("a/#".to_owned(), vec![node.name().to_owned()])]);
    let mut reader = gets(&node, lasting("reader", 1000), "CONNACK 0x00 present");
    reader.gets_all_of(&[
        "PUBLISH 1 q1 b/1 before dup",
        "PUBLISH 2 q1 b/1 before dup",
        "PUBLISH 3 q1 a/1 after",
    ]);
    reader.sends(Packet::Subscribe(subscribe(7, &[("b/#", options(Q1))])));
    reader.gets("SUBACK 7 0x87");

    files.write("rules", "pattern readwrite #\n");
    reload(&node);
    writer.publishes(publish(4, Q1, "b/1", "allowed again"));
}

#[test]
fn limits_are_for_clients_that_connect_from_now_on() {
    let files = Directory::new("reload-limits");
    let config = files.write("rumormq.toml", "[limits]\nmax_packet_size = 4096\nmax_subscriptions = 10\n");
    let node = Launch::new("n1").flag("--config", &config).start();
    let large = "x".repeat(3000);
    let mut former = gets(&node, lasting("former", 0), "CONNACK 0x00");
    files.write(
        "rumormq.toml",
        "[limits]\nmax_packet_size = 2048\nmax_subscriptions = 1\nmax_connections = 2\n[cluster]\nphi = 9\n",
    );
    reload(&node);
    former.publishes(publish(1, Q1, "t", &large));
    let mut present = gets(&node, lasting("present", 0), "CONNACK 0x00");
    present.sends(Packet::Subscribe(subscribe(1, &[("a", options(Q0)), ("b", options(Q0))])));
    present.gets("SUBACK 1 0x00 0x97");
    gets(&node, lasting("third", 0), "CONNACK 0x89");
    present.sends(Packet::Publish(publish(2, Q1, "t", &large)));
    present.gets("DISCONNECT 0x95");
    for words in [
        ["[limits] max_packet_size: 2KiB instead of 4KiB", "from now on"],
        ["[limits] max_connections: 2 instead of 1000000", "from now on"],
        ["[cluster] phi: 9 instead of 12", "restart"],
    ] {
        assert!(node.has_logged(&words), "{words:?}");
    }
}

#[test]
fn the_log_says_as_much_as_it_is_told_to() {
    let files = Directory::new("reload-log");
    let config = files.write("rumormq.toml", "log_level = \"info\"\n");
    let node = Launch::new("n1").flag("--config", &config).without_log_level().start();
    let connects = || gets(&node, lasting("c", 0), "CONNACK 0x00").disconnects();
    connects();
    files.write("rumormq.toml", "log_level = \"info,rumormq::net=debug\"\n");
    reload(&node);
    assert!(!node.has_logged(&["connection ends"]));
    awaits("connections are logged", PATIENCE, || {
        connects();
        node.has_logged(&["DEBUG", "rumormq::net::connection", "connection ends"])
    });
}

#[test]
fn a_mistake_changes_nothing_at_all() {
    let files = Directory::new("reload-mistake");
    let users = files.users(&[("alice", "a-secret")]);
    let rules = files.write("rules", "user alice\ntopic #\n");
    let content =
        |more: &str| format!("[access]\npassword_file = \"{users}\"\nacl_file = \"{rules}\"\n{more}");
    let config = files.write("rumormq.toml", &content(""));
    let node = Launch::new("n1").flag("--config", &config).start();
    let mut alice = gets(&node, as_user("alice", "a-secret", "a"), "CONNACK 0x00");

    // Of several files that have changed, one is wrong.
    files.users(&[("bob", "b-secret")]);
    files.write("rules", "user bob\ntopic reed x\ntopic # x\n");
    files.write("rumormq.toml", &content("[limits]\nmax_subscriptions = \"few\"\n"));
    after_hang_up(&node, "cannot reload; everything is as it was");
    awaits("both are told", PATIENCE, || {
        node.has_logged(&["acl_file", "rules: line 3"])
            && node.has_logged(&["rumormq.toml:5:21: [limits] max_subscriptions"])
    });
    gets(&node, as_user("bob", "b-secret", "b"), "CONNACK 0x86");
    alice.publishes(publish(1, Q1, "x", ""));
}

#[test]
fn what_waits_for_a_restart_does_not_make_the_rest_safe() {
    let files = Directory::new("reload-open");
    let users = files.users(&[("alice", "a-secret")]);
    let open = format!("[listen]\nws = \"0.0.0.0:0\"\n[access]\npassword_file = \"{users}\"\n");
    let config = files.write("rumormq.toml", &open);
    let node = Launch::new("n1").flag("--config", &config).start();
    // As a whole this is harmless, but the listener would stay open until the restart.
    files.write("rumormq.toml", "");
    after_hang_up(&node, "cannot reload; everything is as it was");
    assert!(node.has_logged(&["ws 0.0.0.0:0 can be reached from other machines"]));
    gets(&node, lasting("anybody", 0), "CONNACK 0x87");
}
