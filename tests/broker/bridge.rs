//! Bridges between brokers, all in this process.

use std::net::SocketAddr;

use rumormq::bridge::{BridgeConfig, Bridges};
use rumormq::broker::{Capabilities, Extras, Limits};
use rumormq::codec::packet::{Packet, PropertySet, Publish};

use crate::support::client::{Q0, Q1, Q2, ack, lasting, options, publish};
use crate::support::node::{Node, runtime};

/// A bridge of `node` to the broker at `address`.
fn bridge(node: &Node, cluster: &str, address: SocketAddr, rest: &str) -> Bridges {
    let text = format!("name = \"b\"\naddress = \"{address}\"\n{rest}");
    let config: BridgeConfig = toml::from_str(&text).expect("a bridge");
    let _guard = runtime().enter();
    let mut bridges = Bridges::new(&node.broker, &[config], "n@h", cluster).expect("no files");
    bridges.start();
    bridges
}

const OUT: &str = "topics = [{ filter = \"t/#\", direction = \"out\", qos = 2, remote_prefix = \"r/\" }]";
const IN: &str = "topics = [{ filter = \"t/#\", direction = \"in\", qos = 2, remote_prefix = \"r/\" }]";
const BOTH: &str = "topics = [{ filter = \"t/#\", direction = \"both\", qos = 2 }]";

fn is_up(node: &Node) -> bool {
    metric(node, "rumormq_bridge_up", "b") == 1.0
}

fn metric(node: &Node, name: &str, label: &str) -> f64 {
    let families = node.broker.metrics.registry.gather();
    let metrics =
        families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
    let wanted = metrics.filter(|metric| metric.get_label().iter().any(|pair| pair.value() == label));
    wanted.map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
}

#[test]
fn messages_go_out_with_what_they_carry() {
    let (here, there) = (Node::start(), Node::start());
    let mut far = there.connect("far");
    far.subscribes(&[("r/#", options(Q2))], "0x02");
    let _bridge = bridge(&here, "here", there.address, OUT);
    here.awaits("the bridge", || is_up(&here));
    let mut near = here.connect("near");
    near.publishes(publish(1, Q0, "t/0", "zero"));
    far.gets("PUBLISH q0 r/t/0 zero rumormq-bridge:here");
    let set = PropertySet {
        content_type: Some("text"),
        response_topic: Some(rumormq::topic::Topic::new("answer").expect("a topic")),
        user_properties: vec![("k", "v")],
        ..PropertySet::EMPTY
    };
    near.publishes(Publish { properties: set.into(), ..publish(1, Q1, "t/1", "one") });
    far.gets("PUBLISH 1 q1 r/t/1 one type=text response=answer k:v rumormq-bridge:here");
    near.publishes(publish(1, Q2, "t/2", "two"));
    far.gets("PUBLISH 2 q2 r/t/2 two rumormq-bridge:here");
    near.publishes(publish(1, Q1, "other", "x"));
    near.publishes(Publish { retain: true, ..publish(1, Q1, "t/3", "kept") });
    far.gets("PUBLISH 3 q1 r/t/3 kept rumormq-bridge:here");
    let mut later = there.connect("later");
    later.subscribes(&[("r/t/3", options(Q0))], "0x00");
    later.gets("PUBLISH q0 r/t/3 kept retain rumormq-bridge:here");
    far.waits();
}

#[test]
fn messages_come_in() {
    for version in [4, 5] {
        let (here, there) = (Node::start(), Node::start());
        let mut near = here.connect("near");
        near.subscribes(&[("#", options(Q2))], "0x02");
        let _bridge = bridge(&here, "here", there.address, &format!("version = {version}\n{IN}"));
        here.awaits("the bridge", || there.broker.census().subscriptions == 1);
        let mut far = there.connect("far");
        far.publishes(publish(1, Q1, "r/t/1", "one"));
        near.gets("PUBLISH 1 q1 t/1 one rumormq-bridge:>here");
        far.publishes(publish(1, Q2, "r/t/2", "two"));
        near.gets("PUBLISH 2 q2 t/2 two rumormq-bridge:>here");
        far.publishes(publish(1, Q0, "t/3", "not bridged"));
        near.waits();
    }
}

/// What this node does not take would end the bridge's connection, each time it comes.
#[test]
fn what_comes_in_keeps_to_what_this_node_takes() {
    let capabilities = Capabilities { max_qos: Q1, retain_available: false, ..Capabilities::default() };
    let (here, there) = (Node::with(Limits { capabilities, ..Limits::default() }), Node::start());
    let mut near = here.connect("near");
    near.subscribes(&[("#", options(Q2))], "0x01");
    let _bridge = bridge(&here, "here", there.address, IN);
    here.awaits("the bridge", || there.broker.census().subscriptions == 1);
    let mut far = there.connect("far");
    far.publishes(Publish { retain: true, ..publish(1, Q2, "r/t/1", "one") });
    near.gets("PUBLISH 1 q1 t/1 one rumormq-bridge:>here");
}

/// A bridge would take from the other members of a group what it does not pass on.
#[test]
fn a_bridge_gets_no_subscriptions_that_all_clients_get() {
    let auto_subscribe = vec![toml::from_str("topic = \"$share/g/jobs\"").expect("a subscription")];
    let here = Node::with_extras(Limits::default(), Extras { auto_subscribe, ..Extras::default() });
    let there = Node::start();
    let _bridge = bridge(&here, "here", there.address, OUT);
    here.awaits("the bridge", || is_up(&here));
    assert_eq!(here.broker.census().subscriptions, 1);
}

