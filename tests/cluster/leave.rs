//! A node that leaves is gone for good, and everywhere at once.

use std::process::Command;
use std::time::{Duration, Instant};

use rumormq::admin::view::MemberState;
use rumormq::codec::packet::{Packet, Publish};

use crate::clients::{connect, message, subscriber, time_of_puback};
use crate::identity::{Disk, identity};
use crate::p5_partitions::hosts_with;
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits, start_cluster};
use crate::support::client::{Q0, Q1, options, publish};

/// Runs the command; gives its exit code and what it prints.
pub fn rumormq(arguments: &[&str]) -> (Option<i32>, String) {
    run(Command::new(env!("CARGO_BIN_EXE_rumormq")), arguments)
}

fn run(mut command: Command, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command.args(arguments).env_remove("RUMORMQ_HTTP_TOKEN_FILE").output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

pub fn http(node: &Process) -> String {
    node.http_addr().to_string()
}

pub fn names(node: &Process) -> Vec<String> {
    node.cluster().members.into_iter().map(|member| member.name).collect()
}

#[test]
fn a_leave_is_known_everywhere_at_once_and_takes_nothing_along_that_is_everybodys() {
    let disk = Disk::new("leave");
    let mut nodes = disk.cluster(3);
    let mut leaving = nodes.pop().expect("three nodes");
    let [n1, n2] = &nodes[..] else { panic!("two more nodes") };
    let mut client = subscriber(&leaving, "c", &["a"], Q1);
    let retained = Publish { retain: true, ..publish(1, Q1, "kept", "x") };
    connect(&leaving, "p").publishes(retained);

    let began = Instant::now();
    let asked = http(&leaving);
    let command = std::thread::spawn(move || rumormq(&["leave", "--http", &asked]));
    awaits("it is forgotten", PATIENCE, || [n1, n2].iter().all(|node| names(node).len() == 2));
    println!("forgotten after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2));
    client.gets("DISCONNECT 0x8b");
    assert_eq!(leaving.wait().code(), Some(0), "a clean end");
    assert_eq!(command.join().expect("it ends"), (Some(0), "n3@127.0.0.1 has left its cluster\n".to_owned()));
    for node in [n1, n2] {
        assert!(node.routes().iter().all(|(filter, _)| filter != "a"));
        awaits("its routes are dropped", PATIENCE, || node.matches("a").is_empty());
        assert_eq!(node.metric("member_transitions_total", &["to=\"dead\""]), 0.0);
        assert_eq!(node.metric("member_transitions_total", &["to=\"left\""]), 1.0);
        let mut reader = connect(node, "reader");
        reader.subscribes(&[("kept", options(Q0))], "0x00");
        reader.gets("PUBLISH q0 kept x retain");
        assert!(time_of_puback(&mut connect(node, "p"), "a", "y") < Duration::from_millis(500));
    }
    // It knows nobody, and nobody knows it: started again, it is a newcomer.
    let written = identity(&disk.of("n3"));
    assert_eq!(written.peers, []);
    leaving.restart_with(Launch::without_seeds);
    assert_eq!(names(&leaving), ["n3@127.0.0.1"]);
    leaving.terminate();
    leaving.wait();
    leaving.restart_with(|launch| launch.join(n1.cluster_addr()));
    await_converged(&[n1, n2, &leaving]);
}

/// Who is cut off when it happens hears of it later, from whom it meets.
#[test]
fn a_leave_is_heard_of_after_a_split() {
    let disk = Disk::new("leave-split");
    std::fs::create_dir_all(disk.of("")).expect("there is room");
    let token = disk.of("token");
    std::fs::write(&token, "0123456789abcdef\n").expect("there is room");
    let token = token.to_str().expect("a readable path");
    let Some(mut nodes) = hosts_with::<3>(|launch| launch.flag("--http-token-file", token)) else { return };
    let (third, mut leaving) = nodes.pop().expect("three nodes");
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two more nodes") };
    let _client = subscriber(&leaving, "c", &["a"], Q1);
    awaits("its route is known", PATIENCE, || n2.routes().len() == 1);
    host.isolate();
    let command = third.command(env!("CARGO_BIN_EXE_rumormq"));
    let arguments = ["leave", "--http", &http(&leaving), "--http-token-file", token];
    assert_eq!(run(command, &arguments).0, Some(0));
    assert_eq!(leaving.wait().code(), Some(0));
    awaits("it is dropped where it was heard", PATIENCE, || !names(n1).contains(&leaving.name().to_owned()));
    awaits("it counts as dead elsewhere", PATIENCE, || {
        n2.state_of(leaving.name()) == Some(MemberState::Dead)
    });
    host.heal();
    let took = await_converged(&[n1, n2]);
    awaits("it is dropped by all", PATIENCE, || n2.cluster().members.len() == 2);
    println!("converged {took:?} after the split");
    assert_eq!(n2.metric("trie_filters", &[]), 0.0);
}

/// Clients are sent to another place where there is one, and told that it is for good.
#[test]
fn clients_of_a_leaving_node_are_told_that_it_has_moved() {
    let nodes = start_cluster(1);
    let reference = nodes[0].mqtt_addr().to_string();
    let mut leaving =
        Launch::new("n2").join(nodes[0].cluster_addr()).flag("--server-reference", &reference).start();
    let mut client = subscriber(&leaving, "c", &["a"], Q1);
    assert_eq!(leaving.post("/api/v1/leave"), 202);
    let frame = client.frame().expect("a word of farewell");
    let Packet::Disconnect(disconnect) = frame.packet() else { panic!("{:?}", frame.packet()) };
    assert_eq!(disconnect.reason as u8, 0x9D);
    assert_eq!(disconnect.properties.server_reference, Some(reference.as_str()));
    assert_eq!(leaving.wait().code(), Some(0));
    let mut client = subscriber(&nodes[0], "c", &["a"], Q1);
    time_of_puback(&mut connect(&nodes[0], "p"), "a", "x");
    assert_eq!(message(&mut client), "x");
}

/// It takes the secret, where there is one.
#[test]
fn a_leave_needs_the_token() {
    let disk = Disk::new("token");
    std::fs::create_dir_all(disk.of("")).expect("there is room");
    let (right, wrong) = (disk.of("right"), disk.of("wrong"));
    std::fs::write(&right, "0123456789abcdef\n").expect("there is room");
    std::fs::write(&wrong, "0123456789abcdeX\n").expect("there is room");
    let file = |path: &std::path::Path| path.to_str().expect("a readable path").to_owned();
    let mut node = Launch::new("n1").flag("--http-token-file", &file(&right)).start();
    let http = http(&node);
    let (code, says) = rumormq(&["leave", "--http", &http]);
    assert_eq!(code, Some(1), "{says}");
    assert!(says.contains("401"), "{says}");
    let (code, says) = rumormq(&["leave", "--http", &http, "--http-token-file", &file(&wrong)]);
    assert_eq!(code, Some(1), "{says}");
    let (code, says) = rumormq(&["leave", "--http", &http, "--json", "--http-token-file", &file(&right)]);
    assert_eq!((code, says.as_str()), (Some(0), "{\"node\":\"n1@127.0.0.1\"}\n"));
    assert_eq!(node.wait().code(), Some(0));
}
