//! Retained messages: set on any node, found on all, for as long as any node lives.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rumormq::admin::view::{MemberState, RetainedPage};
use rumormq::codec;
use rumormq::codec::packet::{Packet, Properties, PropertySet, ProtocolVersion, Publish, QoS, Will};
use rumormq::topic::Topic;

use crate::clients::{connect, subscriber};
use crate::p5_partitions::hosts;
use crate::p7_bounded::memory;
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits, start_cluster};
use crate::support::client::{self, Client, Q0, Q1, Q2, options, publish};

fn retained<'a>(qos: QoS, topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { retain: true, ..publish(1, qos, topic, payload) }
}

fn retain(node: &Process, topic: &str, payload: &str) {
    connect(node, "retaining").publishes(retained(Q1, topic, payload));
}

/// What a new subscriber on this node finds.
#[track_caller]
pub fn found(node: &Process, filter: &str) -> BTreeMap<String, String> {
    let mut client = subscriber(node, "looking", &[filter], Q0);
    let mut found = BTreeMap::new();
    // The marker's PUBLISH follows what is owed for the filter, or goes in front of what is left.
    loop {
        client.sends(Packet::PingReq);
        let mut more = false;
        loop {
            let frame = client.frame().expect("a packet");
            match frame.packet() {
                Packet::Publish(publish) => {
                    assert!(publish.retain, "a retained one");
                    let topic = publish.topic.expect("a topic").as_str().to_owned();
                    let payload = String::from_utf8(publish.payload.to_vec()).expect("text");
                    assert!(found.insert(topic, payload).is_none(), "each once");
                    more = true;
                }
                Packet::PingResp => break,
                other => panic!("neither message nor answer: {other:?}"),
            }
        }
        if !more {
            return found;
        }
    }
}

fn messages(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(topic, payload)| ((*topic).to_owned(), (*payload).to_owned())).collect()
}

/// Each lane of the set, with its number and hash, as this node has it.
fn lanes(node: &Process) -> BTreeMap<(String, u64), String> {
    let members = node.cluster().members.into_iter();
    let lanes = members.filter_map(|member| {
        let head = member.sets.get("retained")?.applied.clone()?;
        Some(((member.name, member.incarnation), format!("{}:{}", head.seq, head.hash)))
    });
    // A replica that was never heard of is as good as one that has written nothing.
    lanes.filter(|(_, head)| !head.starts_with("0:")).collect()
}

