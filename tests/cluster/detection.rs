//! P6 and P5 where it is hard to tell: who is paused, who is dead, who is only out of reach; and how fast a cut heals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq::admin::view::MemberState;

use crate::clients::{connect, message, numbers, publish_numbers, subscriber, time_of_puback};
use crate::p5_partitions::{COOKIE, hosts};
use crate::processes::netns::{Namespace, Network};
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits, start_cluster};
use crate::support::client::{Q1, options};

type Hosts = Vec<(Arc<Namespace>, Process)>;

/// What the promise allows in all cases.
const NOTICED: Duration = Duration::from_secs(5);

fn deaths(node: &Process) -> f64 {
    node.metric("member_transitions_total", &["to=\"dead\""])
}

fn all(nodes: &Hosts) -> Vec<&Process> {
    nodes.iter().map(|(_, node)| node).collect()
}

/// A virtual machine that is moved, or a disk that hangs: the process stands still, and then goes on as if nothing had been.
#[test]
fn p6_death_and_leave_a_paused_node_is_dead_and_simply_back() {
    const PAUSE: Duration = Duration::from_secs(10);
    let nodes = start_cluster(3);
    let [n1, n2, n3] = &nodes[..] else { panic!("three nodes") };
    let incarnation = n3.incarnation();
    let mut beyond = subscriber(n3, "beyond", &["a"], Q1);
    let mut here = subscriber(n1, "here", &["b"], Q1);
    let mut publisher = connect(n1, "p");
    awaits("its route is known", PATIENCE, || n1.routes().len() == 2);
    n3.freeze();
    let paused = Instant::now();
    let took = awaits("it is dead", NOTICED, || {
        [n1, n2].iter().all(|node| node.state_of(n3.name()) == Some(MemberState::Dead))
    });
    println!("dead after {took:?}");
    assert_eq!(n1.routes().len(), 1, "its routes are hidden");
    publish_numbers(&mut publisher, "a", Q1, 0..50, 10);
    // It is to stand still for so long: there is nothing that tells.
    std::thread::sleep(PAUSE.saturating_sub(paused.elapsed()));
    n3.thaw();
    let took = awaits("its routes are back", NOTICED, || {
        [n1, n2]
            .iter()
            .all(|node| node.state_of(n3.name()) == Some(MemberState::Alive) && node.routes().len() == 2)
    });
    println!("back after {took:?}");
    println!("converged after {:?} more", await_converged(&[n1, n2, n3]));
    for number in numbers(0..50) {
        assert_eq!(message(&mut beyond), number, "what waited for it is there, in order");
    }
    // Its own clients have noticed nothing, and it has missed nobody.
    time_of_puback(&mut connect(n3, "p"), "b", "x");
    assert_eq!(message(&mut here), "x");
    assert_eq!(n3.incarnation(), incarnation);
    assert_eq!(deaths(n3), 0.0, "its own view of the others did not change");
}

/// Two hosts lose power together. What the one said of the other just before does not keep it alive.
#[test]
fn p6_death_and_leave_two_that_fall_together_are_both_dead() {
    let Some(nodes) = hosts::<4>() else { return };
    let [(_, n1), (_, n2), (h3, n3), (h4, n4)] = &nodes[..] else { panic!("four nodes") };
    h3.isolate();
    h4.isolate();
    let took = awaits("both are dead", NOTICED, || {
        [n1, n2]
            .iter()
            .all(|node| [n3, n4].iter().all(|fallen| node.state_of(fallen.name()) == Some(MemberState::Dead)))
    });
    println!("both dead after {took:?}");
    h3.heal();
    h4.heal();
    let took = await_converged(&all(&nodes));
    println!("converged {took:?} after power came back");
}

/// A firewall lets connections through and no datagrams: no heartbeat arrives, and links say that the node lives.
#[test]
fn p6_death_and_leave_answers_over_links_are_evidence() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(_, n1), (_, n2), (h3, n3)] = &nodes[..] else { panic!("three nodes") };
    let mut beyond = subscriber(n3, "beyond", &["a"], Q1);
    h3.block_datagrams();
    awaits("it is suspect", NOTICED, || {
        [n1, n2].iter().all(|node| node.state_of(n3.name()) == Some(MemberState::Suspect))
    });
    assert_eq!(n1.routes().len(), 1, "its routes count");
    time_of_puback(&mut connect(n1, "p"), "a", "x");
    assert_eq!(message(&mut beyond), "x");
    // The links alone are evidence as long as they carry something, and not longer.
    for node in all(&nodes) {
        assert_eq!(deaths(node), 0.0, "on {}", node.name());
    }
    h3.isolate();
    awaits("it is dead", NOTICED, || {
        [n1, n2].iter().all(|node| node.state_of(n3.name()) == Some(MemberState::Dead))
    });
    h3.heal();
    await_converged(&all(&nodes));
}

