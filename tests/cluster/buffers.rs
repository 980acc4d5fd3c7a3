//! Forward buffers: what waits for a node that cannot be reached is bounded, counted, and arrives when it can be.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rumormq::admin::view::MemberState;
use rumormq::codec::packet::{Packet, PropertySet, ProtocolVersion, Publish};

use crate::clients::{
    connect, message, messages_until, numbers, publish_numbers, subscriber, time_of_puback,
};
use crate::p5_partitions::hosts;
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits};
use crate::support::client::{self, Client, Q0, Q1, Q2, ack, options, publish};
use crate::takeover::open;

/// A node with this flag, and another one.
fn pair(flag: &str, value: &str) -> (Process, Process) {
    let n1 = Launch::new("n1").flag(flag, value).start();
    let n2 = Launch::new("n2").join(n1.cluster_addr()).start();
    await_converged(&[&n1, &n2]);
    (n1, n2)
}

fn await_dead(node: &Process, other: &Process) {
    awaits("it is dead", PATIENCE, || node.state_of(other.name()) == Some(MemberState::Dead));
}

fn dropped(node: &Process, reason: &str) -> f64 {
    node.metric("forward_dropped_total", &[&format!("reason=\"{reason}\"")])
}

#[test]
fn buffers_let_go_of_what_is_too_old() {
    let (n1, mut n2) = pair("--forward-buffer-age", "3s");
    let _away = subscriber(&n2, "s", &["a"], Q1);
    let mut publisher = connect(&n1, "p");
    n2.kill();
    publish_numbers(&mut publisher, "a", Q1, 0..50, 10);
    assert_eq!(n1.metric("forward_unacked", &[]), 50.0);
    awaits("its age is seen", PATIENCE, || n1.metric("forward_oldest_seconds", &[]) > 0.5);
    awaits("all are too old", PATIENCE, || n1.metric("forward_unacked", &[]) == 0.0);
    assert_eq!(dropped(&n1, "age"), 50.0);
    assert_eq!(n1.metric("forward_unacked_bytes", &[]), 0.0);
    awaits("the log has it", PATIENCE, || n1.has_logged(&["WARN", "reason=\"age\"", "dropped=50"]));
    n2.restart();
    let mut back = subscriber(&n2, "s", &["a"], Q1);
    await_converged(&[&n1, &n2]);
    publisher.publishes(publish(1, Q1, "a", "last"));
    assert_eq!(messages_until(&mut back, "last"), [""; 0]);
}

#[test]
fn buffers_let_go_of_what_has_expired() {
    let (n1, n2) = pair("--forward-buffer-age", "1h");
    let mut away = subscriber(&n2, "s", &["a"], Q1);
    let mut publisher = connect(&n1, "p");
    n2.freeze();
    await_dead(&n1, &n2);
    let secs = PropertySet { message_expiry_interval_secs: Some(1), ..PropertySet::EMPTY };
    // As many as are on their way to it all the same.
    publish_numbers(&mut publisher, "a", Q1, 0..2000, 100);
    let under_way = n1.metric("forward_sent_total", &[]);
    assert!(under_way < 2000.0, "{under_way}");
    for _ in 0..100 {
        publisher.publishes(Publish { properties: secs.clone().into(), ..publish(1, Q1, "a", "expires") });
    }
    awaits("they have expired", PATIENCE, || dropped(&n1, "expired") == 100.0);
    n2.thaw();
    publisher.publishes(publish(1, Q1, "a", "last"));
    assert_eq!(messages_until(&mut away, "last"), numbers(0..2000), "in order, each once");
}

