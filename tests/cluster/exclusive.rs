//! A subscription is one client's in the whole cluster.

use rumormq::admin::view::MemberState;
use rumormq::codec::packet::{Packet, ReasonCode};

use crate::clients::{connect, subscriber};
use crate::p5_partitions::hosts_with;
use crate::processes::{Launch, PATIENCE, await_converged, awaits};
use crate::support::client::{Client, Q0, lasting, options, publish, subscribe};
use crate::takeover::open;

const WANTED: &str = "$exclusive/a";

fn exclusive(launch: Launch) -> Launch {
    launch.flag("--exclusive-subscriptions", "true")
}

#[test]
fn an_exclusive_subscription_is_one_in_the_cluster() {
    let mut n1 = exclusive(Launch::new("n1")).start();
    let n2 = exclusive(Launch::new("n2").join(n1.cluster_addr())).start();
    await_converged(&[&n1, &n2]);
    let mut first = subscriber(&n1, "first", &[WANTED], Q0);
    let mut second = connect(&n2, "second");
    awaits("the claim has arrived", PATIENCE, || {
        let view = n2.cluster();
        let member = view.members.iter().find(|member| member.name == n1.name());
        member
            .and_then(|member| member.sets.get("exclusive")?.applied.as_ref())
            .is_some_and(|head| head.seq > 0)
    });
    assert!(!is_granted(&mut second));
    first.unsubscribes(WANTED, "0x00");
    awaits("the claim is given back", PATIENCE, || is_granted(&mut second));
    second.unsubscribes(WANTED, "0x00");
    awaits("it is given back again", PATIENCE, || is_granted(&mut first));
    n1.kill();
    awaits("a claim is gone with its node", PATIENCE, || is_granted(&mut second));
}

fn is_granted(client: &mut Client) -> bool {
    client.sends(Packet::Subscribe(subscribe(1, &[(WANTED, options(Q0))])));
    let answer = client.frame().expect("SUBACK");
    let Packet::SubAck(suback) = answer.packet() else { panic!("not a SUBACK") };
    let granted = suback.reasons == [ReasonCode::Success];
    assert!(granted || suback.reasons == [ReasonCode::QuotaExceeded]);
    granted
}

#[test]
fn a_claim_moves_with_its_session() {
    let n1 = exclusive(Launch::new("n1")).start();
    let n2 = exclusive(Launch::new("n2").join(n1.cluster_addr())).start();
    await_converged(&[&n1, &n2]);
    let mut first = open(&n1, lasting("first", 1000), false);
    first.subscribes(&[(WANTED, options(Q0))], "0x00");
    let mut other = connect(&n1, "other");
    let mut first = open(&n2, lasting("first", 1000), true);
    assert!(!is_granted(&mut other));
    awaits("n1 has nothing of the session", PATIENCE, || {
        n1.metric("sessions", &["state=\"connected\""]) == 1.0
    });
    assert!(!is_granted(&mut other), "it is still somebody's");
    first.unsubscribes(WANTED, "0x00");
    awaits("the claim is given back where the session is", PATIENCE, || is_granted(&mut other));
}

#[test]
fn two_that_were_granted_on_two_sides_end_as_one() {
    let Some(nodes) = hosts_with::<2>(exclusive) else { return };
    let [(_, n1), (host, n2)] = &nodes[..] else { panic!("two nodes") };
    host.isolate();
    awaits("they miss each other", PATIENCE, || {
        n1.state_of(n2.name()) == Some(MemberState::Dead) && n2.state_of(n1.name()) == Some(MemberState::Dead)
    });
    let mut earlier = subscriber(n1, "earlier", &[WANTED], Q0);
    let mut later = subscriber(n2, "later", &[WANTED], Q0);
    host.heal();
    earlier.gets("DISCONNECT 0x97");
    earlier.is_closed();
    await_converged(&[n1, n2]);
    connect(n1, "p").publishes(publish(1, Q0, "a", "x"));
    later.gets("PUBLISH q0 a x");
    assert_eq!(n1.metric("exclusive_lost_total", &[]), 1.0);
    connect(n1, "again").subscribes(&[(WANTED, options(Q0))], "0x97");
}
