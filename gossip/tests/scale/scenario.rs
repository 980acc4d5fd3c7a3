//! What happens to a cluster, and what is measured meanwhile.

use std::time::Duration;

use rumormq_gossip::Config;
use serde::{Deserialize, Serialize};

use crate::traffic::Traffic;
use crate::world::{Tracked, World};

/// How long, how much.
pub struct Plan {
    pub nodes: usize,
    pub full_mesh_up_to: usize,
    pub idle: Duration,
    /// Changes that happen alone.
    pub alone: usize,
    /// Changes a second over the whole cluster, and for how long.
    pub rate: usize,
    pub busy: Duration,
    pub split: Duration,
    /// So much of the split is simulated; in the rest time passes at the nodes and nothing happens between them.
    pub split_simulated: Duration,
    /// Changes on both sides together while it lasts.
    pub changes_in_split: usize,
    /// Messages of a million that a lost segment holds up.
    pub held_up: usize,
}

impl Plan {
    /// For every run of the tests.
    pub fn short(nodes: usize) -> Plan {
        Plan {
            nodes,
            full_mesh_up_to: 64,
            idle: Duration::from_secs(4),
            alone: 3,
            rate: 200,
            busy: Duration::from_millis(500),
            split: Duration::from_secs(12),
            split_simulated: Duration::from_secs(12),
            changes_in_split: 40,
            held_up: 0,
        }
    }

    /// For the table.
    pub fn long(nodes: usize, split: Duration) -> Plan {
        // Of ten minutes in which little happens most is pings and beats: among a thousand nodes, 200 million.
        let split_simulated = if nodes < 500 { split } else { split.min(Duration::from_secs(40)) };
        Plan {
            idle: Duration::from_secs(16),
            alone: 20,
            rate: 1000,
            busy: Duration::from_secs(3),
            split,
            split_simulated,
            changes_in_split: 400,
            held_up: 1_000,
            ..Plan::short(nodes)
        }
    }
}

