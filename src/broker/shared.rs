//! Shared subscriptions: a message goes to one member of the group, wherever in the cluster that is.
//!
//! The publisher's node chooses a node, and that chooses one of its members ([`crate::router::ShareGroup`] says by what
//! rule). A message of QoS 1 or 2 carries a [`Ticket`] as long as it is with a session: when the session cannot get it to
//! its client any more, it goes to another member, here or by way of the node where it was published.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::MutexGuard;
use rumormq_gossip::ReplicaId;

use super::Broker;
use super::batch::Batch;
use super::client::{Client, ClientState, Subscriber};
use crate::cluster::forward::wire::{ForwardedShare, Share};
use crate::cluster::unconsumed::Kept;
use crate::cluster::{Cluster, Peer, wall_clock_ms};
use crate::codec::packet::QoS;
use crate::message::{Application, Message, Origin, PortableTicket, QueuedMessage, Settlement, Ticket};
use crate::router::{Choice, Match, Member, Members, ShareGroup, Strategy, Subscription, Target};
use crate::session::frames::Frames;
use crate::session::{Delivered, Delivery, DropReason, Session};
use crate::topic::{SubscriptionFilter, Topic};

/// One message for one group.
struct Offer<'a, 'f> {
    frames: &'a mut Frames<'f>,
    choice: Choice,
    ticket: &'a Arc<Ticket>,
    batch: &'a mut Batch,
}

/// What becomes of it.
enum Outcome {
    /// A session of this node has it.
    Delivered,
    /// Another node is to choose a member.
    Forward(ReplicaId, Arc<Peer>),
    /// There are members, none of which can be reached now.
    Waits,
    /// Nobody is owed it, or nobody has room for it.
    Dropped(DropReason),
}

/// What a publish leaves for other nodes to do.
#[derive(Default)]
pub(super) struct ForOthers {
    pub shares: Vec<(Arc<Peer>, Share)>,
    pub message: Option<Arc<Message>>,
}

impl Broker {
    /// Makes a subscription known to the router.
    pub(super) fn route(
        &self,
        filter: &SubscriptionFilter,
        subscriber: Subscriber,
        subscription: Subscription,
        connected: bool,
    ) {
        match &filter.share {
            None => self.router.subscribe(&filter.filter, subscriber, subscription),
            Some(name) => {
                let now_ms = wall_clock_ms();
                self.router.join(name, &filter.filter, subscriber, subscription, connected, now_ms)
            }
        };
    }

    /// Takes a subscription out of the router.
    pub(super) fn unroute(&self, filter: &SubscriptionFilter, subscriber: &Subscriber) {
        match &filter.share {
            None => self.router.unsubscribe(&filter.filter, subscriber),
            Some(name) => self.router.leave(name, &filter.filter, subscriber),
        };
    }

    /// The client's connection has opened or closed: its groups hear of it. Returns the client's shared subscriptions.
    pub(super) fn note_presence(&self, client: &Arc<Client>, now: Instant) -> Vec<SubscriptionFilter> {
        let _changing = client.change_subscriptions();
        let state = client.lock();
        let connected = state.attachment.is_some();
        let shared = state.record.subscriptions.keys().filter(|filter| filter.share.is_some());
        let shared: Vec<SubscriptionFilter> = shared.cloned().collect();
        drop(state);
        if shared.is_empty() {
            return shared;
        }
        let (subscriber, now_ms) = (Subscriber(client.clone()), wall_clock_ms());
        for SubscriptionFilter { share, filter } in &shared {
            if let Some(name) = share {
                self.router.set_connected(name, filter, &subscriber, connected, now_ms);
            }
        }
        if let Some(cluster) = self.cluster.get() {
            cluster.refresh_groups(&shared, now);
        }
        shared
    }

    /// A ticket that has come with a session from another node.
    pub(super) fn accept_ticket(&self, portable: PortableTicket) -> Ticket {
        match self.cluster.get() {
            Some(cluster) => cluster.accept_ticket(portable),
            None => Ticket::local(Arc::new(portable.share)),
        }
    }

    /// The client's connection has closed and its session stays: what it was given as a member of groups goes to other
    /// members, where those have connections.
    pub(super) fn leave_to_others(&self, client: &Arc<Client>, batch: &mut Batch) {
        self.note_presence(client, batch.now);
        // It may have left the group in the meantime and still have messages of it.
        let shares = client.lock().session.shares();
        let others: HashSet<_> = shares.into_iter().filter(|share| self.has_connected(share)).collect();
        if others.is_empty() {
            return;
        }
        let mut state = client.lock();
        if state.attachment.is_some() || state.record.ended {
            return;
        }
        let taken = state.session.take_shared(&others);
        drop(state);
        self.pass_on(taken, batch);
    }

