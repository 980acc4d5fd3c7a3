//! Shared subscriptions with members on several nodes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumormq::codec::packet::{Packet, PacketId, QoS};

use crate::clients::{connect, message, messages_until, numbers, publish_numbers, subscriber};
use crate::p5_partitions::hosts;
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits, start_cluster};
use crate::support::client::{Client, Q0, Q1, Q2, ack, lasting, options, publish};

/// A member that acknowledges everything and writes it down, until its connection ends.
struct Member {
    got: Arc<Mutex<Vec<String>>>,
}

impl Member {
    fn join(node: &Process, client_id: &str, filter: &str, qos: QoS) -> Member {
        let mut client = subscriber(node, client_id, &[filter], qos);
        client.stream().set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout above zero");
        let got = Arc::new(Mutex::new(Vec::new()));
        let list = got.clone();
        std::thread::spawn(move || {
            while let Some(frame) = client.frame() {
                let answer = match frame.packet() {
                    Packet::Publish(publish) => {
                        let payload = String::from_utf8_lossy(publish.payload).into_owned();
                        list.lock().unwrap_or_else(PoisonError::into_inner).push(payload);
                        let id = publish.packet_id.map_or(0, PacketId::get);
                        match publish.qos {
                            QoS::AtMostOnce => continue,
                            QoS::AtLeastOnce => Packet::PubAck(ack(id)),
                            QoS::ExactlyOnce => Packet::PubRec(ack(id)),
                        }
                    }
                    Packet::PubRel(release) => Packet::PubComp(ack(release.packet_id.get())),
                    Packet::Disconnect(_) => continue,
                    other => panic!("not a message: {other:?}"),
                };
                if client.try_sends(answer).is_err() {
                    return;
                }
            }
        });
        Member { got }
    }

    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A member on each of these nodes, in a group that all nodes know.
fn group(nodes: &[&Process], filter: &str, qos: QoS) -> Vec<Member> {
    let members =
        (1..).zip(nodes).map(|(number, node)| Member::join(node, &format!("m{number}"), filter, qos));
    members.collect()
}

fn total(members: &[Member]) -> usize {
    members.iter().map(|member| member.got().len()).sum()
}

/// Waits until every one of the numbers has reached a member.
#[track_caller]
fn await_numbers(members: &[Member], count: u32) {
    let expected: BTreeSet<String> = numbers(0..count).into_iter().collect();
    awaits("every message has reached a member", Duration::from_secs(30), || {
        total(members) >= expected.len()
            && members.iter().flat_map(Member::got).collect::<BTreeSet<_>>().is_superset(&expected)
    });
}

#[track_caller]
fn await_consumed(nodes: &[&Process]) {
    awaits("no copy is kept longer than needed", PATIENCE, || {
        nodes.iter().all(|node| node.metric("shared_unconsumed", &[]) == 0.0)
    });
}

fn is_in_order(messages: &[String]) -> bool {
    messages.is_sorted_by_key(|message| message.parse::<u32>().expect("a number"))
}

/// A publisher on each node: each member gets its share.
#[test]
fn a_group_on_three_nodes_is_even() {
    let messages = 30_000;
    let nodes = start_cluster(3);
    let all: Vec<&Process> = nodes.iter().collect();
    let members = group(&all, "$share/g/even", Q1);
    std::thread::scope(|scope| {
        for (number, node) in (0..).zip(&nodes) {
            scope.spawn(move || {
                let mut publisher = connect(node, &format!("p{number}"));
                let each = messages / 3;
                publish_numbers(&mut publisher, "even", Q1, number * each..(number + 1) * each, 100);
            });
        }
    });
    await_numbers(&members, messages);
    let shares: Vec<usize> = members.iter().map(|member| member.got().len()).collect();
    println!("{shares:?} of {messages}");
    assert_eq!(shares.iter().sum::<usize>(), messages as usize, "each message once");
    let fair = f64::from(messages) / 3.0;
    assert!(shares.iter().all(|share| (*share as f64 / fair - 1.0).abs() < 0.05), "{shares:?}");
    await_consumed(&nodes.iter().collect::<Vec<_>>());
}

/// The member of a node that is killed has messages that it did not acknowledge, and others are on their way to it.
#[test]
fn a_group_loses_nothing_with_a_node() {
    let messages = 30_000;
    let mut nodes = start_cluster(3);
    let all: Vec<&Process> = nodes.iter().collect();
    let members = group(&all, "$share/g/t", Q1);
    // It takes messages and never says so.
    let mut greedy = subscriber(&nodes[2], "greedy", &["$share/g/t"], Q1);
    let mut publisher = connect(&nodes[0], "p");
    publish_numbers(&mut publisher, "t", Q1, 0..messages / 2, 100);
    greedy.frame().expect("a message that is never acknowledged");
    let mut killed = nodes.pop().expect("three nodes");
    std::thread::scope(|scope| {
        scope.spawn(|| killed.kill());
        publish_numbers(&mut publisher, "t", Q1, messages / 2..messages, 100);
    });
    await_numbers(&members, messages);
    await_consumed(&nodes.iter().collect::<Vec<_>>());
}

#[test]
fn one_publishers_messages_reach_each_member_in_order() {
    let nodes = start_cluster(3);
    for qos in [Q0, Q1, Q2] {
        let filter = format!("$share/g/q{}", qos as u8);
        let end = "end".to_owned();
        let mut members: Vec<Client> = nodes
            .iter()
            .map(|node| subscriber(node, &format!("m{}", qos as u8), &[&filter, "end"], qos))
            .collect();
        let mut publisher = connect(&nodes[0], "p");
        publish_numbers(&mut publisher, &filter["$share/g/".len()..], qos, 0..300, 50);
        publisher.publishes(publish(1, qos, "end", &end));
        for member in &mut members {
            let got = messages_until(member, &end);
            assert_eq!(got.len(), 100, "{qos:?}");
            assert!(is_in_order(&got), "{got:?}");
        }
    }
}

/// A member with a connection is preferred wherever it is; without any, one without keeps the messages.
#[test]
fn a_member_that_leaves_is_followed_by_one_on_another_node() {
    let nodes = start_cluster(2);
    let [n1, n2] = &nodes[..] else { panic!("two nodes") };
    let mut leaving = Client::connect(n2.mqtt_addr(), lasting("leaving", 1000));
    leaving.subscribes(&[("$share/g/t", options(Q2))], "0x02");
    let mut publisher = connect(n1, "p");
    for number in 0..3 {
        publisher.publishes(publish(1, Q1, "t", &number.to_string()));
    }
    publisher.publishes(publish(1, Q2, "t", "in delivery"));
    assert_eq!(n1.metric("shared_unconsumed", &[]), 4.0);
    let mut follower = subscriber(n1, "follower", &["$share/g/t"], Q2);
    leaving.vanishes();
    assert_eq!((0..3).map(|_| message(&mut follower)).collect::<Vec<_>>(), numbers(0..3));
    publisher.publishes(publish(1, Q1, "t", "3"));
    assert_eq!(message(&mut follower), "3");
    follower.disconnects();
    publisher.publishes(publish(1, Q1, "t", "4"));
    let mut back = Client::connect(n2.mqtt_addr(), lasting("leaving", 1000));
    assert_eq!(message(&mut back), "in delivery", "what was sent of QoS 2 has stayed");
    // PUBREL comes first, as the client has confirmed the message.
    assert_eq!(message(&mut back), "4");
    awaits("all are consumed", PATIENCE, || n1.metric("shared_unconsumed", &[]) == 0.0);
}

#[test]
fn a_node_that_stops_gives_its_members_messages_back() {
    let mut nodes = start_cluster(2);
    let mut stopping = nodes.pop().expect("two nodes");
    let mut silent = subscriber(&stopping, "silent", &["$share/g/t"], Q1);
    let mut publisher = connect(&nodes[0], "p");
    for number in 0..5 {
        publisher.publishes(publish(1, Q1, "t", &number.to_string()));
    }
    silent.frame().expect("the first message");
    let mut other = subscriber(&nodes[0], "other", &["$share/g/t"], Q1);
    stopping.terminate();
    let mut got: Vec<String> = (0..5).map(|_| message(&mut other)).collect();
    got.sort();
    assert_eq!(got, numbers(0..5));
    stopping.wait();
}

/// Both sides of a standstill go on; what the dead side had is delivered by the living one.
#[test]
fn a_silent_nodes_share_goes_to_others_and_it_comes_back() {
    let nodes = start_cluster(3);
    let all: Vec<&Process> = nodes.iter().collect();
    let members = group(&all, "$share/g/t", Q1);
    let mut publisher = connect(&nodes[0], "p");
    publish_numbers(&mut publisher, "t", Q1, 0..300, 50);
    await_numbers(&members, 300);
    nodes[2].freeze();
    publish_numbers(&mut publisher, "t", Q1, 300..600, 50);
    await_numbers(&members, 600);
    nodes[2].thaw();
    await_converged(&all);
    let before = members[2].got().len();
    publish_numbers(&mut publisher, "t", Q1, 600..900, 50);
    await_numbers(&members, 900);
    assert!(members[2].got().len() >= before + 100, "it takes part again");
    await_consumed(&nodes.iter().collect::<Vec<_>>());
}

/// Each side of a partition shares what is published there among its own members.
#[test]
fn both_sides_of_a_partition_serve_their_members() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(_, n1), (_, n2), (host, n3)] = &nodes[..] else { panic!("three nodes") };
    let all = [n1, n2, n3];
    let members = group(&all, "$share/g/t", Q1);
    let (mut near, mut far) = (connect(n1, "near"), connect(n3, "far"));
    publish_numbers(&mut near, "t", Q1, 0..300, 50);
    host.isolate();
    publish_numbers(&mut near, "t", Q1, 300..600, 50);
    publish_numbers(&mut far, "t", Q1, 600..900, 50);
    let sides = [Member { got: members[0].got.clone() }, Member { got: members[1].got.clone() }];
    awaits("the far side serves", Duration::from_secs(30), || {
        let got: BTreeSet<String> = members[2].got().into_iter().collect();
        got.is_superset(&numbers(600..900).into_iter().collect())
    });
    awaits("the near side serves", Duration::from_secs(30), || {
        let got: BTreeSet<String> = sides.iter().flat_map(Member::got).collect();
        got.is_superset(&numbers(300..600).into_iter().collect())
    });
    host.heal();
    await_converged(&all);
    let before = total(&members);
    publish_numbers(&mut near, "t", Q1, 900..1200, 50);
    await_numbers(&members, 1200);
    assert!(total(&members) >= before + 300);
    await_consumed(&all);
}

