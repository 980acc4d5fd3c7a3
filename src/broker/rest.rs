//! What is left of a client's older session, once the node that has it can be reached again.
//!
//! While that cannot be, the client goes on with what another node has: a new session, or an older copy of one. Of the latter
//! it cannot know that it is old: it was told that its session is present, so what it has subscribed to on the other node
//! is subscribed to here as well.

use std::sync::Arc;
use std::time::Instant;

use super::Broker;
use super::batch::Batch;
use super::client::{Client, Subscriber};
use super::portable::{self, PortableRest, PortableSession};
use crate::cluster::host::{MalformedSession, Merged};
use crate::router::Subscription;
use crate::session::Session;
use crate::session::portable::SessionState;
use crate::session::succession::{Bringer, SuccessionState};
use crate::topic::SubscriptionFilter;

impl Broker {
    /// See [`Host::merge`](crate::cluster::host::Host::merge).
    pub(super) fn merge(&self, id: &str, bytes: &[u8]) -> Result<Merged, MalformedSession> {
        let PortableSession { state, succession, rest, .. } = PortableSession::read(bytes)?;
        let client = self.registry.find(id).ok_or(MalformedSession)?;
        if client.lock().record.shipped {
            return Err(MalformedSession); // It is another node's by now, which is offered the rest in turn.
        }
        let mut batch = Batch::new(Instant::now());
        let now = batch.now;
        let claim = rest.as_ref().map_or(0, |rest| rest.claim);
        if let Some(PortableRest { username, is_node, subscriptions, .. }) = rest {
            if client.lock().record.identity != portable::identity(username, is_node) {
                return Ok(Merged::All); // Nobody else gets what a user's session holds.
            }
            let subscriptions = portable::subscriptions(subscriptions)?;
            if let Some(routed_by) = self.merge_subscriptions(&client, claim, subscriptions, now) {
                return Ok(Merged::Subscriptions { routed_by });
            }
        }
        let merged = self.merge_messages(&client, claim, state, succession, &mut batch);
        if merged.is_ok() {
            self.adopt_exclusive(&client, now);
        }
        batch.touch(&client);
        batch.flush();
        batch.report(&self.metrics);
        merged.map(|()| Merged::All)
    }

    /// What is left of a session with the claim `claim`. An error if the one that gets it goes, or ends, in between.
    fn merge_messages(
        &self,
        client: &Arc<Client>,
        claim: u64,
        session: SessionState,
        succession: SuccessionState,
        batch: &mut Batch,
    ) -> Result<(), MalformedSession> {
        let accept = |ticket| self.accept_ticket(ticket);
        let now = batch.now;
        {
            let mut state = client.lock();
            // Where it was told since that it has no session, it holds nothing of that one.
            if state.record.lineage.goes_on_from(claim) {
                state.session.release_elsewhere(session.unreleased());
            }
            state.session.inherit(succession.clone(), self.cluster_number(), true, &accept, now);
        }
        let held = succession.into_held(&accept, now);
        for queued in session.into_unsent(&accept, now).chain(held) {
            let state = client.lock();
            if state.record.shipped || state.record.ended {
                return Err(MalformedSession); // Who comes next knows what this one has had.
            }
            if !self.deliver_brought(client, state, &queued, Bringer::Rest, batch) {
                self.pass_on(vec![queued], batch);
            }
        }
        Ok(())
    }

    /// This node had an older copy of a session that has come: it ends, and what is left of it goes to that one. Where that
    /// may have it already, only if it says what it has had.
    pub(super) fn merge_former(
        &self,
        client: &Arc<Client>,
        former: &Arc<Client>,
        is_noted: bool,
        now: Instant,
    ) {
        let mut batch = Batch::new(now);
        let identity = client.lock().record.identity.clone();
        let mut state = former.lock();
        state.record.will = None;
        if state.record.was_shipped && !is_noted || state.record.identity != identity {
            drop(state);
            self.adopt_exclusive(client, now);
            self.end_session(former, former.lock(), &mut batch);
        } else {
            let known = state.record.subscriptions.iter();
            let subscriptions = known.map(|(filter, with)| (filter.clone(), *with)).collect();
            drop(state);
            // Before they end there: nothing falls between the two.
            self.merge_subscriptions(client, former.claim().0, subscriptions, now);
            self.adopt_exclusive(client, now);
            let mut state = former.lock();
            let session = state.session.export(now);
            let succession = state.session.bequeath(self.cluster_number(), former.claim().0, &[], now);
            state.session.release_tickets();
            state.session = Session::new(self.limits().session.clone());
            self.end_session(former, state, &mut batch);
            // A session that goes or ends just now is not followed.
            let _ = self.merge_messages(client, former.claim().0, session, succession, &mut batch);
            batch.touch(client);
        }
        batch.flush();
        batch.report(&self.metrics);
    }

    /// Subscribes the client to what it takes for granted that it is subscribed to, for it was in the session with the claim
    /// `other`. Gives the last of the new routes, if there is any.
    fn merge_subscriptions(
        &self,
        client: &Arc<Client>,
        other: u64,
        subscriptions: Vec<(SubscriptionFilter, Subscription)>,
        now: Instant,
    ) -> Option<u64> {
        let changing = client.change_subscriptions();
        let max_subscriptions = self.limits().max_subscriptions;
        let mut added = Vec::new();
        for (filter, subscription) in subscriptions {
            let may_subscribe = self.may_subscribe(client, &filter.filter);
            let mut state = client.lock();
            let record = &mut state.record;
            if record.ended || !record.lineage.goes_on_from(other) {
                break;
            }
            let is_known =
                record.subscriptions.contains_key(&filter) || record.lineage.unsubscribed.contains(&filter);
            if is_known || !may_subscribe || record.subscriptions.len() >= max_subscriptions {
                continue;
            }
            record.subscriptions.insert(filter.clone(), subscription);
            let is_connected = state.attachment.is_some();
            drop(state);
            self.route(&filter, Subscriber(client.clone()), subscription, is_connected);
            added.push(filter);
        }
        let cluster = self.cluster.get().filter(|_| !added.is_empty());
        let routed_by = cluster.map(|cluster| cluster.add_interest(&added, &added, now));
        drop(changing);
        if !added.is_empty() {
            tracing::debug!(client = client.id(), count = added.len(), "subscribed as in another session");
            self.announce_subscriptions(client, &added, now);
        }
        routed_by
    }
}
