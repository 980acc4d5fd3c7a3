//! SUBSCRIBE, UNSUBSCRIBE and their answers (3.8 to 3.11), and the filters in them (4.7).

use rumormq::broker::Limits;
use rumormq::codec::packet::Packet;

use crate::support::client::{Q0, Q1, Q2, V311, V500, ack, options, publish, subscribe, unsubscribe};
use crate::support::node::Node;
use crate::{BOTH, one_of_each_qos, passing, staying};

/// [MQTT-2.2.1-6], [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.10.4-4], [MQTT-3.10.4-5].
#[test]
fn every_request_is_answered_by_its_identifier() {
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        for id in [1, 0x0102, 0xFFFF] {
            client.sends(Packet::Subscribe(subscribe(id, &[("a", options(Q0))])));
            client.gets(&format!("SUBACK {id} 0x00"));
            for reason in ["0x00", "0x11"] {
                client.sends(Packet::Unsubscribe(unsubscribe(id, &["a"])));
                let reason = if version == V500 { reason } else { "" };
                client.gets(format!("UNSUBACK {id} {reason}").trim());
            }
        }
        client.waits();
    }
}

/// [MQTT-3.8.4-5], [MQTT-3.9.3-1] of 5.0, [MQTT-3.8.4-4], [MQTT-3.8.4-5], [MQTT-3.9.3-1] of 3.1.1: as if each filter had come
/// in a packet of its own, with one answer.
#[test]
fn filters_of_one_packet_are_taken_one_after_the_other() {
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        let filters = [("a", options(Q2)), ("b/#/c", options(Q2)), ("b", options(Q1)), ("a", options(Q0))];
        let refused = if version == V500 { "0x8f" } else { "0x80" };
        client.subscribes(&filters, &format!("0x02 {refused} 0x01 0x00"));
        let mut publisher = node.connect("p");
        publisher.publishes(publish(1, Q2, "a", "x"));
        publisher.publishes(publish(1, Q2, "b", "x"));
        client.gets("PUBLISH q0 a x");
        client.gets("PUBLISH 1 q1 b x");
        client.sends(Packet::Unsubscribe(unsubscribe(2, &["a", "b/#/c", "none", "b", "a"])));
        client.gets(if version == V500 { "UNSUBACK 2 0x00 0x8f 0x11 0x00 0x11" } else { "UNSUBACK 2" });
        publisher.sends(Packet::Publish(publish(1, Q1, "b", "for nobody")));
        publisher.gets("PUBACK 1 0x10");
        client.waits();
    }
}

/// [MQTT-3.8.4-3].
#[test]
fn an_equal_filter_replaces_and_another_does_not() {
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(&[("a/+", options(Q2)), ("b/+", options(Q2))], "0x02 0x02");
        client.subscribes(&[("a/+", options(Q0)), ("b/b", options(Q0))], "0x00 0x00");
        let mut publisher = node.connect("p");
        publisher.publishes(publish(1, Q2, "a/b", "x"));
        publisher.publishes(publish(1, Q2, "b/b", "x"));
        client.gets("PUBLISH q0 a/b x");
        client.gets("PUBLISH 1 q2 b/b x");
        client.waits();
    }
}

/// [MQTT-3.10.4-1]: to the character, not by what it would match.
#[test]
fn unsubscribing_takes_the_equal_filter_and_no_other() {
    let node = Node::start();
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(&[("a/+", options(Q0))], "0x00");
        for other in ["a/b", "a/#", "#", "A/+", "a/+/", "/a/+", "+/+"] {
            client.unsubscribes(other, if version == V500 { "0x11" } else { "" });
        }
        let mut publisher = node.connect("p");
        publisher.publishes(publish(1, Q1, "a/b", "still"));
        client.gets("PUBLISH q0 a/b still");
        client.unsubscribes("a/+", if version == V500 { "0x00" } else { "" });
        publisher.sends(Packet::Publish(publish(1, Q1, "a/b", "gone")));
        publisher.gets("PUBACK 1 0x10");
        client.waits();
    }
}

/// [MQTT-3.10.4-2], [MQTT-3.10.4-3]: nothing new, and what was begun to its end, also on another connection.
#[test]
fn unsubscribing_does_not_cut_off_what_was_begun() {
    for version in BOTH {
        let node = Node::start();
        let mut client = node.connect_with(staying(version, "c"));
        client.subscribes(&[("a", options(Q2))], "0x02");
        let mut publisher = node.connect("p");
        one_of_each_qos(&mut publisher, &mut client);
        client.unsubscribes("a", if version == V500 { "0x00" } else { "" });
        publisher.sends(Packet::Publish(publish(1, Q1, "a", "3")));
        publisher.gets("PUBACK 1 0x10");
        client.waits();
        client.vanishes();
        let mut client = node.start_connect(staying(version, "c"));
        client.gets("CONNACK 0x00 present");
        client.gets("PUBLISH 1 q1 a 1 dup");
        client.gets("PUBLISH 2 q2 a 2 dup");
        client.sends(Packet::PubAck(ack(1)));
        client.sends(Packet::PubRec(ack(2)));
        client.gets("PUBREL 2");
        client.sends(Packet::PubComp(ack(2)));
        client.waits();
    }
}

