//! Mosquitto's C clients: `mosquitto_sub` receives, `mosquitto_pub` publishes. Each is a connection of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;

use crate::peer::{Connected, Incoming, Library, Options, Outgoing, Peer, Transport, Wanted};
use crate::world::may_go_on;

/// How long what must come may take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Mosquitto(pub Transport);

impl Library for Mosquitto {
    fn is_installed(&self) -> bool {
        ["mosquitto_pub", "mosquitto_sub"].iter().all(|program| {
            // Asked for help, it gives it and fails.
            may_go_on(program, Command::new(program).arg("--help").output().is_ok())
        })
    }

    fn transport(&self) -> Transport {
        self.0
    }

    fn connect(&mut self, options: Options) -> Box<dyn Peer> {
        Box::new(MosquittoPeer { options, subscriber: None })
    }
}

struct MosquittoPeer {
    options: Options,
    subscriber: Option<Subscriber>,
}

/// A `mosquitto_sub` and the lines that it prints.
struct Subscriber {
    child: Child,
    lines: Receiver<String>,
}

impl MosquittoPeer {
    fn command(&self, program: &str) -> Command {
        let options = &self.options;
        // Without a terminal its words about SUBACK would stay in its buffer.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", program]);
        let version = if options.version == 5 { "mqttv5" } else { "mqttv311" };
        command.args(["-h", "localhost", "-p", &options.port.to_string(), "-V", version]);
        if options.transport == Transport::Tls {
            command.args(["--cafile", &options.ca]);
        }
        if let (Some(user), Some(password)) = (&options.user, &options.password) {
            command.args(["-u", user, "-P", password]);
        }
        command
    }

