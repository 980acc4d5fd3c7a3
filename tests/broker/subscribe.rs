//! SUBSCRIBE and UNSUBSCRIBE.

use rumormq::broker::Limits;
use rumormq::codec::packet::{Packet, Publish, SubscriptionOptions};

use crate::support::client::{
    Q0, Q1, Q2, ack, lasting, options, publish, subscribe, subscribe_as, unsubscribe,
};
use crate::support::node::Node;

/// [MQTT-3.8.4-5], [MQTT-3.9.3-1].
#[test]
fn each_filter_is_granted_or_refused_for_itself() {
    let node = Node::start();
    let filters = [
        ("a", options(Q0)),
        ("a/+/c", options(Q1)),
        ("a/#/c", options(Q1)),
        ("a+", options(Q1)),
        ("", options(Q1)),
        ("$share/group/a", options(Q1)),
        ("$share/group", options(Q1)),
        ("#", options(Q2)),
    ];
    let mut client = node.connect("c");
    client.subscribes(&filters, "0x00 0x01 0x8f 0x8f 0x8f 0x01 0x8f 0x02");
    let mut old = node.connect_v311("old");
    old.subscribes(&filters, "0x00 0x01 0x80 0x80 0x80 0x01 0x80 0x02");
}

#[test]
fn connack_says_that_there_are_shared_subscriptions() {
    let node = Node::start();
    let mut client = node.start_connect(crate::support::client::connect("c"));
    let frame = client.frame().expect("CONNACK");
    let Packet::ConnAck(connack) = frame.packet() else { panic!("not a CONNACK") };
    assert_ne!(connack.properties.shared_subscription_available, Some(false));
}

/// [MQTT-3.3.4-2], [MQTT-3.3.4-4].
#[test]
fn overlapping_filters_give_one_copy_with_all_identifiers() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.sends(Packet::Subscribe(subscribe_as(3, "a/#", options(Q0))));
    client.gets("SUBACK 1 0x00");
    client.sends(Packet::Subscribe(subscribe_as(4, "a/+", options(Q2))));
    client.gets("SUBACK 1 0x02");
    client.sends(Packet::Subscribe(subscribe_as(268_435_455, "#", options(Q1))));
    client.gets("SUBACK 1 0x01");
    client.subscribes(&[("+/b", options(Q0))], "0x00");
    node.connect("p").publishes(publish(1, Q2, "a/b", "x"));
    client.gets("PUBLISH 1 q2 a/b x id=3 id=4 id=268435455");
    client.waits();
}

/// [MQTT-3.8.4-3].
#[test]
fn an_equal_filter_replaces_the_subscription() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.sends(Packet::Subscribe(subscribe_as(1, "a", options(Q2))));
    client.gets("SUBACK 1 0x02");
    client.sends(Packet::Subscribe(subscribe_as(2, "a", options(Q0))));
    client.gets("SUBACK 1 0x00");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q2, "a", "x"));
    client.gets("PUBLISH q0 a x id=2");
    client.subscribes(&[("a", options(Q1))], "0x01");
    publisher.publishes(publish(1, Q2, "a", "x"));
    client.gets("PUBLISH 1 q1 a x");
    client.waits();
}

/// [MQTT-3.8.3-3].
#[test]
fn no_local_spares_the_publisher_its_own_messages() {
    let node = Node::start();
    let mut a = node.connect("a");
    let mut b = node.connect("b");
    let no_local = SubscriptionOptions { no_local: true, ..options(Q0) };
    a.subscribes(&[("t", no_local)], "0x00");
    b.subscribes(&[("t", no_local)], "0x00");
    a.sends(Packet::Publish(publish(1, Q0, "t", "of a")));
    a.waits();
    b.gets("PUBLISH q0 t of a");
    b.sends(Packet::Publish(publish(1, Q0, "t", "of b")));
    b.waits();
    a.gets("PUBLISH q0 t of b");
    // Another subscription of its own without the option still lets it through.
    a.subscribes(&[("+", options(Q0))], "0x00");
    a.sends(Packet::Publish(publish(1, Q0, "t", "again")));
    a.gets("PUBLISH q0 t again");
}

/// [MQTT-3.3.1-12], [MQTT-3.3.1-13].
#[test]
fn retain_as_published_keeps_the_flag() {
    let node = Node::start();
    let mut plain = node.connect("plain");
    let mut keeping = node.connect("keeping");
    let mut old = node.connect_v311("old");
    plain.subscribes(&[("a", options(Q0))], "0x00");
    old.subscribes(&[("a", options(Q0))], "0x00");
    keeping.subscribes(&[("a", SubscriptionOptions { retain_as_published: true, ..options(Q0) })], "0x00");
    let mut publisher = node.connect("p");
    publisher.publishes(Publish { retain: true, ..publish(1, Q1, "a", "kept") });
    publisher.publishes(publish(1, Q1, "a", "not"));
    for client in [&mut plain, &mut old] {
        client.gets("PUBLISH q0 a kept");
        client.gets("PUBLISH q0 a not");
    }
    keeping.gets("PUBLISH q0 a kept retain");
    keeping.gets("PUBLISH q0 a not");
}

