//! A browser without a screen, told what to do by the DevTools protocol.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, WebSocket};

use crate::processes::{self, netns::Namespace};

/// Debian's name for it, and its package's.
const CHROMIUM: &str = "chromium";
/// Longest it may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Chromium with one page. It ends with this.
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    asked: u64,
    /// What pages complain about: errors of scripts, and what their policies have kept them from.
    pub complaints: Vec<String>,
    profile: PathBuf,
}

/// Whether there is one; says so, if not.
///
/// # Panics
/// Instead, with `RUMORMQ_REQUIRE_CLIENTS=1`.
pub fn is_there() -> bool {
    let there = Command::new(CHROMIUM).arg("--version").output().is_ok_and(|output| output.status.success());
    let required = std::env::var("RUMORMQ_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    assert!(there || !required, "{CHROMIUM} is required");
    if !there {
        eprintln!("SKIPPED: no {CHROMIUM}");
    }
    there
}

impl Browser {
    /// Starts one on this machine, or on a host of a network.
    pub fn start(name: &str, host: Option<&Arc<Namespace>>) -> Browser {
        let profile = std::env::temp_dir().join(format!("rumormq-browser-{name}-{}", std::process::id()));
        let mut command = host.map_or_else(|| Command::new(CHROMIUM), |host| host.command(CHROMIUM));
        command.args([
            "--headless=new",
            // It opens what these tests serve, and as root there is no other way.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-extensions",
            "--no-first-run",
            "--no-proxy-server",
            "--hide-scrollbars",
            "--remote-debugging-port=0",
            "--window-size=1200,900",
        ]);
        command.arg(format!("--user-data-dir={}", profile.display())).arg("about:blank");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it is there");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let url = lines.find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned));
        let url = url.expect("it says where it listens");
        // Nobody is interested in the rest, but it has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        let address = url.trim_start_matches("ws://").split('/').next().expect("an address").to_owned();
        let connect = || TcpStream::connect(&address);
        let stream = host.map_or_else(connect, |host| host.enter(connect)).expect("it listens");
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("a socket");
        let (socket, _) = tungstenite::client(url, stream).expect("it speaks WebSocket");
        let mut browser = Browser { child, socket, session: None, asked: 0, complaints: Vec::new(), profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", target);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime", "Log", "Page"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens this address, and waits until all of it is there.
    pub fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url}));
        assert_eq!(opened["errorText"], Value::Null, "{url}");
        let is_there =
            json!({"expression": "document.readyState === 'complete' && location.protocol === 'http:'"});
        processes::awaits("the page is there", ANSWER_MAX, || {
            // While one page goes and the other comes, there is none to be asked.
            self.try_call("Runtime.evaluate", &is_there).is_ok_and(|answer| answer["result"]["value"] == true)
        });
    }

    /// What this expression comes to in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", parameters);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    /// Runs a command of the protocol, and gives its result.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, &parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, parameters: &Value) -> Result<Value, Value> {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.socket.send(tungstenite::Message::text(message.to_string())).expect("it is there");
        loop {
            let text = self.socket.read().expect("it answers").into_text().expect("text");
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["id"] == self.asked {
                return match &message["error"] {
                    Value::Null => Ok(message["result"].clone()),
                    error => Err(error.clone()),
                };
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        let complaint = match message["method"].as_str() {
            Some("Log.entryAdded") if parameters["entry"]["level"] == "error" => &parameters["entry"],
            Some("Runtime.exceptionThrown") => &parameters["exceptionDetails"],
            _ => return,
        };
        self.complaints.push(complaint.to_string());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let close = json!({"id": 0, "method": "Browser.close"});
        if self.socket.send(tungstenite::Message::text(close.to_string())).is_ok() {
            // Until it hangs up.
            while self.socket.read().is_ok() {}
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