    /// Takes from a session that ends, whose lock `state` is, what others are to get.
    pub(super) fn take_shared(&self, state: &mut MutexGuard<'_, ClientState>) -> Vec<QueuedMessage> {
        let shares = state.session.shares();
        let taken = if shares.is_empty() { Vec::new() } else { state.session.take_shared(&shares) };
        state.session.consume_in_delivery();
        taken
    }

    /// Gives messages that a session could not get to its client to other members.
    pub(super) fn pass_on(&self, messages: Vec<QueuedMessage>, batch: &mut Batch) {
        for queued in messages {
            let Some(ticket) = &queued.ticket else { continue };
            let share = ticket.share();
            let group = share.share.as_ref().and_then(|name| self.router.group(name, &share.filter));
            let Some(group) = group else {
                // As with plain subscriptions: without subscribers, nobody is owed it.
                ticket.consume();
                continue;
            };
            if queued.message.is_expired(batch.now) {
                ticket.consume();
                continue;
            }
            let delivered = self.with_frames(&queued.message, batch, |frames, batch| {
                let choice = self.choice(frames.application().topic, None);
                Offer { frames, choice, ticket, batch }.give_connected(&group).is_ok()
            });
            if !delivered && !ticket.is_claimed() {
                let share = share.clone();
                let key = self.choice_key(queued.message.topic(), None);
                self.share(Kept { message: queued.message.clone(), share, key, waits_as: None }, None, batch);
            }
            // What another node keeps a copy of goes back there with the ticket.
        }
    }

    /// Chooses a member for each group that a publish matches; gives back what others have to do.
    #[inline(never)]
    pub(super) fn share_out(
        &self,
        application: &Application<'_>,
        matches: &Match<Subscriber>,
        from: Option<&Client>,
        message: Option<Arc<Message>>,
        batch: &mut Batch,
    ) -> ForOthers {
        let mut scratch = std::mem::take(&mut batch.scratch);
        let mut frames = Frames::new(application, &mut scratch, batch.now).with_message(message);
        let choice = self.choice(application.topic, from);
        let mut shares = Vec::new();
        for group in &matches.groups {
            let ticket = &group.ticket;
            let mut offer = Offer { frames: &mut frames, choice, ticket, batch };
            match self.offer(group, &mut offer, None) {
                Outcome::Delivered => {}
                Outcome::Dropped(reason) => {
                    batch.count_delivered(Delivered::Dropped(reason), application.qos);
                }
                Outcome::Forward(replica, peer) => {
                    let claim = match application.qos {
                        QoS::AtMostOnce => 0,
                        _ => self.keep(group, choice, frames.message(), Some(&replica)),
                    };
                    shares.push((peer, Share { share: group.share.clone(), key: choice.key, claim }));
                }
                Outcome::Waits => {
                    self.keep(group, choice, frames.message(), None);
                }
            }
        }
        let message = frames.into_message();
        batch.scratch = scratch;
        ForOthers { shares, message }
    }

    /// Chooses a member again for a message that was published here. `except` was tried just now.
    pub(super) fn share(&self, kept: Kept, except: Option<&ReplicaId>, batch: &mut Batch) {
        let Some(name) = &kept.share.share else { return };
        // As with plain subscriptions: without subscribers, nobody is owed it.
        let Some(group) = self.router.group(name, &kept.share.filter) else { return };
        if kept.message.is_expired(batch.now) {
            return self.metrics.messages_dropped.with_label_values(&["expired"]).inc();
        }
        let choice = Choice { key: kept.key, ..self.choice_of(kept.key) };
        let outcome = self.with_frames(&kept.message, batch, |frames, batch| {
            let ticket = &group.ticket;
            self.offer(&group, &mut Offer { frames, choice, ticket, batch }, except)
        });
        let Some(cluster) = self.cluster.get() else { return };
        match outcome {
            Outcome::Delivered => {}
            Outcome::Dropped(reason) => batch.count_delivered(Delivered::Dropped(reason), kept.message.qos),
            Outcome::Forward(replica, peer) => {
                let (message, share, key) = (kept.message.clone(), kept.share.clone(), kept.key);
                let claim = self.keep_copy(cluster, kept, Some(&replica));
                let shares = vec![(peer, Share { share, key, claim })];
                let destinations = cluster.destinations_of(&Default::default(), shares);
                cluster.forward(destinations, cluster.next_publication(None), message, || None, batch.now);
            }
            Outcome::Waits => {
                self.keep_copy(cluster, kept, None);
            }
        }
    }

