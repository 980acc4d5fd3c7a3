use std::collections::{BTreeMap, VecDeque};

use super::*;

type Links = BTreeMap<NodeName, BTreeSet<NodeName>>;

fn name(number: usize) -> NodeName {
    NodeName::parse(&format!("rumormq@10.0.{}.{}", number / 256, number % 256)).unwrap()
}

fn names(count: usize) -> BTreeSet<NodeName> {
    (0..count).map(name).collect()
}

fn grid(names: &BTreeSet<NodeName>) -> Links {
    let all: BTreeSet<&NodeName> = names.iter().collect();
    let others = |me| all.iter().copied().filter(|name| *name != me).collect();
    names.iter().map(|me| (me.clone(), neighbours(me, &others(me)))).collect()
}

fn count(links: &Links) -> usize {
    links.values().map(BTreeSet::len).sum::<usize>() / 2
}

/// The greatest number of links between `from` and anybody else; `None` if somebody cannot be reached.
fn eccentricity(links: &Links, from: &NodeName) -> Option<usize> {
    let mut distance = BTreeMap::from([(from, 0)]);
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        for next in &links[at] {
            if !distance.contains_key(next) {
                distance.insert(next, distance[at] + 1);
                queue.push_back(next);
            }
        }
    }
    (distance.len() == links.len()).then(|| distance.into_values().max().unwrap_or(0))
}

/// As seen from some of the nodes; `None` if not all are connected.
fn diameter(links: &Links) -> Option<usize> {
    let some = links.keys().step_by(links.len().div_ceil(20));
    some.map(|from| eccentricity(links, from)).try_fold(0, |most, next| Some(most.max(next?)))
}

/// How many links are in the one and not in the other, of those between nodes that are in both.
fn difference(one: &Links, other: &Links) -> usize {
    let extra = |one: &Links, other: &Links| {
        let shared = one.iter().filter(|(name, _)| other.contains_key(*name));
        let lost = shared.map(|(name, peers)| {
            peers.iter().filter(|peer| other.contains_key(*peer) && !other[name].contains(*peer)).count()
        });
        lost.sum::<usize>() / 2
    };
    extra(one, other) + extra(other, one)
}

#[test]
fn everybody_is_two_links_away_and_both_ends_agree() {
    for size in [1, 2, 3, 5, 8, 20, 65, 66, 100, 250, 500] {
        let links = grid(&names(size));
        for (one, peers) in &links {
            assert!(peers.iter().all(|other| links[other].contains(one)), "{size} nodes");
        }
        assert!(diameter(&links).is_some_and(|diameter| diameter <= 2), "{size} nodes");
    }
}

#[test]
fn links_grow_with_the_root_of_the_number_of_nodes() {
    // With 500, as many as there may be, a few more than a full mesh of 64 has.
    for (size, mean, most) in [(65, 24, 40), (128, 34, 50), (500, 76, 110), (1000, 112, 170)] {
        let links = grid(&names(size));
        let degrees: Vec<usize> = links.values().map(BTreeSet::len).collect();
        let average = degrees.iter().sum::<usize>() / size;
        let max = degrees.iter().max().copied().unwrap_or(0);
        println!("{size} nodes: {average} links on average, {max} at most");
        assert!(average <= mean && max <= most, "{size} nodes: {average} links, {max} at most");
    }
}

#[test]
fn nobody_is_cut_off_when_a_third_dies_at_once() {
    let all = names(500);
    let mut links = grid(&all);
    let dead: BTreeSet<NodeName> = all.iter().filter(|name| place_of(name) % 10 < 3).cloned().collect();
    assert!((100..200).contains(&dead.len()));
    links.retain(|name, _| !dead.contains(name));
    for peers in links.values_mut() {
        peers.retain(|peer| !dead.contains(peer));
    }
    assert!(diameter(&links).is_some_and(|diameter| diameter <= 3), "before anybody has noticed");
    let alive = links.keys().cloned().collect();
    assert!(diameter(&grid(&alive)).is_some_and(|diameter| diameter <= 2), "after");
}

fn place_of(name: &NodeName) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(1, 2);
    hasher.write(name.as_str().as_bytes());
    hasher.finish128().h1
}

#[test]
fn a_join_moves_few_links_of_others() {
    let mut sum = 0;
    let sizes = 100..160;
    let mut before = grid(&names(sizes.start));
    for size in sizes.clone() {
        let after = grid(&names(size + 1));
        let moved = difference(&before, &after);
        // The worst is when there is another row or column.
        assert!(moved <= count(&before) / 3, "{moved} of {} at {size}", count(&before));
        sum += moved;
        before = after;
    }
    let mean = sum / sizes.len();
    println!("{mean} of {} links moved by a join", count(&before));
    let degree = 2 * count(&before) / before.len();
    assert!(mean <= 2 * degree, "{mean} links moved, while a node has {degree}");
}

#[test]
fn the_full_mesh_ends_late_and_comes_back_later() {
    let mut mesh = Mesh::new(8);
    let all = names(10);
    let mut live = |count| {
        mesh.handle_members(&name(0), all.iter().take(count));
        mesh.is_full()
    };
    assert!(live(8));
    assert!(!live(9), "one too many");
    assert!(!live(8), "not yet back");
    assert!(live(7));
    assert!(live(8));
}
