//! Messages of a publisher arrive in order and as often as their QoS says, on every node.

use rumormq::codec::packet::QoS;

use crate::clients::{connect, messages_until, numbers, publish_numbers, subscriber};
use crate::processes::{Process, start_cluster};
use crate::support::client::{Client, Q0, Q1, Q2, publish};

const MESSAGES: u32 = 2000;

fn one_publisher(qos: QoS) {
    let nodes = start_cluster(3);
    let mut subscribers: Vec<Client> =
        nodes.iter().map(|node| subscriber(node, "s", &["count/+"], qos)).collect();
    std::thread::scope(|scope| {
        for client in &mut subscribers {
            scope.spawn(|| assert_eq!(messages_until(client, "last"), numbers(0..MESSAGES)));
        }
        scope.spawn(|| {
            let mut publisher = connect(&nodes[0], "p");
            publish_numbers(&mut publisher, "count/x", qos, 0..MESSAGES, 200);
            publisher.publishes(publish(1, qos, "count/x", "last"));
        });
    });
    let total = |name| -> f64 { nodes.iter().map(|node: &Process| node.metric(name, &[])).sum() };
    assert_eq!(total("forward_sent_total"), f64::from(2 * (MESSAGES + 1)), "once to each other node");
    assert_eq!(total("forward_dropped_total"), 0.0);
    assert_eq!(total("forward_duplicate_total"), 0.0);
}

#[test]
fn messages_of_qos_0_arrive_in_order() {
    one_publisher(Q0);
}

#[test]
fn messages_of_qos_1_arrive_in_order() {
    one_publisher(Q1);
}

#[test]
fn messages_of_qos_2_arrive_in_order_and_once() {
    one_publisher(Q2);
}

/// Each publisher's messages are in order, whatever the others do.
#[test]
fn several_publishers_on_all_nodes() {
    let nodes = start_cluster(3);
    let mut subscribers: Vec<Client> = nodes.iter().map(|node| subscriber(node, "s", &["#"], Q2)).collect();
    std::thread::scope(|scope| {
        for client in &mut subscribers {
            scope.spawn(|| {
                let mut next = [0; 6];
                for _ in 0..6 * 300 {
                    let message = crate::clients::message(client);
                    let (publisher, number) = message.split_once(' ').expect("both");
                    let next = &mut next[publisher.parse::<usize>().expect("a publisher")];
                    assert_eq!(number, next.to_string(), "of publisher {publisher}");
                    *next += 1;
                }
            });
        }
        for publisher in 0..6 {
            let node = &nodes[publisher % 3];
            scope.spawn(move || {
                let mut client = connect(node, &format!("p{publisher}"));
                let topic = format!("from/{publisher}");
                for number in 0..300 {
                    let qos = if publisher < 3 { Q1 } else { Q2 };
                    client.publishes(publish(1, qos, &topic, &format!("{publisher} {number}")));
                }
            });
        }
    });
}
