//! A session goes on with its next connection on another node.

use proptest::prelude::*;

use super::script::{run, transcript};
use crate::session::SessionLimits;

/// Both ways, each at every half.
#[test]
fn what_was_in_flight_goes_on_where_it_was() {
    run("
        * connect
        * message q1 a id=7
        = Sent
        < PUBLISH 1 q1 a id=7
        * message q2 b
        = Sent
        < PUBLISH 2 q2 b
        * message q2 c
        = Sent
        < PUBLISH 3 q2 c
        > PUBREC 3
        < PUBREL 3
        > PUBLISH 9 q2
        < PUBREC 9
        * move
        * connect
        < PUBREL 3
        < PUBLISH 1 q1 a dup id=7
        < PUBLISH 2 q2 b dup
        > PUBLISH 9 q2
        = Duplicate
        < PUBREC 9
        > PUBREL 9
        < PUBCOMP 9
        > PUBCOMP 3
        * message q1 d
        = Sent
        < PUBLISH 4 q1 d
        * state
        = in flight 3, queued 0, unacknowledged 0, expired 0
    ");
}

#[test]
fn what_was_queued_follows_with_what_is_left_of_its_life() {
    run("
        * connect
        * lost
        * message q1 a expiry=100
        = Queued
        * message q1 b expiry=2
        = Queued
        * message q2 c retain id=3 id=4
        = Queued
        * wait 3
        * move
        * connect
        < PUBLISH 1 q1 a expiry=97
        < PUBLISH 2 q2 c retain id=3 id=4
        * state
        = in flight 2, queued 0, unacknowledged 0, expired 1
    ");
}

/// The client would take what is sent under them for what it has had.
#[test]
fn what_another_copy_has_sent_is_released() {
    run("
        * connect
        * message q2 a
        = Sent
        < PUBLISH 1 q2 a
        * elsewhere 1 2 3 4
        < PUBREL 2
        < PUBREL 3
        < PUBREL 4
        > PUBCOMP 3
        * message q2 b
        = Sent
        < PUBLISH 2 q2 b
        * move
        * connect
        < PUBREL 4
        < PUBLISH 1 q2 a dup
        < PUBLISH 2 q2 b dup
        > PUBCOMP 2
        > PUBCOMP 4
        > PUBREC 2
        < PUBREL 2
        * move
        * connect
        < PUBREL 2
        < PUBLISH 1 q2 a dup
    ");
}

#[test]
fn who_is_not_connected_hears_of_it_when_he_is() {
    run("
        * connect
        * lost
        * elsewhere 65535
        * move
        * connect
        < PUBREL 65535
        > PUBCOMP 65535 0x92
        * lost
        * connect
    ");
}

/// The first held one is the last queued one, which took both ways.
#[test]
fn what_was_held_for_it_comes_behind_and_nothing_comes_twice() {
    run("
        * connect
        * lost
        * message q1 a
        = Queued
        * message q2 b
        = Queued
        * move
        * absorb q2 b c d
        * connect
        < PUBLISH 1 q1 a
        < PUBLISH 2 q2 b
        < PUBLISH 3 q2 c
        < PUBLISH 4 q2 d
    ");
}

/// What is kept when it begins, what arrives, and what was held elsewhere meanwhile: the rest of an older session may have
/// any of them.
#[test]
fn whatever_the_session_has_is_noted_while_a_rest_may_come() {
    run("
        * connect
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        * lost
        * message q2 b
        = Queued
        * noted
        = []
        * note
        * noted
        = [1, 2]
        * message q1 c
        = Queued
        * move
        * absorb q2 c d
        * noted
        = [1, 2, 3, 4]
    ");
}

fn step() -> impl Strategy<Value = Vec<String>> {
    let id = 1..6u16;
    let one = |line: String| vec![line];
    prop_oneof![
        4 => (1..3u8, "[a-z]{1,3}").prop_map(move |(qos, payload)| one(format!("* message q{qos} {payload}"))),
        2 => id.clone().prop_map(move |id| one(format!("> PUBACK {id}"))),
        2 => id.clone().prop_map(move |id| one(format!("> PUBREC {id}"))),
        2 => id.clone().prop_map(move |id| one(format!("> PUBCOMP {id}"))),
        2 => id.clone().prop_map(move |id| one(format!("> PUBLISH {id} q2"))),
        1 => id.prop_map(move |id| one(format!("> PUBREL {id}"))),
        2 => ("[a-z]{1,3}", 1..4u8).prop_map(|(payload, receive)| vec![
            "* lost".into(),
            format!("* message q2 {payload}"),
            format!("* connect receive={receive}"),
        ]),
    ]
}

proptest! {
    #[test]
    fn a_session_that_moves_goes_on_as_if_it_had_not(steps in prop::collection::vec(step(), 0..60)) {
        let stays: Vec<String> =
            std::iter::once("* connect receive=3".to_owned()).chain(steps.into_iter().flatten()).collect();
        let moves: Vec<String> = stays.iter().map(|line| line.replace("* lost", "* move")).collect();
        let run = |script: &[String]| {
            let lines: Vec<&str> = script.iter().map(String::as_str).collect();
            transcript(SessionLimits::default(), &lines).join("\n").replace("* move", "* lost")
        };
        prop_assert_eq!(run(&stays), run(&moves));
    }
}
