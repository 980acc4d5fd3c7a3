//! Scripts of single situations.

mod between;
mod registers;
mod script;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rumormq_gossip::{
    Config, Delta, Digest, Event, Frontier, Head, Incarnation, Interval, LaneLimits, LinkReport, LinkState,
    MemberState, Message, MessageError, Node, Observation, Pull, ReplicaId, RestartReason, SetId, Status,
};
use script::{ROUTES, SETS, Script, replica};

#[test]
fn a_change_goes_to_linked_peers_at_once_and_settles() {
    let mut script = Script::new(&["a", "b", "c"]);
    script.link("a", "b");
    script.link("a", "c");
    script.observe_all_alive();
    let seq = script.insert("a", "x");
    let now = script.now;
    script.node("a").await_settled(ROUTES, seq, now);
    assert_eq!(script.settled("a"), [], "nothing was delivered yet");
    script.pump();
    assert_eq!(script.settled("a"), [(seq, vec![])]);
    assert_eq!((script.keys("b"), script.keys("c")), (vec!["x".to_owned()], vec!["x".to_owned()]));
    assert!(script.nodes.values().all(Node::converged));
}

#[test]
fn nobody_dies_when_the_first_link_is_replaced_or_lost() {
    let mut script = Script::new(&["a", "b"]);
    script.link("a", "b");
    let b = script.me("b");
    let states = |script: &Script| {
        let events = script.events["a"].iter();
        let states = events.filter_map(|event| match event {
            Event::Member { to, .. } => *to,
            _ => None,
        });
        states.collect::<Vec<_>>()
    };
    assert_eq!(states(&script), [MemberState::Alive]);
    script.link("a", "b");
    assert_eq!(states(&script), [MemberState::Alive], "another one has taken its place");
    script.unlink("a", "b");
    assert_eq!(script.nodes["a"].member_state(&b), Some(MemberState::Suspect), "its heartbeats may come yet");
    script.pass(Duration::from_millis(1600), &["b"]);
    assert_eq!(states(&script), [MemberState::Alive, MemberState::Suspect, MemberState::Dead]);
}

#[test]
fn who_stood_still_itself_takes_nobody_for_dead_for_that() {
    let mut script = Script::new(&["a", "b"]);
    script.link("a", "b");
    script.observe_all_alive();
    script.pass(Duration::from_secs(2), &[]);
    let b = script.me("b");
    // The detector takes its own silence for that of all others.
    script.now += Duration::from_secs(5);
    script.observe("a", &b, false, Status::Running);
    assert_eq!(script.nodes["a"].member_state(&b), Some(MemberState::Suspect));
    script.pass(Duration::from_millis(300), &["b"]);
    assert_eq!(script.nodes["a"].member_state(&b), Some(MemberState::Suspect));
    script.pass(Duration::from_millis(1300), &["b"]);
    assert_eq!(script.nodes["a"].member_state(&b), Some(MemberState::Dead), "it is silent indeed");
}

#[test]
fn alone_everything_is_settled() {
    let mut script = Script::new(&["a"]);
    let seq = script.insert("a", "x");
    let now = script.now;
    script.node("a").await_settled(ROUTES, seq, now);
    script.pump();
    assert_eq!(script.settled("a"), [(seq, vec![])]);
}

#[test]
fn a_silent_peer_is_waited_for_half_a_second_and_then_not_until_it_has_caught_up() {
    let mut script = Script::new(&["a", "b"]);
    script.link("a", "b");
    script.observe_all_alive();
    script.pass(Duration::from_millis(1100), &["b"]);
    let (b, now) = (script.me("b"), script.now);

    let first = script.insert("a", "x");
    script.node("a").await_settled(ROUTES, first, now);
    script.pass(Duration::from_millis(450), &["b"]);
    assert_eq!(script.settled("a"), []);
    script.pass(Duration::from_millis(100), &["b"]);
    assert_eq!(script.settled("a"), [(first, vec![b.clone()])]);

    let (second, now) = (script.insert("a", "y"), script.now);
    script.node("a").await_settled(ROUTES, second, now);
    script.pump_except(&["b"]);
    assert_eq!(script.settled("a"), [(second, vec![b])], "it is not waited for again");

    script.pass(Duration::from_secs(6), &[]);
    assert_eq!(script.keys("b"), ["x", "y"]);
    let (third, now) = (script.insert("a", "z"), script.now);
    script.node("a").await_settled(ROUTES, third, now);
    assert_eq!(script.settled("a"), [], "it has caught up and is waited for");
    script.pump();
    assert_eq!(script.settled("a"), [(third, vec![])]);
    assert_eq!(script.nodes["a"].counters().settle_timeouts, 1);
}

