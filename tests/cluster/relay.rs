//! Two nodes cannot reach each other, a third one reaches both: what they have to say to each other goes through that.
//!
//! Of three nodes, `n1` and `n3` are separated, both ways or one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq::admin::view::LinkKind;
use rumormq::codec::packet::{Publish, QoS};

use crate::clients::{connect, message, messages_until, numbers, publish_numbers, subscriber};
use crate::p5_partitions::{hosts, hosts_with};
use crate::processes::netns::{Hole, Namespace};
use crate::processes::{PATIENCE, Process, await_converged, awaits};
use crate::support::client::{Client, Q0, Q1, Q2, lasting, options, publish};
use crate::takeover::open;

/// How a node reaches another, and through whom.
fn way(node: &Process, other: &Process) -> (LinkKind, Option<String>) {
    let view = node.cluster();
    let member = view.members.into_iter().find(|member| member.name == other.name());
    member.map_or((LinkKind::None, None), |member| (member.link, member.via))
}

fn await_way(node: &Process, other: &Process, link: LinkKind) -> Duration {
    awaits(&format!("{} takes another way", node.name()), PATIENCE, || way(node, other).0 == link)
}

/// What keeps two hosts apart while it is there.
enum Cut {
    Both(Arc<Namespace>),
    OneWay(#[allow(dead_code, reason = "it is there")] Hole),
}

impl Cut {
    fn between(one: &Arc<Namespace>, other: &Arc<Namespace>) -> Cut {
        one.separate(other);
        Cut::Both(one.clone())
    }

    /// What `deaf` sends arrives.
    fn one_way(deaf: &Arc<Namespace>, other: &Arc<Namespace>) -> Cut {
        Cut::OneWay(deaf.lose_from(&[other.address()], 1.0))
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Cut::Both(host) = self {
            host.heal();
        }
    }
}

/// A stream of numbered messages from a client of one node to one of another.
struct Flow {
    publisher: Client,
    subscriber: Client,
    topic: String,
    qos: QoS,
    next: u32,
    got: Vec<String>,
}

impl Flow {
    fn new(from: &Process, to: &Process, qos: QoS) -> Flow {
        let topic = format!("{} to {} at {}", from.name(), to.name(), qos as u8).replace(['@', '.'], "-");
        let subscriber = subscriber(to, &format!("s {topic}"), &[&topic], qos);
        Flow {
            publisher: connect(from, &format!("p {topic}")),
            subscriber,
            topic,
            qos,
            next: 0,
            got: Vec::new(),
        }
    }

    fn publish(&mut self, count: u32, window: u32) {
        let range = self.next..self.next + count;
        self.next = range.end;
        publish_numbers(&mut self.publisher, &self.topic, self.qos, range, window);
    }

    /// How long the next message takes to arrive, with what came before it.
    fn takes(&mut self) -> Duration {
        let (began, last) = (Instant::now(), self.next.to_string());
        self.publish(1, 1);
        self.got.extend(messages_until(&mut self.subscriber, &last));
        self.got.push(last);
        began.elapsed()
    }

