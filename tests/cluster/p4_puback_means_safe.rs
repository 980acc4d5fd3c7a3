//! P4: PUBACK and PUBREC are sent once every live node with a matching route has the message, or it is in the buffer for a
//! node that does not answer.

use std::time::Duration;

use rumormq::admin::view::MemberState;
use rumormq::codec::packet::{Packet, QoS};

use crate::clients::{
    connect, message, messages_until, numbers, publish_numbers, subscriber, time_of_puback,
};
use crate::processes::{PATIENCE, await_converged, awaits, start_cluster};
use crate::support::client::{Q1, Q2, publish};

#[test]
fn p4_puback_means_safe_beside_a_silent_node() {
    let nodes = start_cluster(2);
    let [n1, n2] = &nodes[..] else { panic!("two nodes") };
    let mut subscriber = subscriber(n2, "s", &["a"], Q1);
    let mut publisher = connect(n1, "p");
    let usual = time_of_puback(&mut publisher, "a", "0");
    n2.freeze();
    let waited = time_of_puback(&mut publisher, "a", "1");
    println!("PUBACK after {usual:?}, beside a silent node after {waited:?}");
    assert!(waited > Duration::from_millis(900), "the node may still have been about to answer: {waited:?}");
    assert!(waited < Duration::from_millis(2000), "{waited:?}");
    assert_eq!(n1.metric("forward_unacked", &[]), 1.0, "it is kept");
    n2.thaw();
    assert_eq!(message(&mut subscriber), "0");
    assert_eq!(message(&mut subscriber), "1");
    publisher.publishes(publish(1, Q1, "a", "last"));
    assert_eq!(messages_until(&mut subscriber, "last"), [""; 0], "each once");
    awaits("nothing is kept longer than needed", PATIENCE, || n1.metric("forward_unacked", &[]) == 0.0);
}

/// A PUBACK that does not wait would pass for one that does, were the message not looked for.
#[test]
fn p4_puback_means_safe_the_message_is_there_already() {
    let nodes = start_cluster(2);
    let [n1, n2] = &nodes[..] else { panic!("two nodes") };
    let mut publisher = connect(n1, "p");
    let mut subscriber = subscriber(n2, "s", &["a"], Q1);
    for number in 0..100 {
        time_of_puback(&mut publisher, "a", &number.to_string());
        // Were the message still under way, the answer to the ping would overtake it.
        subscriber.sends(Packet::PingReq);
        assert_eq!(message(&mut subscriber), number.to_string());
        subscriber.gets("PINGRESP");
    }
}

#[test]
fn p4_puback_means_safe_a_crashed_node_holds_up_nobody() {
    let mut nodes = start_cluster(3);
    let mut crashed = nodes.pop().expect("three nodes");
    let mut gone = subscriber(&crashed, "gone", &["a"], Q1);
    let mut subscriber = subscriber(&nodes[1], "s", &["a"], Q1);
    let mut publisher = connect(&nodes[0], "p");
    time_of_puback(&mut publisher, "a", "0");
    gone.frame().expect("the message");
    crashed.kill();
    let mut slowest = Duration::ZERO;
    let mut sent = 1;
    awaits("it is dead", PATIENCE, || {
        slowest = slowest.max(time_of_puback(&mut publisher, "a", &sent.to_string()));
        sent += 1;
        nodes.iter().all(|node| node.state_of(crashed.name()) == Some(MemberState::Dead))
    });
    println!("{sent} messages until the crash was noticed, slowest PUBACK {slowest:?}");
    assert!(slowest < Duration::from_millis(1500), "{slowest:?}");
    for _ in 0..100 {
        let took = time_of_puback(&mut publisher, "a", &sent.to_string());
        assert!(took < Duration::from_millis(500), "nobody waits for the dead: {took:?}");
        sent += 1;
    }
    publisher.publishes(publish(1, Q1, "a", "last"));
    assert_eq!(messages_until(&mut subscriber, "last"), numbers(0..sent));
}

/// The destination stands still for longer than it takes to be declared dead, while messages go on.
fn exactly_once_across_an_outage(qos: QoS) {
    const MESSAGES: u32 = 600;
    let nodes = start_cluster(2);
    let [n1, n2] = &nodes[..] else { panic!("two nodes") };
    let mut subscriber = subscriber(n2, "s", &["a"], qos);
    let mut publisher = connect(n1, "p");
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            publish_numbers(&mut publisher, "a", qos, 0..MESSAGES / 3, 10);
            n2.freeze();
            publish_numbers(&mut publisher, "a", qos, MESSAGES / 3..MESSAGES / 3 + 20, 10);
            let took = awaits("it is dead", PATIENCE, || n1.state_of(n2.name()) == Some(MemberState::Dead));
            println!("dead {took:?} after the first PUBACKs without it");
            publish_numbers(&mut publisher, "a", qos, MESSAGES / 3 + 20..2 * MESSAGES / 3, 100);
            n2.thaw();
            publish_numbers(&mut publisher, "a", qos, 2 * MESSAGES / 3..MESSAGES, 10);
            publisher.publishes(publish(1, qos, "a", "last"));
        });
        assert_eq!(messages_until(&mut subscriber, "last"), numbers(0..MESSAGES), "in order, each once");
        publishing.join().expect("it publishes");
    });
    await_converged(&[n1, n2]);
}

#[test]
fn p4_puback_means_safe_qos_1_across_an_outage() {
    exactly_once_across_an_outage(Q1);
}

#[test]
fn p4_puback_means_safe_qos_2_across_an_outage() {
    exactly_once_across_an_outage(Q2);
}

/// The links break while it stands still: `cargo test --test cluster -- --ignored p4_`
#[test]
#[ignore = "half a minute"]
fn p4_puback_means_safe_across_an_outage_that_breaks_links() {
    let nodes = start_cluster(2);
    let [n1, n2] = &nodes[..] else { panic!("two nodes") };
    let mut subscriber = subscriber(n2, "s", &["a"], Q2);
    let mut publisher = connect(n1, "p");
    publish_numbers(&mut publisher, "a", Q2, 0..100, 10);
    assert_eq!((0..100).map(|_| message(&mut subscriber)).collect::<Vec<_>>(), numbers(0..100));
    n2.freeze();
    publish_numbers(&mut publisher, "a", Q2, 100..200, 100);
    awaits("the link is cut", Duration::from_secs(30), || n1.metric("link_up", &[]) == 0.0);
    publish_numbers(&mut publisher, "a", Q2, 200..300, 100);
    n2.thaw();
    publish_numbers(&mut publisher, "a", Q2, 300..400, 10);
    publisher.publishes(publish(1, Q2, "a", "last"));
    assert_eq!(messages_until(&mut subscriber, "last"), numbers(100..400), "in order, each once");
    await_converged(&[n1, n2]);
}
