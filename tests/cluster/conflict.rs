//! A name that was given twice, where nobody could tell when it was.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumormq::admin::view::MemberState;

use crate::clients::{connect, message, subscriber, time_of_puback};
use crate::processes::netns::{Namespace, Network};
use crate::processes::{Launch, PATIENCE, Process, awaits};
use crate::support::client::Q1;

const COOKIE: &str = "a secret for tests only";
const TWIN: &str = "twin@anywhere";

/// Incarnations of the twins that a node sees alive.
fn twins(node: &Process) -> usize {
    let members = node.cluster().members.into_iter();
    members.filter(|member| member.name == TWIN && member.state == MemberState::Alive).count()
}

fn twin(host: &Arc<Namespace>, seed: &Process) -> Process {
    let cluster = SocketAddr::new(host.address(), 7883);
    let launch = Launch::within(host, "twin").cookie(COOKIE).cluster_addr(cluster);
    launch.called(TWIN).join(seed.cluster_addr()).start()
}

/// One on each side of a split: when it heals both keep their clients, everybody raises an alarm, and nobody ends. When one of
/// them stops, the other has the name, and all is well.
#[test]
fn a_name_given_twice_during_a_split_is_kept_by_both_with_an_alarm() {
    let Some(network) = Network::new() else { return };
    let hosts: Vec<Arc<Namespace>> = (0..4).map(|_| network.host()).collect();
    let n1 = Launch::within(&hosts[0], "n1").cookie(COOKIE).start();
    let n2 = Launch::within(&hosts[1], "n2").cookie(COOKIE).join(n1.cluster_addr()).start();
    for left in [0, 2] {
        for right in [1, 3] {
            hosts[left].separate(&hosts[right]);
        }
    }
    awaits("the split is noticed", PATIENCE, || {
        n1.state_of(n2.name()) == Some(MemberState::Dead) && n2.state_of(n1.name()) == Some(MemberState::Dead)
    });
    let one = twin(&hosts[2], &n1);
    let mut other = twin(&hosts[3], &n2);
    let mut of_one = subscriber(&one, "c1", &["one"], Q1);
    let mut of_other = subscriber(&other, "c2", &["other"], Q1);
    let all = [&n1, &n2, &one, &other];
    assert!(all.iter().all(|node| node.metric("name_conflicts", &[]) == 0.0));
    let before = [one.incarnation(), other.incarnation()];

    hosts.iter().for_each(|host| host.heal());
    awaits("all raise an alarm", 3 * PATIENCE, || {
        all.iter().all(|node| node.metric("name_conflicts", &[]) == 1.0)
    });
    awaits("both are seen to live", 3 * PATIENCE, || all[..2].iter().all(|node| twins(node) == 2));
    awaits("and say so", 2 * PATIENCE, || {
        all.iter().all(|node| node.has_logged(&["two nodes have one name"]))
    });
    for (node, topic, client) in [(&one, "one", &mut of_one), (&other, "other", &mut of_other)] {
        time_of_puback(&mut connect(node, &format!("p of {topic}")), topic, "x");
        assert_eq!(message(client), "x", "its own clients are served");
    }
    assert_eq!([one.incarnation(), other.incarnation()], before, "nobody gives way");

    other.terminate();
    assert_eq!(other.wait().code(), Some(0));
    let rest = [&n1, &n2, &one];
    awaits("the alarm ends", 2 * PATIENCE, || {
        rest.iter().all(|node| node.metric("name_conflicts", &[]) == 0.0)
    });
    awaits("the other one is reached by its name", 3 * PATIENCE, || {
        [&n1, &n2].iter().all(|node| {
            let view = node.cluster();
            let member = view.members.iter().rfind(|member| member.name == TWIN);
            member.is_some_and(|member| {
                member.state == MemberState::Alive && member.incarnation == one.incarnation()
            })
        }) && one.cluster().converged
    });
    for (node, payload) in [(&n1, "from n1"), (&n2, "from n2"), (&one, "own")] {
        awaits("its route is known", PATIENCE, || !node.matches("one").is_empty());
        assert!(time_of_puback(&mut connect(node, "p"), "one", payload) < Duration::from_secs(1));
        assert_eq!(message(&mut of_one), payload);
    }
}
