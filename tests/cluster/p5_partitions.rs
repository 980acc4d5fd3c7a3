//! P5: both sides of a partition serve, and when it heals everything that was promised arrives.

use std::time::Duration;

use rumormq::admin::view::MemberState;
use rumormq::codec::packet::QoS;

use crate::clients::{connect, messages_until, numbers, publish_numbers, subscriber, time_of_puback};
use crate::processes::netns::{Namespace, Network};
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits};
use crate::support::client::{Client, Q1, Q2, options, publish};

pub const COOKIE: &str = "a secret for tests only";

/// `N` nodes on hosts of their own; none where the machine does not allow that.
pub fn hosts<const N: usize>() -> Option<Vec<(std::sync::Arc<Namespace>, Process)>> {
    hosts_with::<N>(|launch| launch)
}

/// The same with nodes that are started in another way.
pub fn hosts_with<const N: usize>(
    change: impl Fn(Launch) -> Launch,
) -> Option<Vec<(std::sync::Arc<Namespace>, Process)>> {
    let network = Network::new()?;
    let mut nodes: Vec<(std::sync::Arc<Namespace>, Process)> = Vec::new();
    for number in 1..=N {
        let host = network.host();
        let launch = Launch::within(&host, &format!("n{number}")).cookie(COOKIE);
        let launch = match nodes.last() {
            Some((_, last)) => launch.join(last.cluster_addr()),
            None => launch,
        };
        nodes.push((host, change(launch).start()));
    }
    await_converged(&nodes.iter().map(|(_, node)| node).collect::<Vec<_>>());
    Some(nodes)
}

/// A third node is cut off while QoS 1 and 2 messages go to it and come from it.
#[test]
fn p5_partitions_heal_without_losing_what_was_acknowledged() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(_, n1), (_, n2), (host, n3)] = &nodes[..] else { panic!("three nodes") };
    let all = [n1, n2, n3];
    for (near, far, qos) in [(n1, n3, Q1), (n3, n2, Q2)] {
        cut_off(near, far, host, qos, &all);
    }
}

fn cut_off(near: &Process, far: &Process, host: &Namespace, qos: QoS, all: &[&Process; 3]) {
    let topic = format!("from/{}", near.name());
    let mut here = subscriber(near, &format!("here {topic}"), &[&topic], qos);
    let mut there = subscriber(far, &format!("there {topic}"), &[&topic], qos);
    let mut publisher = connect(near, &format!("p {topic}"));
    let batch = |client: &mut Client, number: u32| {
        publish_numbers(client, &topic, qos, number * 100..(number + 1) * 100, 10);
    };
    batch(&mut publisher, 0);
    host.isolate();
    batch(&mut publisher, 1);
    let took = awaits("they miss each other", PATIENCE, || {
        near.state_of(far.name()) == Some(MemberState::Dead)
            && far.state_of(near.name()) == Some(MemberState::Dead)
    });
    println!("the partition was noticed {took:?} after a hundred messages");
    batch(&mut publisher, 2);
    // New routes come into being on both sides.
    let _new =
        all.map(|node| subscriber(node, &format!("new {topic}"), &[&format!("{topic}/{}", node.name())], Q1));
    host.heal();
    println!("converged {:?} after the partition", await_converged(all));
    batch(&mut publisher, 3);
    publisher.publishes(publish(1, qos, &topic, "last"));
    for client in [&mut here, &mut there] {
        assert_eq!(messages_until(client, "last"), numbers(0..400), "in order, each once");
    }
    assert_eq!(all[0].routes(), all[2].routes());
}

/// Every connection breaks several times in the middle of a stream.
#[test]
fn p5_partitions_links_that_break_repeat_nothing() {
    let Some(nodes) = hosts::<2>() else { return };
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two nodes") };
    let mut subscriber = subscriber(n2, "s", &["a"], Q2);
    let mut publisher = connect(n1, "p");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..4 {
                publish_numbers(&mut publisher, "a", Q2, round * 200..round * 200 + 150, 20);
                host.refuse_connections();
                publish_numbers(&mut publisher, "a", Q2, round * 200 + 150..(round + 1) * 200, 20);
                awaits("the link is down", PATIENCE, || n1.metric("link_up", &[]) == 0.0);
                host.heal();
                awaits("the link is up", PATIENCE, || n1.metric("link_up", &[]) == 1.0);
            }
            publisher.publishes(publish(1, Q2, "a", "last"));
        });
        assert_eq!(messages_until(&mut subscriber, "last"), numbers(0..800), "in order, each once");
    });
    await_converged(&[n1, n2]);
    println!("{} messages were sent again", n1.metric("forward_resent_total", &[]));
}

/// One end of a link is gone and the other one has not noticed: the new link takes its place.
#[test]
fn p5_partitions_a_half_open_link_is_replaced() {
    let Some(nodes) = hosts::<2>() else { return };
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two nodes") };
    let linked = |node: &Process| node.metric("link_up", &[]) == 1.0;
    // Of two nodes the one with the lower name dials first: so the link becomes one that n1 has dialled.
    host.refuse_connections();
    awaits("the link is down", PATIENCE, || !linked(n1));
    host.heal();
    awaits("the link is up", PATIENCE, || linked(n1) && linked(n2));
    host.forget_connections(|| {
        awaits("one end is gone", PATIENCE, || !linked(n2));
        assert!(linked(n1), "the other end does not know");
    });
    let took = awaits("they are linked again", Duration::from_secs(5), || linked(n2));
    println!("linked again after {took:?}");
    await_converged(&[n1, n2]);
}

