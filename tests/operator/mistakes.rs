//! What operators do wrong, and what they are told: each test is a row of the table in mistakes.md.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::directory::Directory;
use crate::processes::launch::can_set_clocks;
use crate::processes::netns::Network;
use crate::processes::{Launch, PATIENCE, Process, awaits};
use crate::support::certificates::{Authority, Identity};

const RUMORMQ: &str = env!("CARGO_BIN_EXE_rumormq");
const COOKIE: &str = "the secret of these tests";

/// Starts what must not start: it ends with this code, and one line of what it says has all these words.
#[track_caller]
fn is_refused(launch: Launch, code: i32, words: &[&str]) {
    let (ended_with, said) = launch.fails();
    assert_eq!(ended_with, Some(code), "{said}");
    let has_all = |line: &str| words.iter().all(|words| line.contains(words));
    assert!(said.lines().any(|line| line.starts_with("rumormq: ") && has_all(line)), "{words:?} in {said}");
}

/// Waits until a node that runs has logged a warning with all these words.
#[track_caller]
fn warns(node: &Process, words: &[&str]) {
    let has_all = || {
        let log = node.log();
        log.lines().any(|line| {
            (line.contains(" WARN ") || line.contains("ERROR "))
                && words.iter().all(|words| line.contains(words))
        })
    };
    awaits(&format!("{} warns of {words:?}", node.name()), 2 * PATIENCE, has_all);
}

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn with_config(files: &Directory, content: &str) -> Launch {
    Launch::new("n1").flag("--config", &files.write("rumormq.toml", content))
}

fn with_tls(identity: &Identity) -> Launch {
    let path = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    Launch::new("n1")
        .flag("--mqtts", "127.0.0.1:0")
        .flag("--tls-certificate-file", &path(&identity.certificate))
        .flag("--tls-key-file", &path(&identity.key))
}

fn with_link_tls(identity: &Identity, ca: &str) -> Launch {
    let path = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    Launch::new("n1")
        .flag("--cluster-tls-certificate-file", &path(&identity.certificate))
        .flag("--cluster-tls-key-file", &path(&identity.key))
        .flag("--cluster-tls-ca-file", ca)
}

// The configuration.

#[test]
fn a_misspelled_key() {
    let files = Directory::new("mistake-key");
    let launch = with_config(&files, "[limits]\nmax_paket_size = 1\n");
    is_refused(
        launch,
        2,
        &[
            "rumormq.toml:2:1: [limits] max_paket_size is not a setting",
            "did you mean [limits] max_packet_size?",
        ],
    );
}

#[test]
fn a_key_in_the_wrong_section() {
    let files = Directory::new("mistake-section");
    is_refused(
        with_config(&files, "max_qos = 1\n"),
        2,
        &["rumormq.toml:1:1: max_qos belongs in section [broker]"],
    );
}

#[test]
fn a_value_of_the_wrong_type() {
    let files = Directory::new("mistake-type");
    let launch = with_config(&files, "[cluster]\njoin_grace = 10\n");
    is_refused(
        launch,
        2,
        &["rumormq.toml:2:14: [cluster] join_grace: \"10\" is not a duration, such as", "10s"],
    );
}

#[test]
fn a_file_that_is_not_toml() {
    let files = Directory::new("mistake-toml");
    is_refused(with_config(&files, "[limits\n"), 2, &["rumormq.toml:1:8: this is not valid TOML"]);
}

#[test]
fn a_configuration_file_that_is_not_there() {
    let launch = Launch::new("n1").flag("--config", "/nowhere/rumormq.toml");
    is_refused(launch, 2, &["cannot read the configuration file /nowhere/rumormq.toml: No such file"]);
}

#[test]
fn a_misspelled_variable() {
    let Output { status, stderr, .. } =
        Command::new(RUMORMQ).arg("check").env("RUMORMQ_JOIM", "a:1").output().expect("it runs");
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("RUMORMQ_JOIM is in the environment, and nobody reads it: check its name; did you mean RUMORMQ_JOIN?"), "{said}");
}

// Addresses.

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let launch = Launch::new("n1").mqtt_addr(taken.local_addr().expect("bound"));
    is_refused(
        launch,
        1,
        &["cannot listen on 127.0.0.1:", "(mqtt)", "stop what uses the port", "or give another --mqtt"],
    );
}

#[test]
fn an_address_of_another_machine() {
    // Set aside for documentation (RFC 5737).
    let launch = Launch::new("n1").mqtt_addr(at("192.0.2.1:0")).flag("--allow-anonymous", "true");
    is_refused(
        launch,
        1,
        &["cannot listen on 192.0.2.1:0 (mqtt)", "the machine has no such address: give --mqtt one that"],
    );
}

