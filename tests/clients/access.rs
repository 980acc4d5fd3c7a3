//! Passwords and rules, as the users of mosquitto and Paho meet them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::agent::python;
use crate::processes::{Launch, Process};
use crate::world::may_go_on;

const RULES: &str = "user alice\ntopic readwrite home/#\ntopic deny home/safe\npattern write up/%c\n";

/// A directory that is there until the test ends.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("rumormq-access-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for files that last as long as the test");
        Directory(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn passwd(file: &Path, user: &str, password: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rumormq"));
    command.arg("passwd").arg(file).args([user, "--scram"]).stdin(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    writeln!(child.stdin.take().expect("piped"), "{password}").expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

fn node(directory: &Directory) -> Process {
    let (users, rules) = (directory.file("users"), directory.file("rules"));
    passwd(&users, "alice", "a secret: \u{fc}");
    std::fs::write(&rules, RULES).expect("written");
    let launch = Launch::new("n1").flag("--password-file", users.to_str().expect("text"));
    launch.flag("--acl-file", rules.to_str().expect("text")).start()
}

fn run(node: &Process, program: &str, arguments: &[&str]) -> Output {
    let port = node.mqtt_addr().port().to_string();
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &port]).args(arguments).output().expect("installed")
}

#[test]
fn mosquitto_is_asked_for_its_password() {
    let installed = Command::new("mosquitto_pub").arg("--help").output().is_ok();
    if !may_go_on("mosquitto_pub", installed) {
        return;
    }
    let directory = Directory::new("mosquitto");
    let node = node(&directory);
    let right = ["-u", "alice", "-P", "a secret: \u{fc}"];
    for version in ["mqttv311", "mqttv5"] {
        let publish = |credentials: &[&str], more: &[&str]| {
            run(&node, "mosquitto_pub", &[&["-V", version, "-m", "x"], credentials, more].concat())
        };
        assert!(publish(&right, &["-t", "home/a", "-q", "1", "-r"]).status.success());
        for wrong in [&["-u", "alice", "-P", "guess"][..], &["-u", "bob", "-P", "a secret"], &[]] {
            let refused = publish(wrong, &["-t", "home/a", "-q", "1"]);
            assert!(!refused.status.success(), "{version} {wrong:?}");
            let said = String::from_utf8_lossy(&refused.stderr).to_lowercase();
            assert!(said.contains("not authori") || said.contains("bad user name"), "{said}");
        }
        let denied = publish(&right, &["-t", "home/safe", "-q", "1", "-r"]);
        let said = String::from_utf8_lossy(&denied.stderr).to_lowercase();
        assert_eq!(said.contains("not authorized"), version == "mqttv5", "{said}");
        assert!(publish(&right, &["-t", "up/gauge", "-i", "gauge", "-q", "2"]).status.success());
        // What was let through is there; nothing else is.
        let of_version = ["-V", version, "-t", "home/a", "-t", "home/b", "-C", "1", "-W", "10", "-v"];
        let got = run(&node, "mosquitto_sub", &[&of_version[..], &right].concat());
        assert_eq!(String::from_utf8_lossy(&got.stdout), "home/a x\n");
    }
    let denied = run(&node, "mosquitto_sub", &[&["-t", "home/#", "-W", "10"], &right[..]].concat());
    let said = String::from_utf8_lossy(&denied.stderr).to_lowercase();
    assert!(said.contains("denied") || said.contains("rejected"), "{said}");
}

#[test]
fn paho_is_asked_for_its_password() {
    let import = Command::new(python()).args(["-c", "import paho.mqtt.client"]).output();
    if !may_go_on("paho-mqtt for python3", import.is_ok_and(|import| import.status.success())) {
        return;
    }
    let directory = Directory::new("paho");
    let node = node(&directory);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/access.py");
    let port = node.mqtt_addr().port().to_string();
    let output = Command::new(python()).args([script, &port]).output().expect("installed");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
}