/// Links break in the middle of a stream, and no node counts as dead: nothing is sent twice.
#[test]
fn links_that_break_repeat_nothing_and_lose_nothing() {
    let Some(nodes) = hosts::<2>() else { return };
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two nodes") };
    let members = group(&[n1, n2], "$share/g/t", Q2);
    let mut publisher = connect(n1, "p");
    for round in 0..4 {
        publish_numbers(&mut publisher, "t", Q2, round * 200..round * 200 + 150, 20);
        host.refuse_connections();
        publish_numbers(&mut publisher, "t", Q2, round * 200 + 150..(round + 1) * 200, 20);
        awaits("the link is down", PATIENCE, || n1.metric("link_up", &[]) == 0.0);
        host.heal();
        awaits("the link is up", PATIENCE, || n1.metric("link_up", &[]) == 1.0);
    }
    await_numbers(&members, 800);
    await_consumed(&[n1, n2]);
    assert_eq!(total(&members), 800, "each once");
}

/// A node is killed and started again, again and again; its member comes back each time.
#[test]
fn a_group_loses_nothing_with_a_node_that_restarts() {
    let mut nodes = start_cluster(2);
    let mut n2 = nodes.pop().expect("two nodes");
    let n1 = &nodes[0];
    let mut members =
        vec![Member::join(n1, "m1", "$share/g/t", Q1), Member::join(&n2, "m2", "$share/g/t", Q1)];
    let mut publisher = connect(n1, "p");
    for round in 0..3 {
        publish_numbers(&mut publisher, "t", Q1, round * 300..round * 300 + 150, 50);
        std::thread::scope(|scope| {
            scope.spawn(|| n2.kill());
            publish_numbers(&mut publisher, "t", Q1, round * 300 + 150..(round + 1) * 300, 50);
        });
        n2.restart();
        await_converged(&[n1, &n2]);
        members.push(Member::join(&n2, "m2", "$share/g/t", Q1));
    }
    await_numbers(&members, 900);
    await_consumed(&[n1, &n2]);
}

