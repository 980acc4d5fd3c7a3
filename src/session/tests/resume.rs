//! A session goes on with its next connection.

use super::script::run;

/// [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1].
#[test]
fn unacknowledged_messages_come_again_in_order_and_marked() {
    run("
        * connect
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        * message q2 b
        = Sent
        < PUBLISH 2 q2 b
        * message q0 c
        = Sent
        < PUBLISH q0 c
        * message q1 d retain id=7
        = Sent
        < PUBLISH 3 q1 d retain id=7
        > PUBACK 1
        * lost
        * connect
        < PUBLISH 2 q2 b dup
        < PUBLISH 3 q1 d dup retain id=7
        > PUBREC 2
        < PUBREL 2
        > PUBACK 3
        > PUBCOMP 2
        * state
        = in flight 0, queued 0, unacknowledged 0, expired 0
    ");
}

/// [MQTT-4.3.3-6]: after PUBREL only PUBREL.
#[test]
fn a_released_message_is_released_again_and_not_sent_again() {
    run("
        * connect
        * message q2 a
        = Sent
        < PUBLISH 1 q2 a
        > PUBREC 1
        < PUBREL 1
        * lost
        * connect
        < PUBREL 1
        * lost
        * connect
        < PUBREL 1
        > PUBCOMP 1
        * lost
        * connect
    ");
}

#[test]
fn messages_that_came_while_the_client_was_away_follow() {
    run("
        * connect
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        * lost
        * message q1 b
        = Queued
        * message q0 c
        = Dropped(Offline)
        * message q2 d
        = Queued
        * connect
        < PUBLISH 1 q1 a dup
        < PUBLISH 2 q1 b
        < PUBLISH 3 q2 d
    ");
}

/// What the socket did not take before the connection was lost is sent again, and nothing is sent half.
#[test]
fn unwritten_bytes_die_with_the_connection() {
    run("
        * connect
        * stall
        * message q1 a
        = Sent
        * message q0 b
        = Sent
        > PUBLISH 1 q1
        * lost
        * connect
        < PUBLISH 1 q1 a dup
    ");
}

#[test]
fn the_new_connections_receive_maximum_counts() {
    run("
        * connect receive=4
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        * message q1 b
        = Sent
        < PUBLISH 2 q1 b
        * message q1 c
        = Sent
        < PUBLISH 3 q1 c
        * lost
        * message q1 d
        = Queued
        * connect receive=2
        < PUBLISH 1 q1 a dup
        < PUBLISH 2 q1 b dup
        * message q1 e
        = Queued
        > PUBACK 2
        < PUBLISH 3 q1 c dup
        > PUBACK 1
        < PUBLISH 4 q1 d
        > PUBACK 3
        < PUBLISH 5 q1 e
        * lost
        * connect receive=1
        < PUBLISH 4 q1 d dup
        > PUBACK 4
        < PUBLISH 5 q1 e dup
    ");
}

/// [MQTT-3.3.4-10]: only PUBLISH packets wait for the Receive Maximum.
#[test]
fn releases_do_not_wait_for_the_window() {
    run("
        * connect
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        * message q1 b
        = Sent
        < PUBLISH 2 q1 b
        * message q2 c
        = Sent
        < PUBLISH 3 q2 c
        > PUBREC 3
        < PUBREL 3
        * lost
        * connect receive=2
        < PUBREL 3
        < PUBLISH 1 q1 a dup
        > PUBCOMP 3
        < PUBLISH 2 q1 b dup
    ");
}

/// The client may still acknowledge what an earlier connection brought before this one brings it again. That must not
/// let more than the Receive Maximum through.
#[test]
fn an_early_acknowledgement_saves_the_repetition() {
    run("
        * connect
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        * message q1 b
        = Sent
        < PUBLISH 2 q1 b
        * message q2 c
        = Sent
        < PUBLISH 3 q2 c
        * message q1 d
        = Sent
        < PUBLISH 4 q1 d
        * lost
        * connect receive=1
        < PUBLISH 1 q1 a dup
        > PUBACK 4
        > PUBREC 3
        < PUBREL 3
        > PUBACK 1
        > PUBCOMP 3
        < PUBLISH 2 q1 b dup
        > PUBACK 2
        * message q1 e
        = Sent
        < PUBLISH 5 q1 e
    ");
}

#[test]
fn another_protocol_version_may_resume_the_session() {
    run("
        * connect
        * message q1 a expiry=9 id=2
        = Sent
        < PUBLISH 1 q1 a expiry=9 id=2
        * lost
        * connect v3.1.1
        < PUBLISH 1 q1 a dup
        * lost
        * connect
        < PUBLISH 1 q1 a dup expiry=9 id=2
    ");
}

/// A message in flight that the new connection does not take is given up like any other [MQTT-3.1.2-25].
#[test]
fn a_smaller_maximum_packet_size_drops_what_was_in_flight() {
    run("
        * connect
        * message q1 100
        = Sent
        < PUBLISH 1 q1 100
        * message q1 b
        = Sent
        < PUBLISH 2 q1 b
        * lost
        * connect size=30
        < PUBLISH 2 q1 b dup
        * state
        = in flight 1, queued 0, unacknowledged 0, expired 0
    ");
}
