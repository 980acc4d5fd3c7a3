//! The store against a map of all topics.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::router::tests::{any_filter, any_topic, filter, topic};
use crate::topic::TopicFilter;

/// Topics and messages, found in calls of `steps` each; `meanwhile` comes between two calls.
fn search(
    retained: &mut Retained<u8>,
    filter: &TopicFilter,
    limit: usize,
    steps: usize,
    mut meanwhile: impl FnMut(&mut Retained<u8>),
) -> Vec<(String, u8)> {
    let (mut search, mut found) = (Search::default(), Vec::new());
    while !search.is_over() {
        let mut places = Vec::new();
        retained.search_on(filter, &mut search, &mut places, limit, steps);
        assert!(places.len() <= limit.max(1));
        let topics =
            places.iter().map(|place| (retained.tree.path(place.node), *retained.at(*place).unwrap()));
        found.extend(topics);
        meanwhile(retained);
    }
    found
}

fn scan(model: &BTreeMap<String, u8>, filter: &TopicFilter) -> Vec<(String, u8)> {
    let matching = model.iter().filter(|(text, _)| filter.matches(topic(text)));
    matching.map(|(text, message)| (text.clone(), *message)).collect()
}

fn change(retained: &mut Retained<u8>, model: &mut BTreeMap<String, u8>, text: &str, message: Option<u8>) {
    match message {
        Some(message) => {
            let (place, old) = retained.insert(topic(text), message);
            assert_eq!(old, model.insert(text.to_owned(), message));
            assert_eq!(retained.at(place), Some(&message));
        }
        None => assert_eq!(retained.remove(topic(text)), model.remove(text)),
    }
    assert_eq!(retained.len(), model.len());
}

fn is_bare(retained: &Retained<u8>) -> bool {
    retained.tree.node_count() == 0 && retained.children.is_empty() && retained.grandchildren.is_empty()
}

proptest! {
    #[test]
    fn store_equals_a_scan_of_all_topics(
        steps in prop::collection::vec((any_topic(), any::<Option<u8>>()), 1..60),
        filters in prop::collection::vec(any_filter(), 12),
        (limit, pace) in (1usize..6, 1usize..6),
    ) {
        let (mut retained, mut model) = (Retained::default(), BTreeMap::new());
        for (text, message) in &steps {
            change(&mut retained, &mut model, text, *message);
        }
        for filter in &filters {
            let scanned = scan(&model, filter);
            for (limit, pace) in [(usize::MAX, usize::MAX), (limit, usize::MAX), (usize::MAX, pace), (limit, pace)] {
                let mut found = search(&mut retained, filter, limit, pace, |_| ());
                found.sort();
                prop_assert_eq!(&found, &scanned, "{}", filter);
            }
        }
        for (text, message) in &model {
            prop_assert_eq!(retained.message(topic(text)), Some(message));
            prop_assert_eq!(retained.remove(topic(text)), Some(*message));
        }
        prop_assert!(is_bare(&retained));
    }

    /// While topics come and go between its steps, a search finds each that stays, once.
    #[test]
    fn a_search_misses_nothing_that_stays(
        before in prop::collection::vec((any_topic(), any::<Option<u8>>()), 1..60),
        meanwhile in prop::collection::vec((any_topic(), any::<Option<u8>>()), 0..60),
        filter in any_filter(),
        pace in 1usize..4,
    ) {
        let (mut retained, mut model) = (Retained::default(), BTreeMap::new());
        for (text, message) in &before {
            change(&mut retained, &mut model, text, *message);
        }
        let mut stays: BTreeSet<String> = scan(&model, &filter).into_iter().map(|(text, _)| text).collect();
        let mut ever = stays.clone();
        let mut changes = meanwhile.iter();
        let found = search(&mut retained, &filter, usize::MAX, pace, |retained| {
            let Some((text, message)) = changes.next() else { return };
            change(retained, &mut model, text, *message);
            match message {
                None => drop(stays.remove(text)),
                Some(_) if filter.matches(topic(text)) => drop(ever.insert(text.clone())),
                Some(_) => {}
            }
        });
        let topics: Vec<String> = found.into_iter().map(|(text, _)| text).collect();
        for text in &stays {
            prop_assert_eq!(topics.iter().filter(|found| *found == text).count(), 1, "{} for {}", text, filter);
        }
        prop_assert!(topics.iter().all(|text| ever.contains(text)), "{:?} for {}", topics, filter);
    }
}

/// Steps that a whole search takes, and what it finds.
fn cost(retained: &Retained<u8>, text: &str) -> (usize, usize) {
    let (mut search, mut found) = (Search::default(), Vec::new());
    let left = retained.search_on(&filter(text), &mut search, &mut found, usize::MAX, usize::MAX);
    assert!(search.is_over());
    (usize::MAX - left, found.len())
}

#[test]
fn a_search_takes_as_long_as_it_finds() {
    let mut retained = Retained::default();
    for n in 0..10_000 {
        retained.insert(topic(&format!("a/{n}/d")), 1);
        retained.insert(topic(&format!("{n}/x/y")), 1);
        if n % 1000 == 0 {
            retained.insert(topic(&format!("a/{n}/c")), 1);
            retained.insert(topic(&format!("a/{n}/e/{n}/f")), 1);
        }
    }
    for (text, matches) in
        [("a/+/c", 10), ("a/+/d", 10_000), ("a/7/+", 1), ("+/+/c", 10), ("a/+/e/+/f", 10), ("a/+/e/#", 10)]
    {
        let (steps, found) = cost(&retained, text);
        assert_eq!(found, matches, "{text}");
        // The exception is the first `+` of two.
        let children = if text == "+/+/c" { 10_001 } else { 0 };
        assert!(steps <= 6 * found + 2 + 2 * children, "{text} takes {steps} steps");
    }
}

#[test]
fn a_place_is_of_one_message_for_as_long_as_the_topic_has_one() {
    let mut retained = Retained::default();
    let (place, _) = retained.insert(topic("a"), 1);
    assert_eq!(retained.insert(topic("a"), 2), (place, Some(1)));
    assert_eq!(retained.at(place), Some(&2));
    assert_eq!(retained.remove_at(place), Some(2));
    let (other, _) = retained.insert(topic("b"), 3);
    assert_eq!(retained.at(place), None);
    assert_eq!(retained.remove_at(place), None);
    assert_eq!(retained.at(other), Some(&3));
}

#[test]
fn depth_costs_no_stack() {
    let mut retained = Retained::default();
    let deep = vec!["a"; 32_768].join("/");
    retained.insert(topic(&deep), 1);
    let single = vec!["+"; 32_768].join("/");
    for text in ["#", "a/#", &deep, &single] {
        let found = search(&mut retained, &filter(text), 10, usize::MAX, |_| ());
        assert_eq!(found, [(deep.clone(), 1)]);
    }
    retained.remove(topic(&deep));
    assert!(is_bare(&retained));
}