/// The same from the start: who joins behind such a firewall is dialled by all, for its seed tells them of it.
#[test]
fn p1_join_anywhere_without_datagrams() {
    let Some(network) = Network::new() else { return };
    let places = [(); 4].map(|()| network.host());
    places[2].block_datagrams();
    places[3].block_datagrams();
    let mut nodes: Hosts = Vec::new();
    for (number, host) in places.iter().enumerate() {
        let launch = Launch::within(host, &format!("n{}", number + 1)).cookie(COOKIE);
        let launch = match nodes.last() {
            Some((_, last)) => launch.join(last.cluster_addr()),
            None => launch,
        };
        nodes.push((host.clone(), launch.start()));
    }
    println!("converged {:?} after the last was ready", await_converged(&all(&nodes)));
    let mut beyond = subscriber(&nodes[3].1, "beyond", &["a"], Q1);
    time_of_puback(&mut connect(&nodes[0].1, "p"), "a", "x");
    assert_eq!(message(&mut beyond), "x");
    // A link that breaks is made anew, too.
    places[2].refuse_connections();
    awaits("nothing comes over its links any more", PATIENCE, || {
        let mut others = nodes.iter().map(|(_, node)| node.name()).filter(|name| *name != nodes[2].1.name());
        others.all(|other| nodes[2].1.state_of(other) == Some(MemberState::Dead))
    });
    places[2].heal();
    places[2].block_datagrams();
    println!("converged {:?} after links were lost", await_converged(&all(&nodes)));
}

/// The time it takes to be one cluster again after the last two of five were cut off for so long.
fn heal(nodes: &Hosts, split: Duration) -> Duration {
    for (host, _) in &nodes[..3] {
        nodes[3..].iter().for_each(|(other, _)| host.separate(other));
    }
    let began = Instant::now();
    let mut clients = Vec::new();
    for (number, (_, node)) in nodes.iter().enumerate() {
        clients.push(subscriber(node, &format!("during {split:?}"), &[&format!("{split:?}/{number}")], Q1));
    }
    std::thread::sleep(split.saturating_sub(began.elapsed()));
    nodes.iter().for_each(|(host, _)| host.heal());
    await_converged(&all(nodes))
}

#[test]
fn p5_partitions_a_short_split_heals_at_once() {
    let Some(nodes) = hosts::<5>() else { return };
    let took = heal(&nodes, Duration::from_secs(5));
    // How fast it is where nothing else runs is measured by the longer test below.
    println!("converged {took:?} after a split of 5 s");
}

/// `cargo test --test cluster -- --ignored detection`
#[test]
#[ignore = "two minutes"]
fn p5_partitions_splits_heal_within_two_seconds() {
    let Some(nodes) = hosts::<5>() else { return };
    let mut times = Vec::new();
    for split in [1, 2, 5, 10, 20, 60] {
        let took = heal(&nodes, Duration::from_secs(split));
        println!("converged {took:?} after a split of {split} s");
        times.push(took);
    }
    assert!(times.iter().all(|took| *took < Duration::from_secs(2)), "{times:?}");
}

/// How often links came up at this node so far.
fn links_up(node: &Process) -> usize {
    node.log().lines().filter(|line| line.contains("link up")).count()
}

/// All hosts of five lose this share of what arrives.
fn lossy(share: f64) -> Option<Hosts> {
    let nodes = hosts::<5>()?;
    if share > 0.0 {
        nodes.iter().for_each(|(host, _)| host.lose(share));
    }
    Some(nodes)
}

/// Losses to measure at, in percent: those of the environment's `LOSSES`, such as `0,30`, or all.
fn losses() -> Vec<u32> {
    let losses = std::env::var("LOSSES").unwrap_or_else(|_| "0,10,30".to_owned());
    losses.split(',').map(|percent| percent.parse().expect("a number")).collect()
}

