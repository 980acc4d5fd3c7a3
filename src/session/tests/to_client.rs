//! Messages for the client: the window, and what stands in the packets.

use super::super::frames::Frames;
use super::super::outbox::MAX_SLICES;
use super::super::{Delivered, Delivery, Negotiated, Session};
use super::script::{run, take_bytes};
use crate::codec::packet::{PropertySet, ProtocolVersion, QoS};
use crate::message::Application;
use crate::message::SHARED_PAYLOAD_MIN;
use crate::topic::Topic;

#[test]
fn each_qos_has_its_own_exchange() {
    run("
        * connect
        * message q0 a
        = Sent
        < PUBLISH q0 a
        * message q1 b
        = Sent
        < PUBLISH 1 q1 b
        > PUBACK 1
        * message q2 c
        = Sent
        < PUBLISH 2 q2 c
        > PUBREC 2
        < PUBREL 2
        * state
        = in flight 1, queued 0, unacknowledged 0, expired 0
        > PUBCOMP 2
        * state
        = in flight 0, queued 0, unacknowledged 0, expired 0
    ");
}

/// [MQTT-3.8.4-8].
#[test]
fn the_lower_qos_counts() {
    run("
        * connect
        * message q2 a granted=q0
        = Sent
        < PUBLISH q0 a
        * message q2 b granted=q1
        = Sent
        < PUBLISH 1 q1 b
        * message q0 c
        = Sent
        < PUBLISH q0 c
    ");
}

/// [MQTT-4.9.0-2]: no more than the Receive Maximum; [MQTT-4.9.0-3]: QoS 0 is not held up.
#[test]
fn a_full_window_queues_and_every_acknowledgement_lets_one_through() {
    run("
        * connect receive=2
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        * message q2 b
        = Sent
        < PUBLISH 2 q2 b
        * message q1 c
        = Queued
        * message q2 d
        = Queued
        * message q0 e
        = Sent
        < PUBLISH q0 e
        > PUBREC 2
        < PUBREL 2
        > PUBACK 1
        < PUBLISH 3 q1 c
        > PUBCOMP 2
        < PUBLISH 4 q2 d
        * state
        = in flight 2, queued 0, unacknowledged 0, expired 0
    ");
}

#[test]
fn acknowledgements_may_come_in_any_order() {
    run("
        * connect receive=3
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        * message q1 b
        = Sent
        < PUBLISH 2 q1 b
        * message q1 c
        = Sent
        < PUBLISH 3 q1 c
        * message q1 d
        = Queued
        > PUBACK 3
        < PUBLISH 4 q1 d
        > PUBACK 2
        > PUBACK 4
        * message q1 e
        = Sent
        < PUBLISH 5 q1 e
        * state
        = in flight 2, queued 0, unacknowledged 0, expired 0
    ");
}

#[test]
fn foreign_and_repeated_acknowledgements_change_nothing() {
    run("
        * connect receive=1
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        * message q2 b
        = Queued
        > PUBACK 5
        > PUBCOMP 1
        > PUBCOMP 5
        > PUBACK 1
        < PUBLISH 2 q2 b
        > PUBACK 1
        > PUBACK 2
        > PUBCOMP 2
        > PUBREC 2
        < PUBREL 2
        > PUBREC 2
        < PUBREL 2
        > PUBACK 2
        > PUBCOMP 2
        > PUBCOMP 2
        * state
        = in flight 0, queued 0, unacknowledged 0, expired 0
    ");
}

#[test]
fn a_pubrec_for_an_unknown_identifier_is_told_so() {
    run("
        * connect
        > PUBREC 3
        < PUBREL 3 0x92
        > PUBREC 3 0x80
        * message q1 a
        = Sent
        < PUBLISH 1 q1 a
        > PUBREC 1
        < PUBREL 1 0x92
        > PUBACK 1
    ");
}

/// [MQTT-4.4.0-2]: a refused message is done with.
#[test]
fn refusals_end_the_delivery() {
    run("
        * connect receive=1
        * message q2 a
        = Sent
        < PUBLISH 1 q2 a
        * message q1 b
        = Queued
        * message q1 c
        = Queued
        > PUBREC 1 0x80
        < PUBLISH 2 q1 b
        > PUBACK 2 0x80
        < PUBLISH 3 q1 c
        * lost
        * connect
        < PUBLISH 3 q1 c dup
    ");
}

/// More messages than there are identifiers, with one that stays in flight until the ring is half round.
#[test]
fn identifiers_wrap_around_and_skip_those_in_use() {
    let mut script = String::from("* connect receive=2\n* message q1 first\n= Sent\n< PUBLISH 1 q1 first\n");
    for n in 2..=66_000u32 {
        if n == 30_000 {
            script.push_str("> PUBACK 1\n");
        }
        let id = (n - 1) % 65_535 + 1;
        script.push_str(&format!("* message q1 x\n= Sent\n< PUBLISH {id} q1 x\n> PUBACK {id}\n"));
    }
    run(&script);
}

/// The ring of identifiers is bounded: a client that never acknowledges its oldest message gets no more after 32,768.
#[test]
fn an_identifier_that_is_never_acknowledged_is_never_given_to_another_message() {
    let mut script = String::from("* connect receive=2\n* message q1 first\n= Sent\n< PUBLISH 1 q1 first\n");
    for id in 2..=32_768u32 {
        script.push_str(&format!("* message q1 x\n= Sent\n< PUBLISH {id} q1 x\n> PUBACK {id}\n"));
    }
    script.push_str("* message q1 last\n= Queued\n> PUBACK 1\n< PUBLISH 32769 q1 last\n");
    run(&script);
}

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25].
#[test]
fn what_is_too_large_for_the_client_counts_as_sent() {
    run("
        * connect size=20 receive=1
        * message q0 100
        = Dropped(PacketTooLarge)
        * message q1 100
        = Dropped(PacketTooLarge)
        * message q1 fits
        = Sent
        < PUBLISH 2 q1 fits
        * message q2 100
        = Queued
        * message q2 too
        = Queued
        > PUBACK 2
        < PUBLISH 4 q2 too
        * state
        = in flight 1, queued 0, unacknowledged 0, expired 0
    ");
}

#[test]
fn the_limit_counts_every_byte_of_the_packet() {
    // Fixed header 2, topic 3, property length 1, payload 4.
    run("
        * connect size=10
        * message q0 abcd
        = Sent
        < PUBLISH q0 abcd
        * message q0 abcde
        = Dropped(PacketTooLarge)
        * message q0 a id=1
        = Sent
        < PUBLISH q0 a id=1
        * message q0 abcd id=1
        = Dropped(PacketTooLarge)
    ");
}

/// [MQTT-3.3.4-4].
#[test]
fn subscription_identifiers_are_named_also_after_a_wait() {
    run("
        * connect receive=1
        * message q1 a id=3 id=4
        = Sent
        < PUBLISH 1 q1 a id=3 id=4
        * message q1 b retain id=5
        = Queued
        * message q1 c
        = Queued
        > PUBACK 1
        < PUBLISH 2 q1 b retain id=5
        > PUBACK 2
        < PUBLISH 3 q1 c
    ");
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6].
#[test]
fn waiting_shortens_the_expiry_and_may_end_it() {
    run("
        * connect receive=1
        * message q1 a expiry=10
        = Sent
        < PUBLISH 1 q1 a expiry=10
        * message q1 b expiry=10
        = Queued
        * message q1 c expiry=3
        = Queued
        * message q1 d
        = Queued
        * wait 4
        > PUBACK 1
        < PUBLISH 2 q1 b expiry=6
        > PUBACK 2
        < PUBLISH 3 q1 d
        * state
        = in flight 1, queued 0, unacknowledged 0, expired 1
    ");
}

/// [MQTT-4.3.3-7]: what was sent once does not expire.
#[test]
fn a_message_in_flight_does_not_expire() {
    run("
        * connect
        * message q2 a expiry=3
        = Sent
        < PUBLISH 1 q2 a expiry=3
        * lost
        * wait 5
        * connect
        < PUBLISH 1 q2 a dup expiry=0
    ");
}

#[test]
fn the_old_protocol_gets_no_properties() {
    run("
        * connect v3.1.1
        * message q1 a expiry=10 id=1
        = Sent
        < PUBLISH 1 q1 a
    ");
}

#[test]
fn large_payloads_arrive_whole_among_small_ones() {
    run("
        * connect
        * stall
        * message q0 2047
        = Sent
        * message q1 2048
        = Sent
        * message q0 small
        = Sent
        * message q2 100000 id=9
        = Sent
        * message q0 end
        = Sent
        * drain
        < PUBLISH q0 2047
        < PUBLISH 1 q1 2048
        < PUBLISH q0 small
        < PUBLISH 2 q2 100000 id=9
        < PUBLISH q0 end
    ");
}

#[test]
fn a_large_payload_is_shared_by_all_outboxes() {
    let payload = vec![b'x'; SHARED_PAYLOAD_MIN];
    let properties = PropertySet::default();
    let application = Application {
        topic: Topic::new("t").expect("a topic"),
        payload: &payload,
        backing: None,
        qos: QoS::AtMostOnce,
        retain: false,
        properties: &properties,
        expires_at: None,
    };
    let mut scratch = Vec::new();
    let mut frames = Frames::new(&application, &mut scratch, std::time::Instant::now());
    let versions = [ProtocolVersion::V500, ProtocolVersion::V500, ProtocolVersion::V311];
    let mut sessions = versions.map(|version| {
        let mut session = Session::new(Default::default());
        session.handle_connected(Negotiated {
            version,
            max_packet_size: u32::MAX,
            receive_maximum: 1,
            announced_receive_maximum: None,
            topic_alias_maximum: 0,
            problem_information: true,
        });
        let delivery = Delivery { qos: QoS::AtMostOnce, retain: false, identifiers: &[], ticket: None };
        assert_eq!(session.deliver(&mut frames, delivery), Delivered::Sent);
        session
    });
    let payload_addresses = sessions.each_mut().map(|session| {
        let mut slices = [std::io::IoSlice::new(&[]); MAX_SLICES];
        assert_eq!(session.outbox().slices(&mut slices), 2, "the head and the payload");
        slices[1].as_ptr()
    });
    assert_eq!(payload_addresses[0], payload_addresses[1]);
    assert_eq!(payload_addresses[0], payload_addresses[2]);
    assert!(sessions.iter_mut().all(|session| take_bytes(session).ends_with(&payload)));
}
