//! Sessions that have come here from nodes that may still pass something on.
//!
//! Which origins and which former owners that concerns, the session itself knows: see
//! [`succession`](crate::session::succession). Here it is found out how far they are. A former owner is asked until it says that
//! it has passed on everything; then the origin, until everything is here that it had sent by then. With that nothing can
//! come by two ways any more, and the session is like any other.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::ReplicaId;

use super::host::LineChange;
use super::link::kind;
use super::takeover::wire::{PassedOn, STAYS_BYTES_MAX, STAYS_MAX, SUCCESSION_SINCE, Stay, TakeoverMessage};
use super::{Cluster, origin_of, turn};
use crate::cluster::forward::wire::append_small;

/// Sessions that are looked after. Others are given what comes as it comes.
const MAX: usize = 10_000;
/// Between two looks at the sessions, where they are few; and where they are many.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_EVERY_OF_MANY: Duration = Duration::from_secs(1);
/// So many are many.
const MANY: usize = 200;
/// What the origin sends waits so long for a former owner that can be reached, and for one that cannot.
const HOLD_MAX: Duration = Duration::from_secs(10);
const HOLD_MAX_APART: Duration = Duration::from_secs(3);
/// What others may still have on its way is waited for so long.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_millis(500);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers of former owners that are waited for. Whoever sends more is asked again.
const ANSWERS_MAX: usize = 1000;

/// The sessions. No other lock is taken under theirs but that of the last look.
#[derive(Debug, Default)]
pub(super) struct Heirs {
    clients: Mutex<HashSet<Box<str>>>,
    /// Whether there is any.
    exist: AtomicBool,
    /// Origins that are being asked.
    asked: Mutex<HashSet<u64>>,
    looked: Mutex<Option<Instant>>,
    /// Answers of former owners that wait for what they speak of.
    answers: Arc<()>,
}

impl Heirs {
    /// The session has come here. False if there are too many to look after it.
    pub fn insert(&self, client: &str) -> bool {
        let mut clients = self.clients.lock();
        let has_room = clients.len() < MAX || clients.contains(client);
        if has_room {
            clients.insert(client.into());
            self.exist.store(true, Ordering::Relaxed);
        }
        has_room
    }

    fn remove(&self, client: &str) {
        let mut clients = self.clients.lock();
        clients.remove(client);
        self.exist.store(!clients.is_empty(), Ordering::Relaxed);
    }

    /// Those that are due to be looked at.
    fn due(&self, now: Instant) -> Vec<Box<str>> {
        let clients = self.clients.lock();
        let every = if clients.len() > MANY { LOOK_EVERY_OF_MANY } else { LOOK_EVERY };
        let mut looked = self.looked.lock();
        if clients.is_empty() || looked.is_some_and(|last| now.saturating_duration_since(last) < every) {
            return Vec::new();
        }
        *looked = Some(now);
        clients.iter().cloned().collect()
    }
}

impl Cluster {
    /// Whether a session here may have former owners that still pass something on.
    pub fn has_heirs(&self) -> bool {
        self.heirs.exist.load(Ordering::Relaxed)
    }

    /// A session has come here that something may still come for by other ways than its routes.
    pub(super) fn look_after(&self, client: &str) {
        if !self.heirs.insert(client) {
            for line in self.host.pending_lines(client) {
                self.host.change_line(client, line.origin, LineChange::Loosen);
            }
        }
    }

    /// A former owner has passed on everything for these stays of sessions there, with its forward `sequence`.
    pub(super) fn handle_passed_on(self: &Arc<Self>, from: &ReplicaId, stays: Vec<PassedOn>, sequence: u64) {
        if Arc::strong_count(&self.heirs.answers) > ANSWERS_MAX {
            return;
        }
        let (cluster, from, counted) = (self.clone(), from.clone(), self.heirs.answers.clone());
        tokio::spawn(async move {
            if tokio::time::timeout(PATIENCE, cluster.receive(&from, sequence)).await.is_ok() {
                turn::all_over().await;
                cluster.settle_stays(origin_of(&from), stays).await;
            }
            drop(counted);
        });
    }

    /// A former owner has passed on everything for these stays. Something may have gone by way of an owner in between.
    async fn settle_stays(self: &Arc<Self>, former: u64, stays: Vec<PassedOn>) {
        self.fence(None, None, PATIENCE_WITH_OTHERS).await;
        for PassedOn { stay: Stay { client, origin, claim }, next_from } in stays {
            let settled = LineChange::Settle { former, stay: claim, next_from };
            self.host.change_line(&client, origin, settled);
        }
    }
}

