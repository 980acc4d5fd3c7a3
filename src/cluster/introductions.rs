//! Peers are introduced to each other where gossip does not do that: a firewall may let connections through and no datagrams.
//! Whoever is linked to both tells each where the other is reached. Where heartbeats arrive, nothing is said.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq_gossip::ReplicaId;
use serde::{Deserialize, Serialize};

use super::forward::wire;
use super::link::hello::Addresses;
use super::link::kind;
use super::peer::Link;
use super::{Cluster, Peer};

/// Members in one message, at most; more than a cluster may have.
const INTRODUCED_MAX: usize = 1000;
/// Rest before the same is said again, doubled each time: who did not know yet that there is such a member has not listened.
const FIRST_REST: Duration = Duration::from_millis(500);
/// Rest between two introductions of the same two, at most.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// A member that the sender is linked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Who.
    pub replica: ReplicaId,
    /// Where it is reached.
    pub addresses: Addresses,
}

/// What was said over which link, and when it is to be said again. Bounded by the links that are up, and the members.
#[derive(Debug, Default)]
pub struct Introduced {
    /// By link, then by what stands for the member.
    links: HashMap<u64, HashMap<u64, Turn>>,
}

#[derive(Debug)]
struct Turn {
    next: Instant,
    rest: Duration,
}

impl Introduced {
    /// Whether it is time to tell the other end of a link of a member; if so, the next time is later.
    fn take_turn(&mut self, link: u64, member: u64, now: Instant) -> bool {
        let first = || Turn { next: now, rest: FIRST_REST };
        let turn = self.links.entry(link).or_default().entry(member).or_insert_with(first);
        let due = now >= turn.next;
        if due {
            *turn = Turn { next: now + turn.rest, rest: (2 * turn.rest).min(LONGEST_REST) };
        }
        due
    }

    /// Forgets what was said over other links than these.
    fn retain(&mut self, is_up: impl Fn(u64) -> bool) {
        self.links.retain(|link, _| is_up(*link));
    }
}

impl Cluster {
    /// Introduces linked members whose heartbeats do not arrive here to all others, and all others to them, but for those that
    /// say that they reach each other.
    pub(super) fn introduce(&self, introduced: &mut Introduced, now: Instant) {
        let links = self.peers.all().into_iter().filter_map(|peer| Some((peer.link()?, peer)));
        let linked: Vec<(Arc<Link>, Arc<Peer>)> = links.collect();
        introduced.retain(|id| linked.iter().any(|(link, _)| link.id == id));
        let known = self.members.look_up(linked.iter().map(|(link, _)| &link.replica));
        if known.iter().flatten().all(|(_, alive)| *alive) {
            return;
        }
        let is_silent = |place: usize| known[place].as_ref().is_none_or(|(_, alive)| !alive);
        for (to, (link, peer)) in linked.iter().enumerate().filter(|(_, (link, _))| link.introduces()) {
            let mut due: Vec<usize> = (0..linked.len())
                .filter(|place| *place != to && (is_silent(to) || is_silent(*place)))
                .filter(|place| introduced.take_turn(link.id, linked[*place].0.origin, now))
                .collect();
            if due.is_empty() {
                continue;
            }
            let replication = self.replication.lock();
            let graph = replication.node.link_graph();
            due.retain(|place| !graph.is_reported(&link.replica, &linked[*place].0.replica, now));
            drop(replication);
            let introductions: Vec<Introduction> = due
                .into_iter()
                .filter_map(|place| {
                    let (addresses, _) = known[place].clone()?;
                    Some(Introduction { replica: linked[place].0.replica.clone(), addresses })
                })
                .collect();
            if !introductions.is_empty() {
                peer.send_on_link(&link.replica, |out| {
                    wire::append_skippable(out, kind::INTRODUCTIONS, &introductions);
                });
            }
        }
    }

    /// A peer is linked to these. Those that the sets have admitted get an address; who they are is not the peer's to say.
    pub(crate) fn handle_introductions(&self, introductions: Vec<Introduction>) {
        let replication = self.replication.lock();
        for introduction in introductions.into_iter().take(INTRODUCED_MAX) {
            if replication.node.is_member(&introduction.replica) {
                self.members.note_introduction(introduction.replica, introduction.addresses);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_less_and_less_often() {
        let (mut introduced, start) = (Introduced::default(), Instant::now());
        let mut said = Vec::new();
        for half_secs in 0..300 {
            if introduced.take_turn(1, 7, start + FIRST_REST * half_secs) {
                said.push(half_secs);
            }
        }
        assert_eq!(said, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
        assert!(introduced.take_turn(2, 7, start), "over another link");
        assert!(introduced.take_turn(1, 8, start), "of another member");
        introduced.retain(|link| link == 2);
        assert!(introduced.take_turn(1, 7, start), "the link is a new one");
        assert_eq!(introduced.links.len(), 2);
    }
}