    /// Chooses a member of this node, as another node asks.
    pub(super) fn deliver_share(
        &self,
        application: &Application<'_>,
        matches: &Match<Subscriber>,
        share: &ForwardedShare<'_>,
        origin: &Arc<dyn Origin>,
        batch: &mut Batch,
    ) {
        let is_it = |group: &&Arc<ShareGroup<Subscriber>>| {
            let SubscriptionFilter { share: name, filter } = &*group.share;
            filter.as_str() == share.filter && name.as_ref().is_some_and(|name| name.as_str() == share.name)
        };
        let Some(group) = matches.groups.iter().find(is_it) else {
            if share.claim > 0 {
                origin.settle(share.claim, Settlement::Returned);
            }
            return;
        };
        let ticket = match share.claim {
            0 => group.ticket.clone(),
            claim => Arc::new(Ticket::claimed(group.share.clone(), origin.clone(), claim)),
        };
        let mut scratch = std::mem::take(&mut batch.scratch);
        let mut frames = Frames::new(application, &mut scratch, batch.now);
        let choice = self.choice_of(share.key);
        let mut offer = Offer { frames: &mut frames, choice, ticket: &ticket, batch };
        let mut result = offer.give_connected(group);
        if result.is_err() && !self.is_connected_elsewhere(group) {
            result = offer.give_offline(group);
        }
        // Otherwise its origin chooses another node, as soon as the ticket is dropped.
        if let Err(reason) = result
            && share.claim == 0
        {
            batch.count_delivered(Delivered::Dropped(reason), application.qos);
        }
        batch.scratch = scratch;
    }

    /// Looks for a member: one with a connection wherever in the cluster, else one without.
    fn offer(
        &self,
        group: &ShareGroup<Subscriber>,
        offer: &mut Offer<'_, '_>,
        except: Option<&ReplicaId>,
    ) -> Outcome {
        let cluster = self.cluster.get();
        let reached = |index| {
            cluster.and_then(|cluster| cluster.reached(index)).filter(|(replica, _)| Some(replica) != except)
        };
        let admits = |target| match (target, except) {
            (Target::Here, _) => true,
            (Target::Peer(index), None) => cluster.is_some_and(|cluster| cluster.reaches(index)),
            (Target::Peer(index), Some(_)) => reached(index).is_some(),
        };
        let mut reason = DropReason::Offline;
        let connected = |members: &Members| members.connected;
        let offline = |members: &Members| members.offline;
        let at_most_once = offer.frames.application().qos == QoS::AtMostOnce;
        for (count, durable) in [(connected as fn(&Members) -> u32, false), (offline, true)] {
            if durable && at_most_once {
                break;
            }
            let mut chosen = group.choose_node(offer.choice, count, admits);
            if chosen == Some(Target::Here) {
                let delivered = if durable { offer.give_offline(group) } else { offer.give_connected(group) };
                match delivered {
                    Ok(()) => return Outcome::Delivered,
                    Err(why) => reason = why,
                }
                let elsewhere = |target| target != Target::Here && admits(target);
                chosen = group.choose_node(offer.choice, count, elsewhere);
            }
            if let Some(Target::Peer(index)) = chosen
                && let Some((replica, peer)) = reached(index)
            {
                return Outcome::Forward(replica, peer);
            }
        }
        match at_most_once || group.peers().is_empty() {
            true => Outcome::Dropped(reason),
            false => Outcome::Waits,
        }
    }

    fn keep(
        &self,
        group: &ShareGroup<Subscriber>,
        choice: Choice,
        message: &Arc<Message>,
        holder: Option<&ReplicaId>,
    ) -> u64 {
        let (message, share) = (message.clone(), group.share.clone());
        let kept = Kept { message, share, key: choice.key, waits_as: None };
        self.cluster.get().map_or(0, |cluster| self.keep_copy(cluster, kept, holder))
    }

    /// Returns the claim.
    fn keep_copy(&self, cluster: &Cluster, kept: Kept, holder: Option<&ReplicaId>) -> u64 {
        let (claim, let_go) = cluster.keep(kept, holder);
        if let_go > 0 {
            self.metrics.messages_dropped.with_label_values(&["shared_buffer_full"]).inc_by(let_go);
        }
        claim
    }

    /// Whether the group has a member with a connection, wherever.
    fn has_connected(&self, share: &SubscriptionFilter) -> bool {
        let group = share.share.as_ref().and_then(|name| self.router.group(name, &share.filter));
        group.is_some_and(|group| !group.connected.is_empty() || self.is_connected_elsewhere(&group))
    }

