//! Subscriptions for one client at a time.

use rumormq::broker::{Extras, Limits};
use rumormq::codec::packet::Packet;

use crate::support::client::{Q0, Q1, lasting, options, publish, unsubscribe};
use crate::support::node::Node;

fn node() -> Node {
    Node::with_extras(Limits::default(), Extras { exclusive_subscriptions: true, ..Extras::default() })
}

#[test]
fn one_client_at_a_time() {
    let node = node();
    let mut first = node.connect("first");
    let mut second = node.connect("second");
    first.subscribes(&[("$exclusive/a/+", options(Q1))], "0x01");
    first.subscribes(&[("$exclusive/a/+", options(Q0))], "0x00");
    // Others may have it in the ordinary way, and the filter is what counts.
    second.subscribes(
        &[("$exclusive/a/+", options(Q1)), ("a/+", options(Q0)), ("$exclusive/a/b", options(Q0))],
        "0x97 0x00 0x00",
    );
    node.connect("p").publishes(publish(1, Q0, "a/b", "x"));
    first.gets("PUBLISH q0 a/b x");
    second.gets("PUBLISH q0 a/b x");
    node.connect_v311("old").subscribes(&[("$exclusive/a/+", options(Q0))], "0x80");
    first.subscribes(&[("$exclusive/$share/g/a", options(Q0))], "0x8f");
}

#[test]
fn it_is_free_again_when_the_subscription_ends() {
    let node = node();
    let mut first = node.connect("first");
    let mut second = node.connect("second");
    let wanted = [("$exclusive/a", options(Q0))];
    first.subscribes(&wanted, "0x00");
    first.sends(Packet::Unsubscribe(unsubscribe(1, &["$exclusive/a"])));
    first.gets("UNSUBACK 1 0x00");
    second.subscribes(&wanted, "0x00");
    first.subscribes(&wanted, "0x97");
    second.disconnects();
    first.subscribes(&wanted, "0x00");
}

#[test]
fn a_session_keeps_it_while_its_client_is_away() {
    let node = node();
    let wanted = [("$exclusive/a", options(Q0))];
    let mut first = node.connect_with(lasting("first", 100));
    first.subscribes(&wanted, "0x00");
    first.vanishes();
    let mut second = node.connect("second");
    second.subscribes(&wanted, "0x97");
    node.after_secs(101);
    second.subscribes(&wanted, "0x00");
}

#[test]
fn by_default_the_filter_is_like_any_other() {
    let node = Node::start();
    let mut first = node.connect("first");
    let mut second = node.connect("second");
    for client in [&mut first, &mut second] {
        client.subscribes(&[("$exclusive/a", options(Q0))], "0x00");
    }
    node.connect("p").publishes(publish(1, Q0, "$exclusive/a", "x"));
    first.gets("PUBLISH q0 $exclusive/a x");
}