/// [MQTT-4.7.2-1].
#[test]
fn a_leading_wildcard_does_not_match_dollar_topics() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("#", options(Q0)), ("+/x", options(Q0))], "0x00 0x00");
    let mut insider = node.connect("i");
    insider.subscribes(&[("$app/+", options(Q0)), ("$share", options(Q0))], "0x00 0x00");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q1, "$app/x", "1"));
    publisher.publishes(publish(1, Q1, "$share", "2"));
    insider.gets("PUBLISH q0 $app/x 1");
    insider.gets("PUBLISH q0 $share 2");
    client.waits();
}

#[test]
fn levels_match_as_they_are_written() {
    let node = Node::start();
    let mut client = node.connect("c");
    let filters = ["/+", "+/+/", "sport/#", "Ä/+"];
    client.subscribes(&filters.map(|filter| (filter, options(Q0))), "0x00 0x00 0x00 0x00");
    let mut publisher = node.connect("p");
    for (topic, matches) in [
        ("/x", true),
        ("x/y", false),
        ("x/y/", true),
        ("//", true),
        ("sport", true),
        ("sport/", true),
        ("sports", false),
        ("Sport", false),
        ("Ä/1", true),
        ("A\u{308}/1", false),
    ] {
        publisher.publishes(publish(1, Q1, topic, "x"));
        if matches {
            client.gets(&format!("PUBLISH q0 {topic} x"));
        } else {
            client.waits();
        }
    }
}

/// [MQTT-3.10.4-1] to [MQTT-3.10.4-6].
#[test]
fn unsubscribing_ends_what_it_names_and_nothing_else() {
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("a/b", options(Q1)), ("a/+", options(Q0)), ("c", options(Q0))], "0x01 0x00 0x00");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q1, "a/b", "1"));
    client.sends(Packet::Unsubscribe(unsubscribe(7, &["a/b", "a/#", "a/#/b", "c"])));
    client.gets("PUBLISH 1 q1 a/b 1");
    client.gets("UNSUBACK 7 0x00 0x11 0x8f 0x00");
    publisher.publishes(publish(1, Q1, "a/b", "2"));
    publisher.sends(Packet::Publish(publish(2, Q1, "c", "3")));
    publisher.gets("PUBACK 2 0x10");
    client.gets("PUBLISH q0 a/b 2");
    client.sends(Packet::PubAck(ack(1)));
    client.waits();
    let mut old = node.connect_v311("old");
    old.unsubscribes("x", "");
}

#[test]
fn subscriptions_have_a_limit() {
    let node = Node::with(Limits { max_subscriptions: 2, ..Limits::default() });
    let mut client = node.connect("c");
    let three = [("a", options(Q0)), ("b", options(Q0)), ("c", options(Q0))];
    client.subscribes(&three, "0x00 0x00 0x97");
    client.subscribes(&[("a", options(Q1))], "0x01");
    client.unsubscribes("a", "0x00");
    client.subscribes(&[("c", options(Q1))], "0x01");
}

#[test]
fn filters_have_a_longest_length() {
    let node = Node::with(Limits { max_filter_len: 5, ..Limits::default() });
    let mut client = node.connect("c");
    client.subscribes(&[("12345", options(Q0)), ("123456", options(Q0))], "0x00 0x8f");
    let node = Node::start();
    node.connect("c").subscribes(&[(&"x".repeat(4097), options(Q0))], "0x8f");
}

#[test]
fn a_packet_has_a_limited_number_of_filters() {
    let node = Node::with(Limits { max_filters_per_subscribe: 2, ..Limits::default() });
    let mut client = node.connect("c");
    client.subscribes(&["a", "b", "c", "a"].map(|filter| (filter, options(Q0))), "0x00 0x00 0x97 0x97");
    let mut publisher = node.connect("p");
    publisher.publishes(publish(1, Q1, "b", "x"));
    client.gets("PUBLISH q0 b x");
    publisher.publishes(publish(1, Q1, "c", "x"));
    client.waits();
}

/// [MQTT-3.8.4-4]: nothing is lost while a subscription is replaced over and over.
#[test]
fn replacing_a_subscription_loses_nothing() {
    const MESSAGES: u16 = 300;
    let node = Node::start();
    let mut client = node.connect("c");
    client.subscribes(&[("a/+", options(Q1))], "0x01");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = node.connect("p");
            for n in 1..=MESSAGES {
                publisher.publishes(publish(n, Q1, "a/b", &n.to_string()));
            }
        });
        let mut expected = 1;
        while expected <= MESSAGES {
            client.sends(Packet::Subscribe(subscribe(1, &[("a/+", options(Q1))])));
            loop {
                let frame = client.frame().expect("open");
                match frame.packet() {
                    Packet::SubAck(_) => break,
                    Packet::Publish(publish) => {
                        assert_eq!(publish.payload, expected.to_string().as_bytes());
                        client.sends(Packet::PubAck(ack(expected)));
                        expected += 1;
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
        }
    });
}

#[test]
fn subscriptions_outlive_a_connection_with_their_session() {
    let node = Node::start();
    let mut client = node.connect_with(lasting("c", 100));
    client.sends(Packet::Subscribe(subscribe_as(5, "a", options(Q1))));
    client.gets("SUBACK 1 0x01");
    client.vanishes();
    node.connect("p").publishes(publish(1, Q2, "a", "x"));
    let mut client = node.connect_with(lasting("c", 100));
    client.gets("PUBLISH 1 q1 a x id=5");
}
