//! `rumormq top` on a terminal, which an emulator of somebody else's stands for.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::clients::{connect, publish_numbers};
use crate::processes::{PATIENCE, Process, awaits, start_cluster};
use crate::support::client::Q1;

/// Gives a command a terminal of its own; of util-linux.
const SETSID: &str = "setsid";

/// Whether it is there; says so, if not.
///
/// # Panics
/// Instead, with `RUMORMQ_REQUIRE_CLIENTS=1`.
fn can_give_terminals() -> bool {
    let there = Command::new(SETSID).arg("--version").output().is_ok_and(|output| output.status.success());
    let required = std::env::var("RUMORMQ_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    assert!(there || !required, "{SETSID} is required: the package is called util-linux");
    if !there {
        eprintln!("SKIPPED: no {SETSID}");
    }
    there
}

/// The command on a terminal of 80 by 24 characters.
struct Terminal {
    command: Child,
    keyboard: File,
    emulator: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    fn start(arguments: &[&str]) -> Terminal {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&near).expect("it is ours");
        unlockpt(&near).expect("it is ours");
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&near, size).expect("a terminal has a size");
        let path = ptsname(&near, Vec::new()).expect("it has a name");
        let far = || {
            let file = File::options().read(true).write(true).open(path.to_str().expect("UTF-8"));
            Stdio::from(file.expect("the other end"))
        };
        let mut command = Command::new(SETSID);
        command.args(["--ctty", env!("CARGO_BIN_EXE_rumormq")]).args(arguments);
        let command = command.stdin(far()).stdout(far()).stderr(far()).spawn().expect("it is there");
        let keyboard = File::from(near);
        let mut output = keyboard.try_clone().expect("a descriptor");
        let emulator = Arc::new(Mutex::new(vt100::Parser::default()));
        let shown = emulator.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when nobody has the other end any more.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..count]);
            }
        });
        Terminal { command, keyboard, emulator }
    }

    fn screen(&self) -> String {
        self.emulator.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    #[track_caller]
    fn await_words(&self, words: &[&str]) {
        let shows = || {
            let screen = self.screen();
            words.iter().all(|word| screen.contains(word))
        };
        let begun = std::time::Instant::now();
        while !shows() {
            assert!(begun.elapsed() < 2 * PATIENCE, "waited in vain for {words:?} in\n{}", self.screen());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// The command ends, and the screen is as it was before.
    fn gives_back_the_terminal(&mut self) {
        let status = self.command.wait().expect("it is ours");
        assert_eq!(status.code(), Some(0));
        awaits("the terminal is given back", PATIENCE, || {
            let emulator = self.emulator.lock().unwrap_or_else(PoisonError::into_inner);
            !emulator.screen().alternate_screen() && !emulator.screen().hide_cursor()
        });
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("somebody reads");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}

#[test]
fn top_shows_the_cluster_and_what_becomes_of_it() {
    if !can_give_terminals() {
        return;
    }
    let mut nodes = start_cluster(3);
    let http = nodes[0].http_addr().to_string();
    let names: Vec<String> = nodes.iter().map(|node| node.name().to_owned()).collect();
    let mut top = Terminal::start(&["top", "--interval=0.2", "--http", &http]);
    top.await_words(&[
        "RumorMQ as told by",
        &http,
        "3 nodes, converged",
        &names[0],
        &names[1],
        &names[2],
        "CONV",
    ]);
    let mut publisher = connect(&nodes[1], "p");
    let is_counted = |top: &Terminal| {
        top.screen().lines().any(|line| line.starts_with("all: ") && !line.contains("all: 0 in/s"))
    };
    let mut number = 0;
    awaits("the rate of a publisher is shown", 2 * PATIENCE, || {
        publish_numbers(&mut publisher, "a", Q1, number..number + 10, 1);
        number += 10;
        is_counted(&top)
    });
    top.types("2");
    top.await_words(&["Row: the node that says so"]);
    top.types("3");
    top.await_words(&["whose changes it has applied", "ok"]);
    top.types("4");
    top.await_words(&["UNACKED", "OLDEST"]);
    top.types("1");

    nodes[2].kill();
    top.await_words(&["3 nodes, converged, 1 without answer", "dead"]);
    let Some(asked) = nodes.first_mut() else { return };
    asked.kill();
    top.await_words(&["no answer for", &names[1]]);
    Process::restart(&mut nodes[0]);
    awaits("the node is heard again", 2 * PATIENCE, || !top.screen().contains("no answer for"));
    top.types("q");
    top.gives_back_the_terminal();
    // So it does when it is told to end in another way.
    let mut top = Terminal::start(&["top", "--http", &http]);
    top.await_words(&["RumorMQ as told by"]);
    kill_process(Pid::from_child(&top.command), Signal::TERM).expect("it runs");
    top.gives_back_the_terminal();
}
