//! Shared subscriptions on one node.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use rumormq::broker::Limits;
use rumormq::codec::packet::{Ack, Connect, Packet, PropertySet, Publish, QoS, ReasonCode, RetainHandling};
use rumormq::router::Strategy;

use crate::support::client::{
    Client, Q0, Q1, Q2, V311, ack, connect, lasting, options, publish, subscribe, subscribe_as,
};
use crate::support::node::Node;

fn with_strategy(shared_strategy: Strategy) -> Node {
    Node::with(Limits { shared_strategy, ..Limits::default() })
}

fn members<const N: usize>(node: &Node, filter: &str, qos: QoS) -> [Client; N] {
    std::array::from_fn(|number| {
        let mut member = node.connect(&format!("member-{number}"));
        member.subscribes(&[(filter, options(qos))], &format!("{:#04x}", qos as u8));
        member
    })
}

/// What each member has got so far, acknowledged as it came.
fn payloads(member: &mut Client) -> Vec<String> {
    let mut payloads = Vec::new();
    member.sends(Packet::PingReq);
    loop {
        let frame = member.frame().expect("still connected");
        match frame.packet() {
            Packet::PingResp => return payloads,
            Packet::Publish(publish) => {
                payloads.push(String::from_utf8_lossy(publish.payload).into_owned());
                let id = publish.packet_id.map(|id| ack(id.get()));
                match publish.qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => member.sends(Packet::PubAck(id.expect("QoS 1"))),
                    QoS::ExactlyOnce => member.sends(Packet::PubRec(id.expect("QoS 2"))),
                }
            }
            Packet::PubRel(released) => member.sends(Packet::PubComp(ack(released.packet_id.get()))),
            other => panic!("unexpected: {other:?}"),
        }
    }
}

fn refused(id: u16) -> Ack<'static> {
    Ack { reason: ReasonCode::ImplementationSpecificError, ..ack(id) }
}

/// [MQTT-4.8.2-3]: each message goes to one member, with its own QoS.
#[test]
fn members_take_turns_at_every_qos() {
    let node = Node::start();
    for qos in [Q0, Q1, Q2] {
        let mut group = members::<3>(&node, "$share/g/t/+", Q2);
        let mut publisher = node.connect("p");
        for number in 0..9 {
            publisher.publishes(publish(1, qos, &format!("t/{number}"), &number.to_string()));
        }
        for (turn, member) in group.iter_mut().enumerate() {
            let expected: Vec<String> = (0..3).map(|round| (round * 3 + turn).to_string()).collect();
            let mut got = payloads(member);
            got.extend(payloads(member));
            assert_eq!(got, expected, "{qos:?}");
        }
        group.into_iter().for_each(Client::disconnects);
    }
}

#[test]
fn the_granted_qos_is_the_members_own() {
    let node = Node::start();
    let mut low = node.connect("low");
    low.subscribes(&[("$share/g/t", options(Q0))], "0x00");
    let mut high = node.connect_with(Connect { version: V311, ..connect("high") });
    high.subscribes(&[("$share/g/t", options(Q2))], "0x02");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q1, "t", "1"));
    publisher.publishes(publish(1, Q1, "t", "2"));
    low.gets("PUBLISH q0 t 1");
    high.gets("PUBLISH 1 q1 t 2");
}

#[test]
fn random_reaches_all_members() {
    let node = with_strategy(Strategy::Random);
    let mut group = members::<3>(&node, "$share/g/t", Q1);
    let mut publisher = node.connect("p");
    for _ in 0..300 {
        publisher.publishes(publish(1, Q1, "t", "x"));
    }
    let counts: Vec<usize> = group.iter_mut().map(|member| payloads(member).len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 300);
    assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
}

