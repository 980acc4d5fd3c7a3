//! The new owner's side of a handover.

use std::collections::{HashMap, hash_map};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::{ReplicaId, Stamp, Written};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout, timeout_at};

use super::wire::{SUCCESSION_SINCE, Step, TakeoverMessage};
use super::{Claim, Claimed, Cluster, Holder, INBOX_MAX, Job, REST_PATIENCE, SESSION_MAX, send};
use crate::cluster::events::Move;
use crate::cluster::host::{Acquaintance, Merged};
use crate::cluster::interest::{ROUTES, SESSIONS};
use crate::cluster::turn;

/// Between two looks whether a link is still there.
const LOOK: Duration = Duration::from_millis(50);

/// Another connection has the client by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superseded;

/// Sessions that are on their way here, by client identifier. No lock is taken under its own.
#[derive(Default)]
pub struct Arrivals {
    entries: Mutex<HashMap<Box<str>, Entry>>,
}

struct Entry {
    /// The claim that it is wanted with.
    claim: Stamp,
    /// Who has it, as far as they have said.
    holders: Vec<Holder>,
    /// Whose it was before.
    former: Option<ReplicaId>,
    /// The owner before has answered.
    answered: bool,
    /// It is here.
    arrived: bool,
    /// Something of this has changed.
    changed: Arc<Notify>,
    /// The connections that wait for it; the last one gets it.
    waiters: Vec<u64>,
    finished: watch::Receiver<bool>,
}

impl Entry {
    fn claimed(&self) -> Claimed {
        Claimed { stamp: self.claim, expects_rest: self.former.is_some() && !self.arrived }
    }
}

type Settled = watch::Receiver<Option<usize>>;

/// What the task of an arrival begins with.
pub(super) struct Beginning {
    id: Box<str>,
    /// Whose it was before, where that is another node's.
    former: Option<ReplicaId>,
    /// How many have not acknowledged the claim in time, once that is known.
    settled: Settled,
    finish: watch::Sender<bool>,
}

impl Arrivals {
    /// The claim of a session that is on its way.
    pub fn claim(&self, id: &str) -> Option<Stamp> {
        self.entries.lock().get(id).map(|entry| entry.claim)
    }

    fn is_waited_for(&self, id: &str) -> bool {
        self.entries.lock().get(id).is_some_and(|entry| !entry.waiters.is_empty())
    }

    /// Whether it is still to come.
    pub fn is_awaited(&self, id: &str) -> bool {
        self.entries.lock().get(id).is_some_and(|entry| !*entry.finished.borrow())
    }

    /// The claim that was written for a connection that now opens.
    pub fn take_claim(&self, id: &str) -> Option<Claimed> {
        self.entries.lock().remove(id).map(|entry| entry.claimed())
    }

    /// The claim of one that has finished and that nobody waits for, as this connection does not any more.
    fn take_forsaken(&self, id: &str, gone: Option<u64>) -> Option<Claimed> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(id)?;
        entry.waiters.retain(|waiter| Some(*waiter) != gone);
        let is_forsaken = entry.waiters.is_empty() && *entry.finished.borrow();
        is_forsaken.then(|| entries.remove(id)).flatten().map(|entry| entry.claimed())
    }

    fn handle_arrived(&self, id: &str) {
        if let Some(entry) = self.entries.lock().get_mut(id) {
            entry.arrived = true;
        }
    }

    /// Somebody has the session. Given back where nobody waits for it any more.
    pub fn handle_holding(&self, id: &str, holder: Holder) -> Option<Holder> {
        match self.entries.lock().get_mut(id) {
            Some(entry) if !*entry.finished.borrow() && entry.holders.len() < INBOX_MAX => {
                entry.holders.push(holder);
                entry.changed.notify_one();
                None
            }
            _ => Some(holder),
        }
    }

    /// Somebody has nothing to offer.
    pub fn handle_nothing(&self, id: &str, from: &ReplicaId) {
        if let Some(entry) = self.entries.lock().get_mut(id)
            && entry.former.as_ref() == Some(from)
        {
            entry.answered = true;
            entry.changed.notify_one();
        }
    }

    /// Waits for the answer of the owner before: an offer, or that it has nothing. True if it is an offer.
    async fn answered(&self, id: &str) -> bool {
        loop {
            let changed = {
                let entries = self.entries.lock();
                let Some(entry) = entries.get(id) else { return false };
                if entry.holders.iter().any(|holder| Some(&holder.replica) == entry.former.as_ref()) {
                    return true;
                }
                if entry.answered {
                    return false;
                }
                entry.changed.clone()
            };
            changed.notified().await;
        }
    }

    /// Waits for a session that is on its way, if it is.
    pub async fn finished(&self, id: &str) {
        let finished = self.entries.lock().get(id).map(|entry| entry.finished.clone());
        if let Some(mut finished) = finished {
            // A task that is gone has finished, too.
            let _ = finished.wait_for(|finished| *finished).await;
        }
    }

    fn take_holders(&self, id: &str) -> Vec<Holder> {
        let mut entries = self.entries.lock();
        entries.get_mut(id).map(|entry| std::mem::take(&mut entry.holders)).unwrap_or_default()
    }
}

