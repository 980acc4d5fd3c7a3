//! Topic aliases towards the client.

use super::script::run;

/// [MQTT-3.1.2-26], [MQTT-3.3.2-8], [MQTT-3.3.2-11].
#[test]
fn a_topic_is_named_once_where_the_client_takes_aliases() {
    run("
        * connect aliases=1
        * message q0 a topic=sensors
        = Sent
        < PUBLISH q0 a topic=sensors alias=1
        * message q0 b topic=sensors
        = Sent
        < PUBLISH q0 b alias=1
        * message q1 c topic=sensors retain
        = Sent
        < PUBLISH 1 q1 c alias=1 retain
        * message q2 d topic=sensors expiry=9 id=4
        = Sent
        < PUBLISH 2 q2 d alias=1 expiry=9 id=4
        * message q0 3000 topic=sensors
        = Sent
        < PUBLISH q0 3000 alias=1
        * message q1 3000 topic=sensors id=1
        = Sent
        < PUBLISH 3 q1 3000 alias=1 id=1
        * message q0 e topic=others
        = Sent
        < PUBLISH q0 e topic=others
    ");
}

/// [MQTT-3.1.2-27].
#[test]
fn a_client_that_takes_none_gets_none() {
    run("
        * connect aliases=0
        * message q0 a topic=sensors
        = Sent
        < PUBLISH q0 a topic=sensors
        * message q0 b topic=sensors
        = Sent
        < PUBLISH q0 b topic=sensors
        * lost
        * connect v3.1.1
        * message q0 c topic=sensors
        = Sent
        < PUBLISH q0 c topic=sensors
    ");
}

/// [MQTT-3.3.2-7]: what is sent again, or sent later, names its topic anew.
#[test]
fn aliases_die_with_their_connection() {
    run("
        * connect aliases=1 receive=2
        * message q1 a topic=sensors
        = Sent
        < PUBLISH 1 q1 a topic=sensors alias=1
        * message q1 b topic=sensors
        = Sent
        < PUBLISH 2 q1 b alias=1
        * message q1 c topic=sensors
        = Queued
        * lost
        * message q1 d topic=sensors
        = Queued
        * connect aliases=1 receive=3
        < PUBLISH 1 q1 a topic=sensors alias=1 dup
        < PUBLISH 2 q1 b alias=1 dup
        < PUBLISH 3 q1 c alias=1
        > PUBACK 1
        < PUBLISH 4 q1 d alias=1
        * lost
        * connect
        < PUBLISH 2 q1 b topic=sensors dup
        < PUBLISH 3 q1 c topic=sensors dup
        < PUBLISH 4 q1 d topic=sensors dup
    ");
}

/// The client learns an alias from the packet that sets it: one that is not sent sets nothing, and none is lost for the
/// bytes an alias would take.
#[test]
fn an_alias_that_does_not_fit_is_not_set() {
    // Fixed header 2, topic 9, property length 1, payload 4; an alias takes 3 more.
    run("
        * connect aliases=1 size=16
        * message q0 abcd topic=sensors
        = Sent
        < PUBLISH q0 abcd topic=sensors
        * message q0 abcdefgh topic=sensors
        = Dropped(PacketTooLarge)
        * message q0 a topic=sensors
        = Sent
        < PUBLISH q0 a topic=sensors alias=1
        * message q0 abcdefgh topic=sensors
        = Sent
        < PUBLISH q0 abcdefgh alias=1
    ");
}
