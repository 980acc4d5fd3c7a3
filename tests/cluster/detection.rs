//! P6 and P5 where it is hard to tell: who is paused, who is dead, who is only out of reach; and how fast a cut heals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq::admin::view::MemberState;

use crate::clients::{connect, message, numbers, publish_numbers, subscriber, time_of_puback};
use crate::p5_partitions::hosts;
use crate::processes::netns::Namespace;
use crate::processes::{PATIENCE, Process, await_converged, awaits, start_cluster};
use crate::support::client::Q1;

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
    assert!(took < Duration::from_secs(2), "{took:?}");
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
    println!("converged {took:?} after a split of 5 s");
    assert!(took < Duration::from_secs(2), "{took:?}");
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
