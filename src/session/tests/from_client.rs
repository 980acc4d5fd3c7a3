//! Publishes of the client and what acknowledges them.

use std::num::NonZeroU16;

use super::super::SessionLimits;
use super::script::{run, run_with};

#[test]
fn qos_1_is_acknowledged_at_once() {
    run("
        * connect
        > PUBLISH 7 q1
        < PUBACK 7
        > PUBLISH 7 q1
        < PUBACK 7
        * state
        = in flight 0, queued 0, unacknowledged 0, expired 0
    ");
}

#[test]
fn qos_2_takes_four_packets() {
    run("
        * connect
        > PUBLISH 7 q2
        < PUBREC 7
        > PUBREL 7
        < PUBCOMP 7
    ");
}

/// [MQTT-4.3.3-10], [MQTT-4.3.3-12].
#[test]
fn a_qos_2_duplicate_is_answered_and_not_routed_again() {
    run("
        * connect
        > PUBLISH 7 q2
        < PUBREC 7
        > PUBLISH 7 q2
        = Duplicate
        < PUBREC 7
        > PUBREL 7
        < PUBCOMP 7
        > PUBLISH 7 q2
        < PUBREC 7
    ");
}

#[test]
fn a_qos_2_duplicate_of_a_publish_that_still_waits_gets_one_answer() {
    run("
        * connect
        > PUBLISH 7 q2 pending=1
        > PUBLISH 7 q2
        = Duplicate
        * confirm 7
        < PUBREC 7
        > PUBREL 7
        < PUBCOMP 7
    ");
}

#[test]
fn a_release_of_an_unknown_identifier_says_so() {
    run("
        * connect
        > PUBREL 9
        < PUBCOMP 9 0x92
        > PUBLISH 9 q2
        < PUBREC 9
        > PUBREL 9
        < PUBCOMP 9
        > PUBREL 9
        < PUBCOMP 9 0x92
    ");
}

/// [MQTT-4.3.3-9]: the identifier of a refused message is free for a new one.
#[test]
fn a_refused_qos_2_publish_ends_with_its_pubrec() {
    run("
        * connect
        > PUBLISH 7 q2 refused
        < PUBREC 7 0x97
        > PUBLISH 7 q2
        < PUBREC 7
    ");
}

#[test]
fn the_old_protocol_has_no_reason_codes() {
    run("
        * connect v3.1.1
        > PUBLISH 7 q1 refused
        < PUBACK 7
        > PUBREL 9
        < PUBCOMP 9
        > PUBREC 9
        < PUBREL 9
    ");
}

/// [MQTT-4.6.0-2], [MQTT-4.6.0-3], as seen from the publisher.
#[test]
fn acknowledgements_leave_in_the_order_of_the_publishes() {
    run("
        * connect
        > PUBLISH 1 q1 pending=2
        > PUBLISH 2 q2 pending=1
        > PUBLISH 3 q1
        > PUBLISH 4 q1 pending=1
        * confirm 2
        * confirm 1
        * state
        = in flight 0, queued 0, unacknowledged 4, expired 0
        * confirm 1
        < PUBACK 1
        < PUBREC 2
        < PUBACK 3
        * confirm 4
        < PUBACK 4
        > PUBLISH 5 q1
        < PUBACK 5
    ");
}

#[test]
fn a_confirmation_after_the_connection_is_lost_is_nobodys() {
    run("
        * connect
        > PUBLISH 1 q1 pending=1
        > PUBLISH 2 q2 pending=1
        * lost
        * confirm 1
        * connect
        > PUBLISH 2 q2
        = Duplicate
        * confirm 2
        < PUBREC 2
        > PUBLISH 1 q1
        < PUBACK 1
    ");
}

/// Released on one connection, published on another: the QoS 2 state outlives both.
#[test]
fn an_unreleased_identifier_outlives_the_connection() {
    run("
        * connect
        > PUBLISH 1 q2
        < PUBREC 1
        * lost
        * connect
        > PUBLISH 1 q2
        = Duplicate
        < PUBREC 1
        > PUBREL 1
        < PUBCOMP 1
    ");
}

fn receiving(maximum: u16) -> SessionLimits {
    SessionLimits { receive_maximum: NonZeroU16::new(maximum).expect("not zero"), ..Default::default() }
}

/// [MQTT-3.3.4-7].
#[test]
fn more_publishes_than_announced_are_a_violation() {
    run_with(
        receiving(2),
        "
        * connect
        > PUBLISH 1 q1 pending=1
        > PUBLISH 2 q2
        > PUBLISH 3 q1
        = ReceiveMaximumExceeded
        * confirm 1
        < PUBACK 1
        < PUBREC 2
        > PUBLISH 3 q1
        < PUBACK 3
        > PUBLISH 4 q2
        < PUBREC 4
        > PUBLISH 5 q2
        = ReceiveMaximumExceeded
        > PUBREL 2
        < PUBCOMP 2
        > PUBLISH 5 q2
        < PUBREC 5
    ",
    );
}

#[test]
fn a_duplicate_at_the_maximum_is_no_violation() {
    run_with(
        receiving(1),
        "
        * connect
        > PUBLISH 1 q2
        < PUBREC 1
        > PUBLISH 1 q2
        = Duplicate
        < PUBREC 1
    ",
    );
}

/// The quota begins anew with each connection (4.9): what the former one left waiting, and the client sends again, counts
/// once.
#[test]
fn publishes_of_a_lost_connection_do_not_count_twice() {
    run_with(
        receiving(2),
        "
        * connect
        > PUBLISH 1 q1 pending=1
        > PUBLISH 2 q1 pending=1
        * lost
        * connect
        > PUBLISH 1 q1 pending=1
        > PUBLISH 2 q1 pending=1
        > PUBLISH 3 q1
        = ReceiveMaximumExceeded
    ",
    );
}

/// 3.1.1 clients are not told of any maximum.
#[test]
fn a_client_that_was_told_no_maximum_has_none() {
    run_with(
        receiving(1),
        "
        * connect v3.1.1
        > PUBLISH 1 q2
        < PUBREC 1
        > PUBLISH 2 q2
        < PUBREC 2
    ",
    );
}
