use std::num::NonZeroU16;

use super::*;
use crate::bridge::config::BridgeTopic;
use crate::topic::TopicFilter;

const V311: ProtocolVersion = ProtocolVersion::V311;
const V500: ProtocolVersion = ProtocolVersion::V500;

const HERE: Here = Here { max_packet_size: 300, retain: true };

fn relay(version: ProtocolVersion, cluster: Option<&str>) -> Relay {
    relay_to(HERE, version, cluster)
}

fn relay_to(here: Here, version: ProtocolVersion, cluster: Option<&str>) -> Relay {
    let topics = [BridgeTopic {
        filter: TopicFilter::parse("t/#").unwrap(),
        out: true,
        into: true,
        qos: QoS::ExactlyOnce,
        local_prefix: String::new(),
        remote_prefix: "r/".to_owned(),
    }];
    let peer = Peer { version, max_packet_size: 200, retain: true, cluster: cluster.map(ToOwned::to_owned) };
    Relay::new(Topics::outward(&topics), Topics::inward(&topics), "here".to_owned(), peer, here)
}

fn bytes(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(packet, version, u32::MAX, &mut bytes).unwrap();
    bytes
}

fn publish<'a>(qos: QoS, topic: &'a str, users: &[(&'a str, &'a str)]) -> Publish<'a> {
    let set = PropertySet { user_properties: users.to_vec(), ..PropertySet::EMPTY };
    Publish {
        dup: false,
        qos,
        retain: true,
        topic: Some(Topic::new(topic).unwrap()),
        packet_id: (qos != QoS::AtMostOnce).then(|| NonZeroU16::new(7).unwrap()),
        properties: set.into(),
        payload: b"x",
    }
}

fn ack(reason: ReasonCode) -> Ack<'static> {
    Ack { packet_id: NonZeroU16::new(7).unwrap(), reason, properties: Properties::NONE }
}

#[test]
fn a_message_is_renamed_and_keeps_its_identifier() {
    let mut relay = relay(V500, None);
    let message = publish(QoS::ExactlyOnce, "t/1", &[("k", "v")]);
    relay.handle_local(&bytes(&Packet::Publish(message.clone()), V500)).unwrap();
    let renamed = publish(QoS::ExactlyOnce, "r/t/1", &[("k", "v"), (BRIDGE_MARK, "here")]);
    assert_eq!(relay.to_remote, bytes(&Packet::Publish(renamed), V500));
    assert_eq!(relay.counts, Counts { outward: 1, ..Counts::default() });
    relay.handle_remote(&bytes(&Packet::PubRec(ack(ReasonCode::Success)), V500)).unwrap();
    assert_eq!(relay.to_local, bytes(&Packet::PubRec(ack(ReasonCode::Success)), V500));
}

#[test]
fn the_other_way_round_too() {
    let mut relay = relay(V311, None);
    let message = publish(QoS::AtLeastOnce, "r/t/1", &[]);
    relay.handle_remote(&bytes(&Packet::Publish(message), V311)).unwrap();
    let marked = publish(QoS::AtLeastOnce, "t/1", &[(BRIDGE_MARK, ">here")]);
    assert_eq!(relay.to_local, bytes(&Packet::Publish(marked), V500));
    relay.handle_local(&bytes(&Packet::PubAck(ack(ReasonCode::NoMatchingSubscribers)), V500)).unwrap();
    assert_eq!(relay.to_remote, bytes(&Packet::PubAck(ack(ReasonCode::Success)), V311));
}

