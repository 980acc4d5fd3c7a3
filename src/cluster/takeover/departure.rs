//! The holder's side of a handover.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rumormq_gossip::ReplicaId;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::fence::{Around, Destination, Fenced};
use super::wire::{Step, TakeoverMessage};
use super::{Cluster, FromOwner, Job, REST_PATIENCE, send};
use crate::cluster::events::Move;
use crate::cluster::host::{Departing, Portion, Purpose};
use crate::session::succession::Farewell;

/// Between two looks whether a link is still there.
const LOOK: Duration = Duration::from_millis(50);
/// Between two offers of a session that nobody takes.
const OFFER_AGAIN: Duration = Duration::from_millis(500);

/// Hands a session over to whoever's claim counts, until that has it, or this node has it again.
pub(super) async fn run(cluster: Arc<Cluster>, id: Box<str>, messages: mpsc::Receiver<FromOwner>) {
    let mut departure = Departure { cluster: &cluster, id: &id, messages, stash: VecDeque::new() };
    departure.run().await;
    // Where it has not moved, it stays, or is over: what was held is for whoever has it.
    let held = cluster.strays.moved.forget(&id, cluster.number());
    cluster.forward_strays(held, Instant::now());
    let Departure { mut messages, mut stash, .. } = departure;
    cluster.takeovers.departures.lock().remove(&id);
    while let Ok(message) = messages.try_recv() {
        stash.push_back(message);
    }
    for FromOwner { owner, offer, step } in stash {
        if matches!(step, Step::Take { .. }) {
            cluster.say(&owner, &id, offer, Step::Gone);
        }
    }
    // It may have come back and gone again in the meantime.
    if cluster.owner_elsewhere(&id).is_some()
        && cluster.host.session_claim(&id).is_some()
        && let Some(messages) = cluster.takeovers.enter_departure(&id)
    {
        cluster.takeovers.begin(Job::Depart { id, messages });
    }
}

struct Departure<'a> {
    cluster: &'a Arc<Cluster>,
    id: &'a str,
    messages: mpsc::Receiver<FromOwner>,
    /// What others said while one was served.
    stash: VecDeque<FromOwner>,
}

/// The new owner says nothing any more.
struct Silent;