    /// Starts `mosquitto_sub`, which has one QoS for all filters.
    #[track_caller]
    fn start(&mut self, all: &[Wanted]) {
        assert!(self.subscriber.is_none(), "it subscribes as it starts");
        let wanted = all.iter().max_by_key(|wanted| wanted.qos).expect("a filter");
        let mut command = self.command("mosquitto_sub");
        let options = &self.options;
        // Debug output tells of SUBACK, and messages are JSON.
        command.args(["-d", "-F", "%j", "-q", &wanted.qos.to_string()]);
        for Wanted { filter, .. } in all {
            command.args(["-t", filter]);
        }
        command.args(["-k", &options.keep_alive.to_string()]);
        if !options.id.is_empty() {
            command.args(["-i", &options.id]);
        }
        if !options.clean {
            command.arg("-c");
        }
        if let Some(expiry) = options.expiry {
            command.args(["-x", &expiry.to_string()]);
        }
        if let Some(will) = &options.will {
            command.args(["--will-topic", &will.topic, "--will-payload", &will.payload]);
            command.args(["--will-qos", &will.qos.to_string()]);
            if will.retain {
                command.arg("--will-retain");
            }
        }
        if wanted.retain_as_published {
            command.arg("--retain-as-published");
        }
        if let Some(identifier) = wanted.identifier {
            command.args(["-D", "subscribe", "subscription-identifier", &identifier.to_string()]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("installed");
        let lines = lines(child.stdout.take().expect("piped"));
        self.subscriber = Some(Subscriber { child, lines });
    }

    /// The running `mosquitto_sub`.
    #[track_caller]
    fn subscriber(&self) -> &Subscriber {
        self.subscriber.as_ref().expect("it has subscribed")
    }
}

impl Peer for MosquittoPeer {
    /// The commands tell nothing of CONNACK but failure.
    fn connected(&self) -> Connected {
        Connected::default()
    }

    #[track_caller]
    fn subscribe(&mut self, wanted: Wanted) -> u8 {
        self.start(&[wanted]);
        self.subscriber().granted()
    }

    /// In one SUBSCRIBE.
    #[track_caller]
    fn subscribe_all(&mut self, wanted: Vec<Wanted>) {
        self.start(&wanted);
        self.subscriber().granted();
    }

    fn unsubscribe(&mut self, _: &str) {
        unimplemented!("mosquitto_sub has no way to do so while it runs");
    }

    #[track_caller]
    fn publish(&mut self, messages: Vec<Outgoing>) {
        let mut messages = messages.into_iter().peekable();
        while let Some(first) = messages.next() {
            let mut command = self.command("mosquitto_pub");
            command.args(["-t", &first.topic, "-q", &first.qos.to_string()]);
            if first.retain {
                command.arg("-r");
            }
            for (name, value) in [
                ("message-expiry-interval", first.expiry.map(|expiry| expiry.to_string())),
                ("content-type", first.content_type.clone()),
                ("response-topic", first.response_topic.clone()),
                ("correlation-data", first.correlation.clone()),
            ] {
                if let Some(value) = value {
                    command.args(["-D", "publish", name, &value]);
                }
            }
            for (name, value) in &first.user {
                command.args(["-D", "publish", "user-property", name, value]);
            }
            // Messages in a row to one topic are the lines of one command, one alone is all of its input.
            let mut payloads = vec![first.payload.clone()];
            while let Some(next) = messages.next_if(|next| next.topic == first.topic && next.qos == first.qos)
            {
                payloads.push(next.payload);
            }
            command.arg(match (payloads.len(), first.payload.is_empty()) {
                (1, true) => "-n",
                (1, false) => "-s",
                _ => "-l",
            });
            let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("installed");
            let mut input = child.stdin.take().expect("piped");
            let _ = input.write_all(payloads.join("\n").as_bytes());
            drop(input);
            let output = child.wait_with_output().expect("a child of this process");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    #[track_caller]
    fn message(&mut self) -> Incoming {
        let line = self.subscriber().line("a message", |line| line.starts_with('{'));
        let json: Value = serde_json::from_str(&line).expect("JSON");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let properties = &json["properties"];
        let user = properties["user-properties"].as_object().into_iter().flatten();
        Incoming {
            topic: text(&json["topic"]).expect("a topic"),
            payload: text(&json["payload"]).unwrap_or_default(),
            qos: json["qos"].as_u64().expect("a QoS") as u8,
            retain: json["retain"] == 1,
            expiry: properties["message-expiry-interval"].as_u64().map(|secs| secs as u32),
            content_type: text(&properties["content-type"]),
            response_topic: text(&properties["response-topic"]),
            correlation: text(&properties["correlation-data"]),
            user: user.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect(),
            identifiers: properties["subscription-identifier"]
                .as_u64()
                .map(|id| id as u32)
                .into_iter()
                .collect(),
        }
    }

    fn ended(&mut self) -> Option<u8> {
        unimplemented!("mosquitto_sub connects again by itself");
    }

    /// As its user does with Ctrl-C: it disconnects.
    fn disconnect(mut self: Box<Self>) {
        if let Some(subscriber) = &mut self.subscriber {
            let id = subscriber.child.id().to_string();
            let sent = Command::new("kill").args(["-INT", &id]).status().expect("a shell's command");
            assert!(sent.success());
            let _ = subscriber.child.wait();
        }
    }

    /// Its process is killed.
    fn lose_power(self: Box<Self>) {}

    /// Interrupted, it asks for its will where the protocol lets it (0x04).
    fn can_say_goodbye(&self) -> bool {
        self.options.version != 5
    }

    /// What was queued comes before SUBACK does.
    #[track_caller]
    fn come_back(&mut self, wanted: Wanted) {
        self.start(&[wanted]);
    }
}

impl Subscriber {
    /// What SUBACK said.
    #[track_caller]
    fn granted(&self) -> u8 {
        let line = self.line("SUBACK", |line| line.starts_with("Subscribed (mid"));
        line.rsplit(' ').next().and_then(|reason| reason.parse().ok()).expect("a reason code")
    }

    /// The next line that fits; those before it are dropped.
    #[track_caller]
    fn line(&self, what: &str, fits: fn(&str) -> bool) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if fits(&line) => return line,
                Ok(_) => {}
                Err(_) => panic!("waited in vain for {what}"),
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, read by a thread of their own so that waiting for one can have a deadline.
fn lines(stream: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}