#[test]
fn local_first_takes_turns_on_the_node() {
    let node = with_strategy(Strategy::LocalFirst);
    let mut group = members::<2>(&node, "$share/g/t", Q1);
    let mut publisher = node.connect("p");
    for number in 0..4 {
        publisher.publishes(publish(1, Q1, "t", &number.to_string()));
    }
    assert_eq!(payloads(&mut group[0]), ["0", "2"]);
    assert_eq!(payloads(&mut group[1]), ["1", "3"]);
}

#[test]
fn a_hash_keeps_to_one_member() {
    for (strategy, by_client) in [(Strategy::HashClient, true), (Strategy::HashTopic, false)] {
        let node = with_strategy(strategy);
        let mut group = members::<4>(&node, "$share/g/#", Q1);
        let mut publishers: Vec<Client> = (0..16).map(|id| node.connect(&format!("p{id}"))).collect();
        for round in 0..16 {
            for (id, publisher) in publishers.iter_mut().enumerate() {
                publisher.publishes(publish(1, Q1, &format!("t/{round}"), &format!("{id} {round}")));
            }
        }
        let mut takers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut idle = 0;
        for (number, member) in group.iter_mut().enumerate() {
            let payloads = payloads(member);
            idle += usize::from(payloads.is_empty());
            for payload in payloads {
                let (client, topic) = payload.split_once(' ').expect("two words");
                takers.entry(if by_client { client } else { topic }.to_owned()).or_default().push(number);
            }
        }
        assert_eq!(takers.len(), 16);
        for (key, members) in takers {
            assert!(members.len() == 16 && members.iter().all(|member| *member == members[0]), "{key}");
        }
        assert!(idle < 2, "16 keys spread over 4 members");
    }
}

#[test]
fn sticky_keeps_to_the_first_member_until_it_goes() {
    let node = with_strategy(Strategy::Sticky);
    let [mut first, mut second, mut third] = members(&node, "$share/g/t", Q1);
    let mut publisher = node.connect("p");
    (0..3).for_each(|_| publisher.publishes(publish(1, Q1, "t", "x")));
    assert_eq!(payloads(&mut first).len(), 3);
    first.disconnects();
    (0..3).for_each(|_| publisher.publishes(publish(1, Q1, "t", "x")));
    assert_eq!(payloads(&mut second).len(), 3);
    third.waits();
}

/// Each shared subscription gets a copy, and so do plain ones (4.8.2).
#[test]
fn groups_and_plain_subscriptions_get_copies_of_their_own() {
    let node = Node::start();
    let mut client = node.connect("c");
    for (identifier, filter) in
        [(1, "$share/g/a/+"), (2, "$share/h/a/+"), (3, "$share/g/#"), (4, "a/b"), (5, "#")]
    {
        client.sends(Packet::Subscribe(subscribe_as(identifier, filter, options(Q1))));
        client.gets("SUBACK 1 0x01");
    }
    node.connect("p").publishes(publish(1, Q0, "a/b", "x"));
    client.gets_all_of(&[
        "PUBLISH q0 a/b x id=4 id=5",
        "PUBLISH q0 a/b x id=1",
        "PUBLISH q0 a/b x id=2",
        "PUBLISH q0 a/b x id=3",
    ]);
    client.waits();
    client.unsubscribes("$share/g/a/+", "0x00");
    client.unsubscribes("$share/g/a/+", "0x11");
    client.unsubscribes("$share/h/a/+", "0x00");
    client.unsubscribes("a/b", "0x00");
    client.unsubscribes("#", "0x00");
    node.connect("p").publishes(publish(1, Q0, "a/b", "y"));
    client.gets("PUBLISH q0 a/b y id=3");
    client.waits();
}

#[test]
fn an_equal_subscription_replaces_the_members_own() {
    let node = Node::start();
    let mut member = node.connect("m");
    member.subscribes(&[("$share/g/t", options(Q0))], "0x00");
    member.subscribes(&[("$share/g/t", options(Q2))], "0x02");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q2, "t", "x"));
    member.gets("PUBLISH 1 q2 t x");
    member.waits();
}