#[test]
fn a_peer_that_answers_pings_is_waited_for_five_seconds() {
    let mut script = Script::new(&["a", "b"]);
    script.link("a", "b");
    script.observe_all_alive();
    let (seq, b) = (script.insert("a", "x"), script.me("b"));
    let now = script.now;
    script.node("a").await_settled(ROUTES, seq, now);
    let mut answers_only_pings = |time: Duration| {
        let end = script.now + time;
        while script.now < end {
            script.now += Duration::from_millis(100);
            let now = script.now;
            script.node("a").handle_pong(&b, Duration::from_millis(1), now);
            script.node("a").handle_tick(now);
            while script.node("a").poll_transmit().is_some() {}
        }
        script.pump_except(&["b"]);
        script.settled("a")
    };
    assert_eq!(answers_only_pings(Duration::from_millis(4900)), []);
    assert_eq!(answers_only_pings(Duration::from_millis(200)), [(seq, vec![b.clone()])]);
}

#[test]
fn who_dies_is_not_waited_for() {
    let mut script = Script::new(&["a", "b"]);
    script.link("a", "b");
    script.observe_all_alive();
    let (seq, b, now) = (script.insert("a", "x"), script.me("b"), script.now);
    script.node("a").await_settled(ROUTES, seq, now);
    script.unlink("a", "b");
    assert_eq!(script.settled("a"), [], "the link may be back in a moment");
    script.observe("a", &b, false, Status::Running);
    assert_eq!(script.settled("a"), [(seq, vec![])]);
}

#[test]
fn a_chain_passes_changes_and_acknowledgements_on() {
    let mut script = Script::new(&["a", "b", "c"]);
    script.link("a", "b");
    script.link("b", "c");
    script.observe_all_alive();
    script.pass(Duration::from_millis(1100), &[]);
    let link = |script: &Script| {
        let members = script.nodes["a"].members(script.now);
        members.into_iter().find(|member| member.replica == script.me("c")).map(|member| member.link)
    };
    assert_eq!(link(&script), Some(LinkState::Relayed(script.me("b"))));

    let (seq, now) = (script.insert("a", "x"), script.now);
    script.node("a").await_settled(ROUTES, seq, now);
    script.pump();
    assert_eq!(script.keys("c"), ["x"], "no tick was needed");
    assert_eq!(script.settled("a"), [(seq, vec![])]);
    let c = script.nodes["a"].members(now).into_iter().find(|member| member.replica == script.me("c"));
    assert_eq!(c.map(|member| member.lanes[0].acked_seq), Some(seq));
}

#[test]
fn in_a_full_mesh_nobody_passes_anything_on() {
    let mut script = Script::new(&["a", "b", "c", "d"]);
    for (one, other) in [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")] {
        script.link(one, other);
    }
    script.observe_all_alive();
    script.pass(Duration::from_secs(1), &[]);
    script.insert("a", "x");
    script.pump();
    let received = ["b", "c", "d"].map(|name| script.nodes[name].counters().delta_received);
    assert_eq!(received, [1, 1, 1]);
}

#[test]
fn a_change_costs_less_than_a_kilobyte_whatever_the_size_of_the_table() {
    for size in [0, 20_000] {
        let mut script = Script::new(&["a", "b"]);
        (0..size).for_each(|n| {
            script.insert("a", &format!("sensors/{n}/temperature"));
        });
        script.link("a", "b");
        script.pump();
        assert_eq!(script.keys("b").len(), size);
        script.sent.clear();
        script.insert("a", "one/more");
        script.pump();
        let bytes: usize = script.sent.iter().filter(|(from, _)| *from == "a").map(|(_, bytes)| bytes).sum();
        assert!(bytes > 0 && bytes <= 1024, "{bytes} bytes");
    }
}

#[test]
fn a_burst_is_collected_while_a_delta_is_on_its_way() {
    let mut script = Script::new(&["a", "b"]);
    script.link("a", "b");
    script.observe_all_alive();
    let mut deltas = Vec::new();
    for n in 0..100_000 {
        script.insert("a", &format!("filter/{n}"));
        deltas.extend(std::iter::from_fn(|| script.node("a").poll_transmit()));
    }
    assert_eq!(deltas.len(), 1, "the rest waits for the acknowledgement, or for five milliseconds");
    script.now += Duration::from_millis(5);
    let (now, a, b) = (script.now, script.me("a"), script.me("b"));
    script.node("a").handle_tick(now);
    deltas.extend(std::iter::from_fn(|| script.node("a").poll_transmit()));
    assert_eq!(deltas.len(), 2);
    for (to, message) in deltas {
        assert_eq!(to, b);
        script.node("b").handle_message(&a, message, now).expect("is well formed");
    }
    script.pump();
    assert_eq!(script.keys("b").len(), 100_000);
    assert_eq!(script.nodes["b"].applied(ROUTES, &a), Some(script.nodes["a"].head(ROUTES)));
}