/// A connection's wait for its session.
pub struct Arrival {
    cluster: Arc<Cluster>,
    id: Box<str>,
    waiter: u64,
    finished: watch::Receiver<bool>,
}

impl Arrival {
    /// Waits until the session is here, or it is known that there is none to be had.
    pub async fn wait(&mut self) -> Result<(), Superseded> {
        let _ = self.finished.wait_for(|finished| *finished).await;
        let entries = self.cluster.takeovers.arrivals.entries.lock();
        let is_newest = entries.get(&self.id).is_some_and(|entry| entry.waiters.last() == Some(&self.waiter));
        drop(entries);
        match is_newest && self.cluster.owner_elsewhere(&self.id).is_none() {
            true => Ok(()),
            false => Err(Superseded),
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.cluster.forget_arrival(&self.id, Some(self.waiter));
    }
}

impl Cluster {
    /// What has arrived stays where nobody opens a connection on it; a claim on nothing does not. `gone` is a connection that does
    /// not any more.
    fn forget_arrival(&self, id: &str, gone: Option<u64>) {
        if let Some(claimed) = self.takeovers.arrivals.take_forsaken(id, gone)
            && self.host.session_claim(id) != Some(claimed.stamp)
        {
            // Whoever has the session keeps it, or an older copy.
            self.retire_claim(id, claimed.stamp, Stamp::default(), Instant::now());
        }
    }

    /// Waits until this node's route is known wherever that is possible.
    async fn await_routed(&self, sequence: u64) {
        let (routed, is_routed) = oneshot::channel();
        let then = move |_| {
            let _ = routed.send(());
        };
        self.when_settled(ROUTES, sequence, Instant::now(), Box::new(then));
        let _ = timeout(2 * self.takeovers.timeout, is_routed).await;
    }

    /// Another node whose claim counts.
    pub(in crate::cluster) fn owner_elsewhere(&self, id: &str) -> Option<Claim> {
        let me = self.me();
        self.session_owner(id).filter(|claim| claim.owner != me)
    }

    /// Asks for a client's session, wherever it is, for a connection that resumes it. None where only this node can have
    /// it.
    pub fn ask_for_session(self: &Arc<Self>, id: &str, now: Instant) -> Option<Arrival> {
        if !self.peers.all().iter().any(|peer| peer.is_reachable()) {
            return None;
        }
        let waiter = self.takeovers.number();
        let has_begun = self.takeovers.arrivals.claim(id).is_some();
        let is_own = self.session_owner(id).is_some_and(|claim| claim.owner == self.me());
        if !has_begun && is_own && self.host.session_claim(id).is_some() {
            return None;
        }
        let claim = || self.write_claim(id, false, now);
        let finished = self.begin_arrival(id, Some(waiter), claim, now);
        Some(Arrival { cluster: self.clone(), id: id.into(), waiter, finished })
    }

    /// A node that is about to leave has a session for whoever takes it. Nothing happens where somebody who can be reached
    /// has claimed it since; and a client that connects elsewhere at this moment has the later claim.
    pub(super) fn adopt(self: &Arc<Self>, from: &ReplicaId, id: &str) {
        let now = Instant::now();
        let is_free =
            self.session_owner(id).is_none_or(|claim| claim.owner == *from || !self.is_linked(&claim.owner));
        if !is_free || self.host.session_claim(id).is_some() || self.takeovers.arrivals.claim(id).is_some() {
            return;
        }
        self.begin_arrival(id, None, || self.write_next_claim(id, now), now);
    }

    /// What is left of an older session is not taken now: its holder offers it again.
    pub(super) fn put_off_rest(&self, id: &str, holder: &Holder) {
        self.expect_rest(id, Instant::now());
        self.say(&holder.replica, id, holder.offer, Step::Declined);
    }