/// Its filters are handled in one go, so there is a most of them. Not heard in part, for 3.1.1 could not be told.
#[test]
fn an_unsubscribe_of_too_many_filters_ends_the_connection() {
    let node = Node::with(Limits { max_filters_per_subscribe: 2, ..Limits::default() });
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        client.sends(Packet::Unsubscribe(unsubscribe(1, &["a", "b"])));
        client.gets(if version == V500 { "UNSUBACK 1 0x11 0x11" } else { "UNSUBACK 1" });
        client.sends(Packet::Unsubscribe(unsubscribe(1, &["a", "b", "c"])));
        if version == V500 {
            client.gets("DISCONNECT 0x97");
        }
        client.is_closed();
    }
}

/// [MQTT-3.8.4-6], [MQTT-3.8.4-7], [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1] of 5.0, [MQTT-4.7.1-2], [MQTT-4.7.1-3],
/// [MQTT-4.7.3-1], [MQTT-3.8.3-2] of 3.1.1: a filter that is none is refused, one that is granted.
#[test]
fn wildcards_stand_where_they_may() {
    let node = Node::start();
    let filters = [
        ("#", true),
        ("+", true),
        ("/", true),
        ("+/+", true),
        ("/+", true),
        ("a/+/b/#", true),
        ("", false),
        ("a#", false),
        ("a/b#", false),
        ("a/#/b", false),
        ("#/", false),
        ("a+", false),
        ("+a/b", false),
        ("a/+b", false),
    ];
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        for (filter, valid) in filters {
            println!("{filter}");
            let refused = if version == V311 { "0x80" } else { "0x8f" };
            client.subscribes(&[(filter, options(Q0))], if valid { "0x00" } else { refused });
        }
    }
}

/// [MQTT-4.7.2-1], [MQTT-4.7.3-4], [MQTT-3.3.2-3]: character by character, and `$` apart from leading wildcards.
#[test]
fn filters_match_what_they_say() {
    let node = Node::start();
    let table: &[(&str, &[&str], &[&str])] = &[
        ("a/b", &["a/b"], &["a", "a/b/", "/a/b", "A/b", "a/B", "a/b/c", "a//b"]),
        ("a/+", &["a/b", "a/"], &["a", "a/b/c", "b/a"]),
        ("a/#", &["a", "a/b", "a/", "a/b/c"], &["ab", "b/a"]),
        ("+/b", &["a/b", "/b"], &["$a/b", "b", "a/a/b"]),
        ("#", &["a", "/", "a/b"], &["$a", "$a/b"]),
        ("$a/#", &["$a/b", "$a"], &["a/b"]),
        ("\u{e4}", &["\u{e4}"], &["a\u{308}", "\u{c4}"]),
        ("a b/ ", &["a b/ "], &["a b/", "ab/ "]),
    ];
    for version in BOTH {
        let mut publisher = node.connect_with(passing(version, "p"));
        for (filter, matching, others) in table {
            let mut client = node.connect_with(passing(version, "c"));
            client.subscribes(&[(filter, options(Q0))], "0x00");
            for topic in others.iter().chain(*matching) {
                publisher.publishes(publish(1, Q0, topic, "x"));
            }
            for topic in *matching {
                client.gets(&format!("PUBLISH q0 {topic} x"));
            }
            client.waits();
            client.disconnects();
        }
    }
}

/// [MQTT-4.7.3-3]: 65,535 bytes are a topic and a filter, where the operator's limits let them.
#[test]
fn the_longest_topic_is_a_topic() {
    let node = Node::with(Limits { max_filter_len: 65_535, ..Limits::default() });
    let topic = "x".repeat(65_535);
    for version in BOTH {
        let mut client = node.connect_with(passing(version, "c"));
        client.subscribes(&[(&topic, options(Q0))], "0x00");
        client.sends(Packet::Publish(publish(1, Q0, &topic, "x")));
        let frame = client.frame().expect("a message");
        let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH") };
        assert_eq!(publish.topic.map(|topic| topic.as_str().len()), Some(65_535));
    }
}