#[test]
fn buffers_of_all_nodes_together_have_a_limit() {
    let total = 1 << 20;
    let n1 = Launch::new("n1").flag("--forward-total-bytes", &total.to_string()).start();
    let mut others = ["n2", "n3", "n4"].map(|name| Launch::new(name).join(n1.cluster_addr()).start());
    await_converged(&[&n1, &others[0], &others[1], &others[2]]);
    let _subscribers: Vec<Client> =
        others.iter().zip(["a", "b", "b"]).map(|(node, topic)| subscriber(node, "s", &[topic], Q1)).collect();
    let mut publisher = connect(&n1, "p");
    others.iter_mut().for_each(Process::kill);
    let payload = "x".repeat(1000);
    for _ in 0..100 {
        time_of_puback(&mut publisher, "a", &payload);
    }
    for _ in 0..1000 {
        time_of_puback(&mut publisher, "b", &payload);
    }
    let held = n1.metric("forward_unacked_bytes", &[]);
    assert!(held < f64::from(total) + 3.0 * f64::from(128 << 10), "{held}");
    assert!(n1.metric("forward_buffered_bytes", &[]) <= held);
    assert!(dropped(&n1, "total_overflow") > 500.0);
    let of = |node: &Process| n1.metric("forward_unacked", &[&format!("peer=\"{}\"", node.name())]);
    assert_eq!(of(&others[0]), 100.0, "whoever takes the room makes some");
    assert!(of(&others[1]) + of(&others[2]) > 500.0);
    awaits("the log has it", PATIENCE, || n1.has_logged(&["WARN", "reason=\"total_overflow\""]));
}

#[test]
fn buffers_of_who_is_forgotten_are_dropped() {
    let (n1, mut n2) = pair("--forget-after", "4s");
    let _away = subscriber(&n2, "s", &["a"], Q1);
    let mut publisher = connect(&n1, "p");
    n2.kill();
    publish_numbers(&mut publisher, "a", Q1, 0..50, 10);
    assert_eq!(n1.metric("forward_unacked", &[]), 50.0);
    awaits("it is forgotten", PATIENCE, || n1.state_of(n2.name()).is_none());
    assert_eq!(n1.metric("forward_dropped_total", &["peer=\"gone\"", "reason=\"forgotten\""]), 50.0);
    assert_eq!(n1.metric("forward_unacked", &[]), 0.0);
}

#[test]
fn buffers_that_are_full_may_refuse() {
    let launch = |name| Launch::new(name).flag("--forward-buffer-messages", "100");
    let n1 = launch("n1").flag("--forward-overflow", "refuse").start();
    let n2 = launch("n2").join(n1.cluster_addr()).start();
    await_converged(&[&n1, &n2]);
    let mut away = subscriber(&n2, "s", &["a"], Q2);
    let mut here = subscriber(&n1, "here", &["#"], Q2);
    let mut publisher = connect(&n1, "p");
    n2.freeze();
    await_dead(&n1, &n2);
    publish_numbers(&mut publisher, "a", Q1, 0..100, 10);
    for number in 100..105 {
        let payload = number.to_string();
        publisher.sends(Packet::Publish(publish(7, Q1, "a", &payload)));
        publisher.gets("PUBACK 7 0x97");
        publisher.sends(Packet::Publish(publish(7, Q2, "a", &payload)));
        publisher.gets("PUBREC 7 0x97");
    }
    publisher.publishes(publish(1, Q1, "b", "elsewhere"));
    // 3.1.1 has no such answer, and what is sent again after that is not taken for what it was.
    let mut old = old_client(&n1);
    for qos in [Q1, Q2] {
        old.sends(Packet::Publish(publish(7, qos, "a", "old")));
        old.is_closed();
        old = old_client(&n1);
    }
    assert_eq!(n1.metric("messages_dropped_total", &["reason=\"forward_full\""]), 12.0);
    assert_eq!(dropped(&n1, "overflow"), 0.0);
    n2.thaw();
    awaits("there is room again", PATIENCE, || n1.metric("forward_unacked", &[]) == 0.0);
    old.sends(Packet::Publish(Publish { dup: true, ..publish(7, Q2, "a", "old") }));
    old.gets("PUBREC 7");
    old.sends(Packet::PubRel(ack(7)));
    old.gets("PUBCOMP 7");
    publisher.publishes(publish(1, Q1, "a", "last"));
    let of_a =
        |messages: Vec<String>| messages.into_iter().filter(|text| text != "elsewhere").collect::<Vec<_>>();
    let expected: Vec<String> = numbers(0..100).into_iter().chain(["old".to_owned()]).collect();
    for client in [&mut away, &mut here] {
        assert_eq!(of_a(messages_until(client, "last")), expected, "nobody got what was refused");
    }
}