/// What was measured. Bytes are what a node sends, on average; of the joiner what it sends and receives.
#[derive(Debug, Deserialize, Serialize)]
pub struct Figures {
    pub nodes: usize,
    pub links_mean: f64,
    pub links_most: usize,
    pub idle_bytes_a_second: f64,
    pub one_change: OneChange,
    pub busy: Busy,
    pub join: Join,
    pub heal: Heal,
    pub settle_timeouts: u64,
    pub divergence_detected: u64,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct OneChange {
    /// Until a node has it.
    pub median: Duration,
    /// Until the last one has.
    pub all: Duration,
    /// Until its owner knows that: then a SUBACK goes.
    pub settled: Duration,
    pub bytes: f64,
    pub copies: f64,
    pub acks: f64,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct Busy {
    pub median: Duration,
    pub all: Duration,
    pub settled: Duration,
    pub bytes_a_second: f64,
    pub bytes_a_change: f64,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct Join {
    /// Until it has what the others have.
    pub synced: Duration,
    /// Until all others have its first subscription, from the moment it is made.
    pub known: Duration,
    /// Until all links are there.
    pub linked: Duration,
    pub bytes_joiner: f64,
    pub bytes_others: f64,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct Heal {
    /// Until everybody has everything.
    pub converged: Duration,
    pub bytes: f64,
    pub bytes_a_change: f64,
}

/// Times of tracked changes: median of all nodes, the last, and settled.
fn times(tracked: &[Tracked], nodes: usize) -> (Duration, Duration, Duration) {
    let mut applied: Vec<Duration> = Vec::new();
    let mut settled = Duration::ZERO;
    for change in tracked {
        assert_eq!(change.applied.len() + 1, nodes, "a change did not reach everybody");
        applied.extend(change.applied.values());
        let (after, missed) = change.settled.expect("every change settles");
        assert_eq!(missed, 0, "everybody acknowledges in time");
        settled = settled.max(after);
    }
    applied.sort_unstable();
    (applied[applied.len() / 2], applied[applied.len() - 1], settled)
}

/// Runs all scenarios, one after the other, on one cluster.
pub fn run(plan: &Plan) -> Figures {
    let full_mesh_up_to = plan.full_mesh_up_to;
    let config = Config { max_members: 2000, full_mesh_up_to, ..Config::default() };
    let mut world = World::new(plan.nodes, plan.held_up, config);
    let nodes = plan.nodes as f64;

    // Everybody links up; then each subscribes to something.
    world.run_for(Duration::from_secs(3));
    for host in 0..plan.nodes {
        world.change_after(Duration::from_secs(5) * host as u32 / plan.nodes as u32, host, false);
    }
    world.run_for(Duration::from_secs(6));
    world
        .run_until(Duration::from_millis(500), Duration::from_secs(60), |world| {
            world.is_linked() && world.have(&world.heads())
        })
        .expect("the cluster comes together");
    let links: Vec<usize> = world.links().collect();
    let links_most = links.iter().max().copied().unwrap_or(0);
    progress(&world, "has come together");

    // What was new is news until every peer has had its turn to be told of it.
    let config = Config::default();
    let rounds = if world.is_full_mesh() { config.full_digest_every as usize } else { links_most };
    world.run_for(config.digest_interval * (rounds as u32 + 2));
    progress(&world, "is quiet");
    let before = world.traffic();
    world.run_for(plan.idle);
    let idle = world.traffic().since(&before);
    let idle_bytes_a_second = idle.bytes() as f64 / nodes / plan.idle.as_secs_f64();
    assert_eq!(idle.change_bytes(), 0, "nothing changes: {idle:?}");

    let one_change = one_change(plan, &mut world);
    progress(&world, "has had single changes");
    let busy = busy(plan, &mut world, idle_bytes_a_second);
    progress(&world, "has been busy");
    let join = join(&mut world, idle_bytes_a_second);
    progress(&world, "has one more");
    let heal = split(plan, &mut world);
    progress(&world, "is whole again");

    let counters = world.hosts.iter().map(|host| host.node.counters());
    let (settle_timeouts, divergence_detected) = counters.fold((0, 0), |(timeouts, divergence), counters| {
        (timeouts + counters.settle_timeouts, divergence + counters.divergence_detected)
    });
    Figures {
        nodes: plan.nodes,
        links_mean: links.iter().sum::<usize>() as f64 / nodes,
        links_most,
        idle_bytes_a_second,
        one_change,
        busy,
        join,
        heal,
        settle_timeouts,
        divergence_detected,
    }
}

/// For who waits for the table.
fn progress(world: &World, state: &str) {
    println!("{} nodes, {:.1} s: the cluster {state}", world.hosts.len(), world.now.as_secs_f64());
}

fn one_change(plan: &Plan, world: &mut World) -> OneChange {
    let before = world.traffic();
    for _ in 0..plan.alone {
        let host = world.some_host();
        world.change_after(Duration::ZERO, host, true);
        world.run_for(Duration::from_millis(1500));
    }
    let traffic = world.traffic().since(&before);
    let (median, all, settled) = times(&std::mem::take(&mut world.tracked), plan.nodes);
    let each = plan.nodes as f64 * plan.alone as f64;
    OneChange {
        median,
        all,
        settled,
        bytes: traffic.change_bytes() as f64 / each,
        copies: traffic.deltas as f64 / each,
        acks: traffic.acks as f64 / each,
    }
}

fn busy(plan: &Plan, world: &mut World, idle_bytes_a_second: f64) -> Busy {
    let changes = plan.rate * plan.busy.as_millis() as usize / 1000;
    for change in 0..changes {
        let host = world.some_host();
        world.change_after(plan.busy * change as u32 / changes as u32, host, change % (changes / 20) == 0);
    }
    let before = world.traffic();
    world.run_for(plan.busy);
    let traffic: Traffic = world.traffic().since(&before);
    world
        .run_until(Duration::from_millis(200), Duration::from_secs(30), |world| {
            world.have(&world.heads()) && world.tracked.iter().all(|change| change.settled.is_some())
        })
        .expect("all changes arrive");
    let (median, all, settled) = times(&std::mem::take(&mut world.tracked), plan.nodes);
    let nodes = plan.nodes as f64;
    let bytes_a_second = traffic.bytes() as f64 / nodes / plan.busy.as_secs_f64();
    let bytes_a_change = (bytes_a_second - idle_bytes_a_second).max(0.0) / plan.rate as f64;
    Busy { median, all, settled, bytes_a_second, bytes_a_change }
}

fn join(world: &mut World, idle_bytes_a_second: f64) -> Join {
    let others = world.hosts.len() as f64;
    let heads = world.heads();
    let (started, before) = (world.now, world.traffic());
    let joiner = world.join();
    let step = Duration::from_millis(10);
    let most = Duration::from_secs(60);
    let synced = world.run_until(step, most, |world| world.has(joiner, &heads)).expect("it is told all");
    world.run_until(step, most, World::is_linked).expect("it gets its links");
    let linked = world.now - started;
    world.change_after(Duration::ZERO, joiner, true);
    world
        .run_until(step, most, |world| world.tracked.iter().all(|change| change.settled.is_some()))
        .expect("its change settles");
    world.run_until(step, most, |world| world.have(&world.heads())).expect("everybody hears of its change");
    let took = world.now - started;
    let traffic = world.traffic().since(&before);
    let host = &world.hosts[joiner];
    let tracked = std::mem::take(&mut world.tracked);
    let known = tracked.iter().flat_map(|change| change.applied.values()).max().copied().unwrap_or_default();
    let idle = idle_bytes_a_second * took.as_secs_f64();
    Join {
        synced,
        known,
        linked,
        bytes_joiner: (host.traffic.bytes() + host.received) as f64,
        bytes_others: ((traffic.bytes() - host.traffic.bytes()) as f64 / others - idle).max(0.0),
    }
}

fn split(plan: &Plan, world: &mut World) -> Heal {
    world.split();
    // While the halves find out, and change some of their links, nothing else happens.
    let quiet = Duration::from_secs(5);
    for change in 0..plan.changes_in_split {
        let at = (plan.split_simulated - quiet) * change as u32 / plan.changes_in_split as u32;
        let host = world.some_host();
        world.change_after(quiet + at, host, false);
    }
    const STRETCHES: u32 = 2;
    for _ in 0..STRETCHES {
        world.run_for(plan.split_simulated / STRETCHES);
        world.skip((plan.split - plan.split_simulated) / STRETCHES);
    }
    // Everybody notices how late it is when he looks next.
    world.run_for(Duration::from_secs(1));
    let before = world.traffic();
    world.heal();
    let heads = world.heads();
    let converged = world
        .run_until(Duration::from_millis(20), Duration::from_secs(120), |world| world.have(&heads))
        .expect("the halves come together");
    let traffic = world.traffic().since(&before);
    let bytes = traffic.bytes() as f64 / world.hosts.len() as f64;
    println!("heal of {}: {traffic:?}", plan.nodes);
    world
        .run_until(Duration::from_millis(500), Duration::from_secs(60), World::is_linked)
        .expect("all links come back");
    Heal {
        converged,
        bytes,
        bytes_a_change: traffic.change_bytes() as f64
            / world.hosts.len() as f64
            / plan.changes_in_split as f64,
    }
}

impl Figures {
    pub fn print(&self) {
        println!("{self:#?}");
    }
}

/// The table of the README.
pub fn markdown(all: &[Figures]) -> String {
    type Row = (&'static str, fn(&Figures) -> String);
    let rows: [Row; 14] = [
        ("links a node, mean (most)", |f| format!("{:.0} ({})", f.links_mean, f.links_most)),
        ("idle: bytes/s", |f| bytes(f.idle_bytes_a_second)),
        ("one change: half of the nodes, all have it", |f| {
            format!("{}, {}", time(f.one_change.median), time(f.one_change.all))
        }),
        ("one change: acknowledged by all (SUBACK)", |f| time(f.one_change.settled)),
        ("one change: bytes", |f| bytes(f.one_change.bytes)),
        ("one change: copies, acknowledgements", |f| {
            format!("{:.2}, {:.2}", f.one_change.copies, f.one_change.acks)
        }),
        ("1,000 changes/s: half of the nodes, all have it", |f| {
            format!("{}, {}", time(f.busy.median), time(f.busy.all))
        }),
        ("1,000 changes/s: acknowledged by all", |f| time(f.busy.settled)),
        ("1,000 changes/s: bytes/s", |f| bytes(f.busy.bytes_a_second)),
        ("join: has all; its first change known to all", |f| {
            format!("{}; {}", time(f.join.synced), time(f.join.known))
        }),
        ("join: all links up", |f| time(f.join.linked)),
        ("join: bytes of the joiner; of others", |f| {
            format!("{}; {}", bytes(f.join.bytes_joiner), bytes(f.join.bytes_others))
        }),
        ("heal: converged", |f| time(f.heal.converged)),
        ("heal: bytes; of these a change", |f| {
            format!("{}; {}", bytes(f.heal.bytes), bytes(f.heal.bytes_a_change))
        }),
    ];
    let mut text = String::from("| |");
    for figures in all {
        text += &format!(" {} nodes |", figures.nodes);
    }
    text += "\n|---|";
    text += &"---:|".repeat(all.len());
    for (name, value) in rows {
        text += &format!("\n| {name} |");
        for figures in all {
            text += &format!(" {} |", value(figures));
        }
    }
    text + "\n"
}

fn bytes(bytes: f64) -> String {
    match bytes {
        b if b < 1_000.0 => format!("{b:.0} B"),
        b if b < 100_000.0 => format!("{:.1} kB", b / 1e3),
        b if b < 1_000_000.0 => format!("{:.0} kB", b / 1e3),
        b => format!("{:.1} MB", b / 1e6),
    }
}

fn time(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 1_000.0 { format!("{ms:.1} ms") } else { format!("{:.1} s", ms / 1e3) }
}