    /// Claims a session and begins to fetch it, unless that has begun.
    fn begin_arrival(
        self: &Arc<Self>,
        id: &str,
        waiter: Option<u64>,
        claim: impl FnOnce() -> Written,
        now: Instant,
    ) -> watch::Receiver<bool> {
        let arrivals = &self.takeovers.arrivals;
        let (finish, finished) = watch::channel(false);
        let entry = Entry {
            claim: Stamp(0),
            holders: Vec::new(),
            former: None,
            answered: false,
            arrived: false,
            changed: Arc::default(),
            waiters: waiter.into_iter().collect(),
            finished: finished.clone(),
        };
        match arrivals.entries.lock().entry(id.into()) {
            hash_map::Entry::Occupied(mut begun) => {
                begun.get_mut().waiters.extend(waiter);
                return begun.get().finished.clone();
            }
            // Entered before it is claimed: who has the session says so before the claim has settled.
            hash_map::Entry::Vacant(place) => place.insert(entry),
        };
        let Written { seq, stamp, replaced } = claim();
        let former = replaced.map(|winner| winner.replica).filter(|former| *former != self.me());
        if let Some(entry) = arrivals.entries.lock().get_mut(id) {
            entry.claim = stamp;
            entry.former = former.clone();
        }
        let (settle, settled) = watch::channel(None);
        let then = move |missed| {
            settle.send_replace(Some(missed));
        };
        self.when_settled(SESSIONS, seq, now, Box::new(then));
        self.takeovers.begin(Job::Arrive(Beginning { id: id.into(), former, settled, finish }));
        finished
    }
}

/// Fetches a session from whoever has it.
pub(super) async fn run(cluster: Arc<Cluster>, beginning: Beginning) {
    let Beginning { id, former, mut settled, finish } = beginning;
    let deadline = tokio::time::Instant::now() + cluster.takeovers.timeout;
    let all_known = tokio::select! {
        all_known = timeout_at(deadline, find_holders(&cluster, &id, former, &mut settled)) => all_known.unwrap_or(true),
        // Whoever has the session offers it to the newer owner now.
        () = superseded(&cluster, &id) => true,
    };
    let mut holders = take_best(&cluster, &id).await;
    if holders.is_none() && !all_known {
        // The owner before has claimed the session, and has not got it: another has it still, and offers it to whoever has
        // claimed it last.
        tokio::select! {
            _ = timeout_at(deadline, is_settled(&mut settled)) => {}
            () = superseded(&cluster, &id) => {}
        }
        holders = take_best(&cluster, &id).await;
    }
    cluster.release_early(&id);
    finish.send_replace(true);
    // From here on nothing is held back.
    cluster.release_early(&id);
    cluster.forget_arrival(&id, None);
    let late = cluster.takeovers.arrivals.take_holders(&id);
    for holder in holders.into_iter().flatten().chain(late) {
        cluster.takeovers.begin_rest(id.clone(), holder);
    }
}

/// Waits until another node's claim counts.
async fn superseded(cluster: &Cluster, id: &str) {
    while cluster.owner_elsewhere(id).is_none() {
        sleep(LOOK).await;
    }
}

/// Waits until it is known who has acknowledged the claim; how many have not. None if the node stops.
async fn is_settled(settled: &mut Settled) -> Option<usize> {
    settled.wait_for(Option::is_some).await.ok().and_then(|missed| *missed)
}

/// Takes the session from the holder with the highest claim that hands it over, and returns the others that are left; none
/// if nobody does, or another node has claimed it: that one may wait for this one, and the holder serves that one alone.
async fn take_best(cluster: &Arc<Cluster>, id: &str) -> Option<std::vec::IntoIter<Holder>> {
    let mut holders = cluster.takeovers.arrivals.take_holders(id);
    holders.sort_by_key(|holder| std::cmp::Reverse(holder.claim));
    let mut holders = holders.into_iter();
    while let Some(holder) = holders.next() {
        let taken = tokio::select! {
            biased;
            () = superseded(cluster, id) => Err(Failed::Unwanted),
            taken = take(cluster, id, &holder) => taken,
        };
        match taken {
            Ok(()) => {
                cluster.takeovers.arrivals.handle_arrived(id);
                cluster.counters.takeovers_arrived.inc();
                cluster.events.note_move(Move::Arrived, id, &holder.replica.name);
                tracing::debug!(client = id, from = %holder.replica, "session taken over");
                return Some(holders);
            }
            Err(failed) => {
                if failed != Failed::Unknown {
                    cluster.counters.takeovers_failed.inc();
                    cluster.events.note_move(Move::Failed, id, &holder.replica.name);
                }
                tracing::debug!(client = id, from = %holder.replica, ?failed, "session not taken over");
                cluster.say(&holder.replica, id, holder.offer, Step::Declined);
            }
        }
    }
    None
}

/// Waits until all holders have made their offers, or at least the owner before; returns whether it was all. An acknowledgement
/// of the claim may come by way of a third node, and be here before the offer: so that owner's answer is waited for by itself.
async fn find_holders(cluster: &Cluster, id: &str, former: Option<ReplicaId>, settled: &mut Settled) -> bool {
    let arrivals = &cluster.takeovers.arrivals;
    match former.filter(|former| cluster.is_linked(former)) {
        None => {
            is_settled(settled).await;
        }
        Some(former) => {
            send(&cluster.peers, &former, &TakeoverMessage::Ask { id: id.into() });
            let unlinked = async {
                while cluster.is_linked(&former) {
                    sleep(LOOK).await;
                }
            };
            tokio::select! {
                offered = arrivals.answered(id) => if offered { return false },
                () = unlinked => {}
            }
            is_settled(settled).await;
        }
    }
    true
}

/// Why a holder's session does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// It is not there, or not for this node.
    Gone,
    /// The holder says nothing, or its link is lost.
    Silent,
    /// The holder sends what is no session.
    Malformed,
    /// Nothing is in it, and the client may never have heard of it: there may be one that it knows.
    Unknown,
    /// Nobody waits for it any more.
    Unwanted,
}

