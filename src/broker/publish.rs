//! A message's way to its subscribers, here and on other nodes.

use std::sync::Arc;

use super::Broker;
use super::batch::Batch;
use super::client::{Client, Subscriber};
use super::detour::Detour;
use super::rewrite::RewriteCache;
use super::session_record::PendingWill;
use crate::cluster::Retained;
use crate::cluster::host::{Confirm, Receipt};
use crate::codec::packet::{PacketId, QoS, ReasonCode};
use crate::message::{Application, Message, PublishId};
use crate::observation::trace::{self, Happening};
use crate::router::Match;
use crate::session::Delivery;
use crate::session::ack_ring::{Owed, Slot};
use crate::session::frames::Frames;

/// A publisher that is owed a PUBACK or PUBREC.
#[derive(Clone, Copy)]
pub(super) struct Publisher<'a> {
    pub client: &'a Arc<Client>,
    pub epoch: u64,
    pub packet_id: PacketId,
}

impl Broker {
    /// Gives the message to every local subscriber and every node with a matching route, and to one member of each group,
    /// and acknowledges it when it is safe with all of them, and all nodes have it if it is `retained`. `from` is the client
    /// that published it.
    pub(super) fn publish(
        &self,
        application: &Application<'_>,
        matches: &Match<Subscriber>,
        from: Option<&Client>,
        retained: Option<Retained>,
        publisher: Option<Publisher<'_>>,
        batch: &mut Batch,
    ) {
        if self.tracer.is_on_topics() | self.top_topics.is_on() {
            return self.publish_watched(application, matches, from, retained, publisher, batch);
        }
        self.distribute(application, matches, from, retained, publisher, batch);
    }

    /// The same where somebody may want to see it.
    #[cold]
    #[inline(never)]
    fn publish_watched(
        &self,
        application: &Application<'_>,
        matches: &Match<Subscriber>,
        from: Option<&Client>,
        retained: Option<Retained>,
        publisher: Option<Publisher<'_>>,
        batch: &mut Batch,
    ) {
        if self.top_topics.is_on() {
            self.top_topics.add(application.topic.as_str(), application.payload.len());
        }
        let traced = self.tracer.is_on_topics().then(|| self.trace_published(application, from, batch));
        self.distribute(application, matches, from, retained, publisher, batch);
        if let Some(traced) = traced {
            self.trace_routed(&traced, application.topic, matches, true, batch);
        }
    }

    /// In both of its callers: a call less for each publish.
    #[inline(always)]
    fn distribute(
        &self,
        application: &Application<'_>,
        matches: &Match<Subscriber>,
        from: Option<&Client>,
        retained: Option<Retained>,
        publisher: Option<Publisher<'_>>,
        batch: &mut Batch,
    ) {
        let peers = &matches.peers;
        let reason = match matches.locals.is_empty() && peers.is_empty() && matches.groups.is_empty() {
            true => ReasonCode::NoMatchingSubscribers,
            false => ReasonCode::Success,
        };
        // Named before anyone has it, where it goes to other nodes that its subscribers may move to, or have come from.
        let mut publication = None;
        if application.qos != QoS::AtMostOnce
            && let Some(cluster) = self.cluster.get()
            && (!peers.is_empty() || cluster.has_heirs())
        {
            publication = Some(cluster.next_publication(retained));
        }
        let publish = publication.and_then(|publication| Some(self.cluster.get()?.publish_id(publication)));
        let mut message = self.deliver(application, publish, matches, batch);
        let mut shares = Vec::new();
        if !matches.groups.is_empty() {
            let for_others = self.share_out(application, matches, from, message, batch);
            (shares, message) = (for_others.shares, for_others.message);
        }
        let cluster = match self.cluster.get() {
            Some(cluster) if !(peers.is_empty() && shares.is_empty()) || retained.is_some() => cluster,
            _ => return acknowledge(publisher, application.qos, reason, batch),
        };
        let destinations = cluster.destinations_of(peers, shares);
        if application.qos == QoS::AtMostOnce {
            return cluster.forward_at_most_once(destinations, application, retained, batch.now);
        }
        let waits = destinations.len() as u32 + u32::from(retained.is_some());
        let slot = publisher.and_then(|publisher| publisher.acknowledge(application.qos, reason, waits));
        let receipt = || {
            let to: Arc<dyn Confirm> = publisher?.client.clone();
            Some(Receipt { to, slot: slot?.0 })
        };
        if !destinations.is_empty() {
            let message = message.unwrap_or_else(|| Arc::new(application.to_message()));
            let publication = publication.unwrap_or_else(|| cluster.next_publication(retained));
            cluster.forward(destinations, publication, message, receipt, batch.now);
        }
        if let Some((retained, receipt)) = retained.zip(receipt()) {
            cluster.when_retained(retained, receipt, batch.now);
        }
        if let Some(publisher) = publisher {
            batch.touch(publisher.client);
        }
    }