/// Retained messages are nobody's in particular (4.8.2); the retain flag is as the options say.
#[test]
fn retained_messages_are_not_for_groups() {
    let node = Node::start();
    let mut publisher = node.connect("p");
    publisher.publishes(Publish { retain: true, ..publish(1, Q1, "t", "old") });
    let mut member = node.connect("m");
    let handling = |retain_handling| rumormq::codec::packet::SubscriptionOptions {
        retain_handling,
        retain_as_published: true,
        ..options(Q1)
    };
    member.subscribes(&[("$share/g/t", handling(RetainHandling::Send))], "0x01");
    member.subscribes(&[("$share/g/t", handling(RetainHandling::SendIfNew))], "0x01");
    publisher.publishes(Publish { retain: true, ..publish(1, Q1, "t", "new") });
    member.gets("PUBLISH 1 q1 t new retain");
    member.waits();
}

/// [MQTT-3.8.3-4].
#[test]
fn no_local_is_an_error() {
    let node = Node::start();
    let mut member = node.connect("m");
    let no_local = rumormq::codec::packet::SubscriptionOptions { no_local: true, ..options(Q1) };
    let mut bytes = Vec::new();
    rumormq::codec::encode(
        &Packet::Subscribe(subscribe(1, &[("$share/g/t", no_local)])),
        rumormq::codec::packet::ProtocolVersion::V500,
        u32::MAX,
        &mut bytes,
    )
    .expect("a packet");
    member.sends_bytes(&bytes);
    member.gets("DISCONNECT 0x82");
}

#[test]
fn what_a_member_left_unacknowledged_goes_to_another() {
    let node = Node::start();
    let [mut first, mut second] = members(&node, "$share/g/t", Q1);
    let mut publisher = node.connect("p");
    (1..=4).for_each(|number: u16| publisher.publishes(publish(1, Q1, "t", &number.to_string())));
    first.gets("PUBLISH 1 q1 t 1");
    first.gets("PUBLISH 2 q1 t 3");
    first.sends(Packet::PubAck(ack(1)));
    first.vanishes();
    second.gets("PUBLISH 1 q1 t 2");
    second.gets("PUBLISH 2 q1 t 4");
    second.gets("PUBLISH 3 q1 t 3");
    second.waits();
}

#[test]
fn a_lasting_members_messages_go_to_whoever_is_connected() {
    let node = Node::start();
    let mut lasting_member = node.connect_with(lasting("lasting", 100));
    lasting_member.subscribes(&[("$share/g/t", options(Q1))], "0x01");
    let [mut other] = members(&node, "$share/g/t", Q1);
    let mut publisher = node.connect("p");
    (1..=2).for_each(|number: u16| publisher.publishes(publish(1, Q1, "t", &number.to_string())));
    lasting_member.gets("PUBLISH 1 q1 t 1");
    lasting_member.vanishes();
    other.gets("PUBLISH 1 q1 t 2");
    other.gets("PUBLISH 2 q1 t 1");
    publisher.publishes(publish(1, Q1, "t", "3"));
    other.gets("PUBLISH 3 q1 t 3");
    (1..=3).for_each(|id| other.sends(Packet::PubAck(ack(id))));
    other.disconnects();
    publisher.publishes(publish(1, Q1, "t", "4"));
    let mut back = node.connect_with(lasting("lasting", 100));
    back.gets("PUBLISH 2 q1 t 4");
    back.waits();
}

#[test]
fn without_others_a_lasting_member_keeps_its_messages() {
    let node = Node::start();
    let mut member = node.connect_with(lasting("m", 100));
    member.subscribes(&[("$share/g/t", options(Q2))], "0x02");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q1, "t", "1"));
    publisher.publishes(publish(1, Q2, "t", "2"));
    member.vanishes();
    publisher.publishes(publish(1, Q1, "t", "3"));
    publisher.publishes(publish(1, Q0, "t", "gone"));
    let mut member = node.connect_with(lasting("m", 100));
    member.gets("PUBLISH 1 q1 t 1 dup");
    member.gets("PUBLISH 2 q2 t 2 dup");
    member.gets("PUBLISH 3 q1 t 3");
    member.waits();
}