/// The median, the 95th, the 99th and the 100th of a hundred.
fn quantiles(mut times: Vec<Duration>) -> [Duration; 4] {
    times.sort_unstable();
    [50, 95, 99, 100].map(|percent| times[(times.len() * percent).div_ceil(100) - 1])
}

/// P6 in all its length, at 30 % loss: `cargo test --test cluster -- --ignored kills_nobody_for_long`. The environment's
/// `LOSSY_MINUTES` are 30 if it does not say otherwise.
#[test]
#[ignore = "half an hour"]
fn p6_death_and_leave_loss_kills_nobody_for_long() {
    let minutes = std::env::var("LOSSY_MINUTES").map_or(30, |minutes| minutes.parse().expect("a number"));
    let Some(nodes) = lossy(0.3) else { return };
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let links_before: Vec<usize> = all(&nodes).into_iter().map(links_up).collect();
    while Instant::now() < until {
        for node in all(&nodes) {
            assert_eq!(deaths(node), 0.0, "on {}", node.name());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    for (node, before) in all(&nodes).into_iter().zip(links_before) {
        let suspected = node.metric("member_transitions_total", &["to=\"suspect\""]);
        println!(
            "{}: {suspected} times somebody was suspected, {} links were made anew",
            node.name(),
            links_up(node) - before
        );
    }
    let (fallen, others) = nodes.split_last().expect("five nodes");
    fallen.0.isolate();
    let took = awaits("the crash is noticed", NOTICED, || {
        others.iter().all(|(_, node)| node.state_of(fallen.1.name()) == Some(MemberState::Dead))
    });
    println!("{minutes} minutes without a false death; then a crash was noticed after {took:?}");
}

/// Hosts lose power again and again: how long it takes until all others know.
#[test]
#[ignore = "five minutes"]
fn p6_death_and_leave_times_to_notice() {
    for percent in losses() {
        let Some(nodes) = lossy(f64::from(percent) / 100.0) else { return };
        let mut times = Vec::new();
        for round in 0..20 {
            let (host, fallen) = &nodes[round % nodes.len()];
            let others: Vec<&Process> =
                all(&nodes).into_iter().filter(|node| node.name() != fallen.name()).collect();
            host.isolate();
            times.push(awaits("the crash is noticed", NOTICED, || {
                others.iter().all(|node| node.state_of(fallen.name()) == Some(MemberState::Dead))
            }));
            host.heal();
            if percent > 0 {
                host.lose(f64::from(percent) / 100.0);
            }
            // Where packets are lost, some link or other is always gone around for a moment.
            let is_back = |node: &&Process| node.state_of(fallen.name()) == Some(MemberState::Alive);
            awaits("it is back", PATIENCE, || others.iter().all(is_back));
            let sees_all = |other: &&Process| fallen.state_of(other.name()) == Some(MemberState::Alive);
            awaits("it has them back", PATIENCE, || others.iter().all(sees_all));
        }
        let [p50, p95, _, max] = quantiles(times);
        println!(
            "{percent} % loss: crashes are known to all four others within {p50:?} (p50), {p95:?} (p95), {max:?} (max)"
        );
        assert!(p95 <= Duration::from_secs(3), "{p95:?}");
    }
}

/// P3 on networks that lose packets: how long clients wait for a SUBACK that says that all nodes have the route.
#[test]
#[ignore = "a minute"]
fn p3_suback_means_routed_on_lossy_networks() {
    for percent in losses() {
        let Some(nodes) = lossy(f64::from(percent) / 100.0) else { return };
        let before: usize = all(&nodes).into_iter().map(links_up).sum();
        let began = Instant::now();
        let mut times = Vec::new();
        for (_, node) in &nodes {
            let mut client = connect(node, "c");
            for number in 0..60 {
                let began = Instant::now();
                client.subscribes(&[(&format!("{}/{number}", node.name()), options(Q1))], "0x01");
                times.push(began.elapsed());
            }
        }
        let [p50, p95, p99, max] = quantiles(times);
        let timeouts: f64 =
            all(&nodes).into_iter().map(|node| node.metric("suback_timeouts_total", &[])).sum();
        println!(
            "{percent} % loss: SUBACK after {p50:?} (p50), {p95:?} (p95), {p99:?} (p99), {max:?} (max); {timeouts} of 300 came \
             too early; {} links were made anew within {:?}",
            all(&nodes).into_iter().map(links_up).sum::<usize>() - before,
            began.elapsed()
        );
        await_converged(&all(&nodes));
    }
}
