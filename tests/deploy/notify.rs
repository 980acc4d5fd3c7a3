//! A node tells the service manager how it is.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::processes::{Launch, PATIENCE};

/// What the manager is told next, signs of life apart.
fn told(manager: &UnixDatagram) -> String {
    loop {
        let mut buffer = [0; 4096];
        let count = manager.recv(&mut buffer).expect("a message");
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        if text != "WATCHDOG=1" {
            return text;
        }
    }
}

#[test]
fn the_service_manager_hears_how_a_node_is() {
    let path = std::env::temp_dir().join(format!("rumormq-notify-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("above zero");
    let launch = Launch::new("n1")
        .environment("NOTIFY_SOCKET", path.to_str().expect("a readable path"))
        .environment("WATCHDOG_USEC", "100000");
    let mut node = launch.start();
    assert_eq!(told(&manager), "READY=1\nSTATUS=serving clients as n1@127.0.0.1");
    let mut buffer = [0; 64];
    for _ in 0..3 {
        let count = manager.recv(&mut buffer).expect("a sign of life");
        assert_eq!(&buffer[..count], b"WATCHDOG=1");
    }
    // Who is paused gives none.
    node.freeze();
    manager.set_read_timeout(Some(Duration::from_millis(500))).expect("above zero");
    let mut last = 0;
    while manager.recv(&mut buffer).is_ok() {
        last += 1;
        assert!(last < 100, "it goes on");
    }
    node.thaw();
    manager.set_read_timeout(Some(PATIENCE)).expect("above zero");
    let clock = || rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec;
    let before = clock();
    node.hang_up();
    let reloading = told(&manager);
    let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("it reloads, and says when");
    let at = micros.parse::<i64>().expect("a number") / 1_000_000;
    assert!((before..=clock()).contains(&at), "{at}");
    assert_eq!(told(&manager), "READY=1\nSTATUS=serving clients as n1@127.0.0.1");
    node.terminate();
    assert_eq!(told(&manager), "STOPPING=1\nSTATUS=stopping");
    assert!(node.wait().success());
    std::fs::remove_file(&path).expect("it is there");
}
