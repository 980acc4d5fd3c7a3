//! What is seen of clients and topics that somebody looks at closely.

use std::time::{Duration, Instant};

use rumormq::broker::Limits;
use rumormq::codec::packet::{Packet, PropertySet, Publish};
use rumormq::observation::trace::{Happening, Order, Selector, TraceEvent};

use crate::support::client::{Q0, Q1, Q2, ack, connect, lasting, options, publish};
use crate::support::node::Node;

/// A trace, and what was read of it.
struct Reader<'a> {
    node: &'a Node,
    order: Order,
    after: u64,
}

impl<'a> Reader<'a> {
    fn start(node: &'a Node, client: Option<&str>, topic: Option<&str>) -> Reader<'a> {
        let selector = Selector::new(client, topic).expect("a selector");
        let order = Order { id: "it".to_owned(), selector, payload_max: 0, time: Duration::from_secs(60) };
        let mut reader = Reader { node, order, after: 0 };
        reader.read();
        reader
    }

    /// What has happened since the last time.
    fn read(&mut self) -> Vec<TraceEvent> {
        let part = self.node.broker.trace(self.order.clone(), self.after, usize::MAX).expect("room");
        self.after = part.events.last().map_or(self.after, |event| event.number);
        part.events
    }

    /// Waits until so many things have happened; each in a few words.
    #[track_caller]
    fn tells(&mut self, expected: &[&str]) {
        let mut told: Vec<String> = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while told.len() < expected.len() && Instant::now() < deadline {
            told.extend(self.read().iter().map(words));
            std::thread::yield_now();
        }
        assert_eq!(told, expected);
    }
}

fn words(event: &TraceEvent) -> String {
    let mut words = vec![format!("{:?}", event.event)];
    words.extend(event.packet.clone());
    words.extend(event.packet_id.map(|id| id.to_string()));
    words.extend(event.topic.clone());
    for name in ["why", "cause", "session", "delivered", "dropped", "subscribers", "messages"] {
        words.extend(event.details.get(name).map(|value| format!("{name}={value}")));
    }
    words.join(" ")
}

#[test]
fn a_qos_2_exchange_is_seen_from_both_ends() {
    let node = Node::start();
    let (mut subscriber, mut publisher) = (node.connect("s"), node.connect("p"));
    subscriber.subscribes(&[("t", options(Q2))], "0x02");
    let mut reader = Reader::start(&node, Some("*"), None);
    publisher.sends(Packet::Publish(publish(7, Q2, "t", "x")));
    publisher.gets("PUBREC 7");
    publisher.sends(Packet::PubRel(ack(7)));
    publisher.gets("PUBCOMP 7");
    subscriber.gets("PUBLISH 1 q2 t x");
    subscriber.sends(Packet::PubRec(ack(1)));
    subscriber.gets("PUBREL 1");
    subscriber.sends(Packet::PubComp(ack(1)));
    subscriber.waits();
    let mut told = Vec::new();
    while told.len() < 8 {
        told.extend(reader.read().into_iter().filter(|event| event.packet.as_deref() != Some("PINGREQ")));
        told.retain(|event| event.packet.as_deref() != Some("PINGRESP"));
    }
    let of = |client: &str| {
        let of_client = told.iter().filter(|event| event.client.as_deref() == Some(client));
        of_client.map(words).collect::<Vec<_>>()
    };
    assert_eq!(of("p"), ["Received PUBLISH 7 t", "Sent PUBREC 7", "Received PUBREL 7", "Sent PUBCOMP 7"]);
    assert_eq!(of("s"), ["Sent PUBLISH 1 t", "Received PUBREC 1", "Sent PUBREL 1", "Received PUBCOMP 1"]);
}

/// The trace begins when the client knows the alias already, and large payloads do not lie with their packets.
#[test]
fn an_alias_from_before_the_trace_is_resolved() {
    let node = Node::start();
    let properties = PropertySet { topic_alias_maximum: Some(4), ..PropertySet::EMPTY };
    let mut subscriber =
        node.connect_with(rumormq::codec::packet::Connect { properties: properties.into(), ..connect("s") });
    subscriber.subscribes(&[("a/long/#", options(Q0))], "0x00");
    let mut publisher = node.connect("p");
    let large = "x".repeat(5000);
    let mut sends = |payload: &str| {
        publisher.sends(Packet::Publish(publish(1, Q0, "a/long/topic", payload)));
        subscriber.frame().expect("a PUBLISH")
    };
    sends("sets the alias");
    let mut reader = Reader::start(&node, Some("s"), None);
    for payload in [&*large, "small"] {
        let frame = sends(payload);
        assert!(matches!(frame.packet(), Packet::Publish(Publish { topic: None, .. })), "by its alias");
    }
    reader.tells(&["Sent PUBLISH a/long/topic", "Sent PUBLISH a/long/topic"]);
}

#[test]
fn what_becomes_of_a_session_is_told() {
    let node = Node::with(Limits::default());
    let mut client = node.connect_with(lasting("c", 10));
    client.subscribes(&[("t", options(Q1))], "0x01");
    let mut reader = Reader::start(&node, Some("c"), None);
    client.vanishes();
    reader.tells(&["Disconnected cause=tcp_closed"]);
    let mut publisher = node.connect("p");
    publisher.sends(Packet::Publish(publish(1, Q0, "t", "x")));
    publisher.publishes(publish(1, Q1, "t", "x"));
    reader.tells(&["Dropped t why=offline", "Queued t"]);
    node.after_secs(11);
    reader.tells(&["SessionExpired", "SessionEnded"]);
    // Nobody has read it for so long, by the clock that is turned: it is over.
    node.after_secs(20);
    assert!(node.broker.tracer.is_empty());
}

#[test]
fn a_topics_messages_are_told_with_what_becomes_of_them() {
    let node = Node::start();
    let mut one = node.connect("one");
    one.subscribes(&[("t/#", options(Q0))], "0x00");
    node.connect_with(lasting("two", 100)).subscribes(&[("t/+", options(Q1))], "0x01");
    let mut reader = Reader::start(&node, None, Some("t/#"));
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q1, "t/a", "x"));
    publisher.publishes(publish(2, Q1, "other", "x"));
    publisher.publishes(publish(3, Q1, "t/b/c", "x"));
    let told: Vec<TraceEvent> = reader.read();
    let words: Vec<String> = told.iter().map(words).collect();
    assert_eq!(words.len(), 4, "{words:?}");
    assert_eq!((&*words[0], &*words[2]), ("Published t/a", "Published t/b/c"));
    assert!(words[1].starts_with("Routed t/a delivered=2 dropped=0 subscribers="), "{words:?}");
    assert_eq!(words[3], "Routed t/b/c delivered=1 dropped=0 subscribers=one");
    assert_eq!(told[0].event, Happening::Published);
}

