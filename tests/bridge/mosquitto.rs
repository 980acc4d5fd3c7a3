//! A Mosquitto broker of the test's own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::processes::{PATIENCE, awaits};

/// A broker that keeps its sessions in a file when it is told to stop.
pub struct Mosquitto {
    directory: PathBuf,
    port: u16,
    child: Child,
}

impl Mosquitto {
    /// Starts a broker with these lines in its configuration, behind those of its listener; none where it is not installed.
    pub fn start(name: &str, lines: &str) -> Option<Mosquitto> {
        if Command::new("mosquitto").arg("-h").output().is_err() {
            let required = std::env::var("RUMORMQ_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
            assert!(!required, "mosquitto is not installed");
            println!("skipped: mosquitto is not installed");
            return None;
        }
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mosquitto-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a writable target directory");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let content = format!(
            "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n\
             persistence_location {}/\n{lines}\n",
            directory.display()
        );
        std::fs::write(directory.join("mosquitto.conf"), content).expect("a writable target directory");
        let child = run(&directory, port);
        Some(Mosquitto { directory, port, child })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Stops it, and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        self.child = run(&self.directory, self.port);
    }

    fn stop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.child.wait().expect("a child of this process");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn run(directory: &Path, port: u16) -> Child {
    let child = Command::new("mosquitto")
        .arg("-c")
        .arg(directory.join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is installed");
    awaits("mosquitto listens", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    child
}