    fn is_connected_elsewhere(&self, group: &ShareGroup<Subscriber>) -> bool {
        let Some(cluster) = self.cluster.get() else { return false };
        group.peers().iter().any(|peer| peer.members.connected > 0 && cluster.reaches(peer.peer))
    }

    fn choice(&self, topic: Topic<'_>, from: Option<&Client>) -> Choice {
        self.choice_of(self.choice_key(topic.as_str(), from))
    }

    fn choice_of(&self, key: u64) -> Choice {
        let me = self.cluster.get().map_or(0, |cluster| cluster.identity());
        Choice { strategy: self.shared_strategy, key, me }
    }

    fn choice_key(&self, topic: &str, from: Option<&Client>) -> u64 {
        match self.shared_strategy {
            Strategy::HashClient => Choice::key_of(from.map_or("", Client::id)),
            Strategy::HashTopic => Choice::key_of(topic),
            Strategy::Random | Strategy::RoundRobin | Strategy::LocalFirst | Strategy::Sticky => 0,
        }
    }

    fn with_frames<R: Default + 'static>(
        &self,
        message: &Arc<Message>,
        batch: &mut Batch,
        act: impl FnOnce(&mut Frames<'_>, &mut Batch) -> R,
    ) -> R {
        let mut scratch = std::mem::take(&mut batch.scratch);
        let result = message.with_application(|application| {
            let frames = Frames::new(application, &mut scratch, batch.now);
            act(&mut frames.with_message(Some(message.clone())), batch)
        });
        batch.scratch = scratch;
        result.unwrap_or_default()
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Outcome::Dropped(DropReason::Offline)
    }
}

impl Offer<'_, '_> {
    /// To the member whose turn it is, or to the next that can take it now; where none can, to one that has to wait for
    /// its turn. Rules that name a member have it wait at once.
    fn give_connected(&mut self, group: &ShareGroup<Subscriber>) -> Result<(), DropReason> {
        let members = &group.connected;
        let mut reason = DropReason::Offline;
        if members.is_empty() {
            return Err(reason);
        }
        let first = group.choose_member(self.choice, members);
        let in_turn = || members[first..].iter().chain(&members[..first]);
        if !self.choice.is_firm() {
            for member in in_turn() {
                match self.give(member, Session::is_ready_for) {
                    Some(Ok(())) => return Ok(()),
                    Some(Err(why)) => reason = why,
                    None => {}
                }
            }
        }
        for member in in_turn() {
            match self.give(member, |session, _| session.negotiated().is_some()) {
                Some(Ok(())) => return Ok(()),
                Some(Err(why)) => reason = why,
                None => {}
            }
        }
        Err(reason)
    }

    /// To the queue of a session without a connection.
    fn give_offline(&mut self, group: &ShareGroup<Subscriber>) -> Result<(), DropReason> {
        let members = &group.offline;
        let mut reason = DropReason::Offline;
        if members.is_empty() {
            return Err(reason);
        }
        let first = group.choose_member(self.choice, members);
        for member in members[first..].iter().chain(&members[..first]) {
            match self.give(member, |_, qos| qos > QoS::AtMostOnce) {
                Some(Ok(())) => return Ok(()),
                Some(Err(why)) => reason = why,
                None => {}
            }
        }
        Err(reason)
    }

    /// Gives it to this member, if that is fit for it.
    fn give(
        &mut self,
        member: &Member<Subscriber>,
        is_fit: impl FnOnce(&Session, QoS) -> bool,
    ) -> Option<Result<(), DropReason>> {
        let application = self.frames.application();
        let subscription = &member.subscription;
        let qos = application.qos.min(subscription.qos); // [MQTT-4.8.2-3]
        let delivery = Delivery {
            qos: subscription.qos,
            retain: application.retain && subscription.retain_as_published,
            identifiers: subscription.identifier.as_slice(),
            ticket: Some(self.ticket),
        };
        let mut state = member.subscriber.lock();
        let closed = state.record.ended || state.record.shipped;
        if closed || !is_fit(&state.session, qos) {
            return None;
        }
        let delivered = state.session.deliver(self.frames, delivery);
        let touch = match delivered {
            Delivered::Sent => state.touch(),
            unsent => {
                state.trace_unsent(member.subscriber.id(), self.frames, unsent);
                false
            }
        };
        drop(state);
        if let Delivered::Dropped(reason) = delivered {
            return Some(Err(reason));
        }
        self.batch.count_delivered(delivered, qos);
        if touch {
            self.batch.touched.push(member.subscriber.0.clone());
        }
        Some(Ok(()))
    }
}