#[test]
fn clients_without_passwords_from_other_machines() {
    let launch = Launch::new("n1").mqtt_addr(at("0.0.0.0:0")).flag("--advertise-mqtt", "a:1");
    is_refused(
        launch,
        2,
        &["mqtt 0.0.0.0:0 can be reached from other machines", "--password-file", "--allow-anonymous"],
    );
}

#[test]
fn an_unspecified_address_that_nobody_can_be_told() {
    let launch = Launch::new("n1").http_addr(at("0.0.0.0:0"));
    is_refused(
        launch,
        2,
        &["others cannot be told how to reach http 0.0.0.0:0", "give --advertise-http HOST:PORT"],
    );
}

#[test]
fn changes_from_another_machine_without_a_token() {
    let Some(network) = Network::new() else { return };
    let (host, other) = (network.host(), network.host());
    let node = Launch::within(&host, "n1").cookie(COOKIE).start();
    let leave = |more: &[&str]| {
        let mut command = other.command(RUMORMQ);
        command
            .arg("leave")
            .arg("--http")
            .arg(node.http_addr().to_string())
            .args(more)
            .output()
            .expect("it runs")
    };
    let Output { status, stderr, .. } = leave(&[]);
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("only callers on this machine's loopback address change anything"), "{said}");
    assert!(said.contains("--http-token-file"), "{said}");
}

#[test]
fn a_node_that_is_not_there_is_asked() {
    let Output { status, stderr, .. } =
        Command::new(RUMORMQ).args(["status", "--http", "127.0.0.1:1"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("no answer from http://127.0.0.1:1") && said.contains("(--http)?"), "{said}");
}

// Cookies.

#[test]
fn no_cookie_where_others_reach_the_cluster_port() {
    let launch = Launch::new("n1").cluster_addr(at("0.0.0.0:0")).flag("--advertise-cluster", "a:1");
    is_refused(
        launch,
        2,
        &["cluster 0.0.0.0:0 can be reached from other machines and there is no cookie", "--cookie-file"],
    );
}

#[test]
fn a_cookie_that_is_too_short() {
    let files = Directory::new("mistake-short-cookie");
    let launch = Launch::new("n1").flag("--cookie-file", &files.write("cookie", "short\n"));
    is_refused(launch, 2, &["--cookie-file", "cookie 1 has 5 bytes, at least 16 are needed: make one with"]);
}

#[test]
fn two_cookies() {
    let files = Directory::new("mistake-two-cookies");
    let launch = Launch::new("n1").flag("--cookie-file", &files.write("cookie", COOKIE)).cookie(COOKIE);
    is_refused(launch, 2, &["RUMORMQ_COOKIE and a cookie file are both given; give one of them"]);
}

#[test]
fn another_cookie_than_the_cluster_has() {
    let one = Launch::new("n1").cookie(COOKIE).start();
    let other = Launch::new("n2").cookie("another secret altogether").join(one.cluster_addr());
    let other = other.flag("--join-grace", "1s").start();
    for node in [&one, &other] {
        warns(node, &["peer turned away", "give both nodes the same cookie"]);
    }
}

#[test]
fn a_cookie_on_one_node_only() {
    let one = Launch::new("n1").start();
    let other = Launch::new("n2").cookie(COOKIE).join(one.cluster_addr()).flag("--join-grace", "1s").start();
    warns(&one, &["the peer has a cookie, this node has none", "give all nodes a cookie"]);
    warns(&other, &["peer turned away", "give all nodes a cookie"]);
}

// Certificates.

#[test]
fn a_certificate_that_is_none() {
    let files = Directory::new("mistake-certificate");
    let mut identity = Authority::new().server();
    identity.certificate = files.write("certificate.pem", "nothing of the kind\n").into();
    is_refused(
        with_tls(&identity),
        2,
        &["has no certificate in PEM form", "give the right file with --tls-certificate-file"],
    );
}

#[test]
fn a_key_of_another_certificate() {
    let authority = Authority::new();
    let (one, other) = (authority.server(), authority.client("other"));
    let mixed = Identity { certificate: one.certificate, key: other.key };
    is_refused(
        with_tls(&mixed),
        2,
        &["cannot be used", "give the key that belongs to the certificate with --tls-key-file"],
    );
}

#[test]
fn a_certificate_that_has_expired() {
    let files = Directory::new("mistake-expired");
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().expect("randomness");
    let certificate = params.self_signed(&key).expect("a certificate");
    let identity = Identity {
        certificate: files.write("certificate.pem", &certificate.pem()).into(),
        key: files.write("key.pem", &key.serialize_pem()).into(),
    };
    let node = with_tls(&identity).start();
    warns(
        &node,
        &["certificate.pem has expired on", "and will be refused: replace the file, and send SIGHUP"],
    );
}

#[test]
fn a_listener_with_tls_and_no_certificate() {
    let launch = Launch::new("n1").flag("--mqtts", "127.0.0.1:0");
    is_refused(launch, 2, &["mqtts needs a certificate and its key: give --tls-certificate-file FILE"]);
}

#[test]
fn an_authority_that_is_missing() {
    let authority = Authority::new();
    let identity = authority.node("n1", &["127.0.0.1"], None);
    is_refused(
        with_link_tls(&identity, "/nowhere/ca.pem"),
        2,
        &["cannot read certificate from /nowhere/ca.pem", "give the right file with --cluster-tls-ca-file"],
    );
}

#[test]
fn a_certificate_for_another_node() {
    let authority = Authority::new();
    let identity = authority.node("n1", &["n2.example.org"], None);
    let ca = authority.certificate();
    is_refused(
        with_link_tls(&identity, ca.to_str().expect("text")),
        2,
        &["is for n2.example.org, not for n1@127.0.0.1: it needs the host of the node's name"],
    );
}

// The cluster.

#[test]
fn a_name_that_another_node_has() {
    let one = Launch::new("n1").start();
    let other = Launch::new("n1").join(one.cluster_addr());
    is_refused(other, 2, &["n1@127.0.0.1", "lives already", "give this one another --node NAME@HOST"]);
}

#[test]
fn a_seed_that_does_not_answer() {
    let node = Launch::new("n1").join(at("127.0.0.1:1")).flag("--join-grace", "1s").start();
    warns(
        &node,
        &[
            "no seed has led to a cluster",
            "seed=127.0.0.1:1",
            "Connection refused",
            "check that --join names",
        ],
    );
}

#[test]
fn a_seed_that_has_no_address() {
    let launch = Launch::new("n1").flag("--join", "no-such-host.invalid:7883").flag("--join-grace", "1s");
    warns(
        &launch.start(),
        &["no seed has led to a cluster", "seed=no-such-host.invalid:7883", "cannot be resolved"],
    );
}

#[test]
fn a_seed_that_is_the_node_itself() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let node = Launch::new("n1").cluster_addr(free).join(free).start();
    warns(&node, &["no seed has led to a cluster", "this is the node itself", "check that --join names"]);
}