    fn has_lost_nothing(mut self) {
        self.takes();
        assert_eq!(self.got, numbers(0..self.next), "in order, each once: {}", self.topic);
    }
}

/// In both directions, while the cut is made, lasts and heals.
fn carries(cut: impl Fn(&Arc<Namespace>, &Arc<Namespace>) -> Cut) {
    // Nobody reads while it is published.
    let Some(nodes) = hosts_with::<3>(|launch| launch.flag("--max-queued-messages", "100000")) else {
        return;
    };
    let [(h1, n1), (_, n2), (h3, n3)] = &nodes[..] else { panic!("three nodes") };
    let mut flows: Vec<Flow> = [(n1, n3, Q1), (n3, n1, Q1), (n1, n3, Q2), (n3, n1, Q2)]
        .map(|(from, to, qos)| Flow::new(from, to, qos))
        .into();
    flows.iter_mut().for_each(|flow| flow.publish(200, 20));
    let began = Instant::now();
    let apart = cut(h1, h3);
    std::thread::scope(|scope| {
        for flow in &mut flows {
            scope.spawn(move || {
                let first = flow.takes();
                println!("{}: a message took {first:?} after the cut", flow.topic);
                assert!(first < Duration::from_secs(2), "{first:?}");
                flow.publish(1000, 50);
            });
        }
    });
    println!("4,000 more messages within {:?} after the cut", began.elapsed());
    for (node, other) in [(n1, n3), (n3, n1)] {
        await_way(node, other, LinkKind::Relayed);
        assert_eq!(way(node, other).1.as_deref(), Some(n2.name()));
        let relayed = node.metric("forward_relayed_total", &[&format!("peer=\"{}\"", other.name())]);
        assert!(relayed >= 1000.0, "{relayed} of {} went around", node.name());
    }
    for flow in &mut flows {
        let took = flow.takes();
        println!("{}: {took:?} by the way around", flow.topic);
    }
    std::thread::scope(|scope| {
        for flow in &mut flows {
            scope.spawn(|| flow.publish(1000, 50));
        }
        drop(apart);
    });
    println!("direct again {:?} after the cut has healed", await_way(n1, n3, LinkKind::Direct));
    await_way(n3, n1, LinkKind::Direct);
    flows.iter_mut().for_each(|flow| flow.publish(200, 20));
    flows.into_iter().for_each(Flow::has_lost_nothing);
    for node in [n1, n3] {
        let resent = node.metric("forward_resent_total", &[]);
        let duplicates = node.metric("forward_duplicate_total", &[]);
        println!("{}: {resent} sent again, {duplicates} received again", node.name());
    }
    await_converged(&[n1, n2, n3]);
}

#[test]
fn relay_carries_publishes_around_a_cut() {
    carries(Cut::between);
}

#[test]
fn relay_carries_publishes_around_a_cut_of_one_way() {
    carries(Cut::one_way);
}

/// SUBACK says that nodes have the route which can be reached only through another; PUBACK, that they have the message.
#[test]
fn relay_is_waited_for() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(h1, n1), _, (h3, n3)] = &nodes[..] else { panic!("three nodes") };
    let _apart = Cut::between(h1, h3);
    await_way(n1, n3, LinkKind::Relayed);
    await_way(n3, n1, LinkKind::Relayed);
    let (mut near, mut far) = (connect(n1, "near"), connect(n3, "far"));
    // The first may be waited for longer: it is in the air who passes on what.
    far.subscribes(&[("first", options(Q1))], "0x01");
    for number in 0..20 {
        let topic = format!("t/{number}");
        far.subscribes(&[(&topic, options(Q1))], "0x01");
        near.publishes(publish(1, Q1, &topic, &topic));
        assert_eq!(message(&mut far), topic);
    }
    assert_eq!(n3.metric("suback_timeouts_total", &[]), 0.0);
    let mut retained = connect(n1, "retains");
    retained.publishes(Publish { retain: true, ..publish(1, Q1, "kept", "here") });
    let mut late = subscriber(n3, "late", &["kept"], Q1);
    assert_eq!(message(&mut late), "here");
}

/// Best effort goes around as well, and so does what a group's member gets.
#[test]
fn relay_carries_what_is_best_effort_and_what_is_shared() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(h1, n1), _, (h3, n3)] = &nodes[..] else { panic!("three nodes") };
    let mut plain = subscriber(n3, "plain", &["a"], Q0);
    let mut member = subscriber(n3, "member", &["$share/g/b"], Q1);
    let apart = Cut::between(h1, h3);
    await_way(n1, n3, LinkKind::Relayed);
    let mut publisher = connect(n1, "p");
    publish_numbers(&mut publisher, "a", Q0, 0..100, 1);
    for number in 0..100 {
        assert_eq!(message(&mut plain), number.to_string());
    }
    publish_numbers(&mut publisher, "b", Q1, 0..500, 20);
    for number in 0..500 {
        assert_eq!(message(&mut member), number.to_string());
    }
    awaits("the origin has heard of all", PATIENCE, || n1.metric("shared_unconsumed", &[]) == 0.0);
    drop(apart);
    await_way(n1, n3, LinkKind::Direct);
    publish_numbers(&mut publisher, "b", Q1, 500..600, 20);
    for number in 500..600 {
        assert_eq!(message(&mut member), number.to_string());
    }
    awaits("the origin has heard of all", PATIENCE, || n1.metric("shared_unconsumed", &[]) == 0.0);
}