#[test]
fn suspect_is_who_still_answers_somebody_alive() {
    let mut script = Script::new(&["a", "b", "c"]);
    script.link("a", "b");
    script.link("b", "c");
    script.observe_all_alive();
    script.pass(Duration::from_millis(1100), &[]);
    let c = script.me("c");
    script.observe("a", &c, false, Status::Running);
    assert_eq!(script.nodes["a"].member_state(&c), Some(MemberState::Suspect), "b has answers of it");
    script.pass(Duration::from_secs(3), &["c"]);
    assert_eq!(script.nodes["a"].member_state(&c), Some(MemberState::Dead));
}

/// Two that fall together do not keep each other alive by what they said before, however late that arrives.
#[test]
fn who_is_silent_vouches_for_nobody() {
    let mut script = Script::new(&["a", "b", "c"]);
    script.link("a", "b");
    script.link("b", "c");
    script.observe_all_alive();
    script.pass(Duration::from_millis(1100), &["b", "c"]);
    let (b, c, now) = (script.me("b"), script.me("c"), script.now);
    let report = Digest { links: vec![LinkReport { peer: c.clone(), mutual: true }], ..Digest::default() };
    script.node("a").handle_message(&b, Message::Digest(Arc::new(report)), now).expect("is well formed");
    script.observe("a", &c, false, Status::Running);
    assert_eq!(script.nodes["a"].member_state(&c), Some(MemberState::Suspect), "b is heard of");
    script.observe("a", &b, false, Status::Running);
    script.observe("a", &c, false, Status::Running);
    assert_eq!(script.nodes["a"].member_state(&b), Some(MemberState::Dead));
    assert_eq!(script.nodes["a"].member_state(&c), Some(MemberState::Dead));
}

#[test]
fn dead_is_hidden_and_kept_left_is_dropped_for_good() {
    let mut script = Script::new(&["a", "b", "c"]);
    script.link("a", "b");
    script.link("a", "c");
    script.link("b", "c");
    script.observe_all_alive();
    script.insert("c", "x");
    script.pump();
    let c = script.me("c");
    script.unlink("a", "c");
    script.unlink("b", "c");
    script.nodes.remove("c");
    script.pass(Duration::from_secs(2), &[]);
    script.observe("a", &c, false, Status::Running);
    assert_eq!(script.nodes["a"].member_state(&c), Some(MemberState::Dead));
    assert_eq!(script.keys("a"), [""; 0]);
    assert_eq!(script.nodes["a"].elements(ROUTES, true).count(), 1);

    script.take_events("a");
    script.observe("a", &c, false, Status::Left);
    let events = script.take_events("a");
    assert!(
        matches!(&events[1], Event::Changed { replica, change, .. } if *replica == c && change.removed.len() == 1)
    );
    // Whoever has not heard of it does not bring it back, and hears of it.
    script.pass(Duration::from_secs(10), &[]);
    assert_eq!(script.nodes["a"].elements(ROUTES, true).count(), 0);
    assert_eq!(script.nodes["b"].elements(ROUTES, true).count(), 0);
}

