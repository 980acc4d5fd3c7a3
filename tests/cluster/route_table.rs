//! The route table and what it is for: a publish goes to each node with a matching route, and there to its clients.

use crate::clients::{connect, message, messages_until, subscriber, time_of_puback};
use crate::processes::{Process, await_converged, start_cluster};
use crate::support::client::{Client, Q1};

fn route(filter: &str, nodes: &[&Process]) -> (String, Vec<String>) {
    (filter.to_owned(), nodes.iter().map(|node| node.name().to_owned()).collect())
}

#[test]
fn every_node_has_the_whole_route_table_and_messages_follow_it() {
    let nodes = start_cluster(3);
    let [n1, n2, n3] = &nodes[..] else { panic!("three nodes") };
    let mut client1 = subscriber(n1, "client1", &["t/+/x", "t/+/y"], Q1);
    let mut client2 = subscriber(n2, "client2", &["t/#"], Q1);
    let mut client3 = subscriber(n3, "client3", &["t/+/x", "t/a"], Q1);
    let expected =
        [route("t/#", &[n2]), route("t/+/x", &[n1, n3]), route("t/+/y", &[n1]), route("t/a", &[n3])];
    for node in &nodes {
        // Their SUBACKs are there, so nothing has to be waited for.
        assert_eq!(node.routes(), expected, "on {}", node.name());
        assert_eq!(node.matches("t/a"), [route("t/#", &[n2]), route("t/a", &[n3])]);
        assert_eq!(node.matches("t/b/y"), [route("t/#", &[n2]), route("t/+/y", &[n1])]);
        assert_eq!(node.matches("u"), []);
    }

    let forwarded = || n1.metric("forward_sent_total", &[]);
    let before = forwarded();
    time_of_puback(&mut client1, "t/a", "hello");
    assert_eq!(message(&mut client2), "hello");
    assert_eq!(message(&mut client3), "hello");
    assert_eq!(forwarded() - before, 2.0, "once to each of the other nodes");
    // Nobody gets it twice, and client1 not at all.
    for client in [&mut client1, &mut client2, &mut client3] {
        client.waits();
    }

    // A node that has two matching filters still gets one copy.
    let mut client3b = subscriber(n3, "client3b", &["t/#"], Q1);
    time_of_puback(&mut client1, "t/a", "again");
    assert_eq!(forwarded() - before, 4.0);
    for client in [&mut client2, &mut client3, &mut client3b] {
        assert_eq!(message(client), "again");
        assert_eq!(last(n1, client), [""; 0], "nothing behind it");
    }
}

/// What came before a message that is published only now.
fn last(from: &Process, client: &mut Client) -> Vec<String> {
    time_of_puback(&mut connect(from, "last"), "t/a", "last");
    messages_until(client, "last")
}

/// The last subscriber of a filter takes the route along, others keep it.
#[test]
fn a_route_lasts_as_long_as_its_last_subscriber() {
    let nodes = start_cluster(2);
    let [n1, n2] = &nodes[..] else { panic!("two nodes") };
    let mut first = subscriber(n1, "first", &["a/#"], Q1);
    let second = subscriber(n1, "second", &["a/#"], Q1);
    assert_eq!(n2.routes(), [route("a/#", &[n1])]);
    second.disconnects();
    await_converged(&[n1, n2]);
    assert_eq!(n2.routes(), [route("a/#", &[n1])]);
    first.unsubscribes("a/#", "0x00");
    await_converged(&[n1, n2]);
    assert_eq!(n2.routes(), []);
    assert_eq!(n2.metric("trie_filters", &[]), 0.0);
}
