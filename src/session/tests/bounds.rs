//! What a slow or absent client may cost.

use super::super::SessionLimits;
use super::script::{run, run_with};

fn queue_of(messages: usize, bytes: usize) -> SessionLimits {
    SessionLimits { max_queued_messages: messages, max_queued_bytes: bytes, ..Default::default() }
}

#[test]
fn the_queue_is_bounded_by_messages() {
    run_with(
        queue_of(2, usize::MAX),
        "
        * message q1 a
        = Queued
        * message q2 b
        = Queued
        * message q1 c
        = Dropped(QueueFull)
        * connect receive=1
        < PUBLISH 1 q1 a
        * message q1 d
        = Queued
        * message q1 e
        = Dropped(QueueFull)
        > PUBACK 1
        < PUBLISH 2 q2 b
        * state
        = in flight 1, queued 1, unacknowledged 0, expired 0
    ",
    );
}

#[test]
fn the_queue_is_bounded_by_bytes() {
    run_with(
        queue_of(100, 10_000),
        "
        * message q1 4000
        = Queued
        * message q1 7000
        = Dropped(QueueFull)
        * message q1 4000
        = Queued
        * message q1 4000
        = Dropped(QueueFull)
        * connect receive=1
        < PUBLISH 1 q1 4000
        * message q1 4000
        = Queued
    ",
    );
}

/// What is sent and not acknowledged is bounded like what waits, but one message may always be.
#[test]
fn the_window_is_bounded_by_bytes() {
    run_with(
        queue_of(100, 10_000),
        "
        * connect receive=100
        * message q1 6000
        = Sent
        < PUBLISH 1 q1 6000
        * message q1 6000
        = Sent
        < PUBLISH 2 q1 6000
        * message q1 6000
        = Queued
        > PUBACK 1
        < PUBLISH 3 q1 6000
        * state
        = in flight 2, queued 0, unacknowledged 0, expired 0
    ",
    );
}

#[test]
fn expired_messages_make_room_when_they_are_come_upon() {
    run_with(
        queue_of(2, usize::MAX),
        "
        * message q1 a expiry=1
        = Queued
        * message q1 b expiry=1
        = Queued
        * wait 2
        * connect
        * message q1 c
        = Sent
        < PUBLISH 1 q1 c
        * state
        = in flight 1, queued 0, unacknowledged 0, expired 2
    ",
    );
}

fn outbox_of(bytes: usize) -> SessionLimits {
    SessionLimits { max_outbox_bytes: bytes, ..Default::default() }
}

#[test]
fn a_full_outbox_drops_qos_0_and_queues_the_rest() {
    run_with(
        outbox_of(10),
        "
        * connect
        * stall
        * message q0 abcdef
        = Sent
        * message q0 ghijkl
        = Dropped(SlowConsumer)
        * message q1 b
        = Queued
        * message q1 c
        = Queued
        > PUBLISH 1 q1
        * drain
        < PUBLISH q0 abcdef
        < PUBACK 1
        < PUBLISH 1 q1 b
        < PUBLISH 2 q1 c
    ",
    );
}

/// Acknowledgements of the client make room in the window, but not in the outbox.
#[test]
fn an_acknowledgement_does_not_fill_a_full_outbox() {
    run_with(
        outbox_of(5),
        "
        * connect receive=1
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        * stall
        * message q0 abcdef
        = Sent
        * message q1 b
        = Queued
        > PUBACK 1
        * state
        = in flight 0, queued 1, unacknowledged 0, expired 0
        * drain
        < PUBLISH q0 abcdef
        < PUBLISH 2 q1 b
    ",
    );
}

/// The window is limited by our own side, too, whatever the client can take.
#[test]
fn we_limit_what_is_in_flight() {
    let limits = SessionLimits { max_inflight: std::num::NonZeroU16::MIN, ..Default::default() };
    run_with(
        limits,
        "
        * connect receive=100
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        * message q1 b
        = Queued
    ",
    );
}

#[test]
fn without_a_connection_nothing_is_written() {
    run("
        > PUBLISH 1 q1
        > PUBREL 2
        * message q0 a
        = Dropped(Offline)
        * message q1 b
        = Queued
        * connect
        < PUBLISH 1 q1 b
    ");
}