/// What is acknowledged here before the other broker was ever there arrives, and only once.
#[test]
fn messages_wait_for_a_broker_that_is_away() {
    let (here, there) = (Node::start(), Node::start());
    let mut far = there.connect_with(lasting("far", 1000));
    far.subscribes(&[("r/#", options(Q2))], "0x02");
    // Nobody listens there yet.
    let gate = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = gate.local_addr().expect("bound");
    drop(gate);
    let _bridge = bridge(&here, "here", address, OUT);
    here.awaits("its session", || here.broker.census().subscriptions == 1);
    let mut near = here.connect("near");
    for (id, qos) in [(1, Q1), (2, Q2), (3, Q1)] {
        near.sends(Packet::Publish(publish(id, qos, "t", &id.to_string())));
        near.gets(&match qos {
            Q2 => format!("PUBREC {id}"),
            _ => format!("PUBACK {id}"),
        });
    }
    let forwarder = Forwarder::start(address, there.address);
    far.gets("PUBLISH 1 q1 r/t 1 rumormq-bridge:here");
    far.gets("PUBLISH 2 q2 r/t 2 rumormq-bridge:here");
    far.gets("PUBLISH 3 q1 r/t 3 rumormq-bridge:here");
    here.awaits("acknowledged", || here.broker.census().inflight == 0);
    drop(forwarder);
}

/// The way between the two breaks over and over under a stream of messages both ways: QoS 2 arrives once each, in order.
#[test]
fn connections_that_break_lose_and_repeat_nothing() {
    const MESSAGES: u16 = 300;
    let (here, there) = (Node::start(), Node::start());
    let gate = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = gate.local_addr().expect("bound");
    drop(gate);
    let forwarder = Forwarder::start(address, there.address);
    let topics = "topics = [{ filter = \"out\", direction = \"out\", qos = 2 }, { filter = \"in\", direction = \"in\", qos = 2 }]";
    let _bridge = bridge(&here, "here", address, topics);
    here.awaits("the bridge", || is_up(&here) && there.broker.census().subscriptions == 1);
    let mut far = there.connect("far");
    far.subscribes(&[("out", options(Q2))], "0x02");
    let mut near = here.connect("near");
    near.subscribes(&[("in", options(Q2))], "0x02");
    std::thread::scope(|scope| {
        for (node, topic) in [(&here, "out"), (&there, "in")] {
            scope.spawn(move || {
                let mut publisher = node.connect("p");
                for n in 1..=MESSAGES {
                    publisher.publishes(publish(n, Q2, topic, &n.to_string()));
                }
            });
        }
        for client in [&mut far, &mut near] {
            let forwarder = &forwarder;
            scope.spawn(move || {
                let (mut next, mut open) = (1, 0);
                while next <= MESSAGES || open > 0 {
                    let frame = client.frame().expect("open");
                    match frame.packet() {
                        Packet::Publish(publish) => {
                            assert_eq!(publish.payload, next.to_string().as_bytes());
                            client.sends(Packet::PubRec(ack(publish.packet_id.expect("QoS 2").get())));
                            next += 1;
                            open += 1;
                            if next % 60 == 0 {
                                forwarder.cut();
                            }
                        }
                        Packet::PubRel(released) => {
                            client.sends(Packet::PubComp(ack(released.packet_id.get())));
                            open -= 1;
                        }
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    far.waits();
    near.waits();
}

/// Each has a bridge to the other for the same topics.
#[test]
fn bridges_both_ways_do_not_run_in_circles() {
    let (a, b) = (Node::start(), Node::start());
    let _to_b = bridge(&a, "a", b.address, BOTH);
    let _to_a = bridge(&b, "b", a.address, BOTH);
    a.awaits("the bridges", || {
        is_up(&a) && is_up(&b) && [&a, &b].iter().all(|node| node.broker.census().subscriptions == 2)
    });
    let mut client = a.connect("c");
    client.publishes(publish(1, Q1, "t/1", "x"));
    let total = |node: &Node| metric(node, "rumormq_bridge_messages_total", "b");
    // It ends when each has seen it come back.
    a.awaits("the loop is noticed", || metric(&a, "rumormq_bridge_dropped_total", "loop") > 0.0);
    let quiet = std::cell::Cell::new((0, 0.0));
    a.awaits("silence", || {
        let (looks, last) = quiet.get();
        let now = total(&a) + total(&b);
        let unacknowledged = a.broker.census().inflight + b.broker.census().inflight;
        quiet.set((if now == last && unacknowledged == 0 { looks + 1 } else { 0 }, now));
        looks > 20
    });
    assert!(quiet.get().1 < 12.0, "{quiet:?}");
}

#[test]
fn its_session_is_its_own() {
    let node = Node::start();
    let mut thief = node.start_connect(crate::support::client::connect("$bridge/b/n@h"));
    thief.gets("CONNACK 0x85");
}

/// Passes bytes on, until told to drop all connections.
struct Forwarder {
    cuts: std::sync::Arc<tokio::sync::Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Forwarder {
    fn start(from: SocketAddr, to: SocketAddr) -> Forwarder {
        let cuts = std::sync::Arc::new(tokio::sync::Notify::new());
        let cut = cuts.clone();
        let task = runtime().spawn(async move {
            let listener = tokio::net::TcpListener::bind(from).await.expect("the port is free still");
            loop {
                let (mut near, _) = listener.accept().await.expect("a connection");
                let cut = cut.clone();
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(to).await.expect("the broker listens");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = cut.notified() => {}
                    }
                });
            }
        });
        Forwarder { cuts, task }
    }

    fn cut(&self) {
        self.cuts.notify_waiters();
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}