    /// Whether there is anything for which a publish is refused.
    #[inline]
    pub(super) fn may_refuse(&self) -> bool {
        self.cluster.get().is_some_and(|cluster| cluster.may_refuse())
    }

    /// Whether a publish of QoS 1 or 2 with these matches is refused: a node that wants it cannot be reached, and there is
    /// no room to keep it for that.
    pub(super) fn refuses(&self, matches: &Match<Subscriber>) -> bool {
        self.cluster.get().is_some_and(|cluster| cluster.refuses(&matches.peers))
    }

    /// Publishes a client's will, as if the client did it [MQTT-3.8.3-3].
    pub(super) fn publish_will(&self, client: &Arc<Client>, will: PendingWill, batch: &mut Batch) {
        will.into_message(batch.now).with_application(|application| {
            client.tell(|payload_max| {
                trace::message(Happening::WillPublished, Some(client.id()), application, payload_max)
            });
            let detour = match self.may_detour(application.topic) {
                true => self.detour(client, application.topic, &mut RewriteCache::default()),
                false => Ok(None),
            };
            let Ok(detour) = detour else { return };
            let topic = detour.as_ref().and_then(Detour::topic).unwrap_or(application.topic);
            let application = &Application { topic, ..*application };
            if let Some(Detour { delay: Some(delay), .. }) = detour {
                // Refused or not: there is nobody left to tell.
                let _ = self.delay(application, delay, client, batch.now);
                return;
            }
            let retained = self.retain(application, batch.now);
            let matches = self.router.matches(topic, Some(&Subscriber(client.clone())));
            self.publish(application, &matches, Some(client), retained, None, batch);
        });
    }

    /// Gives a message to the local subscribers. Returns the copy that was made of it, if one had to be.
    pub(super) fn deliver(
        &self,
        application: &Application<'_>,
        publish: Option<PublishId>,
        matches: &Match<Subscriber>,
        batch: &mut Batch,
    ) -> Option<Arc<Message>> {
        let mut scratch = std::mem::take(&mut batch.scratch);
        let mut frames = Frames::new(application, &mut scratch, batch.now).named(publish);
        for local in &matches.locals {
            let delivery = Delivery {
                qos: local.qos,
                retain: application.retain && local.retain_as_published,
                identifiers: &local.identifiers,
                ticket: None,
            };
            local.subscriber.deliver(&mut frames, delivery, batch);
        }
        let message = frames.into_message();
        batch.scratch = scratch;
        message
    }
}

/// Answers a publish that waits for nobody.
pub(super) fn acknowledge(publisher: Option<Publisher<'_>>, qos: QoS, reason: ReasonCode, batch: &mut Batch) {
    if let Some(publisher) = publisher {
        publisher.acknowledge(qos, reason, 0);
        batch.touch(publisher.client);
    }
}

impl Publisher<'_> {
    fn acknowledge(&self, qos: QoS, reason: ReasonCode, pending: u32) -> Option<Slot> {
        let owed = Owed { packet_id: self.packet_id, qos, reason };
        let mut state = self.client.lock();
        match state.epoch == self.epoch {
            true => state.session.acknowledge(owed, pending),
            false => state.session.acknowledge_former(owed, pending),
        }
    }
}