async fn take(cluster: &Arc<Cluster>, id: &str, holder: &Holder) -> Result<(), Failed> {
    let mut offer = Offer::new(cluster, id, holder);
    offer.say(Step::Take { whole: true });
    let patience = cluster.takeovers.timeout;
    let record = offer.receive(patience).await?;
    let claim = cluster.takeovers.arrivals.claim(id).ok_or(Failed::Unwanted)?;
    // What this node publishes from here on may be matched with the routes that come now.
    let next_from = cluster.publishes.load(Ordering::Acquire);
    let arriving = cluster.host.admit(id, &record).map_err(|_| Failed::Malformed)?;
    if arriving.is_unknown() && cluster.takeovers.arrivals.is_waited_for(id) {
        return Err(Failed::Unknown);
    }
    cluster.await_routed(arriving.routed_by()).await;
    turn::all_over().await;
    let peer = cluster.peers.find(&holder.replica.name).ok_or(Failed::Silent)?;
    let sequence = peer.last_forward();
    offer.say(match peer.protocol() >= SUCCESSION_SINCE {
        true => Step::ShipAfter { sequence, routes: arriving.routed_by(), next_from },
        false => Step::Ship { sequence },
    });
    let state = offer.receive(patience).await?;
    // What the state has and is on its way here as well must be here before it, to be known for the same.
    let around = cluster.fence(None, None, patience / 4).await;
    let received = around.received.iter().map(|&(origin, _)| origin).chain([cluster.number()]);
    arriving.finish(&state, claim, &received.collect::<Vec<_>>()).map_err(|_| Failed::Malformed)?;
    cluster.look_after(id);
    cluster.takeovers.taken.lock().insert(id, &holder.replica, holder.claim);
    offer.say(Step::Kept);
    Ok(())
}

/// Takes what was never sent of a session that has a newer one here.
pub(super) async fn take_rest(cluster: Arc<Cluster>, id: Box<str>, holder: Holder) {
    try_take_rest(&cluster, &id, &holder).await;
    // There may be more: who holds an older session may have had no link when it was claimed.
    cluster.takeovers.end_rest(&id);
}