#[track_caller]
fn await_equal(nodes: &[&Process]) {
    awaits("all nodes hold the same set", PATIENCE, || {
        nodes.iter().all(|node| lanes(node) == lanes(nodes[0]))
    });
    let count = |node: &&Process| node.metric("retained_messages", &[]);
    let counts: Vec<f64> = nodes.iter().map(count).collect();
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

/// [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-8] across nodes.
#[test]
fn a_retained_message_set_on_one_node_is_found_and_cleared_on_all() {
    let nodes = start_cluster(3);
    let set = PropertySet { content_type: Some("text"), ..PropertySet::EMPTY };
    connect(&nodes[0], "p").publishes(Publish { properties: set.into(), ..retained(Q1, "a/b", "x") });
    for node in &nodes {
        let mut client = subscriber(node, "s", &["a/+"], Q2);
        client.gets("PUBLISH 1 q1 a/b x retain type=text");
    }
    let mut live = subscriber(&nodes[2], "live", &["a/b"], Q0);
    live.gets("PUBLISH q0 a/b x retain type=text");
    retain(&nodes[1], "a/b", "y");
    live.gets("PUBLISH q0 a/b y");
    retain(&nodes[0], "c", "z");
    for node in &nodes {
        assert_eq!(found(node, "#"), messages(&[("a/b", "y"), ("c", "z")]), "{}", node.name());
    }
    retain(&nodes[2], "a/b", "");
    live.gets("PUBLISH q0 a/b \"\"");
    for node in &nodes {
        assert_eq!(found(node, "#"), messages(&[("c", "z")]), "{}", node.name());
    }
    await_equal(&nodes.iter().collect::<Vec<_>>());
}

/// An acknowledged one is found by whoever subscribes from then on, anywhere.
#[test]
fn puback_means_retained_on_every_node() {
    let nodes = start_cluster(3);
    let mut publishers: Vec<Client> = nodes.iter().map(|node| connect(node, "p")).collect();
    let mut readers: Vec<Client> = nodes.iter().map(|node| connect(node, "s")).collect();
    for number in 0..60 {
        let topic = format!("t/{number}");
        let qos = if number % 2 == 0 { Q1 } else { Q2 };
        publishers[number % 3].publishes(retained(qos, &topic, "x"));
        let reader = &mut readers[(number + 1 + number / 3 % 2) % 3];
        reader.subscribes(&[(&topic, options(Q0))], "0x00");
        reader.gets(&format!("PUBLISH q0 {topic} x retain"));
    }
    let waited: f64 = nodes.iter().map(|node| node.metric("retained_unconfirmed_total", &[])).sum();
    assert_eq!(waited, 0.0, "acknowledged because it was there, not because it took too long");
}

/// The number that the next message is; a SUBACK may come before it, or later.
fn next_number(client: &mut Client) -> u32 {
    loop {
        let frame = client.frame().expect("a message");
        match frame.packet() {
            Packet::Publish(publish) => {
                return std::str::from_utf8(publish.payload).expect("text").parse().expect("a number");
            }
            Packet::SubAck(_) => {}
            other => panic!("not a message: {other:?}"),
        }
    }
}

/// While a topic changes on one node, subscribers come on another: none is left with an old message, and none sees time go
/// backwards.
#[test]
fn whoever_subscribes_while_a_message_changes_ends_with_the_last() {
    const LAST: u32 = 2000;
    let nodes = start_cluster(2);
    retain(&nodes[0], "a", "0");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = connect(&nodes[0], "p");
            for number in 1..=LAST {
                let payload = number.to_string();
                publisher.sends(Packet::Publish(retained(Q0, "a", &payload)));
                if number % 20 == 0 {
                    publisher.waits();
                }
            }
        });
        for worker in 0..4 {
            let node = &nodes[1];
            scope.spawn(move || {
                for round in 0.. {
                    let mut client = connect(node, &format!("s{worker}-{round}"));
                    client.sends(Packet::Subscribe(client::subscribe(1, &[("a", options(Q0))])));
                    let first = next_number(&mut client);
                    let mut last = first;
                    let stays = round % 5 == 0;
                    while last < LAST && (stays || last < first + 30) {
                        let next = next_number(&mut client);
                        assert!(next >= last, "{next} behind {last}");
                        last = next;
                    }
                    if first == LAST {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn an_expired_message_is_gone_on_every_node() {
    let nodes = start_cluster(3);
    let lives = |secs| {
        Properties::from(PropertySet { message_expiry_interval_secs: Some(secs), ..PropertySet::EMPTY })
    };
    let mut publisher = connect(&nodes[0], "p");
    publisher.publishes(Publish { properties: lives(1), ..retained(Q1, "short", "x") });
    publisher.publishes(Publish { properties: lives(1000), ..retained(Q1, "long", "x") });
    let mut client = subscriber(&nodes[1], "s", &["long"], Q0);
    client.gets_one_of(&["PUBLISH q0 long x retain expiry=1000", "PUBLISH q0 long x retain expiry=999"]);
    for node in &nodes {
        awaits("it is hidden", PATIENCE, || node.metric("retained_messages", &[]) == 1.0);
        assert_eq!(found(node, "#"), messages(&[("long", "x")]), "{}", node.name());
    }
    // The set has forgotten it, too.
    awaits("it is out of the set", PATIENCE, || lanes(&nodes[1]).values().any(|head| head.starts_with("3:")));
    await_equal(&nodes.iter().collect::<Vec<_>>());
}

/// The node that took them is killed, forgotten, and started again, and so is the one that they went to.
#[test]
fn retained_messages_survive_the_nodes_that_took_them() {
    let launch = |name: &str| Launch::new(name).flag("--forget-after", "1s");
    let mut n1 = launch("n1").start();
    let n2 = launch("n2").join(n1.cluster_addr()).start();
    let n3 = launch("n3").join(n1.cluster_addr()).start();
    await_converged(&[&n1, &n2, &n3]);
    let expected: BTreeMap<String, String> =
        (0..50).map(|number| (format!("t/{number}/x"), number.to_string())).collect();
    let mut publisher = connect(&n1, "p");
    for (topic, payload) in &expected {
        publisher.publishes(retained(Q1, topic, payload));
    }
    publisher.publishes(retained(Q1, "gone", "x"));
    publisher.publishes(retained(Q1, "gone", ""));
    n1.kill();
    for node in [&n2, &n3] {
        assert_eq!(found(node, "#"), expected, "{} at once", node.name());
    }
    let forgotten = || [&n2, &n3].iter().all(|node| node.state_of(n1.name()).is_none());
    awaits("the dead node is forgotten", 2 * PATIENCE, forgotten);
    let adopted = || lanes(&n2).len() + lanes(&n3).len() > 1;
    awaits("the others have taken them over", 2 * PATIENCE, adopted);
    await_equal(&[&n2, &n3]);
    n1.restart_with(|launch| launch.join(n2.cluster_addr()));
    await_converged(&[&n1, &n2, &n3]);
    await_equal(&[&n1, &n2, &n3]);
    for node in [&n1, &n2, &n3] {
        assert_eq!(found(node, "t/+/x"), expected, "{} after the restart", node.name());
        assert_eq!(found(node, "gone"), messages(&[]));
    }
}

/// All nodes but one are restarted, with what they have written, before they are forgotten.
#[test]
fn one_node_that_stays_keeps_them_for_all() {
    let mut nodes = start_cluster(3);
    for node in &nodes {
        retain(node, &format!("of/{}", node.name()), "x");
    }
    let expected = found(&nodes[0], "#");
    assert_eq!(expected.len(), 3);
    for at in [2, 1] {
        nodes[at].kill();
        nodes[at].restart();
    }
    await_converged(&nodes.iter().collect::<Vec<_>>());
    for node in &nodes {
        awaits("the restarted have everything", PATIENCE, || found(node, "#") == expected);
    }
    awaits("the lanes of the former starts are gone", PATIENCE, || {
        nodes.iter().all(|node| node.cluster().members.len() == 3)
    });
    await_equal(&nodes.iter().collect::<Vec<_>>());
    for node in &nodes {
        assert_eq!(found(node, "#"), expected, "{}", node.name());
    }
}

/// Both sides set and clear what the other one sets: the later one counts, wherever it was.
#[test]
fn the_later_of_two_sides_counts_after_a_partition() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(_, n1), (_, n2), (host, n3)] = &nodes[..] else { panic!("three nodes") };
    for topic in ["here", "there", "cleared", "set again", "untouched"] {
        retain(n1, topic, "before");
    }
    host.isolate();
    for node in [n1, n3] {
        let other = if node.name() == n1.name() { n3 } else { n1 };
        awaits("they miss each other", PATIENCE, || node.state_of(other.name()) == Some(MemberState::Dead));
    }
    retain(n3, "here", "earlier");
    retain(n2, "there", "earlier");
    retain(n3, "cleared", "earlier");
    retain(n2, "set again", "");
    retain(n2, "new", "x");
    retain(n1, "here", "later");
    retain(n3, "there", "later");
    retain(n1, "cleared", "");
    retain(n3, "set again", "later");
    assert_eq!(found(n3, "here"), messages(&[("here", "earlier")]));
    host.heal();
    await_converged(&[n1, n2, n3]);
    let expected = messages(&[
        ("here", "later"),
        ("there", "later"),
        ("set again", "later"),
        ("untouched", "before"),
        ("new", "x"),
    ]);
    for node in [n1, n2, n3] {
        awaits("the later counts", PATIENCE, || found(node, "#") == expected);
    }
    await_equal(&[n1, n2, n3]);
}

/// A message expires on one side, after the other has set a later one: that stays.
#[test]
fn what_expires_takes_nothing_later_with_it() {
    let Some(nodes) = hosts::<2>() else { return };
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two nodes") };
    let set = PropertySet { message_expiry_interval_secs: Some(3), ..PropertySet::EMPTY };
    host.isolate();
    connect(n1, "p").publishes(Publish { properties: set.into(), ..retained(Q1, "a", "short") });
    retain(n2, "a", "lasting");
    awaits("it is over", PATIENCE, || n1.metric("retained_messages", &[]) == 0.0);
    host.heal();
    await_converged(&[n1, n2]);
    for node in [n1, n2] {
        awaits("the other one counts", PATIENCE, || found(node, "#") == messages(&[("a", "lasting")]));
    }
}

#[test]
fn a_will_is_retained_on_every_node() {
    let nodes = start_cluster(2);
    let will = Will {
        topic: Topic::new("a").expect("a topic name"),
        payload: b"gone",
        qos: Q1,
        retain: true,
        properties: Properties::NONE,
    };
    let connect = rumormq::codec::packet::Connect { will: Some(will), ..client::connect("mortal") };
    Client::connect(nodes[0].mqtt_addr(), connect).vanishes();
    awaits("the will is found on the other node", PATIENCE, || {
        found(&nodes[1], "a") == messages(&[("a", "gone")])
    });
}

/// A node joins when there is much already: it lets clients in when it has it all.
fn join_with(count: usize) {
    let n1 = Launch::new("n1").start();
    let mut publisher = connect(&n1, "p");
    for number in 0..count {
        publisher.sends(Packet::Publish(retained(Q0, &format!("t/{number}/x"), "0123456789")));
    }
    publisher.waits();
    let began = Instant::now();
    let n2 = Launch::new("n2").join(n1.cluster_addr()).start();
    println!("ready after {:?} with {count} retained messages", began.elapsed());
    assert_eq!(n2.metric("retained_messages", &[]), count as f64);
    assert_eq!(found(&n2, "t/7/+"), messages(&[("t/7/x", "0123456789")]));
    await_equal(&[&n1, &n2]);
}

#[test]
fn a_node_that_joins_has_all_of_them_when_it_is_ready() {
    join_with(5000);
}

/// `cargo test --test cluster -- --ignored retained`
#[test]
#[ignore = "half a minute"]
fn a_node_that_joins_has_a_hundred_thousand_when_it_is_ready() {
    join_with(100_000);
}

/// What a node refuses for want of room is refused for the whole set; and what others have is shown all the same.
#[test]
fn the_limits_are_of_the_whole_set() {
    let launch = |name: &str| Launch::new(name).flag("--max-retained-messages", "3");
    let n1 = launch("n1").start();
    let n2 = launch("n2").join(n1.cluster_addr()).start();
    await_converged(&[&n1, &n2]);
    retain(&n1, "1", "x");
    retain(&n2, "2", "x");
    retain(&n1, "3", "x");
    retain(&n2, "4", "x");
    retain(&n2, "1", "y");
    for node in [&n1, &n2] {
        assert_eq!(found(node, "#"), messages(&[("1", "y"), ("2", "x"), ("3", "x")]), "{}", node.name());
    }
    assert_eq!(n2.metric("messages_dropped_total", &["reason=\"retained_full\""]), 1.0);
}

/// The HTTP API of any node lists what all have, names who took it, and clears it for all.
#[test]
fn operators_see_and_clear_them_on_any_node() {
    let nodes = start_cluster(2);
    let lives = PropertySet { message_expiry_interval_secs: Some(100), ..PropertySet::EMPTY };
    for (at, topic) in ["a/1", "b/1", "$app/1"].into_iter().enumerate() {
        let properties = Properties::from(lives.clone());
        connect(&nodes[at % 2], "p").publishes(Publish { properties, ..retained(Q1, topic, "12345") });
    }
    let list = |node: &Process, query: &str| -> RetainedPage {
        serde_json::from_str(&node.page(&format!("/api/v1/retained{query}"))).expect("a page")
    };
    for node in &nodes {
        let page = list(node, "?limit=2");
        let all =
            [page.retained, list(node, &format!("?cursor={}", page.next.expect("more"))).retained].concat();
        let seen: Vec<_> = all
            .iter()
            .map(|one| (one.topic.as_str(), one.node.as_deref(), one.qos, one.payload_size))
            .collect();
        let [n1, n2] = [0, 1].map(|at| Some(nodes[at].name()));
        assert_eq!(seen, [("$app/1", n1, 1, 5), ("a/1", n1, 1, 5), ("b/1", n2, 1, 5)]);
        assert!(all.iter().all(|one| one.expires_in.is_some_and(|secs| (1..=100).contains(&secs))));
        let topics = |query| list(node, query).retained.into_iter().map(|one| one.topic).collect::<Vec<_>>();
        assert_eq!(topics("?filter=%2B/1"), ["a/1", "b/1"]);
    }
    assert_eq!(nodes[1].delete("/api/v1/retained?topic=a/1"), 200);
    assert_eq!(nodes[1].delete("/api/v1/retained?topic=a/1"), 404);
    for node in &nodes {
        awaits("it is cleared", PATIENCE, || found(node, "#") == messages(&[("b/1", "12345")]));
    }
}

/// Larger than a delta.
#[test]
fn a_large_message_is_retained_on_every_node() {
    let nodes = start_cluster(2);
    let payload = "x".repeat(900_000);
    let topics = ["a/1", "a/2", "a/3"];
    for topic in topics {
        retain(&nodes[0], topic, &payload);
    }
    let found = found(&nodes[1], "a/+");
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), topics);
    assert!(found.values().all(|one| *one == payload));
}

/// A million topics on three nodes: how long they take to load and to find, and what they cost.
/// `cargo test --release --test cluster -- --ignored --nocapture a_million_retained`
#[test]
#[ignore = "minutes, and gigabytes"]
fn a_million_retained_topics_are_found_as_fast_as_they_match() {
    const TOPICS: usize = 1_000_000;
    const FOUND: [usize; 3] = [10, 1000, 100_000];
    let nodes = start_cluster(3);
    let before: Vec<f64> = nodes.iter().map(memory).collect();
    let mut publisher = connect(&nodes[0], "p");
    let began = Instant::now();
    let mut bytes = Vec::new();
    for number in 0..TOPICS {
        // Every one is below a child of `a` of its own; a few of them are looked for.
        let ends = FOUND.iter().scan(0, |end, count| {
            *end += count;
            Some(*end)
        });
        let kind = ends.zip(FOUND).find(|(end, _)| number < *end).map_or(0, |(_, count)| count);
        let topic = format!("a/{number}/c{kind}");
        let packet = Packet::Publish(retained(Q0, &topic, "0123456789"));
        codec::encode(&packet, ProtocolVersion::V500, u32::MAX, &mut bytes).expect("it fits");
        if bytes.len() > 1 << 20 {
            publisher.sends_bytes(&bytes);
            bytes.clear();
        }
    }
    publisher.sends_bytes(&bytes);
    awaits("the first node has them", Duration::from_secs(300), || {
        nodes[0].metric("retained_messages", &[]) == TOPICS as f64
    });
    let taken = began.elapsed();
    awaits("all nodes have them", Duration::from_secs(300), || {
        nodes.iter().all(|node| node.metric("retained_messages", &[]) == TOPICS as f64)
    });
    println!("{TOPICS} taken after {taken:?}, on all nodes after {:?}", began.elapsed());
    awaits("all hashes are equal", 6 * PATIENCE, || nodes.iter().all(|node| lanes(node) == lanes(&nodes[0])));
    println!("hashes are equal on all nodes after {:?}: {:?}", began.elapsed(), lanes(&nodes[0]));
    for (node, before) in nodes.iter().zip(before) {
        let each = (memory(node) - before) / TOPICS as f64;
        let counted = node.metric("retained_bytes", &[]) / TOPICS as f64;
        println!("{}: {each:.0} bytes of memory for a topic, {counted:.0} counted", node.name());
    }
    for node in &nodes {
        for count in FOUND {
            let mut client = connect(node, "s");
            let began = Instant::now();
            client.subscribes(&[(&format!("a/+/c{count}"), options(Q0))], "0x00");
            let mut first = None;
            for _ in 0..count {
                let frame = client.frame().expect("a retained message");
                assert!(matches!(frame.packet(), Packet::Publish(publish) if publish.retain));
                first.get_or_insert(began.elapsed());
            }
            let all = began.elapsed();
            println!(
                "{}: {count} of them found, sent and read in {all:?}, the first after {first:?}",
                node.name()
            );
        }
    }
    let began = Instant::now();
    let page = nodes[1].page("/api/v1/retained?filter=a/%2B/c10&limit=1000");
    println!("ten listed over HTTP in {:?}: {} bytes", began.elapsed(), page.len());
    let began = Instant::now();
    let late = Launch::new("n4").join(nodes[2].cluster_addr()).start();
    let ready = began.elapsed();
    awaits("the newcomer has them all", 12 * PATIENCE, || {
        late.metric("retained_messages", &[]) == TOPICS as f64
    });
    println!("a newcomer is ready after {ready:?} and has them all after {:?}", began.elapsed());
}