/// A session moves between nodes that cannot reach each other.
#[test]
fn relay_carries_sessions() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(h1, n1), (_, n2), (h3, n3)] = &nodes[..] else { panic!("three nodes") };
    let mut x = open(n1, lasting("x", 1000), false);
    x.subscribes(&[("a", options(Q1))], "0x01");
    x.disconnects();
    let _apart = Cut::between(h1, h3);
    await_way(n1, n3, LinkKind::Relayed);
    await_way(n3, n1, LinkKind::Relayed);
    let mut publisher = connect(n2, "p");
    let payload = "x".repeat(4000);
    for (from, to) in [(n1, n3), (n3, n1), (n1, n3)] {
        // More than one piece of a session.
        for id in 1..=200 {
            publisher.publishes(publish(id, Q1, "a", &payload));
        }
        let began = Instant::now();
        let mut x = open(to, lasting("x", 1000), true);
        println!("a session went from {} to {} in {:?}", from.name(), to.name(), began.elapsed());
        for _ in 0..200 {
            assert_eq!(message(&mut x), payload);
        }
        x.disconnects();
    }
}

/// The largest messages go around.
#[test]
fn relay_carries_large_messages() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(h1, n1), _, (h3, n3)] = &nodes[..] else { panic!("three nodes") };
    let mut subscriber = subscriber(n3, "s", &["a"], Q1);
    let _apart = Cut::between(h1, h3);
    await_way(n1, n3, LinkKind::Relayed);
    let mut publisher = connect(n1, "p");
    for kibibytes in [100, 500, 1000] {
        let payload = "x".repeat(kibibytes << 10);
        publisher.publishes(publish(1, Q1, "a", &payload));
        assert_eq!(message(&mut subscriber).len(), payload.len());
    }
}

/// With two to choose from, one that fails is left for the other.
#[test]
fn relay_is_changed_for_another_when_it_dies() {
    let Some(mut nodes) = hosts::<4>() else { return };
    let apart = Cut::between(&nodes[0].0, &nodes[2].0);
    let mut flows = [Flow::new(&nodes[0].1, &nodes[2].1, Q1), Flow::new(&nodes[2].1, &nodes[0].1, Q2)];
    await_way(&nodes[0].1, &nodes[2].1, LinkKind::Relayed);
    flows.iter_mut().for_each(|flow| flow.publish(300, 20));
    let via = way(&nodes[0].1, &nodes[2].1).1.expect("a third node");
    let between = nodes.iter().position(|(_, node)| node.name() == via).expect("one of them");
    nodes[between].1.kill();
    for flow in &mut flows {
        let took = flow.takes();
        println!("{}: a message took {took:?} after its relay died", flow.topic);
        assert!(took < Duration::from_secs(3), "{took:?}");
        flow.publish(300, 20);
    }
    let other = way(&nodes[0].1, &nodes[2].1);
    assert!(other.0 == LinkKind::Relayed && other.1 != Some(via), "{other:?}");
    drop(apart);
    await_way(&nodes[0].1, &nodes[2].1, LinkKind::Direct);
    flows.into_iter().for_each(Flow::has_lost_nothing);
}

/// A node that is reached through another one is started anew.
#[test]
fn relay_finds_a_node_that_was_started_again() {
    let Some(mut nodes) = hosts::<3>() else { return };
    let _apart = Cut::between(&nodes[0].0, &nodes[2].0);
    await_way(&nodes[0].1, &nodes[2].1, LinkKind::Relayed);
    let mut x = open(&nodes[2].1, lasting("x", 1000), false);
    x.subscribes(&[("a", options(Q1))], "0x01");
    let mut publisher = connect(&nodes[0].1, "p");
    publish_numbers(&mut publisher, "a", Q1, 0..50, 10);
    for number in 0..50 {
        assert_eq!(message(&mut x), number.to_string());
    }
    nodes[2].1.kill();
    let seed = nodes[1].1.cluster_addr();
    nodes[2].1.restart_with(|launch| launch.join(seed));
    let mut x = subscriber(&nodes[2].1, "y", &["a"], Q1);
    publish_numbers(&mut publisher, "a", Q1, 50..100, 10);
    publisher.publishes(publish(1, Q1, "a", "last"));
    let got = messages_until(&mut x, "last");
    assert!(got.ends_with(&numbers(50..100)), "{got:?}");
}