#[test]
fn an_old_incarnation_matches_until_the_new_one_is_complete() {
    let mut script = Script::new(&["a", "b"]);
    script.link("a", "b");
    script.observe_all_alive();
    script.insert("b", "old");
    script.insert("b", "both");
    script.pump();
    let old = script.me("b");
    script.unlink("a", "b");

    let (new, now) = (replica("b", 2), script.now);
    let mut restarted = Node::new(Config::default(), new.clone(), &SETS, now);
    restarted.insert(ROUTES, b"both", b"1", now);
    restarted.insert(ROUTES, b"new", b"1", now);
    script.nodes.insert("b", restarted);
    script.pass(Duration::from_millis(1100), &[]);
    script.observe("a", &old, false, Status::Running);
    script.observe("a", &new, true, Status::Running);
    assert_eq!(script.keys("a"), ["both", "old"], "the new lane is not here yet");

    script.take_events("a");
    script.link("a", "b");
    assert_eq!(script.keys("a"), ["both", "new"]);
    let changed: Vec<_> = script
        .take_events("a")
        .into_iter()
        .filter_map(|event| match event {
            Event::Changed { replica, change, .. } => {
                Some((replica.incarnation.0, change.added.len(), change.removed.len()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(changed, [(2, 2, 0), (1, 0, 2)], "the new routes come before the old ones go");
    assert_eq!(script.nodes["a"].counters().superseded, 1);
}

#[test]
fn who_said_that_it_stops_or_leaves_does_not_come_back_as_the_same_incarnation() {
    let mut script = Script::new(&["a", "b", "c"]);
    script.link("a", "b");
    script.link("a", "c");
    script.observe_all_alive();
    let (b, c) = (script.me("b"), script.me("c"));
    script.observe("a", &b, false, Status::Running);
    script.pass(Duration::from_secs(2), &["b"]);
    assert_eq!(script.nodes["a"].member_state(&b), Some(MemberState::Dead));
    script.observe("a", &b, true, Status::Running);
    assert_eq!(script.nodes["a"].member_state(&b), Some(MemberState::Alive), "it was only halted");

    script.observe("a", &b, false, Status::Stopped);
    script.observe("a", &c, false, Status::Left);
    for late in [&b, &c] {
        script.observe("a", late, true, Status::Running);
    }
    assert_eq!(script.nodes["a"].member_state(&b), Some(MemberState::Stopped));
    assert_eq!(script.nodes["a"].member_state(&c), None);

    let next = replica("b", 2);
    script.observe("a", &next, true, Status::Running);
    assert_eq!(script.nodes["a"].member_state(&next), Some(MemberState::Alive));
    script.observe("a", &b, false, Status::Left);
    assert_eq!(script.nodes["a"].member_state(&b), None);
}

/// How often the application was told that a replica is dropped.
fn drops(events: &[Event], of: &ReplicaId) -> usize {
    let is_drop = |event: &&Event| match event {
        Event::Member { replica, to, .. } => {
            replica == of && to.is_none_or(|state| state == MemberState::Left)
        }
        _ => false,
    };
    events.iter().filter(is_drop).count()
}

/// `b` has the lane of `a`, which is gone; `d` gets it from `b` and never hears of `a` otherwise.
fn hearsay(config: Config) -> (Script, ReplicaId) {
    let mut script = Script::with_config(&["a", "b", "d"], config);
    script.link("a", "b");
    (0..10).for_each(|n| {
        script.insert("a", &n.to_string());
    });
    script.pump();
    let a = script.me("a");
    script.unlink("a", "b");
    script.nodes.remove("a");
    script.pass(Duration::from_secs(2), &[]);
    script.take_events("d");
    (script, a)
}

#[test]
fn a_replica_known_by_hearsay_only_is_dropped_with_an_event() {
    let config = Config { forget_after: Duration::from_secs(60), ..Config::default() };
    let (mut script, a) = hearsay(config.clone());
    script.link("b", "d");
    script.pass(Duration::from_millis(100), &[]);
    assert_eq!(script.nodes["d"].elements(ROUTES, true).count(), 10);
    assert_eq!(script.nodes["d"].member_state(&a), None);
    script.pass(Duration::from_secs(70), &[]);
    assert_eq!(script.nodes["d"].applied(ROUTES, &a), None);
    assert_eq!(drops(&script.take_events("d"), &a), 1, "forgotten");

    let (mut script, a) = hearsay(config.clone());
    script.link("b", "d");
    script.pass(Duration::from_millis(100), &[]);
    let newer = ReplicaId { incarnation: Incarnation(2), ..a.clone() };
    let heads = (0..SETS.len()).map(|set| (SetId(set as u8), Head::default())).collect();
    let observation = Observation { replica: newer, alive: true, status: Status::Running, heads };
    let now = script.now;
    script.node("d").handle_observation(observation, now);
    script.pump();
    assert_eq!(drops(&script.take_events("d"), &a), 1, "superseded");

    let (mut script, a) = hearsay(config);
    script.link("b", "d");
    script.pass(Duration::from_millis(100), &[]);
    script.observe("d", &a, false, Status::Left);
    script.observe("d", &a, false, Status::Left);
    assert_eq!(drops(&script.take_events("d"), &a), 1, "left");
}

#[test]
fn who_joins_waits_for_the_lanes_that_its_peer_has() {
    // Of one that the peer reaches.
    let mut script = Script::new(&["a", "b", "d"]);
    script.link("a", "b");
    (0..10).for_each(|n| {
        script.insert("a", &n.to_string());
    });
    script.pump();
    let (a, b, now) = (script.me("a"), script.me("b"), script.now);
    let hello = script.nodes["b"].hello(now);
    assert!(script.node("d").handle_link_up(b.clone(), hello, now));
    assert_eq!(script.nodes["d"].member_state(&a), Some(MemberState::Alive));
    assert!(!script.nodes["d"].converged());
    script.link("b", "d");
    script.pass(Duration::from_millis(100), &[]);
    assert_eq!(script.keys("d").len(), 10);
    assert!(script.nodes["d"].converged());

    // Of one that is perhaps dead, as long as the peer is there to get it from.
    let (mut script, a) = hearsay(Config::default());
    let hello = script.nodes["b"].hello(script.now);
    let now = script.now;
    assert!(script.node("d").handle_link_up(b.clone(), hello, now));
    assert_eq!(script.nodes["d"].member_state(&a), None);
    assert!(!script.nodes["d"].converged());
    script.node("d").handle_link_down(&b, now);
    assert!(script.nodes["d"].converged());
    script.link("b", "d");
    assert!(!script.nodes["d"].converged());
    script.pass(Duration::from_millis(100), &[]);
    assert_eq!(script.nodes["d"].elements(ROUTES, true).count(), 10);
    assert!(script.nodes["d"].converged());
}

#[test]
fn a_forgotten_node_that_returns_begins_a_new_lane() {
    let config = Config { forget_after: Duration::from_secs(60), ..Config::default() };
    let mut script = Script::with_config(&["a", "b"], config);
    script.link("a", "b");
    script.observe_all_alive();
    script.insert("b", "x");
    script.pump();
    let old = script.me("b");
    script.unlink("a", "b");
    script.observe("a", &old, false, Status::Running);
    script.pass(Duration::from_secs(61), &[]);
    assert_eq!(script.nodes["a"].applied(ROUTES, &old), None);
    assert_eq!(script.nodes["a"].counters().forgotten, 1);

    script.take_events("b");
    script.link("a", "b");
    assert_eq!(script.keys("a"), [""; 0], "the old lane is not accepted");
    let restart = Event::RestartLane { reason: RestartReason::Forgotten, after: Incarnation(1) };
    assert!(script.take_events("b").contains(&restart));
    let now = script.now;
    script.unlink("a", "b");
    script.node("b").restart_lane(Incarnation(2), now);
    script.link("a", "b");
    assert_eq!(script.keys("a"), ["x"]);
    script.pass(Duration::from_secs(1), &[]);
    assert!(script.nodes.values().all(Node::converged));
}

/// `b` was started with a clock that is behind, where nobody could tell: what it writes counts once it goes on as a later start
/// than the one that is remembered, however that is remembered.
#[test]
fn a_start_that_is_taken_for_an_earlier_one_goes_on_as_a_later_one() {
    let config = Config { forget_after: Duration::from_secs(60), ..Config::default() };
    for remembered in ["dead", "forgotten", "left"] {
        let mut script = Script::with_config(&["a", "b"], config.clone());
        let former = replica("b", 100);
        script.observe("a", &former, true, Status::Running);
        match remembered {
            "left" => script.observe("a", &former, true, Status::Left),
            _ => script.observe("a", &former, false, Status::Running),
        }
        let away = if remembered == "forgotten" { 61 } else { 5 };
        script.pass(Duration::from_secs(away), &[]);
        script.insert("b", "x");
        script.take_events("b");
        script.link("a", "b");
        script.observe("a", &replica("b", 1), true, Status::Running);
        script.pass(Duration::from_secs(8), &[]);
        let events = script.take_events("b");
        let restarts: Vec<&Event> =
            events.iter().filter(|event| matches!(event, Event::RestartLane { .. })).collect();
        let after = |event: &&Event| matches!(event, Event::RestartLane { after: Incarnation(100), .. });
        assert!(restarts.len() == 1 && restarts.iter().all(after), "{remembered}: {events:?}");
        assert!(!script.take_events("a").iter().any(|event| matches!(event, Event::Conflict { .. })));
        let now = script.now;
        script.unlink("a", "b");
        script.node("b").restart_lane(Incarnation(101), now);
        script.link("a", "b");
        assert_eq!(script.keys("a"), ["x"], "{remembered}");
        script.pass(Duration::from_secs(8), &[]);
        assert!(script.nodes.values().all(Node::converged), "{remembered}");
        assert!(!script.take_events("b").iter().any(|event| matches!(event, Event::RestartLane { .. })));
        assert_eq!(script.nodes["a"].members(now).len(), 1, "{remembered}");
    }
}

/// Nobody here has a link to the other one of that name, but its heartbeats arrive.
#[test]
fn a_name_given_twice_is_found_out_by_heartbeats_alone() {
    let mut script = Script::new(&["a", "b"]);
    let older = replica("b", 0);
    script.link("a", "b");
    script.observe_all_alive();
    script.observe("a", &older, true, Status::Running);
    script.pass(Duration::from_secs(10), &[]);
    assert_eq!(script.nodes["a"].members(script.now).len(), 1, "it may be what was before");
    for at in ["a", "b"] {
        script.observe(at, &older, true, Status::Running);
        script.pass(Duration::from_secs(8), &[]);
        assert_eq!(script.nodes[at].name_conflicts(), 1, "{at}");
        let conflict = Event::Conflict { older: older.clone(), newer: replica("b", 1) };
        assert_eq!(script.take_events(at).iter().filter(|event| **event == conflict).count(), 1);
        script.observe(at, &older, false, Status::Running);
        script.pass(Duration::from_secs(1), &[]);
        assert_eq!(script.nodes[at].name_conflicts(), 0, "{at}");
    }
    assert_eq!(script.nodes["a"].members(script.now).len(), 1);
}

/// Somebody who is cut off for so long from both of them hears that one has left.
#[test]
fn who_is_said_to_have_left_and_serves_goes_on_as_a_later_start() {
    let mut script = Script::new(&["a", "b"]);
    script.observe("a", &replica("b", 1), true, Status::Left);
    script.insert("b", "x");
    script.link("a", "b");
    let restart = Event::RestartLane { reason: RestartReason::Outdone, after: Incarnation(1) };
    assert!(script.take_events("b").contains(&restart));
    let now = script.now;
    script.unlink("a", "b");
    script.node("b").restart_lane(Incarnation(2), now);
    script.link("a", "b");
    assert_eq!(script.keys("a"), ["x"]);
}

/// Others still have answers of the start before, which had the later clock.
#[test]
fn a_start_with_a_clock_behind_is_no_conflict_with_the_one_that_just_ended() {
    let mut script = Script::new(&["a", "b"]);
    let (before, now) = (replica("b", 5), script.now);
    assert!(script.node("a").handle_link_up(before, Digest::default(), now));
    script.link("a", "b");
    script.pass(Duration::from_millis(600), &[]);
    let events = script.take_events("b");
    assert!(!events.iter().any(|event| matches!(event, Event::Conflict { .. })), "{events:?}");
    script.node("a").handle_link_down(&replica("b", 5), now);
    script.pass(Duration::from_secs(10), &[]);
    let restart = Event::RestartLane { reason: RestartReason::Outdone, after: Incarnation(5) };
    assert!(script.take_events("b").contains(&restart));
}

#[test]
fn what_a_start_left_is_spread_until_somebody_has_what_the_next_one_began_with() {
    let mut script = Script::new(&["a", "b", "c"]);
    let (first, second) = (replica("b", 1), replica("b", 2));
    script.insert("b", "x");
    script.link("a", "b");
    script.unlink("a", "b");
    let now = script.now;
    for at in ["a", "c"] {
        for alive in [true, false] {
            let heads = vec![(ROUTES, Head { seq: 1, count: 1, ..Head::default() })];
            let status = Status::Running;
            let died = Observation { replica: second.clone(), alive, status, heads };
            script.node(at).handle_observation(died, now);
        }
    }
    script.pass(Duration::from_secs(3), &[]);
    script.link("a", "c");
    script.pass(Duration::from_secs(3), &[]);
    for at in ["a", "c"] {
        assert_eq!(script.nodes[at].applied(ROUTES, &first).map(|head| head.seq), Some(1), "{at}");
    }
}

#[test]
fn of_a_node_that_has_left_nothing_stays_that_an_earlier_start_wrote() {
    let mut script = Script::new(&["a", "b"]);
    let first = replica("b", 1);
    script.insert("b", "x");
    script.link("a", "b");
    script.observe("a", &first, true, Status::Running);
    script.observe("a", &replica("b", 2), true, Status::Left);
    assert!(script.nodes["a"].is_member(&first), "it answers");
    script.unlink("a", "b");
    script.observe("a", &first, false, Status::Running);
    script.pass(Duration::from_secs(3), &[]);
    assert!(!script.nodes["a"].is_member(&first));
}

/// A member may say anything of others. Who were brought to the highest incarnation there is could not start again.
#[test]
fn starts_that_nobody_can_have_had_are_made_up() {
    let mut script = Script::new(&["a", "b", "c"]);
    script.link("a", "b");
    script.link("a", "c");
    script.link("b", "c");
    script.observe_all_alive();
    script.insert("c", "x");
    script.pump();
    let (b, now) = (script.me("b"), script.now);
    for name in ["a", "c"] {
        for incarnation in [Incarnation::MAX_HEARSAY.0 + 1, Incarnation::MAX.0, u64::MAX] {
            let made_up = replica(name, incarnation);
            let digest = Digest {
                applied: vec![(made_up.clone(), vec![(ROUTES, Head { seq: 7, ..Head::default() })])],
                left: vec![made_up.clone()],
                forgotten: vec![made_up.clone()],
                ..Digest::default()
            };
            script.node("a").handle_message(&b, Message::Digest(Arc::new(digest)), now).unwrap();
            script.observe("a", &made_up, false, Status::Running);
            script.observe("a", &made_up, true, Status::Left);
            assert_eq!(script.nodes["a"].member_state(&made_up), None);
        }
    }
    script.pass(Duration::from_secs(10), &[]);
    assert!(!script.take_events("a").iter().any(|event| matches!(event, Event::RestartLane { .. })));
    assert_eq!((script.keys("a"), script.keys("b")), (vec!["x".to_owned()], vec!["x".to_owned()]));

    // The highest that is believed is outdone, and whoever had to do that takes part as before.
    let digest = Digest { left: vec![replica("c", Incarnation::MAX_HEARSAY.0)], ..Digest::default() };
    script.node("c").handle_message(&b, Message::Digest(Arc::new(digest)), now).unwrap();
    script.pump();
    let restart = Event::RestartLane { reason: RestartReason::Outdone, after: Incarnation::MAX_HEARSAY };
    assert!(script.take_events("c").contains(&restart));
    script.unlink("a", "c");
    script.unlink("b", "c");
    let now = script.now;
    script.node("c").restart_lane(Incarnation(Incarnation::MAX_HEARSAY.0 + 1), now);
    script.link("a", "c");
    script.observe_all_alive();
    script.pass(Duration::from_secs(10), &[]);
    assert_eq!(script.keys("a"), ["x"]);
    assert_eq!(script.nodes["a"].member_state(&script.me("c")), Some(MemberState::Alive));
}

#[test]
fn a_name_given_twice_is_reported_and_both_are_kept() {
    let mut script = Script::new(&["a", "b"]);
    let now = script.now;
    script.nodes.insert("b2", Node::new(Config::default(), replica("b", 2), &SETS, now));
    script.link("a", "b");
    script.link("a", "b2");
    script.insert("b", "x");
    script.insert("b2", "y");
    script.pass(Duration::from_secs(8), &[]);
    assert_eq!(script.keys("a"), ["x", "y"]);
    let conflict = Event::Conflict { older: replica("b", 1), newer: replica("b", 2) };
    assert_eq!(script.take_events("a").iter().filter(|event| **event == conflict).count(), 1);
    assert_eq!(script.nodes["a"].name_conflicts(), 1);
    script.observe("a", &replica("b", 2), true, Status::Stopped);
    assert_eq!(script.nodes["a"].name_conflicts(), 0);
}

#[test]
fn an_incarnation_used_twice_is_told_to_begin_a_new_lane() {
    let mut script = Script::new(&["a", "b"]);
    script.link("a", "b");
    script.insert("b", "x");
    script.insert("b", "y");
    script.pump();
    script.unlink("a", "b");
    let now = script.now;
    script.nodes.insert("b", Node::new(Config::default(), replica("b", 1), &SETS, now));
    script.link("a", "b");
    let restart = Event::RestartLane { reason: RestartReason::IncarnationReused, after: Incarnation(1) };
    assert!(script.take_events("b").contains(&restart));
    assert!(script.nodes["b"].counters().divergence_detected > 0);
}

#[test]
fn an_owner_with_another_hash_raises_the_alarm() {
    let mut script = Script::new(&["a", "b"]);
    script.link("a", "b");
    script.insert("b", "x");
    script.pump();
    let (b, now) = (script.me("b"), script.now);
    let heads = vec![(ROUTES, Head::default())];
    let mut observation = Observation { replica: b.clone(), alive: true, status: Status::Running, heads };
    script.node("a").handle_observation(observation.clone(), now);
    assert!(script.node("a").converged(), "an old head says nothing");

    observation.heads[0].1.seq = 1;
    script.node("a").handle_observation(observation, now);
    assert!(!script.node("a").converged());
    assert_eq!(script.nodes["a"].counters().divergence_detected, 1);
    // The owner is asked, and nothing was wrong after all.
    script.pass(Duration::from_secs(1), &[]);
    assert_eq!(script.keys("a"), ["x"]);
    assert!(script.node("a").converged());
}

#[test]
fn lag_is_counted_in_changes_and_time() {
    let mut script = Script::new(&["a", "b"]);
    let (b, now) = (script.me("b"), script.now);
    for key in ["x", "y", "z"] {
        script.insert("b", key);
    }
    script.observe("a", &b, true, Status::Running);
    assert!(!script.nodes["a"].converged());
    let lane = |script: &Script, now| script.nodes["a"].members(now)[0].lanes[0].clone();
    let behind = lane(&script, now + Duration::from_secs(2));
    assert_eq!((behind.lag_ops(), behind.lag), (3, Some(Duration::from_secs(2))));
    script.link("a", "b");
    let caught_up = lane(&script, now);
    assert_eq!((caught_up.lag_ops(), caught_up.lag), (0, None));
}

#[test]
fn nonsense_is_an_error_and_strange_sets_are_not() {
    let mut script = Script::new(&["a", "b"]);
    let (a, b, now) = (script.me("a"), script.me("b"), script.now);
    let pull = |set, covered, version| {
        let from = Frontier { covered, version };
        Message::Pull(Pull { set, replica: replica("b", 1), from, held: 0 })
    };
    let refused = script.node("b").handle_message(&a, pull(ROUTES, 0, 0), now);
    assert_eq!(refused, Err(MessageError::NotLinked(a.clone())));
    script.link("a", "b");
    let refused = script.node("b").handle_message(&a, pull(ROUTES, 2, 1), now);
    assert_eq!(refused, Err(MessageError::MalformedPull(a.clone())));
    assert_eq!(script.node("b").handle_message(&a, pull(SetId(9), 0, 0), now), Ok(()));

    let interval = |removed: u64| Interval {
        from: Frontier::complete(5),
        to: Frontier::complete(6),
        held: 5,
        removed: rumormq_gossip::DotList::new(vec![removed]),
        kept: None,
        added: Vec::new(),
        hash: Some(Default::default()),
    };
    let delta = |set, removed| Message::Delta(Delta { set, replica: b.clone(), interval: interval(removed) });
    assert_eq!(
        script.node("a").handle_message(&b, delta(ROUTES, 6), now),
        Err(MessageError::MalformedDelta(b.clone()))
    );
    assert_eq!(script.node("a").handle_message(&b, delta(SetId(9), 5), now), Ok(()));
    assert_eq!(script.nodes["a"].counters().messages_invalid, 1);
    assert_eq!(script.nodes["a"].counters().unknown_set, 1);
}

proptest! {
    /// Messages with a wrong byte, in a node that is in the middle of things: an error at most.
    #[test]
    fn damaged_messages_are_survived(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 20)
    ) {
        let config = Config { max_delta_bytes: 200, lane: LaneLimits { remove_window: 3, ..LaneLimits::default() }, ..Config::default() };
        let mut script = Script::with_config(&["a", "b"], config);
        script.link("a", "b");
        let mut sent: Vec<Vec<u8>> = Vec::new();
        for round in 0..30 {
            let now = script.now;
            for key in 0..8 {
                script.insert("a", &format!("{round}/{key}"));
            }
            for key in 0..6 {
                script.node("a").remove(ROUTES, format!("{round}/{key}").as_bytes(), now);
            }
            let (a, b) = (script.me("a"), script.me("b"));
            while let Some((_, message)) = script.node("a").poll_transmit() {
                sent.push(postcard::to_stdvec(&message).expect("can be written"));
                if round % 3 != 0 {
                    script.node("b").handle_message(&a, message, now).expect("is well formed");
                }
            }
            while let Some((_, message)) = script.node("b").poll_transmit() {
                script.node("a").handle_message(&b, message, now).expect("is well formed");
            }
        }
        for (message, at, byte) in damage {
            let mut bytes = sent[message.index(sent.len())].clone();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(message) = postcard::from_bytes::<Message>(&bytes) {
                let (a, now) = (script.me("a"), script.now);
                let _ = script.node("b").handle_message(&a, message, now);
                script.now += Duration::from_millis(100);
                let now = script.now;
                script.node("b").handle_tick(now);
                while script.node("b").poll_transmit().is_some() {}
            }
        }
    }
}

#[test]
fn more_members_than_allowed_are_refused() {
    let config = Config { max_members: 2, ..Config::default() };
    let mut script = Script::with_config(&["a"], config);
    for name in ["b", "c", "d"] {
        script.observe("a", &replica(name, 1), true, Status::Running);
    }
    assert_eq!(script.nodes["a"].members(script.now).len(), 2);
    assert_eq!(script.nodes["a"].counters().members_refused, 1);
}

#[test]
fn a_link_to_one_too_many_or_with_too_large_a_greeting_is_refused() {
    let mut script = Script::with_config(&["a"], Config { max_members: 2, ..Config::default() });
    let now = script.now;
    let oversized = Digest { left: vec![replica("x", 1); 1000], ..Digest::default() };
    assert!(!script.node("a").handle_link_up(replica("b", 1), oversized, now));
    assert_eq!(script.nodes["a"].members(now), []);
    assert!(script.node("a").handle_link_up(replica("b", 1), Digest::default(), now));
    assert!(script.node("a").handle_link_up(replica("c", 1), Digest::default(), now));
    assert!(!script.node("a").handle_link_up(replica("d", 1), Digest::default(), now));
    assert!(!script.nodes["a"].link_graph().answers(&replica("d", 1), now));
    let sent = std::iter::from_fn(|| script.node("a").poll_transmit());
    assert!(sent.into_iter().all(|(to, _)| to != replica("d", 1)));
    let refused = script.node("a").handle_message(&replica("d", 1), Message::Digest(Default::default()), now);
    assert_eq!(refused, Err(MessageError::NotLinked(replica("d", 1))));
}
