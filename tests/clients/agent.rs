//! Libraries in other languages: a program of theirs, the *agent*, does what it is told on standard input.
//!
//! A request is a JSON object in a line: `op` is `connect` and the names of [`Peer`]'s methods, `client` says which one, and the
//! other keys are the fields of [`Options`], [`Wanted`] or [`Outgoing`] (in `messages`). The answer is `{"ok": ...}` with the
//! fields of what the method gives, or `{"error": ...}`.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::peer::{Connected, Incoming, Library, Options, Outgoing, Peer, Transport, Wanted};
use crate::world::may_go_on;

/// Where `tests/clients/install` puts what is no part of the system.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients")
}

/// Python, with the libraries that `tests/clients/install` puts beside it if that was run.
pub fn python() -> PathBuf {
    let own = installed().join("venv/bin/python3");
    if own.exists() { own } else { PathBuf::from("python3") }
}

fn script(name: &str) -> String {
    format!("{}/tests/clients/agents/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A language's library.
pub struct Agent {
    name: &'static str,
    transport: Transport,
    program: PathBuf,
    arguments: Vec<String>,
    process: Option<Rc<RefCell<Process>>>,
    clients: usize,
}

impl Agent {
    /// Paho or aiomqtt.
    pub fn python(module: &'static str, transport: Transport) -> Agent {
        Agent::new(module, transport, python(), vec![script("agent.py"), module.to_owned()])
    }

    /// MQTT.js.
    pub fn javascript(transport: Transport) -> Agent {
        let modules = installed().display().to_string();
        Agent::new("mqtt", transport, PathBuf::from("node"), vec![script("agent.mjs"), modules])
    }

    fn new(name: &'static str, transport: Transport, program: PathBuf, arguments: Vec<String>) -> Agent {
        Agent { name, transport, program, arguments, process: None, clients: 0 }
    }
}

impl Library for Agent {
    fn is_installed(&self) -> bool {
        let check = match self.name {
            "mqtt" => return may_go_on("MQTT.js", installed().join("node_modules/mqtt").exists()),
            "paho" => "import paho.mqtt.client",
            module => &format!("import {module}"),
        };
        let import = Command::new(&self.program).args(["-c", check]).output();
        may_go_on(self.name, import.is_ok_and(|import| import.status.success()))
    }

    fn transport(&self) -> Transport {
        self.transport
    }

    #[track_caller]
    fn connect(&mut self, options: Options) -> Box<dyn Peer> {
        let process = self.process.get_or_insert_with(|| {
            Rc::new(RefCell::new(Process::start(Command::new(&self.program).args(&self.arguments))))
        });
        let process = process.clone();
        let name = self.clients.to_string();
        self.clients += 1;
        let connected: Connected = process.borrow_mut().ask(&name, "connect", &options);
        assert_eq!(connected.reason, 0, "not accepted");
        Box::new(AgentPeer { process, name, connected })
    }
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(command: &mut Command) -> Process {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program is installed");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Process { child, input, output }
    }

    #[track_caller]
    fn ask<A: DeserializeOwned>(&mut self, client: &str, op: &str, details: &impl Serialize) -> A {
        let mut request = serde_json::to_value(details).expect("an object");
        request["op"] = json!(op);
        request["client"] = json!(client);
        writeln!(self.input, "{request}").expect("the agent reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the agent answers");
        let mut answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{op}: {error}: {line:?}"));
        if let Some(error) = answer.get("error") {
            panic!("{op}: {}", error.as_str().unwrap_or_default());
        }
        serde_json::from_value(answer["ok"].take()).expect("the answer of this operation")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct AgentPeer {
    process: Rc<RefCell<Process>>,
    name: String,
    connected: Connected,
}

impl AgentPeer {
    #[track_caller]
    fn ask<A: DeserializeOwned>(&self, op: &str, details: &impl Serialize) -> A {
        self.process.borrow_mut().ask(&self.name, op, details)
    }

    fn reason(answer: &Value) -> Option<u8> {
        answer["reason"].as_u64().map(|reason| reason as u8)
    }
}

impl Peer for AgentPeer {
    fn connected(&self) -> Connected {
        self.connected.clone()
    }

    #[track_caller]
    fn subscribe(&mut self, wanted: Wanted) -> u8 {
        AgentPeer::reason(&self.ask("subscribe", &wanted)).expect("a reason code")
    }

    #[track_caller]
    fn unsubscribe(&mut self, filter: &str) {
        let _: Value = self.ask("unsubscribe", &json!({ "filter": filter }));
    }

    #[track_caller]
    fn publish(&mut self, messages: Vec<Outgoing>) {
        let _: Value = self.ask("publish", &json!({ "messages": messages }));
    }

    #[track_caller]
    fn message(&mut self) -> Incoming {
        self.ask("message", &json!({}))
    }

    #[track_caller]
    fn ended(&mut self) -> Option<u8> {
        AgentPeer::reason(&self.ask("ended", &json!({})))
    }

    #[track_caller]
    fn disconnect(self: Box<Self>) {
        let _: Value = self.ask("disconnect", &json!({}));
    }

    #[track_caller]
    fn lose_power(self: Box<Self>) {
        let _: Value = self.ask("lose_power", &json!({}));
    }
}