fn old_client(node: &Process) -> Client {
    let version = ProtocolVersion::V311;
    Client::connect(
        node.mqtt_addr(),
        rumormq::codec::packet::Connect { version, clean_start: false, ..client::connect("old") },
    )
}

/// A node was out of reach for long: what waited for it comes, and everything else goes on.
fn drain(messages: u32, link: Option<&str>) {
    let Some(nodes) = hosts::<3>() else { return };
    let [(h1, n1), (_, n2), (host, n3)] = &nodes[..] else { panic!("three nodes") };
    if let Some(rate) = link {
        for host in [h1, host] {
            let shape = [
                "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "32kb", "latency", "2s",
            ];
            assert!(host.command("tc").args(shape).status().is_ok_and(|status| status.success()));
        }
    }
    let mut away = subscriber(n3, "away", &["a"], Q1);
    let mut live = subscriber(n3, "live", &["live"], Q1);
    let mut at_most_once = subscriber(n3, "at most once", &["at-most-once"], Q0);
    let mut elsewhere = subscriber(n2, "elsewhere", &["elsewhere"], Q1);
    host.isolate();
    let mut publisher = connect(n1, "p");
    publish_numbers(&mut publisher, "a", Q1, 0..messages, 1000);
    let waiting = n1.metric("forward_unacked", &[]);
    assert_eq!(waiting, f64::from(messages));
    let mut others = ["live", "at-most-once", "elsewhere", "subscribes"].map(|name| connect(n1, name));
    host.heal();
    awaits("it is linked again", PATIENCE, || {
        n1.metric("link_up", &[&format!("peer=\"{}\"", n3.name())]) == 1.0
    });
    let began = Instant::now();
    let (drained, arrived) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| {
            let _ended = Ended(&drained);
            let received = messages_until(&mut away, "last");
            println!("{messages} messages drained in {:?}", began.elapsed());
            received
        });
        let puback = scope.spawn(|| time_of_puback(&mut publisher, "a", "last"));
        let [live_publisher, zero_publisher, other_publisher, subscribing] = &mut others;
        let (live, at_most_once, elsewhere) = (&mut live, &mut at_most_once, &mut elsewhere);
        let drained = &drained;
        let delivery = scope.spawn(move || {
            slowest("QoS 1 to the same node", drained, || {
                live_publisher.sends(Packet::Publish(publish(1, Q1, "live", "x")));
                message(live);
                live_publisher.gets("PUBACK 1");
            })
        });
        let arrived = &arrived;
        scope.spawn(move || {
            // They are lost while there is no link for them.
            while arrived.load(Ordering::Acquire) < 3 || !drained.load(Ordering::Acquire) {
                let sent = began.elapsed().as_micros().to_string();
                zero_publisher.sends(Packet::Publish(publish(0, Q0, "at-most-once", &sent)));
                std::thread::sleep(Duration::from_millis(5));
            }
            zero_publisher.sends(Packet::Publish(publish(0, Q0, "at-most-once", "last")));
        });
        let zero = scope.spawn(move || {
            let mut slowest = Duration::ZERO;
            while let Ok(sent) = message(at_most_once).parse() {
                slowest = slowest.max(began.elapsed().saturating_sub(Duration::from_micros(sent)));
                arrived.fetch_add(1, Ordering::Release);
            }
            println!("QoS 0 to the same node: {arrived:?} times, slowest {slowest:?}");
            slowest
        });
        let other = scope.spawn(move || {
            slowest("QoS 1 to another node", drained, || {
                time_of_puback(other_publisher, "elsewhere", "x");
                message(elsewhere);
            })
        });
        let mut number = 0;
        let suback = scope.spawn(move || {
            slowest("SUBACK", drained, || {
                number += 1;
                subscribing.subscribes(&[(&format!("new/{number}"), options(Q1))], "0x01");
            })
        });
        let received = draining.join();
        let lost = n3.metric("messages_dropped_total", &[]);
        assert_eq!(lost, 0.0, "its client's queue did not overflow");
        let received = received.expect("it is drained");
        assert_eq!(received.len(), messages as usize);
        assert_eq!(received, numbers(0..messages), "in order, each once");
        for (slowest, most) in [(zero, 1000), (other, 500), (suback, 1500)] {
            let slowest = slowest.join().expect("it is served");
            assert!(slowest < Duration::from_millis(most), "{slowest:?}");
        }
        delivery.join().expect("it is served");
        let puback = puback.join().expect("it is acknowledged");
        println!("PUBACK behind all of them: {puback:?}");
        assert!(puback < Duration::from_millis(1500), "it is as safe in the buffer: {puback:?}");
    });
    assert_eq!(n1.metric("suback_timeouts_total", &[]), 0.0);
    await_converged(&[n1, n2, n3]);
}