/// What a member has of its group moves with its session, and is still the group's.
#[test]
fn a_members_messages_move_with_its_session() {
    let nodes = start_cluster(3);
    let [n1, n2, n3] = &nodes[..] else { panic!("three nodes") };
    let mut publisher = connect(n1, "p");
    let mut member = Client::connect(n2.mqtt_addr(), lasting("member", 1000));
    member.subscribes(&[("$share/g/t", options(Q2))], "0x02");
    for number in 0..3 {
        publisher.publishes(publish(1, Q1, "t", &number.to_string()));
    }
    publisher.publishes(publish(1, Q2, "t", "in delivery"));
    // One that was published where the member is: no other node has a copy.
    connect(n2, "p2").publishes(publish(1, Q1, "t", "3"));
    member.vanishes();
    let mut member = Client::connect(n3.mqtt_addr(), lasting("member", 1000));
    let again = ["0", "1", "2", "in delivery", "3"];
    for (id, payload) in (1..).zip(again) {
        let qos = if payload == "in delivery" { "q2" } else { "q1" };
        member.gets(&format!("PUBLISH {id} {qos} t {payload} dup"));
    }
    assert_eq!(n1.metric("shared_unconsumed", &[]), 4.0);
    member.sends(Packet::PubAck(ack(1)));
    awaits("its origin hears of it", PATIENCE, || n1.metric("shared_unconsumed", &[]) == 3.0);
    let mut other = subscriber(n2, "other", &["$share/g/t"], Q2);
    member.vanishes();
    let mut got: Vec<String> = (0..3).map(|_| message(&mut other)).collect();
    got.sort();
    assert_eq!(got, numbers(1..4));
    awaits("the other has acknowledged", PATIENCE, || n1.metric("shared_unconsumed", &[]) == 1.0);
    let mut member = Client::connect(n1.mqtt_addr(), lasting("member", 1000));
    member.gets("PUBLISH 4 q2 t in delivery dup");
    member.sends(Packet::PubRec(ack(4)));
    member.gets("PUBREL 4");
    member.sends(Packet::PubComp(ack(4)));
    await_consumed(&[n1, n2, n3]);
}

