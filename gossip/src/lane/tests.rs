//! The laws of intervals, checked against states recorded at every sequence number.

use proptest::prelude::*;

use super::*;
use crate::replica::{Incarnation, NodeName, ReplicaId};

fn key() -> LaneKey {
    LaneKey::new(
        &ReplicaId { name: NodeName::parse("a@host").unwrap(), incarnation: Incarnation(1) },
        "routes",
    )
}

fn lane(remove_window: usize) -> Lane {
    Lane::new(key(), LaneLimits { remove_window, ..LaneLimits::default() })
}

/// One write of the owner, chosen by a number: an add, an add that supersedes, or a remove of some live dot.
#[derive(Clone, Copy, Debug)]
enum Write {
    Add,
    Supersede(usize),
    Remove(usize),
}

fn writes(max: usize) -> impl Strategy<Value = Vec<Write>> {
    let write = prop_oneof![
        3 => Just(Write::Add),
        1 => any::<usize>().prop_map(Write::Supersede),
        2 => any::<usize>().prop_map(Write::Remove),
    ];
    proptest::collection::vec(write, 1..max)
}

fn live_dot(lane: &Lane, choice: usize) -> Option<u64> {
    let dots: Vec<u64> = lane.elements().map(|(dot, _)| dot).collect();
    (!dots.is_empty()).then(|| dots[choice % dots.len()])
}

fn write(lane: &mut Lane, write: Write) {
    let value = lane.head().seq.to_string();
    match write {
        Write::Remove(choice) if lane.elements().len() > 0 => {
            let dot = live_dot(lane, choice).unwrap();
            lane.write_remove(dot);
        }
        Write::Supersede(choice) => {
            let dot = live_dot(lane, choice);
            let key = dot.and_then(|dot| lane.element(dot)).map_or(b"k0".to_vec(), |old| old.key().to_vec());
            lane.write_add(Element::new(&key, value.as_bytes()), dot);
        }
        _ => {
            lane.write_add(Element::new(format!("k{value}").as_bytes(), value.as_bytes()), None);
        }
    }
}

/// The owner's lane after every write, the empty lane first.
fn states(window: usize, writes: &[Write]) -> Vec<Lane> {
    let mut states = vec![lane(window)];
    for one in writes {
        let mut next = states.last().unwrap().clone();
        write(&mut next, *one);
        states.push(next);
    }
    states
}

fn assert_same(copy: &Lane, owner: &Lane) {
    assert_eq!(copy.head(), owner.head());
    assert!(copy.elements().eq(owner.elements()), "{copy:?}\n{owner:?}");
    assert_eq!(copy.bytes, copy.elements().map(|(_, element)| element.len()).sum::<usize>());
}

/// Moves a copy to where `server` is, piece by piece; returns the number of pieces.
fn pull(copy: &mut Lane, server: &Lane, max_bytes: usize) -> usize {
    for pieces in 1.. {
        let (from, held) = copy.wanted_from();
        let Some(interval) = server.interval(from, held, max_bytes) else { return pieces - 1 };
        assert!(interval.is_well_formed(), "{interval:?}");
        match copy.apply(&interval) {
            Outcome::Staged => {}
            Outcome::Applied(_) => return pieces,
            other => panic!("{other:?} of {interval:?}\nby {copy:?}"),
        }
        assert!(pieces < 10_000, "no end");
    }
    unreachable!()
}

#[test]
fn coalesced_interval_removes_what_came_and_went_inside_it() {
    // The example of the design: a peer at 15 gets (10, 17] and must lose the dot 12, which went at 16.
    let mut owner = lane(100);
    (1..=15).for_each(|n| {
        owner.write_add(Element::new(&[n], b""), None);
    });
    let mut copy = owner.clone();
    owner.write_remove(12);
    owner.write_add(Element::new(&[99], b""), None);

    let interval = owner.interval(Frontier::complete(10), 10, usize::MAX).unwrap();
    assert!(interval.removed.is_empty());
    let Outcome::Applied(change) = copy.apply(&interval) else { panic!() };
    assert_eq!(change.removed, [(12, Element::new(&[12], b""))]);
    assert_eq!(change.added, [(17, Element::new(&[99], b""))]);
    assert_same(&copy, &owner);
}

