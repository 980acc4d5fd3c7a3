//! `mosquitto_pub` and `mosquitto_sub`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use crate::may_go_on;
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits, start_cluster};

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

fn are_installed() -> bool {
    ["mosquitto_pub", "mosquitto_sub"].iter().all(|program| {
        // Asked for help, it gives it and fails.
        let help = Command::new(program).arg("--help").output();
        may_go_on(program, help.is_ok())
    })
}

fn client(program: &str, node: &Process, version: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    let port = node.mqtt_addr().port().to_string();
    command.args(["-h", "127.0.0.1", "-p", &port, "-V", version]).args(arguments);
    command
}

#[track_caller]
fn publish(node: &Process, version: &str, arguments: &[&str]) {
    let output = client("mosquitto_pub", node, version, arguments).output().expect("installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A `mosquitto_sub` that has subscribed.
struct Subscriber {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Subscriber {
    #[track_caller]
    fn start(node: &Process, version: &str, arguments: &[&str]) -> Subscriber {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        // The filters of one command line go in one SUBSCRIBE: when the last one matches, so do the others.
        let last = format!("started/{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let mut command = client("mosquitto_sub", node, version, arguments);
        let mut child = command.args(["-t", &last]).stdout(Stdio::piped()).spawn().expect("installed");
        let lines = lines(child.stdout.take().expect("piped"));
        awaits("mosquitto_sub subscribes", PATIENCE, || {
            node.matches(&last).iter().any(|(filter, _)| *filter == last)
        });
        Subscriber { child, lines }
    }

    #[track_caller]
    fn gets(&self, expected: &str) {
        assert_eq!(self.lines.recv_timeout(PATIENCE).as_deref(), Ok(expected));
    }

    /// As if its machine had lost power.
    fn dies(mut self) {
        self.child.kill().expect("running");
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, read by a thread of their own so that waiting for one can have a deadline.
fn lines(stream: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

#[test]
fn messages_cross_nodes_in_order_each_once() {
    if !are_installed() {
        return;
    }
    let nodes = start_cluster(3);
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            let topic = format!("{version}/{qos}");
            let subscriber = Subscriber::start(&nodes[2], version, &["-t", &topic, "-q", qos]);
            let mut publisher = client("mosquitto_pub", &nodes[0], version, &["-t", &topic, "-q", qos, "-l"]);
            let mut publisher = publisher.stdin(Stdio::piped()).spawn().expect("installed");
            let mut lines = publisher.stdin.take().expect("piped");
            for number in 0..500 {
                writeln!(lines, "{number}").expect("it reads");
            }
            drop(lines);
            assert!(publisher.wait().expect("it ends").success());
            for number in 0..500 {
                subscriber.gets(&number.to_string());
            }
            assert!(subscriber.lines.try_recv().is_err(), "each came once");
        }
    }
}

#[test]
fn messages_of_every_qos_arrive() {
    if !are_installed() {
        return;
    }
    let node = Launch::new("n1").start();
    for to in VERSIONS {
        let subscriber = Subscriber::start(&node, to, &["-t", "a/+", "-q", "2", "-F", "%t q%q r%r %p"]);
        for from in VERSIONS {
            for qos in ["0", "1", "2"] {
                let payload = format!("from {from}");
                publish(&node, from, &["-t", "a/b", "-q", qos, "-m", &payload]);
                subscriber.gets(&format!("a/b q{qos} r0 {payload}"));
            }
        }
    }
}

#[test]
fn many_messages_keep_their_order() {
    if !are_installed() {
        return;
    }
    const MESSAGES: usize = 500;
    let node = Launch::new("n1").start();
    for (version, qos) in [("mqttv311", "1"), ("mqttv5", "2")] {
        let subscriber = Subscriber::start(&node, version, &["-t", "count", "-q", qos]);
        let mut command = client("mosquitto_pub", &node, version, &["-t", "count", "-q", qos, "-l"]);
        let mut publisher = command.stdin(Stdio::piped()).spawn().expect("installed");
        let mut stdin = publisher.stdin.take().expect("piped");
        for n in 0..MESSAGES {
            writeln!(stdin, "{n}").expect("it reads");
        }
        drop(stdin);
        assert!(publisher.wait().expect("a child of this process").success());
        for n in 0..MESSAGES {
            subscriber.gets(&n.to_string());
        }
    }
}

#[test]
fn a_retained_message_awaits_a_subscriber_until_it_is_cleared() {
    if !are_installed() {
        return;
    }
    let node = Launch::new("n1").start();
    for version in VERSIONS {
        publish(&node, version, &["-t", "kept", "-r", "-q", "1", "-m", "for later"]);
        let subscriber = Subscriber::start(&node, version, &["-t", "kept", "-F", "r%r %p"]);
        subscriber.gets("r1 for later");
        publish(&node, version, &["-t", "kept", "-r", "-q", "1", "-n"]);
        subscriber.gets("r0 ");
        let late = Subscriber::start(&node, version, &["-t", "kept", "-F", "r%r %p"]);
        publish(&node, version, &["-t", "kept", "-q", "1", "-m", "live"]);
        late.gets("r0 live");
    }
}

#[test]
fn a_killed_client_leaves_its_will() {
    if !are_installed() {
        return;
    }
    let node = Launch::new("n1").start();
    for version in VERSIONS {
        let mourner = Subscriber::start(&node, version, &["-t", "wills/#", "-q", "1"]);
        let will = ["-t", "x", "--will-topic", "wills/w", "--will-payload", "gone", "--will-qos", "1"];
        Subscriber::start(&node, version, &will).dies();
        mourner.gets("gone");
    }
}

#[test]
fn a_session_keeps_messages_for_its_client() {
    if !are_installed() {
        return;
    }
    let node = Launch::new("n1").start();
    for (version, lasting) in [("mqttv311", &["-c"][..]), ("mqttv5", &["-c", "-x", "100"])] {
        let id = format!("lasting-{version}");
        let arguments = [&["-i", &id, "-t", "queue", "-q", "1"], lasting].concat();
        Subscriber::start(&node, version, &arguments).dies();
        publish(&node, version, &["-t", "queue", "-q", "1", "-m", "meanwhile"]);
        publish(&node, version, &["-t", "queue", "-q", "2", "-m", "and more"]);
        let mut command = client("mosquitto_sub", &node, version, &[&arguments[..], &["-C", "2"]].concat());
        let output = command.output().expect("installed");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "meanwhile\nand more\n");
    }
}

#[test]
fn properties_of_5_0_travel() {
    if !are_installed() {
        return;
    }
    let node = Launch::new("n1").start();
    let subscriber = Subscriber::start(&node, "mqttv5", &["-t", "p", "-F", "%C %D %R %P %p"]);
    let properties = [
        ["-D", "publish", "content-type", "text/plain"],
        ["-D", "publish", "correlation-data", "17"],
        ["-D", "publish", "response-topic", "answers"],
        ["-D", "publish", "user-property", "name"],
    ];
    let mut arguments = vec!["-t", "p", "-m", "payload"];
    arguments.extend(properties.as_flattened());
    arguments.push("value");
    publish(&node, "mqttv5", &arguments);
    subscriber.gets("text/plain 17 answers name:value payload");
}

#[test]
fn a_large_payload_arrives_whole() {
    if !are_installed() {
        return;
    }
    let node = Launch::new("n1").start();
    let payload = "0123456789".repeat(90_000);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("large_payload");
    std::fs::write(&file, &payload).expect("a writable target directory");
    for version in VERSIONS {
        let subscriber = Subscriber::start(&node, version, &["-t", "large", "-q", "1"]);
        let file = file.to_str().expect("a path in UTF-8");
        publish(&node, version, &["-t", "large", "-q", "1", "-f", file]);
        subscriber.gets(&payload);
    }
}

#[test]
fn overlapping_subscriptions_give_one_copy() {
    if !are_installed() {
        return;
    }
    let node = Launch::new("n1").start();
    for version in VERSIONS {
        let subscriber = Subscriber::start(&node, version, &["-t", "o/#", "-t", "o/+", "-q", "1"]);
        publish(&node, version, &["-t", "o/1", "-q", "1", "-m", "first"]);
        publish(&node, version, &["-t", "o/1", "-q", "1", "-m", "second"]);
        subscriber.gets("first");
        subscriber.gets("second");
    }
}

/// Members on different nodes, of different versions, share what any node's client publishes.
#[test]
fn a_group_shares_its_messages() {
    if !are_installed() {
        return;
    }
    let nodes = start_cluster(3);
    for qos in ["0", "1", "2"] {
        let (topic, filter) = (format!("share/{qos}"), format!("$share/group/share/{qos}"));
        let members: Vec<Subscriber> = nodes
            .iter()
            .zip(VERSIONS.iter().cycle())
            .map(|(node, version)| Subscriber::start(node, version, &["-t", &filter, "-q", qos]))
            .collect();
        await_converged(&nodes.iter().collect::<Vec<_>>());
        let mut publisher = client("mosquitto_pub", &nodes[0], "mqttv5", &["-t", &topic, "-q", qos, "-l"]);
        let mut publisher = publisher.stdin(Stdio::piped()).spawn().expect("installed");
        let mut lines = publisher.stdin.take().expect("piped");
        for number in 0..300 {
            writeln!(lines, "{number}").expect("it reads");
        }
        drop(lines);
        assert!(publisher.wait().expect("it ends").success());
        let mut got: Vec<u32> = members
            .iter()
            .flat_map(|member| (0..100).map(|_| member.lines.recv_timeout(PATIENCE).expect("its share")))
            .map(|line| line.parse().expect("a number"))
            .collect();
        got.sort_unstable();
        assert_eq!(got, (0..300).collect::<Vec<_>>(), "each came once");
    }
}