async fn try_take_rest(cluster: &Arc<Cluster>, id: &str, holder: &Holder) {
    let mut offer = Offer::new(cluster, id, holder);
    if cluster.takeovers.taken.lock().contains(id, &holder.replica, holder.claim) {
        return offer.say(Step::Kept); // The first time, it was lost with a link.
    }
    if cluster.owner_elsewhere(id).is_some() || cluster.host.session_claim(id).is_none() {
        return offer.say(Step::Declined);
    }
    match cluster.host.acquaintance(id) {
        Acquaintance::Known => {}
        // It may hear of it, and subscribe: then there is something that the older one's messages are for.
        Acquaintance::Recent => {
            return cluster.put_off_rest(id, holder);
        }
        // The older one is its session, which this claims.
        Acquaintance::Unknown => {
            let now = Instant::now();
            cluster.begin_arrival(id, None, || cluster.write_next_claim(id, now), now);
            return;
        }
    }
    offer.say(Step::Take { whole: false });
    tracing::debug!(client = id, from = %holder.replica, "taking the rest of a session");
    let received = offer.receive(REST_PATIENCE + cluster.takeovers.timeout).await;
    match received.map(|state| cluster.host.merge(id, &state)) {
        Ok(Ok(Merged::Subscriptions { routed_by })) => {
            // What comes until then is there, and offered again.
            cluster.await_routed(routed_by).await;
            cluster.put_off_rest(id, holder);
        }
        Ok(Ok(Merged::All)) => {
            cluster.look_after(id);
            cluster.takeovers.taken.lock().insert(id, &holder.replica, holder.claim);
            cluster.counters.takeovers_merged.inc();
            cluster.events.note_move(Move::Merged, id, &holder.replica.name);
            offer.say(Step::Kept);
        }
        _ => {
            cluster.counters.takeovers_failed.inc();
            cluster.events.note_move(Move::Failed, id, &holder.replica.name);
            cluster.put_off_rest(id, holder);
        }
    }
}

/// One holder's offer, while it is talked about.
struct Offer<'a> {
    cluster: &'a Cluster,
    id: &'a str,
    holder: &'a Holder,
    steps: mpsc::Receiver<Step>,
}

impl<'a> Offer<'a> {
    fn new(cluster: &'a Cluster, id: &'a str, holder: &'a Holder) -> Offer<'a> {
        let (to_task, steps) = mpsc::channel(INBOX_MAX);
        cluster.takeovers.offers.lock().insert((holder.replica.clone(), holder.offer), to_task);
        Offer { cluster, id, holder, steps }
    }

    fn say(&self, step: Step) {
        self.cluster.say(&self.holder.replica, self.id, self.holder.offer, step);
    }

    /// All pieces up to the last one. Every one of them buys the holder more time.
    async fn receive(&mut self, patience: Duration) -> Result<Vec<u8>, Failed> {
        let (mut received, mut pieces) = (Vec::new(), 0..);
        let mut deadline = Instant::now() + patience;
        loop {
            match timeout(LOOK, self.steps.recv()).await {
                Ok(Some(step @ (Step::Piece { .. } | Step::NumberedPiece { .. }))) => {
                    let expected = pieces.next();
                    let (bytes, last) = match step {
                        Step::Piece { bytes, last } => (bytes, last),
                        Step::NumberedPiece { number, bytes, last } if Some(number) == expected => {
                            (bytes, last)
                        }
                        // One before it was lost on its way through a third node.
                        _ => return Err(Failed::Silent),
                    };
                    received.extend_from_slice(&bytes);
                    if received.len() > SESSION_MAX {
                        return Err(Failed::Malformed);
                    }
                    if last {
                        return Ok(received);
                    }
                    deadline = Instant::now() + patience;
                }
                Ok(_) => return Err(Failed::Gone),
                Err(_) if Instant::now() > deadline || !self.cluster.is_linked(&self.holder.replica) => {
                    return Err(Failed::Silent);
                }
                Err(_) => {}
            }
        }
    }
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        self.cluster.takeovers.offers.lock().remove(&(self.holder.replica.clone(), self.holder.offer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_forgotten_with_the_last_that_waits_for_it() {
        let arrivals = Arrivals::default();
        let (finish, finished) = watch::channel(false);
        let entry = Entry {
            claim: Stamp(7),
            holders: Vec::new(),
            former: None,
            answered: false,
            arrived: false,
            changed: Arc::default(),
            waiters: vec![1, 2],
            finished: finished.clone(),
        };
        arrivals.entries.lock().insert("x".into(), entry);
        // Whoever looks on is none of them.
        let _looks_on = finished;
        assert_eq!(arrivals.take_forsaken("x", Some(2)), None);
        finish.send_replace(true);
        assert_eq!(arrivals.take_forsaken("x", Some(2)), None, "the first one is there");
        let forsaken = arrivals.take_forsaken("x", Some(1)).map(|claimed| claimed.stamp);
        assert_eq!((forsaken, arrivals.claim("x")), (Some(Stamp(7)), None));
        assert_eq!(arrivals.take_forsaken("x", None), None);
    }
}
