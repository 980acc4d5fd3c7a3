//! P6: a crashed node is noticed in seconds, a stopping one at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rumormq::admin::view::MemberState;

use crate::clients::{connect, message, subscriber, time_of_puback};
use crate::p5_partitions::hosts;
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits, start_cluster};
use crate::support::client::{Client, Q1};

/// What the promise allows in all cases.
const NOTICED: Duration = Duration::from_secs(5);

/// Waits until all of `nodes` see `name` in this state.
#[track_caller]
fn await_state(nodes: &[&Process], name: &str, state: MemberState, limit: Duration) -> Duration {
    awaits(&format!("{name} is {state:?}"), limit, || {
        nodes.iter().all(|node| node.state_of(name) == Some(state))
    })
}

/// Messages pass from one client to the other, one after the other, until told to stop; gives the longest that one took.
fn keep_talking(publisher: &mut Client, subscriber: &mut Client, stop: &AtomicBool) -> (u32, Duration) {
    let (mut count, mut slowest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        time_of_puback(publisher, "talk", &count.to_string());
        assert_eq!(message(subscriber), count.to_string());
        slowest = slowest.max(began.elapsed());
        count += 1;
    }
    (count, slowest)
}

#[test]
fn p6_death_and_leave_a_crash_is_noticed_by_nodes_and_not_by_clients() {
    let mut nodes = start_cluster(3);
    let mut crashing = nodes.pop().expect("three nodes");
    let [n1, n2] = &nodes[..] else { panic!("two more nodes") };
    let (mut publisher, mut listener) = (connect(n1, "p"), subscriber(n2, "s", &["talk"], Q1));
    let _lost = subscriber(&crashing, "lost", &["old/#"], Q1);
    assert_eq!(n1.routes().len(), 2);
    let stop = AtomicBool::new(false);
    let (count, slowest) = std::thread::scope(|scope| {
        let talk = scope.spawn(|| keep_talking(&mut publisher, &mut listener, &stop));
        crashing.kill();
        let took = await_state(&[n1, n2], crashing.name(), MemberState::Dead, NOTICED);
        println!("the crash was noticed after {took:?}");
        stop.store(true, Ordering::Relaxed);
        talk.join().expect("clients notice nothing")
    });
    println!("{count} messages meanwhile, the slowest took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    for node in [n1, n2] {
        assert_eq!(node.routes().len(), 1, "routes of the dead are not shown");
        assert_eq!(node.matches("old/x"), []);
    }

    // It returns without what its clients wanted.
    crashing.restart();
    await_converged(&[n1, n2, &crashing]);
    for node in [n1, n2, &crashing] {
        // The old lane matches until it is certain that the new one is whole.
        awaits("what it had before goes", PATIENCE, || node.routes().len() == 1);
    }
}

#[test]
fn p6_death_and_leave_a_restart_begins_a_new_incarnation() {
    let mut nodes = start_cluster(3);
    let mut restarting = nodes.pop().expect("three nodes");
    let [n1, n2] = &nodes[..] else { panic!("two more nodes") };
    let _lost = subscriber(&restarting, "lost", &["old/#", "old/+"], Q1);
    let before = restarting.incarnation();
    restarting.kill();
    restarting.restart();
    assert!(restarting.incarnation() > before);
    let took = await_converged(&[n1, n2, &restarting]);
    println!("converged {took:?} after the restarted node was ready");
    for node in [n1, n2, &restarting] {
        let gone = || node.routes().is_empty() && node.metric("trie_filters", &[]) == 0.0;
        awaits("the old routes go", PATIENCE, gone);
        let view = node.cluster();
        let incarnations: Vec<u64> = view
            .members
            .iter()
            .filter(|member| member.name == restarting.name())
            .map(|member| member.incarnation)
            .collect();
        assert_eq!(incarnations, [restarting.incarnation()], "on {}", node.name());
    }
    // The new one's routes count.
    let mut client = subscriber(&restarting, "new", &["new"], Q1);
    time_of_puback(&mut connect(n1, "p"), "new", "x");
    assert_eq!(message(&mut client), "x");
}

/// However often it restarts, there is one of it.
#[test]
fn p6_death_and_leave_restarts_leave_nothing_behind() {
    let mut nodes = start_cluster(3);
    let mut restarting = nodes.pop().expect("three nodes");
    let [n1, n2] = &nodes[..] else { panic!("two more nodes") };
    let mut client = subscriber(n1, "c", &["kept"], Q1);
    for round in 0..6 {
        let own = format!("round/{round}");
        let mut lost = subscriber(&restarting, "lost", &["always", &own], Q1);
        time_of_puback(&mut connect(n1, "p"), "always", "x");
        assert_eq!(message(&mut lost), "x");
        time_of_puback(&mut connect(&restarting, "p"), "kept", &own);
        assert_eq!(message(&mut client), own);
        if round % 2 == 0 {
            restarting.kill();
        } else {
            restarting.terminate();
            restarting.wait();
        }
        restarting.restart();
    }
    let all = [n1, n2, &restarting];
    await_converged(&all);
    for node in all {
        awaits("one of each is known", PATIENCE, || node.cluster().members.len() == 3);
        assert_eq!(node.routes().len(), 1, "on {}", node.name());
        awaits("old routes go", PATIENCE, || node.metric("trie_filters", &[]) == 1.0);
    }
}