/// However it ends, the others need not go on.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Takes turns until all is drained; returns how long the slowest took.
fn slowest(what: &str, drained: &AtomicBool, mut turn: impl FnMut()) -> Duration {
    let mut times = Vec::new();
    while times.len() < 3 || !drained.load(Ordering::Acquire) {
        let began = Instant::now();
        turn();
        times.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    times.sort();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: {} times, median {median:?}, slowest {slowest:?}", times.len());
    slowest
}

#[test]
fn buffers_drain_beside_live_traffic() {
    drain(20_000, None);
}

#[test]
fn buffers_drain_over_a_slow_link() {
    drain(10_000, Some("2mbit"));
}

/// `cargo test --test cluster -- --ignored buffers_drain`
#[test]
#[ignore = "half a minute"]
fn buffers_drain_a_hundred_thousand() {
    drain(100_000, None);
}

/// A session moves while a third node is cut off, which goes on to publish for it where it was: what has waited there for its
/// former owner follows it, and what has come to the new one as well does not come twice.
#[test]
fn buffers_for_a_former_owner_follow_the_session() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(_, n1), (_, n2), (host, n3)] = &nodes[..] else { panic!("three nodes") };
    let mut x = open(n1, client::lasting("x", 1000), false);
    x.subscribes(&[("own/#", options(Q2)), ("common", options(Q2))], "0x02 0x02");
    let mut beside = subscriber(n2, "beside", &["common"], Q2);
    let mut publisher = connect(n3, "p");
    publisher.publishes(publish(1, Q2, "own/x", "before"));
    assert_eq!(message(&mut x), "before");
    x.gets("PUBREL 1");
    x.sends(Packet::PubComp(ack(1)));
    x.waits();
    host.isolate();
    await_dead(n1, n3);
    await_dead(n3, n1);
    await_dead(n3, n2);
    publish_numbers(&mut publisher, "own/x", Q2, 0..200, 50);
    let mut x = open(n2, client::lasting("x", 1000), true);
    publish_numbers(&mut publisher, "common", Q2, 200..400, 50);
    awaits("it has moved", PATIENCE, || n1.metric("sessions", &[]) == 0.0);
    host.heal();
    let took = await_converged(&[n1, n2, n3]);
    awaits("all has been sent", PATIENCE, || {
        [n3, n1].iter().all(|node| node.metric("forward_unacked", &[]) == 0.0)
    });
    println!("converged after {took:?}, {} passed on", n1.metric("strays_total", &["result=\"forwarded\""]));
    publisher.publishes(publish(1, Q2, "common", "last"));
    assert_eq!(messages_until(&mut beside, "last"), numbers(200..400));
    let mut received = messages_until(&mut x, "last");
    received.sort_by_key(|number| number.parse::<u32>().expect("a number"));
    assert_eq!(received, numbers(0..400), "each once");
    assert_eq!(n1.metric("strays_total", &["result=\"lost\""]), 0.0);
    // From now on its routes are known.
    publish_numbers(&mut publisher, "own/x", Q2, 400..500, 50);
    publisher.publishes(publish(1, Q2, "own/x", "last"));
    assert_eq!(messages_until(&mut x, "last"), numbers(400..500), "in order, each once");
}
