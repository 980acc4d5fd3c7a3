//! What an operator sees of clients of others, on the command line, while things go wrong.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::access::{Directory, passwd};
use crate::processes::{PATIENCE, Process, awaits, start_cluster_with};
use crate::world::may_go_on;

/// A `rumormq trace` that writes to a file.
struct Trace {
    process: Child,
    file: PathBuf,
}

impl Trace {
    /// Returns when it traces.
    fn start(node: &Process, file: PathBuf, arguments: &[&str]) -> Trace {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rumormq"));
        command.args(["trace", "--for", "5m", "--http", &node.http_addr().to_string()]).args(arguments);
        command.arg("--output").arg(&file).stderr(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let mut said = BufReader::new(process.stderr.take().expect("piped")).lines();
        let line = said.next().expect("it says so").expect("text");
        assert!(line.contains("tracing for 300 s"), "{line}");
        std::thread::spawn(move || said.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Trace { process, file }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).expect("it writes")
    }

    /// Waits for a line with all of these words.
    #[track_caller]
    fn tells(&self, words: &[&str]) {
        let is_it = |line: &str| words.iter().all(|word| line.contains(word));
        let what = format!("{words:?}");
        let told = std::panic::catch_unwind(|| {
            awaits(&what, PATIENCE, || self.text().lines().any(is_it));
        });
        assert!(told.is_ok(), "{what} is not in\n{}", self.text());
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn cluster(directory: &Directory) -> Vec<Process> {
    let users = directory.file("users");
    passwd(&users, "alice", "the secret");
    let users = users.to_str().expect("text").to_owned();
    start_cluster_with(2, |launch| {
        launch.flag("--password-file", &users).environment("RUMORMQ_MAX_QUEUED_MESSAGES", "1")
    })
}

/// A client that runs until the test ends, however that does.
pub struct Running(pub Child);

impl Running {
    pub fn start(mut command: Command) -> Running {
        Running(command.spawn().expect("installed"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn mosquitto(program: &str, node: &Process, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &node.mqtt_addr().port().to_string(), "-V", "mqttv5"]);
    command.args(arguments).stdout(Stdio::null());
    command
}

pub fn is_installed() -> bool {
    let installed = |program: &&str| Command::new(program).arg("--help").output().is_ok();
    may_go_on("mosquitto_sub", ["mosquitto_sub", "mosquitto_pub"].iter().all(installed))
}

const ALICE: [&str; 4] = ["-u", "alice", "-P", "the secret"];

#[test]
fn a_client_is_followed_through_the_cluster() {
    if !is_installed() {
        return;
    }
    let directory = Directory::new("trace-client");
    let nodes = cluster(&directory);
    let trace = Trace::start(&nodes[0], directory.file("trace"), &["--client", "gauge*"]);
    let both = [nodes[0].name().to_owned(), nodes[1].name().to_owned()];
    let subscribe = |node: usize, more: &[&str]| {
        let session = ["-i", "gauge-7", "-c", "-x", "300", "-q", "1", "-t", "news/#", "--will-topic", "gone"];
        mosquitto("mosquitto_sub", &nodes[node], &[&session[..], more].concat())
    };
    let publish = |payload: &str| {
        let message = ["-q", "1", "-t", "news/today", "-m", payload];
        let status = mosquitto("mosquitto_pub", &nodes[0], &[&message[..], &ALICE].concat()).status();
        assert!(status.expect("installed").success());
    };

    let refused = subscribe(1, &["-u", "alice", "-P", "a guess"]).stderr(Stdio::null()).status();
    assert!(!refused.expect("installed").success());
    trace.tells(&[&both[1], "gauge-7 -> CONNECT", "username=alice", "password=hidden", "will_topic=gone"]);
    trace.tells(&[&both[1], "gauge-7 denied", "password"]);
    trace.tells(&[&both[1], "gauge-7 refused", "0x86 BadUserNameOrPassword"]);

    let first = Running::start(subscribe(1, &ALICE));
    trace.tells(&[&both[1], "gauge-7 connected", "session=new", "username=alice"]);
    trace.tells(&[&both[1], "gauge-7 <- SUBACK", "0x01 GrantedQoS1"]);
    publish("confidential");
    trace.tells(&[&both[1], "gauge-7 <- PUBLISH news/today id=1 qos=1", "size=12"]);
    trace.tells(&[&both[1], "gauge-7 -> PUBACK id=1"]);
    drop(first);
    trace.tells(&[&both[1], "gauge-7 disconnected", "cause=tcp_closed"]);
    trace.tells(&[&both[1], "gauge-7 will published gone"]);
    publish("one");
    publish("one too many");
    trace.tells(&[&both[1], "gauge-7 queued news/today", "size=3", "queued=1"]);
    trace.tells(&[&both[1], "gauge-7 dropped news/today", "size=12", "why=queue_full"]);

    let _second = Running::start(subscribe(0, &ALICE));
    trace.tells(&[&both[1], "gauge-7 session leaves", &format!("to={}", both[0])]);
    trace.tells(&[&both[0], "gauge-7 session arrives"]);
    trace.tells(&[&both[0], "gauge-7 connected", "session=resumed"]);
    trace.tells(&[&both[0], "gauge-7 <- PUBLISH news/today", "size=3"]);
    let _third = Running::start(subscribe(0, &ALICE));
    trace.tells(&[&both[0], "gauge-7 disconnected", "cause=takenover"]);
    trace.tells(&[&both[0], "gauge-7 <- DISCONNECT", "0x8E SessionTakenOver"]);
    let text = trace.text();
    for secret in ["the secret", "a guess", "confidential"] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
    assert_eq!(nodes[1].metric("traces", &[]), 1.0);
}

#[test]
fn a_topic_is_followed_through_the_cluster() {
    if !is_installed() {
        return;
    }
    let directory = Directory::new("trace-topic");
    let nodes = cluster(&directory);
    let arguments = ["--topic", "news/+", "--payload=4", "--json"];
    let trace = Trace::start(&nodes[1], directory.file("trace"), &arguments);
    let subscribe = ["-i", "reader", "-t", "news/#", "-q", "0"];
    let _reader = Running::start(mosquitto("mosquitto_sub", &nodes[1], &[&subscribe[..], &ALICE].concat()));
    awaits("it is subscribed", PATIENCE, || !nodes[0].matches("news/x").is_empty());
    for (topic, payload) in [("news/today", "something"), ("other/today", "secret")] {
        let message = ["-i", "writer", "-t", topic, "-m", payload];
        let status = mosquitto("mosquitto_pub", &nodes[0], &[&message[..], &ALICE].concat()).status();
        assert!(status.expect("installed").success());
    }
    let (first, second) = (nodes[0].name(), nodes[1].name());
    let on = |node: &str| format!("\"node\":\"{node}\"");
    trace.tells(&[&on(first), r#""event":"published""#, r#""client":"writer""#, r#""payload":"some…""#]);
    trace.tells(&[
        &on(first),
        r#""event":"routed""#,
        r#""delivered":"0""#,
        &format!(r#""nodes":"{second}""#),
    ]);
    trace.tells(&[&on(second), r#""event":"forwarded""#, &format!(r#""from":"{first}""#)]);
    trace.tells(&[&on(second), r#""event":"routed""#, r#""delivered":"1""#, r#""subscribers":"reader""#]);
    let text = trace.text();
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(event["topic"], "news/today", "{text}");
    }
}

/// Nobody reads what it writes, and it waits: the node does not.
#[test]
fn a_reader_that_stands_still_holds_up_nobody() {
    if !is_installed() {
        return;
    }
    let directory = Directory::new("trace-slow");
    let nodes = cluster(&directory);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rumormq"));
    command.args(["trace", "--topic", "#", "--payload", "--http", &nodes[0].http_addr().to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let _reader = Running::start(command);
    awaits("it traces", PATIENCE, || nodes[0].metric("traces", &[]) == 1.0);
    let lines = lines_of(&directory.file("lines"), 40_000);
    let arguments = ["-q", "1", "-t", "a/b", "-l"];
    let mut publisher = mosquitto("mosquitto_pub", &nodes[0], &[&arguments[..], &ALICE].concat());
    let status = publisher.stdin(std::fs::File::open(&lines).expect("written")).status();
    assert!(status.expect("installed").success(), "all were acknowledged");
    assert_eq!(nodes[0].metric("messages_received_total", &["qos=\"1\""]), 40_000.0);
    assert!(nodes[0].metric("trace_events_lost_total", &[]) > 0.0, "more came than anybody took");
}

fn lines_of(file: &Path, count: usize) -> PathBuf {
    let text: String = (0..count).map(|number| format!("{number:0200}\n")).collect();
    std::fs::write(file, text).expect("written");
    file.to_owned()
}
