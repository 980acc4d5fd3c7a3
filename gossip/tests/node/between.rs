//! A node between two that cannot reach each other.

use std::time::Duration;

use rumormq_gossip::{LinkState, Node};

use crate::script::{ROUTES, Script};

const SECOND: Duration = Duration::from_secs(1);

fn chain() -> Script {
    let mut script = Script::new(&["a", "b", "c"]);
    script.link("a", "b");
    script.link("b", "c");
    script.observe_all_alive();
    script.pass(2 * SECOND, &[]);
    script
}

/// What is said over the link between two is lost from now on; neither of them knows.
fn cut(script: &mut Script, one: &'static str, other: &'static str) {
    script.links.retain(|link| *link != (one, other));
}

#[test]
fn a_member_that_is_reached_through_another_is_waited_for() {
    let mut script = chain();
    let (c, now) = (script.me("c"), script.now);
    let status = script.nodes["a"].members(now).into_iter().find(|member| member.replica == c);
    assert_eq!(status.map(|status| status.link), Some(LinkState::Relayed(script.me("b"))));
    let seq = script.insert("a", "x");
    script.node("a").await_settled(ROUTES, seq, now);
    script.pump_except(&["c"]);
    assert_eq!(script.settled("a"), [], "c has not applied it");
    // What was lost on its way is asked for.
    script.pass(2 * SECOND, &[]);
    assert_eq!(script.settled("a"), [(seq, vec![])]);
    assert_eq!(script.keys("c"), ["x"]);
}

#[test]
fn a_change_settles_around_a_cut_that_nobody_knows_of_yet() {
    let mut script = Script::new(&["a", "b", "c"]);
    script.link("a", "b");
    script.link("b", "c");
    script.link("a", "c");
    script.observe_all_alive();
    script.pass(2 * SECOND, &[]);
    cut(&mut script, "a", "c");
    let (seq, now) = (script.insert("a", "x"), script.now);
    script.node("a").await_settled(ROUTES, seq, now);
    let mut waited = Duration::ZERO;
    let settled = loop {
        script.pass(Duration::from_millis(50), &[]);
        waited += Duration::from_millis(50);
        let settled = script.settled("a");
        if !settled.is_empty() {
            break settled;
        }
        assert!(waited < 5 * SECOND);
    };
    assert_eq!(settled, [(seq, vec![])], "c has it, and is not missed");
    assert!(waited <= 5 * SECOND / 2, "{waited:?}");
    assert_eq!(script.keys("c"), ["x"]);

    // From now on it is known, and takes no time.
    script.pass(SECOND, &[]);
    let (seq, now) = (script.insert("a", "y"), script.now);
    script.node("a").await_settled(ROUTES, seq, now);
    script.pump();
    assert_eq!(script.settled("a"), [(seq, vec![])]);
    assert!(script.nodes.values().all(Node::converged));
}

#[test]
fn a_member_that_is_reached_by_nobody_any_more_holds_up_nobody() {
    let mut script = chain();
    cut(&mut script, "b", "c");
    script.pass(3 * SECOND, &[]);
    let (seq, now) = (script.insert("a", "x"), script.now);
    script.node("a").await_settled(ROUTES, seq, now);
    script.pass(Duration::from_millis(600), &[]);
    assert_eq!(script.settled("a"), [(seq, vec![])], "it is out of reach");
}