/// Two nodes lose each other and both keep a third: it carries routes between them.
#[test]
fn p5_partitions_routes_find_a_way_around() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(h1, n1), (_, n2), (h3, n3)] = &nodes[..] else { panic!("three nodes") };
    h1.separate(h3);
    let mut subscriber = connect(n3, "s");
    // It takes a while until the nodes know that their link carries nothing; nothing waits for that.
    let filters: Vec<String> = (0..20).map(|number| format!("around/{number}")).collect();
    for filter in &filters {
        subscriber.subscribes(&[(filter, options(Q1))], "0x01");
    }
    let took =
        awaits("the routes arrive", PATIENCE, || n1.routes() == n3.routes() && n1.routes().len() == 20);
    println!("routes came around {took:?} after the last SUBACK");
    // By now it is known who has to pass them on, and that is waited for.
    let began = std::time::Instant::now();
    for number in 20..60 {
        let filter = format!("around/{number}");
        subscriber.subscribes(&[(&filter, options(Q1))], "0x01");
        let known = n1.routes().iter().any(|(known, _)| *known == filter);
        assert!(known || n3.metric("suback_timeouts_total", &[]) > 0.0, "SUBACK, and no route");
    }
    let timeouts = n3.metric("suback_timeouts_total", &[]);
    println!("{timeouts} SUBACKs of the next 40 came too early; all came within {:?}", began.elapsed());
    for node in [n1, n2, n3] {
        let dead = |other: &Process| node.state_of(other.name()) == Some(MemberState::Dead);
        assert!(!dead(n1) && !dead(n2) && !dead(n3), "whoever is heard of through another is not dead");
    }
    h1.heal();
    await_converged(&[n1, n2, n3]);
}

/// A node that is cut off crashes and comes back while it still is: what was kept for it by name reaches its new clients.
#[test]
fn p5_partitions_a_restart_on_the_other_side() {
    let Some(mut nodes) = hosts::<2>() else { return };
    let (host, mut n2) = nodes.pop().expect("two nodes");
    let n1 = &nodes[0].1;
    let lost = subscriber(&n2, "s", &["a", "old"], Q1);
    let mut publisher = connect(n1, "p");
    publish_numbers(&mut publisher, "a", Q1, 0..50, 10);
    drop(lost);
    let mut lost = subscriber(&n2, "s", &["a", "old"], Q1);
    host.isolate();
    publish_numbers(&mut publisher, "a", Q1, 50..150, 100);
    n2.kill();
    assert!(lost.frame().is_none(), "nothing arrived on the other side");
    n2.restart_with(|launch| launch.flag("--join-grace", "500ms"));
    let mut client = subscriber(&n2, "s", &["a"], Q1);
    publish_numbers(&mut publisher, "a", Q1, 150..200, 50);
    host.heal();
    println!("converged {:?} after the partition", await_converged(&[n1, &n2]));
    publisher.publishes(publish(1, Q1, "a", "last"));
    assert_eq!(messages_until(&mut client, "last"), numbers(50..200), "in order, each once");
    assert_eq!(n1.routes().len(), 1, "the routes of the start before are gone");
}

/// Nothing arrives at a host, and what it sends arrives: its words are no answers.
#[test]
fn p5_partitions_a_deaf_node_holds_up_nobody() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(_, n1), (_, n2), (host, n3)] = &nodes[..] else { panic!("three nodes") };
    let mut here = subscriber(n2, "here", &["a"], Q1);
    let mut there = subscriber(n3, "there", &["a"], Q1);
    let mut publisher = connect(n1, "p");
    host.deafen();
    let slowest = (0..5).map(|number| time_of_puback(&mut publisher, "a", &number.to_string())).max();
    println!("slowest PUBACK beside a deaf node: {slowest:?}");
    assert!(slowest < Some(Duration::from_millis(2500)), "{slowest:?}");
    let mut other = connect(n2, "other");
    let began = std::time::Instant::now();
    other.subscribes(&[("b", options(Q1))], "0x01");
    println!("SUBACK beside a deaf node: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
    host.heal();
    publisher.publishes(publish(1, Q1, "a", "last"));
    for client in [&mut here, &mut there] {
        assert_eq!(messages_until(client, "last"), numbers(0..5), "in order, each once");
    }
    await_converged(&[n1, n2, n3]);
}

/// P6 at 30 % loss: `cargo test --test cluster -- --ignored p6_`
#[test]
#[ignore = "a minute"]
fn p6_death_and_leave_loss_of_30_percent_kills_nobody() {
    let Some(nodes) = hosts::<3>() else { return };
    for (host, _) in &nodes {
        host.lose(0.3);
    }
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while std::time::Instant::now() < until {
        for (_, node) in &nodes {
            let dead = node.metric("member_transitions_total", &["to=\"dead\""]);
            assert_eq!(dead, 0.0, "on {}", node.name());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