impl Departure<'_> {
    async fn run(&mut self) {
        // It may still be on its way here.
        self.cluster.takeovers.arrivals.finished(self.id).await;
        let mut offered = true;
        loop {
            let Some(claim) = self.cluster.owner_elsewhere(self.id) else {
                if let Some(end) = self.cluster.end_of(self.id) {
                    self.cluster.host.release(self.id, end, Purpose::Discard);
                }
                return;
            };
            let purpose = match self.cluster.host.session_claim(self.id) {
                Some(own) if claim.discards(own) => Purpose::Discard,
                _ if claim.value.adopts => Purpose::Keep,
                _ => Purpose::Resume,
            };
            let Some(session) = self.cluster.host.release(self.id, claim.stamp, purpose) else { return };
            if !std::mem::replace(&mut offered, false) {
                self.offer(&claim.owner);
            }
            let handed_over = self.hand_over(&*session, &claim.owner).await.is_ok();
            if handed_over {
                self.cluster.counters.takeovers_departed.inc();
                self.cluster.events.note_move(Move::Departed, self.id, &claim.owner.name);
                tracing::debug!(client = self.id, to = %claim.owner, "session handed over");
                session.forget();
                return self.cluster.release_held(self.id);
            }
            session.keep();
            tracing::debug!(client = self.id, to = %claim.owner, "session not handed over yet");
            tokio::select! {
                () = sleep(OFFER_AGAIN) => {}
                () = self.superseded(&claim.owner) => {}
            }
        }
    }

    fn offer(&self, owner: &ReplicaId) {
        let Some(claim) = self.cluster.host.session_claim(self.id) else { return };
        let offer = self.cluster.takeovers.number();
        send(&self.cluster.peers, owner, &TakeoverMessage::Holding { id: self.id.into(), offer, claim });
    }

    async fn hand_over(&mut self, session: &dyn Departing, owner: &ReplicaId) -> Result<(), Silent> {
        let patience = self.cluster.takeovers.timeout;
        let (offer, whole) = loop {
            match self.next(owner, None, patience).await? {
                (offer, Step::Take { whole }) => break (offer, whole),
                (_, Step::Kept) => return Ok(()),
                // Before its client's connection is open, perhaps: it is offered again.
                (_, Step::Declined) => return Err(Silent),
                _ => continue,
            }
        };
        let (mut asked, mut destination) = (None, None);
        if whole {
            self.ship(owner, offer, &session.record()).await?;
            // The new owner waits for its routes as a SUBACK does.
            match self.next(owner, Some(offer), 3 * patience).await? {
                (_, Step::Ship { sequence }) => {
                    asked = Some((owner.clone(), Fenced { sequence, ..Fenced::default() }));
                }
                (_, Step::ShipAfter { sequence, routes, next_from }) => {
                    let fenced = Fenced { sequence, publishes: next_from, next_from: Vec::new() };
                    asked = Some((owner.clone(), fenced));
                    destination = Some(Destination { owner: owner.clone(), routes });
                }
                _ => return Err(Silent),
            }
        }
        let settled = Instant::now() + patience / 2;
        while !session.is_settled() && Instant::now() < settled {
            sleep(Duration::from_millis(1)).await;
        }
        // This node may know of the new owner's routes by a third one, later than that by this one.
        if let Some(to) = &destination {
            let learns = timeout(patience / 4, self.cluster.learns_routes(&to.owner, to.routes));
            let knows = tokio::select! {
                knows = learns => knows.unwrap_or(false),
                () = self.superseded(owner) => false,
            };
            if !knows {
                return Err(Silent);
            }
        }
        let own = self.cluster.publishes.load(Ordering::Acquire);
        let patience_of_fence = if whole { patience / 4 } else { REST_PATIENCE };
        let Around { mut received, missing } = tokio::select! {
            around = self.cluster.fence(asked, destination.clone(), patience_of_fence) => around,
            // Whoever has claimed it since must not wait for that.
            () = self.superseded(owner) => return Err(Silent),
        };
        let me = self.cluster.number();
        match &destination {
            Some(_) => received.push((me, own)),
            None => received.clear(),
        }
        let known = received.iter().map(|&(origin, from)| Farewell { origin, next_from: Some(from) });
        let late = missing.values().map(|&origin| Farewell { origin, next_from: None });
        let farewells: Vec<Farewell> = known.chain(late).collect();
        // What these have for it comes later than the session can wait.
        let (stay, now) = ((me, session.stay()), Instant::now());
        let moved = &self.cluster.strays.moved;
        let (held, is_remembered) =
            moved.begin(self.id, stay, session.filters(), missing, destination.clone(), now);
        if !is_remembered {
            self.cluster.counters.strays_lost.inc();
        }
        self.cluster.host.deliver_strays(&held, now);
        let portion = match (whole, destination) {
            (false, _) => Portion::Rest,
            (true, None) => Portion::WithoutLines,
            (true, Some(_)) => Portion::Whole,
        };
        let Some(state) = session.state(me, &farewells, portion) else {
            self.cluster.say(owner, self.id, offer, Step::Gone);
            return Err(Silent);
        };
        self.ship(owner, offer, &state).await?;
        match self.next(owner, Some(offer), 3 * patience).await? {
            (_, Step::Kept) => Ok(()),
            _ => Err(Silent),
        }
    }

    /// Waits until the claim of `owner` does not count any more.
    async fn superseded(&self, owner: &ReplicaId) {
        while self.cluster.owner_elsewhere(self.id).is_some_and(|claim| claim.owner == *owner) {
            sleep(LOOK).await;
        }
    }

    async fn ship(&self, owner: &ReplicaId, offer: u64, bytes: &[u8]) -> Result<(), Silent> {
        match self.cluster.ship(owner, self.id, offer, bytes).await {
            true => Ok(()),
            false => Err(Silent),
        }
    }

    /// What the new owner says next, about this offer if one is named. What others say waits.
    async fn next(
        &mut self,
        owner: &ReplicaId,
        offer: Option<u64>,
        patience: Duration,
    ) -> Result<(u64, Step), Silent> {
        let wanted =
            |message: &FromOwner| message.owner == *owner && offer.is_none_or(|offer| offer == message.offer);
        if let Some(at) = self.stash.iter().position(wanted)
            && let Some(message) = self.stash.remove(at)
        {
            return Ok((message.offer, message.step));
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && self.cluster.is_linked(owner) {
            match timeout(LOOK, self.messages.recv()).await {
                Ok(Some(message)) if wanted(&message) => return Ok((message.offer, message.step)),
                Ok(Some(message)) => {
                    if self.stash.len() < super::INBOX_MAX {
                        self.stash.push_back(message);
                    }
                }
                Ok(None) => return Err(Silent),
                Err(_) => {}
            }
        }
        Err(Silent)
    }
}
