//! A value that ends by itself: what takes its place hides nothing later.

use std::time::{Duration, Instant};

use rumormq_gossip::{
    Config, Event, Incarnation, Node, NodeName, Observation, Orphans, ReplicaId, SetId, SetSpec, Stamp,
    Status,
};

const SET: SetId = SetId(0);
const KEY: &[u8] = b"key";

fn node(name: &str, now: Instant) -> Node {
    let name = NodeName::parse(&format!("{name}@host")).expect("a name");
    let me = ReplicaId { name, incarnation: Incarnation(1) };
    Node::new(Config::default(), me, &[SetSpec::stamped("retained", Orphans::Adopted)], now)
}

fn link(one: &mut Node, other: &mut Node, now: Instant) {
    let (from_one, from_other) = (one.hello(now), other.hello(now));
    let ids = (one.me().clone(), other.me().clone());
    for (node, peer, hello) in [(&mut *one, ids.1, from_other), (&mut *other, ids.0, from_one)] {
        let (replica, heads) = (peer.clone(), Vec::new());
        node.handle_observation(Observation { replica, alive: true, status: Status::Running, heads }, now);
        assert!(node.handle_link_up(peer, hello, now));
    }
    pump(one, other, now);
}

/// Delivers everything that is on its way.
fn pump(one: &mut Node, other: &mut Node, now: Instant) {
    loop {
        let mut quiet = true;
        for _ in 0..2 {
            while let Some((_, message)) = one.poll_transmit() {
                quiet = false;
                other.handle_message(&one.me().clone(), message, now).expect("no nonsense");
            }
            std::mem::swap(one, other);
        }
        if quiet {
            return;
        }
    }
}

fn value(node: &Node) -> Option<Vec<u8>> {
    node.winner(SET, KEY).map(|winner| winner.entry.value().expect("a value").to_vec())
}

#[test]
fn only_the_value_that_counts_ends_and_only_where_it_is_kept() {
    let now = Instant::now();
    let (mut one, mut other) = (node("a", now), node("b", now));
    let first = one.write(SET, KEY, b"first", 1000, now).stamp;
    link(&mut one, &mut other, now);
    assert_eq!(other.expire(SET, KEY, first, now), None, "it is in the lane of the first node");
    assert_eq!(one.expire(SET, KEY, Stamp::at_ms(7), now), None, "it is another one");
    let second = one.write(SET, KEY, b"second", 2000, now).stamp;
    assert_eq!(one.expire(SET, KEY, first, now), None, "it was replaced");
    pump(&mut one, &mut other, now);
    while other.poll_event().is_some() {}
    let ended = one.expire(SET, KEY, second, now).expect("it ends");
    assert_eq!(ended.stamp, second);
    pump(&mut one, &mut other, now);
    assert_eq!((value(&one), value(&other)), (None, None));
    let events: Vec<Event> = std::iter::from_fn(|| other.poll_event()).collect();
    let cleared =
        |event: &Event| matches!(event, Event::Cleared { replaced, .. } if replaced.entry.stamp() == second);
    assert!(events.iter().any(cleared), "{events:?}");
    assert_eq!(one.expire(SET, KEY, second, now), None, "once");
}

#[test]
fn what_was_written_later_elsewhere_stays_and_what_was_earlier_does_not_come_back() {
    for (elsewhere_ms, left) in [(1500, Some(b"elsewhere".to_vec())), (500, None)] {
        let now = Instant::now();
        let (mut one, mut other) = (node("a", now), node("b", now));
        let stamp = one.write(SET, KEY, b"short", 1000, now).stamp;
        other.write(SET, KEY, b"elsewhere", elsewhere_ms, now);
        one.expire(SET, KEY, stamp, now + Duration::from_secs(60)).expect("it ends");
        link(&mut one, &mut other, now);
        assert_eq!((value(&one), value(&other)), (left.clone(), left));
    }
}