/// A whole cluster falls and rises.
#[test]
fn p6_death_and_leave_all_at_once() {
    let mut nodes = start_cluster(3);
    let _lost: Vec<Client> = nodes.iter().map(|node| subscriber(node, "lost", &["old"], Q1)).collect();
    nodes.iter_mut().for_each(Process::kill);
    std::thread::scope(|scope| {
        for node in &mut nodes {
            scope.spawn(|| node.restart());
        }
    });
    let all: Vec<&Process> = nodes.iter().collect();
    println!("converged {:?} after all were ready", await_converged(&all));
    for node in &nodes {
        assert_eq!(node.routes(), [], "on {}", node.name());
    }
}

#[test]
fn p6_death_and_leave_a_stop_is_noticed_at_once() {
    let mut nodes = start_cluster(3);
    let mut stopping = nodes.pop().expect("three nodes");
    let [n1, n2] = &nodes[..] else { panic!("two more nodes") };
    let mut client = subscriber(&stopping, "c", &["a"], Q1);
    let began = Instant::now();
    stopping.terminate();
    await_state(&[n1, n2], stopping.name(), MemberState::Stopped, NOTICED);
    let took = began.elapsed();
    println!("the stop was noticed after {took:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
    client.gets("DISCONNECT 0x8b");
    assert_eq!(stopping.wait().code(), Some(0), "a clean stop");
    println!("it had ended after {:?}", began.elapsed());
    for node in [n1, n2] {
        assert_eq!(node.routes(), [], "on {}", node.name());
        let dead = node.metric("member_transitions_total", &["to=\"dead\""]);
        assert_eq!(dead, 0.0, "stopped is not dead");
    }
    let took = time_of_puback(&mut connect(n1, "p"), "a", "x");
    assert!(took < Duration::from_millis(500), "nobody waits for it: {took:?}");
    stopping.restart();
    await_converged(&[n1, n2, &stopping]);
}

/// Nothing says that the host is gone: no connection is closed, no packet refused.
#[test]
fn p6_death_and_leave_a_silent_host_is_noticed() {
    let Some(nodes) = hosts::<3>() else { return };
    let [(_, n1), (_, n2), (host, n3)] = &nodes[..] else { panic!("three nodes") };
    let (mut publisher, mut listener) = (connect(n1, "p"), subscriber(n2, "s", &["talk"], Q1));
    let mut beyond = subscriber(n3, "beyond", &["beyond"], Q1);
    let stop = AtomicBool::new(false);
    let (count, slowest) = std::thread::scope(|scope| {
        let talk = scope.spawn(|| keep_talking(&mut publisher, &mut listener, &stop));
        host.isolate();
        let took = await_state(&[n1, n2], n3.name(), MemberState::Dead, NOTICED);
        println!("the silent host was noticed after {took:?}");
        await_state(&[n3], n1.name(), MemberState::Dead, NOTICED);
        await_state(&[n3], n2.name(), MemberState::Dead, NOTICED);
        stop.store(true, Ordering::Relaxed);
        talk.join().expect("clients notice nothing")
    });
    println!("{count} messages meanwhile, the slowest took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // It serves its own clients.
    time_of_puback(&mut connect(n3, "p"), "beyond", "x");
    assert_eq!(message(&mut beyond), "x");
    host.heal();
    println!("converged {:?} after it was back", await_converged(&[n1, n2, n3]));
}

/// The others have dropped everything about a node when it comes back to its senses. It begins anew under a later incarnation
/// and keeps its clients.
#[test]
fn p6_death_and_leave_a_forgotten_node_returns_with_its_clients() {
    let launch = |name| Launch::new(name).flag("--forget-after", "1s");
    let n1 = launch("n1").start();
    let n2 = launch("n2").join(n1.cluster_addr()).start();
    let n3 = launch("n3").join(n2.cluster_addr()).start();
    let all = [&n1, &n2, &n3];
    await_converged(&all);
    let before = n3.incarnation();
    let mut client = subscriber(&n3, "c", &["kept"], Q1);
    for round in 0..2 {
        n3.freeze();
        let forgotten = || n1.state_of(n3.name()).is_none() && n2.state_of(n3.name()).is_none();
        println!("forgotten after {:?}", awaits("it is forgotten", 2 * PATIENCE, forgotten));
        assert_eq!(n1.metric("trie_filters", &[]), 0.0);
        n3.thaw();
        println!("converged {:?} after it was back", await_converged(&all));
        assert!(n3.incarnation() > before);
        let payload = round.to_string();
        for node in all {
            awaits("its route is back", PATIENCE, || node.routes().len() == 1);
            time_of_puback(&mut connect(node, "p"), "kept", &payload);
            assert_eq!(message(&mut client), payload, "from {}", node.name());
        }
        // It is watched like any other.
        awaits("heartbeats of its new incarnation arrive", PATIENCE, || {
            all.iter().all(|node| node.cluster().members.len() == 3)
        });
    }
    n3.freeze();
    let took = await_state(&[&n1, &n2], n3.name(), MemberState::Dead, NOTICED);
    println!("its next death was noticed after {took:?}");
}
