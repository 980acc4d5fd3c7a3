//! A real HAProxy in front of real nodes, with the configuration of the example but for the addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rumormq::codec::packet::{Connect, Packet};

use crate::is_installed;
use crate::processes::{PATIENCE, Process, awaits, start_cluster_with};
use crate::support::client::{Client, Q1, lasting, options, publish};

/// Where Debian has it, which is not on everybody's path.
pub const PROGRAM: &str = "/usr/sbin/haproxy";

/// Ends with the test.
struct HaProxy {
    child: Child,
    address: SocketAddr,
    configuration: std::path::PathBuf,
}

impl HaProxy {
    fn start(nodes: &[Process]) -> HaProxy {
        let example = std::fs::read_to_string(
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy/haproxy/haproxy.cfg"),
        );
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
        let mut text = String::new();
        for line in example.expect("the example").lines() {
            match line.trim_start() {
                line if line.starts_with("bind ") => text += &format!("    bind {free}\n"),
                line if line.starts_with("server ") => {}
                _ => text += &format!("{line}\n"),
            }
        }
        for (number, node) in nodes.iter().enumerate() {
            let (mqtt, http) = (node.mqtt_addr(), node.http_addr().port());
            text += &format!("    server node{number} {mqtt} port {http}\n");
        }
        let configuration = std::env::temp_dir().join(format!("rumormq-haproxy-{}.cfg", std::process::id()));
        std::fs::write(&configuration, text).expect("there is room");
        let mut command = Command::new(PROGRAM);
        command.arg("-db").arg("-f").arg(&configuration);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        HaProxy { child, address: free, configuration }
    }

    /// A connection from this address of this machine.
    fn connect_from(&self, last: u8) -> Option<TcpStream> {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0);
        socket.bind(&from.into()).expect("an address of loopback");
        socket.connect(&self.address.into()).ok()?;
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(PATIENCE)).expect("above zero");
        stream.set_nodelay(true).expect("a socket");
        Some(stream)
    }

    /// A client that was let in, and whether its session was there.
    fn client(&self, last: u8, connect: &Connect<'_>) -> Option<(Client, bool)> {
        let mut client = Client::over(self.connect_from(last)?, connect.version);
        client.try_sends(Packet::Connect(Box::new(connect.clone()))).ok()?;
        let frame = client.frame()?;
        match frame.packet() {
            Packet::ConnAck(connack) if connack.reason as u8 == 0 => Some((client, connack.session_present)),
            other => panic!("sent to a node that takes nobody: {other:?}"),
        }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.configuration);
    }
}

fn connections(node: &Process) -> f64 {
    node.metric("connections", &[])
}

#[test]
fn a_node_is_drained_behind_haproxy() {
    if !is_installed("haproxy", true) {
        return;
    }
    let mut nodes = start_cluster_with(2, |launch| launch.flag("--trusted-proxies", "127.0.0.1"));
    let proxy = HaProxy::start(&nodes);
    let names: Vec<String> = (0..6).map(|number| format!("c{number}")).collect();
    let mut observer = None;
    awaits("HAProxy is there", PATIENCE, || {
        observer = proxy.client(7, &lasting("observer", 1000));
        observer.is_some()
    });
    let (mut observer, _) = observer.expect("connected");
    observer.subscribes(&[("$SYS/brokers/+/clients/c0/connected", options(Q1))], "0x01");
    let mut clients: Vec<(Client, &str)> = Vec::new();
    for name in &names {
        let (mut client, present) = proxy.client(8, &lasting(name, 1000)).expect("a node");
        assert!(!present);
        client.subscribes(&[(&format!("to/{name}"), options(Q1))], "0x01");
        clients.push((client, name));
    }
    let frame = observer.frame().expect("news");
    let Packet::Publish(news) = frame.packet() else { panic!("{:?}", frame.packet()) };
    let news: serde_json::Value = serde_json::from_slice(news.payload).expect("JSON");
    assert_eq!(news["ipaddress"], "127.0.0.8", "the client's address, not HAProxy's");
    assert!(nodes.iter().all(|node| connections(node) >= 3.0), "both have their share");

    let mut leaving = nodes.pop().expect("two nodes");
    let http = leaving.http_addr().to_string();
    let command = std::thread::spawn(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rumormq"));
        command.args(["leave", "--drain", "--grace", "4", "--http", &http]);
        command.env_remove("RUMORMQ_HTTP_TOKEN_FILE").output().expect("it runs")
    });
    // Within the grace HAProxy notices: who comes now comes to the other node, and nobody is refused.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        drop(proxy.client(9, &lasting("visitor", 0)).expect("a node"));
        std::thread::sleep(Duration::from_millis(50)); // A pace, not a wait for something.
    }
    // Whoever is sent away comes back by the same address, and finds its session.
    let mut moved = 0;
    for (client, name) in &mut clients {
        client.stream().set_read_timeout(Some(Duration::from_secs(3))).expect("above zero");
        let mut byte = [0; 2];
        let sent_away = matches!(client.stream().peek(&mut byte), Ok(count) if count > 0);
        if sent_away {
            let frame = client.frame().expect("a word of farewell");
            let Packet::Disconnect(disconnect) = frame.packet() else { panic!("{:?}", frame.packet()) };
            assert_eq!(disconnect.reason as u8, 0x9D);
            assert_eq!(
                disconnect.properties.server_reference, None,
                "nodes' addresses are not the clients' to know"
            );
            let (again, present) = proxy.client(8, &lasting(name, 1000)).expect("the other node");
            assert!(present, "{name}");
            *client = again;
            moved += 1;
        }
    }
    assert!((1..6).contains(&moved), "{moved} of 6 were on it");
    let output = command.join().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(leaving.wait().success());
    let (mut publisher, _) = proxy.client(8, &lasting("p", 0)).expect("a node");
    for (number, (client, name)) in clients.iter_mut().enumerate() {
        publisher.publishes(publish(number as u16 + 1, Q1, &format!("to/{name}"), "hello"));
        client.gets(&format!("PUBLISH 1 q1 to/{name} hello"));
    }
}