#[test]
fn a_seed_that_is_a_port_for_clients() {
    let one = Launch::new("n1").start();
    let other = Launch::new("n2").join(one.mqtt_addr()).flag("--join-grace", "1s").start();
    warns(
        &other,
        &[
            "no seed has led to a cluster",
            &format!("seed={}", one.mqtt_addr()),
            "check that --join names the cluster address",
        ],
    );
    let third = Launch::new("n3").join(one.http_addr()).flag("--join-grace", "1s").start();
    warns(&third, &["no seed has led to a cluster", &format!("seed={}", one.http_addr())]);
}

#[test]
fn a_node_of_another_cluster() {
    let one = Launch::new("n1").start();
    let other =
        Launch::new("n2").flag("--cluster-name", "test").join(one.cluster_addr()).flag("--join-grace", "1s");
    let other = other.start();
    warns(
        &other,
        &[
            "the peer belongs to cluster \"rumormq\", this node to \"test\"",
            "give both the same --cluster-name",
        ],
    );
    warns(&one, &["the peer belongs to cluster \"test\"", "give both the same --cluster-name"]);
}

// Data directories.

#[test]
fn a_data_directory_of_a_running_node() {
    let files = Directory::new("mistake-in-use");
    let _one = Launch::new("n1").flag("--data-dir", &files.path("data")).start();
    let other = Launch::new("n1").flag("--data-dir", &files.path("data"));
    is_refused(other, 1, &["is in use by another process", "stop that process, or give another --data-dir"]);
}

#[test]
fn a_data_directory_of_another_node() {
    let files = Directory::new("mistake-other-node");
    let mut one = Launch::new("n1").flag("--data-dir", &files.path("data")).start();
    one.terminate();
    one.wait();
    let other = Launch::new("n2").flag("--data-dir", &files.path("data"));
    is_refused(
        other,
        2,
        &["belongs to n1@127.0.0.1, and this node is n2@127.0.0.1: give it a --data-dir of its own"],
    );
}

/// A script that runs the command after these preparations.
fn prepared(files: &Directory, preparation: &str) -> String {
    let script = files.write("prepared", &format!("#!/bin/sh\n{preparation}\nexec {RUMORMQ} \"$@\"\n"));
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("the owner may");
    script
}