#[test]
fn local_members_come_first_where_asked_for() {
    let start = |name: &str| Launch::new(name).flag("--shared-strategy", "local_first");
    let n1 = start("n1").start();
    let n2 = start("n2").join(n1.cluster_addr()).start();
    await_converged(&[&n1, &n2]);
    let members = group(&[&n1, &n2], "$share/g/t", Q1);
    publish_numbers(&mut connect(&n1, "p1"), "t", Q1, 0..50, 10);
    publish_numbers(&mut connect(&n2, "p2"), "t", Q1, 50..150, 10);
    await_numbers(&members, 150);
    assert_eq!((members[0].got().len(), members[1].got().len()), (50, 100));
}

/// Every node chooses the same member for a key, and for `sticky`.
#[test]
fn hashes_and_sticky_mean_the_same_member_everywhere() {
    for strategy in ["hash_topic", "sticky"] {
        let start = |name: &str| Launch::new(name).flag("--shared-strategy", strategy);
        let n1 = start("n1").start();
        let n2 = start("n2").join(n1.cluster_addr()).start();
        await_converged(&[&n1, &n2]);
        let members = group(&[&n1, &n2, &n1, &n2], "$share/g/+", Q1);
        for (node, name) in [(&n1, "p1"), (&n2, "p2")] {
            let mut publisher = connect(node, name);
            for topic in 0..20 {
                publisher.publishes(publish(1, Q1, &topic.to_string(), &topic.to_string()));
            }
        }
        awaits("all have arrived", PATIENCE, || total(&members) == 40);
        for member in &members {
            let got = member.got();
            let twice: BTreeSet<String> = got.iter().cloned().collect();
            assert_eq!(got.len(), 2 * twice.len(), "{strategy}: a topic's messages have gone to two members");
        }
        let busy = members.iter().filter(|member| !member.got().is_empty()).count();
        assert!(if strategy == "sticky" { busy == 1 } else { busy > 2 }, "{strategy}: {busy}");
    }
}

#[test]
fn routes_and_matches_show_groups() {
    let nodes = start_cluster(2);
    let [n1, n2] = &nodes[..] else { panic!("two nodes") };
    let _one = subscriber(n1, "m1", &["$share/g/a/+"], Q1);
    let _two = subscriber(n2, "m2", &["$share/g/a/+", "a/b"], Q1);
    let both = vec![n1.name().to_owned(), n2.name().to_owned()];
    for node in &nodes {
        let expected =
            vec![("$share/g/a/+".to_owned(), both.clone()), ("a/b".to_owned(), both[1..].to_vec())];
        awaits("both know the routes", PATIENCE, || {
            node.routes() == expected && node.matches("a/b") == expected
        });
        assert_eq!(node.metric("shared_groups", &[]), 1.0);
        let members = format!("\"members\":{{\"{}\":1,\"{}\":1}}", n1.name(), n2.name());
        for path in ["/api/v1/routes", "/api/v1/match?topic=a/b"] {
            let page = node.page(path).replace([' ', '\n'], "");
            assert!(page.contains(&members), "{page}");
        }
    }
}