#[test]
fn gap_duplicate_and_wrong_hash_change_nothing() {
    let states = states(100, &[Write::Add, Write::Add, Write::Remove(0)]);
    let interval = states[3].interval(Frontier::complete(2), 2, usize::MAX).unwrap();

    let mut copy = states[1].clone();
    assert_eq!(copy.apply(&interval), Outcome::Gap);
    assert_same(&copy, &states[1]);

    let mut copy = states[3].clone();
    assert_eq!(copy.apply(&interval), Outcome::Duplicate);
    assert_same(&copy, &states[3]);

    let mut skipping = interval.clone();
    skipping.removed = DotList::default();
    let mut copy = states[2].clone();
    assert_eq!(copy.apply(&skipping), Outcome::Diverged);
    assert_same(&copy, &states[2]);
    assert!(copy.in_doubt());
    assert_eq!(pull(&mut copy, &states[3], usize::MAX), 1);
    assert_same(&copy, &states[3]);
    assert!(!copy.in_doubt());
}

#[test]
fn a_copy_with_other_elements_fetches_all_of_them() {
    let mut owner = lane(100);
    let mut copy = lane(100);
    for n in 0..20u8 {
        owner.write_add(Element::new(&[n], b"right"), None);
        copy.write_add(Element::new(&[n], if n == 7 { b"wrong" } else { b"right" }), None);
    }
    assert!(copy.doubt());
    assert!(!copy.doubt());
    let (from, held) = copy.wanted_from();
    assert_eq!(copy.apply(&owner.interval(from, held, usize::MAX).unwrap()), Outcome::Diverged);
    assert!(pull(&mut copy, &owner, 64) > 3);
    assert_same(&copy, &owner);
    assert!(!copy.in_doubt());
}

#[test]
fn refuses_more_elements_than_allowed() {
    let mut owner = lane(10);
    (0..20).for_each(|n| {
        owner.write_add(Element::new(&[n], b""), None);
    });
    let mut copy = Lane::new(key(), LaneLimits { max_elements: 10, ..LaneLimits::default() });
    let interval = owner.interval(Frontier::START, 0, usize::MAX).unwrap();
    assert_eq!(copy.apply(&interval), Outcome::TooLarge);
    assert_eq!(copy.head(), Head::default());
}

#[test]
fn refuses_more_bytes_than_allowed() {
    let mut owner = lane(10);
    (0..20).for_each(|n| {
        owner.write_add(Element::new(&[n], &[0; 9]), None);
    });
    let mut copy = Lane::new(key(), LaneLimits { max_bytes: 200, ..LaneLimits::default() });
    assert!(pull(&mut copy, &owner, 60) > 3, "exactly so many are allowed");
    assert_same(&copy, &owner);
    // What takes the place of something else counts for what is more.
    owner.write_add(Element::new(&[0], &[1; 9]), Some(1));
    pull(&mut copy, &owner, 60);
    assert_same(&copy, &owner);
    owner.write_add(Element::new(&[21], b""), None);
    let (from, held) = copy.wanted_from();
    let interval = owner.interval(from, held, usize::MAX).unwrap();
    assert_eq!(copy.apply(&interval), Outcome::TooLarge);
}