/// The same where this directory is a file system of its own, made for that process. None where nobody may make one.
fn prepared_on(files: &Directory, options: &str, then: &str) -> Option<String> {
    let directory = files.path("mounted");
    std::fs::create_dir_all(&directory).expect("a directory");
    let mount = format!("mount -t tmpfs -o {options} tmpfs {directory}");
    let tried = Command::new("unshare").args(["-m", "sh", "-c", &mount]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        let required = std::env::var("RUMORMQ_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
        assert!(!required, "mounting a file system is required: run as root");
        eprintln!("SKIPPED: cannot mount a file system");
        return None;
    }
    let again = format!("[ \"$MOUNTED\" ] || MOUNTED=1 exec unshare -m \"$0\" \"$@\"\n{mount}\n{then}");
    Some(prepared(files, &again))
}

#[test]
fn a_data_directory_that_is_read_only() {
    let files = Directory::new("mistake-read-only");
    let Some(command) = prepared_on(&files, "ro", "") else { return };
    let launch = Launch::new("n1").command(&command).flag("--data-dir", &files.path("mounted"));
    is_refused(
        launch,
        1,
        &[
            "mounted",
            "Read-only file system",
            "remount the file system for writing, or give another --data-dir",
        ],
    );
}

#[test]
fn a_disk_that_is_full() {
    let files = Directory::new("mistake-full");
    let fill = format!("head -c 100000 /dev/zero > {}/filler 2>/dev/null", files.path("mounted"));
    let Some(command) = prepared_on(&files, "size=16k", &fill) else { return };
    let launch = Launch::new("n1").command(&command).flag("--data-dir", &files.path("mounted"));
    is_refused(
        launch,
        1,
        &["mounted", "No space left on device", "make room on the disk, or give another --data-dir"],
    );
}

// Clocks.

#[test]
fn a_clock_that_is_hours_off() {
    if !can_set_clocks() {
        return;
    }
    let files = Directory::new("mistake-clock");
    let clock = files.write("clock", "-18000");
    let one = Launch::new("n1").start();
    let other = Launch::new("n2").clock(clock.as_ref()).join(one.cluster_addr()).start();
    warns(
        &one,
        &[
            "the peer's clock differs from this node's: check both",
            "peer=n2@127.0.0.1",
            "ahead_seconds=-18000",
        ],
    );
    warns(&other, &["the peer's clock differs", "peer=n1@127.0.0.1"]);
}

#[test]
fn a_clock_that_is_behind_the_last_start() {
    if !can_set_clocks() {
        return;
    }
    let files = Directory::new("mistake-clock-behind");
    let launch = || Launch::new("n1").flag("--data-dir", &files.path("data"));
    let mut node = launch().start();
    node.terminate();
    node.wait();
    let clock = files.write("clock", "-7200");
    let node = launch().clock(clock.as_ref()).start();
    warns(&node, &["the clock is behind this node's last start", "check the clock"]);
}

// Users and rules.

#[test]
fn a_password_file_that_cannot_be_read() {
    let launch = Launch::new("n1").flag("--password-file", "/nowhere/users");
    is_refused(launch, 2, &["--password-file: cannot read /nowhere/users: No such file"]);
}

#[test]
fn a_password_file_with_a_password() {
    let files = Directory::new("mistake-password");
    let users = files.write("users", "# people\nalice:secret\n");
    is_refused(
        Launch::new("n1").flag("--password-file", &users),
        2,
        &[
            "users: line 2: user \"alice\": what follows the name is no hash; write it again with `rumormq passwd FILE alice`",
        ],
    );
}

#[test]
fn a_rule_that_is_none() {
    let files = Directory::new("mistake-rule");
    let rules = files.write("rules", "user alice\ntopics read a/#\n");
    is_refused(
        Launch::new("n1").flag("--acl-file", &rules),
        2,
        &["rules: line 2: \"topics\" is none of user, client, topic and pattern"],
    );
}

// The machine.

#[test]
fn too_few_open_files() {
    let files = Directory::new("mistake-files");
    let command = prepared(&files, "ulimit -n 900");
    let node = Launch::new("n1").command(&command).flag("--max-connections", "1000").start();
    warns(
        &node,
        &[
            "too few files for so many clients: raise the limit",
            "LimitNOFILE=",
            "lower max_connections to 300",
        ],
    );
}

/// The table and the tests are the same.
#[test]
fn every_mistake_is_listed() {
    let table = include_str!("mistakes.md");
    let tests = include_str!("mistakes.rs").split("#[test]\nfn ").skip(1);
    let names: Vec<&str> = tests.filter_map(|rest| rest.split('(').next()).collect();
    let listed = |name: &&str| table.contains(&format!("| `{name}` |"));
    let missing: Vec<&&str> =
        names.iter().filter(|name| **name != "every_mistake_is_listed" && !listed(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |")).count();
    assert_eq!(rows, names.len() - 1);
}