#[test]
fn who_acknowledges_late_is_noted_while_that_is_wanted() {
    let limits = Limits { slow_subscriber_threshold: Duration::from_millis(1), ..Limits::default() };
    let node = Node::with(limits.clone());
    let mut client = node.connect("slow");
    client.subscribes(&[("t", options(Q1))], "0x01");
    let mut publisher = node.connect("p");
    let late = |node: &Node| node.broker.slow.late(Instant::now());
    let mut takes_its_time = || {
        publisher.publishes(publish(1, Q1, "t", "x"));
        let frame = client.frame().expect("a PUBLISH");
        let Packet::Publish(Publish { packet_id: Some(id), .. }) = frame.packet() else {
            panic!("not a PUBLISH")
        };
        let slow = node.broker.client("slow").expect("a session");
        node.awaits("it is behind", || {
            slow.lag(Instant::now()).is_some_and(|lag| lag.waiting >= Duration::from_millis(2))
        });
        client.sends(Packet::PubAck(ack(id.get())));
        client.waits();
        node.awaits("it has acknowledged", || slow.lag(Instant::now()).is_some_and(|lag| lag.inflight == 0));
    };
    takes_its_time();
    let noted = late(&node);
    assert_eq!((noted.len(), &*noted[0].0, &*noted[0].1.topic, noted[0].1.messages), (1, "slow", "t", 1));
    node.broker.replace_limits(Limits { slow_subscriber_threshold: Duration::ZERO, ..limits });
    assert!(late(&node).is_empty());
    takes_its_time();
    assert!(late(&node).is_empty());
}