#[test]
fn beyond_the_window_a_snapshot_costs_bits_not_elements() {
    let mut owner = lane(10);
    for n in 0..50_000u32 {
        owner.write_add(Element::new(format!("sensors/{n}/temperature").as_bytes(), b"1"), None);
    }
    let mut copy = lane(10);
    pull(&mut copy, &owner, usize::MAX);
    (1..=1000).for_each(|n| {
        owner.write_remove(n * 37);
    });
    let (from, held) = copy.wanted_from();
    let interval = owner.interval(from, held, usize::MAX).unwrap();
    assert_eq!(interval.from, Frontier::START);
    let bytes = postcard::to_stdvec(&interval).unwrap().len();
    assert!(bytes < 50_000 / 8 + 1000, "{bytes} bytes for 49,000 live dots");
    pull(&mut copy, &owner, usize::MAX);
    assert_same(&copy, &owner);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// From any point at or inside a coalesced interval, applying it gives the owner's state at its end.
    #[test]
    fn applies_from_any_point_inside(writes in writes(40), window in 0usize..20) {
        let states = states(window, &writes);
        let owner = states.last().unwrap();
        for from in 0..states.len() - 1 {
            let interval = owner.interval(Frontier::complete(from as u64), from as u64, usize::MAX).unwrap();
            prop_assert!(interval.is_well_formed());
            for inside in &states[from..states.len() - 1] {
                let mut copy = inside.clone();
                prop_assert!(matches!(copy.apply(&interval), Outcome::Applied(_)));
                assert_same(&copy, owner);
            }
        }
    }

    /// A node that applied intervals itself serves everybody who is behind, from boundaries it knows and in between.
    #[test]
    fn third_party_serves_every_boundary(
        writes in writes(40), steps in proptest::collection::vec(1usize..8, 1..20), window in 0usize..20
    ) {
        let states = states(window, &writes);
        let mut third_party = lane(window);
        let mut at = 0;
        for step in steps {
            at = (at + step).min(states.len() - 1);
            pull(&mut third_party, &states[at], usize::MAX);
            assert_same(&third_party, &states[at]);
            for behind in &states[..at] {
                let mut copy = behind.clone();
                pull(&mut copy, &third_party, usize::MAX);
                assert_same(&copy, &states[at]);
            }
        }
    }

    /// Pieces of any size, the owner writing on between them, other servers taking over: the end is the owner's state.
    #[test]
    fn pieces_are_cut_anywhere(
        writes in writes(80),
        start in 0usize..40,
        plan in proptest::collection::vec((1usize..200, 0usize..10, any::<bool>()), 1..40),
        window in 0usize..20,
    ) {
        let states = states(window, &writes);
        let last = states.len() - 1;
        let mut copy = states[start.min(last)].clone();
        let mut other_server = lane(window);
        let mut at = start.min(last);
        for (max_bytes, progress, from_other) in plan {
            at = (at + progress).min(last);
            if progress % 3 != 0 {
                pull(&mut other_server, &states[at], 50);
            }
            let server = if from_other { &other_server } else { &states[at] };
            let (from, held) = copy.wanted_from();
            if let Some(interval) = server.interval(from, held, max_bytes) {
                prop_assert!(interval.is_well_formed());
                let bytes = postcard::to_stdvec(&interval).unwrap();
                prop_assert!(bytes.len() <= max_bytes + 100, "{} bytes, asked for {max_bytes}", bytes.len());
                let read: Interval = postcard::from_bytes(&bytes).unwrap();
                let outcome = copy.apply(&read);
                prop_assert!(matches!(outcome, Outcome::Applied(_) | Outcome::Staged), "{outcome:?}");
                if matches!(outcome, Outcome::Applied(_)) {
                    assert_same(&copy, &states[copy.head().seq as usize]);
                }
            }
        }
        let server = &states[last];
        for max_bytes in [40, 1000] {
            pull(&mut copy, server, max_bytes);
        }
        assert_same(&copy, server);
    }

    /// Old, repeated and reordered pieces of several servers never lead to a wrong state, only to none.
    #[test]
    fn disorder_never_gives_a_wrong_state(
        writes in writes(60),
        plan in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<usize>(), 1usize..150), 1..60),
        window in 0usize..20,
    ) {
        let states = states(window, &writes);
        let mut copy = lane(window);
        let mut sent: Vec<Interval> = Vec::new();
        for (server, from, again, max_bytes) in plan {
            let server = &states[server % states.len()];
            let frontier = match from % 3 {
                0 => copy.wanted_from(),
                _ => {
                    let version = (from as u64 / 3) % states.len() as u64;
                    (Frontier { covered: version.min(from as u64 % 7), version }, version)
                }
            };
            sent.extend(server.interval(frontier.0, frontier.1, max_bytes));
            if let Some(interval) = sent.get(again % sent.len().max(1)) {
                let outcome = copy.apply(interval);
                prop_assert!(outcome != Outcome::Diverged, "{interval:?}");
                assert_same(&copy, &states[copy.head().seq as usize]);
            }
        }
        pull(&mut copy, states.last().unwrap(), 64);
        pull(&mut copy, states.last().unwrap(), 64);
    }

    /// Nothing that a peer can send makes a lane panic.
    #[test]
    fn nonsense_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), writes in writes(10)) {
        if let Ok(interval) = postcard::from_bytes::<Interval>(&bytes)
            && interval.is_well_formed()
        {
            let mut copy = states(5, &writes).pop().unwrap();
            copy.apply(&interval);
            copy.interval(interval.from, interval.held, 100);
        }
    }
}