#[test]
fn what_has_been_there_does_not_go_there_again() {
    let cases: [(Side, &str, &[&str]); 5] = [
        (Side::Local, "t/1", &["here"]),
        (Side::Local, "t/1", &["there", ">elsewhere"]),
        (Side::Local, "t/1", &[">there"]),
        (Side::Remote, "r/t/1", &["here", ">there"]),
        (Side::Remote, "r/t/1", &[">here"]),
    ];
    for (from, topic, marks) in cases {
        let mut relay = relay(V500, Some("there"));
        let users: Vec<_> = marks.iter().map(|mark| (BRIDGE_MARK, *mark)).collect();
        let frame = bytes(&Packet::Publish(publish(QoS::AtLeastOnce, topic, &users)), V500);
        relay.handle(from, &frame, V500).unwrap();
        assert_eq!(relay.counts, Counts { loops: 1, ..Counts::default() });
        let (answered, other) = match from {
            Side::Local => (&relay.to_local, &relay.to_remote),
            Side::Remote => (&relay.to_remote, &relay.to_local),
        };
        assert_eq!(
            *answered,
            bytes(&Packet::PubAck(ack(ReasonCode::Success)), V500),
            "or it would come again"
        );
        assert!(other.is_empty());
    }
}

#[test]
fn where_a_message_has_been_is_written_in_it() {
    let mark = |cluster| (BRIDGE_MARK, cluster);
    let mut into = relay(V500, Some("there"));
    into.handle_remote(&bytes(&Packet::Publish(publish(QoS::AtMostOnce, "r/t", &[mark("x")])), V500))
        .unwrap();
    let mut users = vec![mark("x"), mark("there"), mark(">here")];
    assert_eq!(into.to_local, bytes(&Packet::Publish(publish(QoS::AtMostOnce, "t", &users)), V500));
    // It goes on from here.
    let mut onward = relay(V500, Some("third"));
    onward.handle_local(&bytes(&Packet::Publish(publish(QoS::AtMostOnce, "t", &users)), V500)).unwrap();
    users.push(mark("here"));
    assert_eq!(onward.to_remote, bytes(&Packet::Publish(publish(QoS::AtMostOnce, "r/t", &users)), V500));
}

#[test]
fn what_cannot_be_passed_on_is_settled() {
    let mut relay = relay(V500, None);
    let large = Publish { payload: &[0; 250], ..publish(QoS::ExactlyOnce, "t/1", &[]) };
    relay.handle_local(&bytes(&Packet::Publish(large.clone()), V500)).unwrap();
    let refusal = bytes(&Packet::PubRec(ack(ReasonCode::ImplementationSpecificError)), V500);
    assert_eq!((&relay.to_local, relay.to_remote.len()), (&refusal, 0));
    assert_eq!(relay.counts, Counts { too_large: 1, ..Counts::default() });
    relay.handle_remote(&bytes(&Packet::Publish(publish(QoS::AtLeastOnce, "s", &[])), V500)).unwrap();
    assert_eq!(relay.to_remote, bytes(&Packet::PubAck(ack(ReasonCode::Success)), V500));
    assert_eq!(relay.counts.unmatched, 1);
}

#[test]
fn refusals_are_counted_and_passed_on() {
    let mut relay = relay(V500, None);
    relay.handle_remote(&bytes(&Packet::PubAck(ack(ReasonCode::NotAuthorized)), V500)).unwrap();
    assert_eq!(relay.to_local, bytes(&Packet::PubAck(ack(ReasonCode::NotAuthorized)), V500));
    assert_eq!(relay.counts, Counts { refused: 1, ..Counts::default() });
}

#[test]
fn the_end_of_a_side_is_the_end() {
    let disconnect = crate::codec::packet::Disconnect {
        reason: ReasonCode::SessionTakenOver,
        properties: Properties::NONE,
    };
    let frame = bytes(&Packet::Disconnect(disconnect), V500);
    assert!(matches!(relay(V500, None).handle_remote(&frame), Err(RelayError::Disconnected { .. })));
    assert!(matches!(relay(V500, None).handle_remote(&[0x00, 0]), Err(RelayError::Undecodable { .. })));
}

#[test]
fn a_message_is_retained_only_where_that_is_taken() {
    let mut relay = relay_to(Here { retain: false, ..HERE }, V311, None);
    let message = publish(QoS::AtMostOnce, "r/t/1", &[]);
    relay.handle_remote(&bytes(&Packet::Publish(message), V311)).unwrap();
    let here = Publish { retain: false, ..publish(QoS::AtMostOnce, "t/1", &[(BRIDGE_MARK, ">here")]) };
    assert_eq!(relay.to_local, bytes(&Packet::Publish(here), V500));
}