/// Finds out how far former owners and origins are.
pub(super) fn tend(cluster: &Arc<Cluster>, now: Instant) {
    let due = cluster.heirs.due(now);
    if due.is_empty() {
        return;
    }
    let me = cluster.number();
    let peers = cluster.present_replicas();
    let mut own: Vec<Stay> = Vec::new();
    let mut questions: BTreeMap<u64, Vec<Stay>> = BTreeMap::new();
    let mut complete: BTreeMap<u64, Vec<Box<str>>> = BTreeMap::new();
    for client in due {
        let lines = cluster.host.pending_lines(&client);
        if lines.is_empty() {
            cluster.heirs.remove(&client);
            // It may have come again in between.
            if !cluster.host.pending_lines(&client).is_empty() {
                cluster.look_after(&client);
            }
        }
        for line in lines {
            // It is over, with all that it had; or it cannot say.
            let settle = |former: u64, stay: u64| {
                let settled = LineChange::Settle { former, stay, next_from: 0 };
                cluster.host.change_line(&client, line.origin, settled);
            };
            if line.owners.is_empty() {
                complete.entry(line.origin).or_default().push(client.clone());
            }
            let has_held =
                |long| line.held_since.is_some_and(|since| now.saturating_duration_since(since) > long);
            let mut waits_in_vain = has_held(HOLD_MAX);
            // Nothing comes twice of an origin from which nothing comes.
            let matters = line.held_since.is_some()
                || peers.get(&line.origin).is_none_or(|origin| cluster.is_linked(origin));
            for (former, claim) in line.owners {
                let stay = || Stay { client: client.clone(), origin: line.origin, claim };
                if former == me {
                    own.push(stay());
                    continue;
                }
                match peers.get(&former) {
                    None => settle(former, claim),
                    Some(replica) if cluster.is_linked(replica) => match cluster.peers.find(&replica.name) {
                        Some(peer) if peer.link().is_some() && peer.protocol() < SUCCESSION_SINCE => {
                            settle(former, claim);
                        }
                        _ if matters => questions.entry(former).or_default().push(stay()),
                        _ => {}
                    },
                    Some(_) => waits_in_vain |= has_held(HOLD_MAX_APART),
                }
            }
            if waits_in_vain {
                cluster.host.change_line(&client, line.origin, LineChange::Loosen);
            }
        }
    }
    let is_done = |to: &_, sequence| cluster.peers.find(to).is_none_or(|peer| peer.has_done(sequence));
    let own = cluster.strays.moved.passed_on(own, is_done);
    if !own.is_empty() {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.settle_stays(me, own).await });
    }
    for (former, stays) in questions {
        let Some(peer) = peers.get(&former).and_then(|replica| cluster.peers.find(&replica.name)) else {
            continue;
        };
        let mut stays = stays.into_iter().peekable();
        while stays.peek().is_some() {
            let question = TakeoverMessage::AskPassedOn { stays: take_for_one_question(&mut stays) };
            peer.send(&peers[&former], |out| append_small(out, kind::TAKEOVER, &question));
        }
    }
    for (origin, clients) in complete {
        end_lines(cluster, origin, clients, peers.get(&origin).cloned());
    }
}

fn take_for_one_question(stays: &mut impl Iterator<Item = Stay>) -> Vec<Stay> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while taken.len() < STAYS_MAX && bytes < STAYS_BYTES_MAX {
        let Some(stay) = stays.next() else { break };
        bytes += stay.client.len();
        taken.push(stay);
    }
    taken
}

/// Ends the lines of an origin once all has come that it had sent by now.
fn end_lines(cluster: &Arc<Cluster>, origin: u64, clients: Vec<Box<str>>, replica: Option<ReplicaId>) {
    let end = move |cluster: &Cluster| {
        for client in &clients {
            cluster.host.change_line(client, origin, LineChange::End);
        }
    };
    let Some(replica) = replica else { return end(cluster) };
    if !cluster.is_linked(&replica) || !cluster.heirs.asked.lock().insert(origin) {
        return;
    }
    let cluster = cluster.clone();
    tokio::spawn(async move {
        let received = tokio::time::timeout(PATIENCE, async {
            let fenced = cluster.ask_fence(&replica, None).await?;
            cluster.receive(&replica, fenced.sequence).await;
            turn::all_over().await;
            Some(())
        });
        if let Ok(Some(())) = received.await {
            end(&cluster);
        }
        cluster.heirs.asked.lock().remove(&origin);
    });
}
