//! What it costs, printed. Run it alone, with optimisation, on a quiet machine:
//! `cargo test --release -p rumormq-gossip --test cost -- --ignored --nocapture --test-threads 1`.

use std::time::{Duration, Instant};

use rumormq_gossip::{
    Config, Incarnation, Node, NodeName, Observation, Orphans, ReplicaId, SetId, SetSpec, Status,
};

const ROUTES: SetId = SetId(0);
const RETAINED: SetId = SetId(1);

fn node(name: &str) -> Node {
    let me = ReplicaId { name: NodeName::parse(name).expect("is a name"), incarnation: Incarnation(1) };
    Node::new(
        Config::default(),
        me,
        &[SetSpec::plain("routes"), SetSpec::stamped("retained", Orphans::Adopted)],
        Instant::now(),
    )
}

fn fill(node: &mut Node, elements: usize) {
    for n in 0..elements {
        node.insert(ROUTES, format!("sensors/building/{n:08}/t").as_bytes(), b"1", Instant::now());
    }
}

fn link(one: &mut Node, other: &mut Node) {
    let now = Instant::now();
    let (hello, answer) = (one.hello(now), other.hello(now));
    one.handle_link_up(other.me().clone(), answer, now);
    other.handle_link_up(one.me().clone(), hello, now);
}

/// Delivers until nothing is on its way; returns messages, and the time that `other` took for them.
fn pump(one: &mut Node, other: &mut Node) -> (usize, Duration) {
    let (mut messages, mut spent) = (0, Duration::ZERO);
    loop {
        let before = messages;
        while let Some((_, message)) = one.poll_transmit() {
            messages += 1;
            let started = Instant::now();
            other.handle_message(one.me(), message, started).expect("is well formed");
            spent += started.elapsed();
        }
        while let Some((_, message)) = other.poll_transmit() {
            messages += 1;
            one.handle_message(other.me(), message, Instant::now()).expect("is well formed");
        }
        if messages == before {
            return (messages, spent);
        }
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

#[test]
#[ignore = "measures"]
fn memory_of_a_million_elements() {
    const ELEMENTS: usize = 1_000_000;
    let before = resident();
    let mut owner = node("a@host");
    fill(&mut owner, ELEMENTS);
    let own = resident() - before;
    let before = resident();
    let mut copy = node("b@host");
    link(&mut owner, &mut copy);
    let started = Instant::now();
    let (messages, spent) = pump(&mut owner, &mut copy);
    let copied = resident().saturating_sub(before);
    println!("own lane: {} bytes an element, key and value of 29 bytes included", own / ELEMENTS);
    println!("copy: {} bytes an element, with the event not yet taken", copied / ELEMENTS);
    println!("{messages} messages, {:?} in all, {spent:?} at the receiver", started.elapsed());
    assert_eq!(copy.applied(ROUTES, owner.me()), Some(owner.head(ROUTES)));
}

#[test]
#[ignore = "measures"]
fn time_of_a_hundred_thousand() {
    const ELEMENTS: usize = 100_000;
    let (mut owner, mut copy) = (node("a@host"), node("b@host"));
    fill(&mut owner, ELEMENTS);
    link(&mut owner, &mut copy);
    let (messages, spent) = pump(&mut owner, &mut copy);
    println!("applying {ELEMENTS} in {messages} messages: {spent:?}");

    for peers in [1, 10, 50] {
        let mut owner = node("a@host");
        for n in 0..peers {
            link(&mut owner, &mut node(&format!("peer{n}@host")));
        }
        while owner.poll_transmit().is_some() {}
        let started = Instant::now();
        for n in 0..ELEMENTS {
            owner.insert(ROUTES, format!("sensors/building/{n:08}/t").as_bytes(), b"1", started);
            while owner.poll_transmit().is_some() {}
        }
        println!("insert and drain with {peers} peers: {:?} each", started.elapsed() / ELEMENTS as u32);
    }
}

#[test]
#[ignore = "measures"]
fn time_of_a_change_that_goes_round() {
    const CHANGES: u32 = 20_000;
    let (mut owner, mut copy) = (node("a@host"), node("b@host"));
    fill(&mut owner, 100_000);
    link(&mut owner, &mut copy);
    pump(&mut owner, &mut copy);
    let started = Instant::now();
    for n in 0..CHANGES {
        owner.insert(ROUTES, format!("more/{n}").as_bytes(), b"1", Instant::now());
        pump(&mut owner, &mut copy);
    }
    println!("insert, delta, merge, acknowledgement: {:?} each", started.elapsed() / CHANGES);
}

#[test]
#[ignore = "measures"]
fn a_million_retained_topics() {
    const ELEMENTS: u32 = 1_000_000;
    let before = resident();
    let mut owner = node("a@host");
    let started = Instant::now();
    for n in 0..ELEMENTS {
        let key = format!("sensors/building/{n:08}/t");
        owner.write(RETAINED, key.as_bytes(), b"21.5 degrees", 1_700_000_000_000, started);
    }
    println!("write: {:?} each", started.elapsed() / ELEMENTS);
    let own = resident() - before;
    println!("own lane: {} bytes each, key and value of 40 bytes included", own / ELEMENTS as usize);

    let before = resident();
    let mut copy = node("b@host");
    link(&mut owner, &mut copy);
    let started = Instant::now();
    let (messages, spent) = pump(&mut owner, &mut copy);
    println!("{messages} messages, {:?} in all, {spent:?} at the receiver", started.elapsed());
    let mut events = 0;
    while copy.poll_event().is_some() {
        events += 1;
    }
    println!("{events} events; copy: {} bytes each", (resident() - before) / ELEMENTS as usize);

    let started = Instant::now();
    assert_eq!(copy.winners(RETAINED).count(), ELEMENTS as usize);
    println!("all winners: {:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(copy.winners_page(RETAINED, b"sensors/", Some(b"sensors/building/005"), 100).len(), 100);
    println!("a page of 100: {:?}", started.elapsed());

    let now = Instant::now();
    let replica = owner.me().clone();
    let left = Observation { replica, alive: false, status: Status::Left, heads: Vec::new() };
    copy.handle_observation(left, now);
    println!("the lane dropped: {:?}", now.elapsed());
    let (started, mut now) = (Instant::now(), now);
    while copy.orphan_count(RETAINED) > 0 {
        now = copy.poll_timeout().expect("there is something to do");
        copy.handle_tick(now);
    }
    println!("taken over: {:?} of work in {:?}", started.elapsed(), now - started);
    assert_eq!(copy.winner_count(RETAINED), u64::from(ELEMENTS));
}