/// [MQTT-4.8.2-4], [MQTT-4.8.2-5].
#[test]
fn a_qos_2_message_that_was_sent_stays_with_its_member() {
    let node = Node::start();
    let mut first = node.connect_with(lasting("first", 100));
    first.subscribes(&[("$share/g/t", options(Q2))], "0x02");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q2, "t", "1"));
    let [mut second] = members(&node, "$share/g/t", Q2);
    first.gets("PUBLISH 1 q2 t 1");
    first.vanishes();
    second.waits();
    let mut first = node.connect_with(lasting("first", 100));
    first.gets("PUBLISH 1 q2 t 1 dup");
    first.vanishes();
    node.after_secs(200);
    second.waits();
}

#[test]
fn a_qos_2_message_that_was_not_sent_goes_to_another() {
    let node = Node::start();
    let narrow = PropertySet { receive_maximum: NonZeroU16::new(1), ..PropertySet::EMPTY };
    let mut first = node.connect_with(Connect { properties: narrow.into(), ..connect("first") });
    first.subscribes(&[("$share/g/t", options(Q2))], "0x02");
    let mut publisher = node.connect("p");
    (1..=2).for_each(|number: u16| publisher.publishes(publish(1, Q2, "t", &number.to_string())));
    let [mut second] = members(&node, "$share/g/t", Q2);
    first.gets("PUBLISH 1 q2 t 1");
    first.vanishes();
    second.gets("PUBLISH 1 q2 t 2");
    second.waits();
}

/// [MQTT-4.8.2-6].
#[test]
fn what_a_member_refuses_goes_to_nobody_else() {
    let node = Node::start();
    let [mut first, mut second] = members(&node, "$share/g/t", Q2);
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q1, "t", "1"));
    first.gets("PUBLISH 1 q1 t 1");
    first.sends(Packet::PubAck(refused(1)));
    publisher.publishes(publish(1, Q2, "t", "2"));
    second.gets("PUBLISH 1 q2 t 2");
    second.sends(Packet::PubRec(refused(1)));
    second.waits();
    second.vanishes();
    first.waits();
    first.vanishes();
}

/// A member that cannot take a message now is passed over.
#[test]
fn a_full_member_is_passed_over() {
    let node = Node::start();
    let narrow = PropertySet { receive_maximum: NonZeroU16::new(1), ..PropertySet::EMPTY };
    let mut first = node.connect_with(Connect { properties: narrow.into(), ..connect("first") });
    first.subscribes(&[("$share/g/t", options(Q1))], "0x01");
    let [mut second] = members(&node, "$share/g/t", Q1);
    let mut publisher = node.connect("p");
    for number in 1..=5 {
        publisher.publishes(publish(1, Q1, "t", &number.to_string()));
    }
    assert_eq!(payloads(&mut first), ["1"]);
    assert_eq!(payloads(&mut second), ["2", "3", "4", "5"]);
    publisher.publishes(publish(1, Q1, "t", "6"));
    publisher.publishes(publish(1, Q1, "t", "7"));
    let mut got = payloads(&mut first);
    got.extend(payloads(&mut second));
    got.sort();
    assert_eq!(got, ["6", "7"]);
}

#[test]
fn without_members_the_publisher_is_told_so() {
    let node = Node::start();
    let [member] = members(&node, "$share/g/t", Q1);
    let mut publisher = node.connect("p");
    publisher.sends(Packet::Publish(publish(1, Q1, "t", "1")));
    publisher.gets("PUBACK 1");
    member.disconnects();
    publisher.sends(Packet::Publish(publish(2, Q1, "t", "2")));
    publisher.gets("PUBACK 2 0x10");
}
