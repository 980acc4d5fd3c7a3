//! SUBSCRIBE and UNSUBSCRIBE.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::Broker;
use super::batch::Batch;
use super::client::{Client, Subscriber};
use super::connection::End;
use super::session_record::granted;
use crate::codec::packet::{
    Packet, Properties, ReasonCode, ReasonCodes, RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe,
};
use crate::router::Subscription;
use crate::session::Delivery;
use crate::session::frames::Frames;
use crate::topic::{SubscriptionFilter, TopicFilter};

/// Retained messages that a subscription is owed once its SUBACK is sent.
struct RetainedFor {
    filter: TopicFilter,
    subscription: Subscription,
}

impl Broker {
    /// Adds subscriptions and answers with SUBACK, then with the retained messages they match.
    pub(super) fn subscribe(
        &self,
        client: &Arc<Client>,
        epoch: u64,
        subscribe: &Subscribe<'_>,
        batch: &mut Batch,
    ) -> Result<(), End> {
        let identifier = subscribe.properties.subscription_identifiers.first().copied();
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        let mut retained = Vec::new();
        for (text, options) in &subscribe.filters {
            reasons.push(match self.subscribe_one(client, text, *options, identifier, &mut retained) {
                Ok(reason) | Err(reason) => reason,
            });
        }
        self.finish_subscribe(client, epoch, subscribe.packet_id, reasons, &retained, batch);
        Ok(())
    }

    fn subscribe_one(
        &self,
        client: &Arc<Client>,
        text: &str,
        options: SubscriptionOptions,
        identifier: Option<NonZeroU32>,
        retained: &mut Vec<RetainedFor>,
    ) -> Result<ReasonCode, ReasonCode> {
        let parsed = SubscriptionFilter::parse(text).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        if parsed.share.is_some() {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        let filter = parsed.filter;
        let subscription = Subscription {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            identifier,
        };
        let mut state = client.lock();
        let subscriptions = &mut state.record.subscriptions;
        let new = !subscriptions.contains_key(&filter);
        if new && subscriptions.len() >= self.limits.max_subscriptions {
            return Err(ReasonCode::QuotaExceeded);
        }
        subscriptions.insert(filter.clone(), subscription);
        drop(state);
        self.router.subscribe(&filter, Subscriber(client.clone()), subscription);
        let send_retained = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => new,
            RetainHandling::DoNotSend => false,
        };
        if send_retained {
            retained.push(RetainedFor { filter, subscription });
        }
        Ok(granted(options.qos))
    }

    fn finish_subscribe(
        &self,
        client: &Arc<Client>,
        epoch: u64,
        packet_id: crate::codec::packet::PacketId,
        reasons: Vec<ReasonCode>,
        retained: &[RetainedFor],
        batch: &mut Batch,
    ) {
        let mut state = client.lock();
        if state.epoch != epoch {
            return;
        }
        state.session.send(&Packet::SubAck(ReasonCodes { packet_id, reasons, properties: Properties::NONE }));
        if state.touch() {
            batch.touched.push(client.clone());
        }
        drop(state);
        for owed in retained {
            self.send_retained(client, owed, batch);
        }
    }

    fn send_retained(&self, client: &Arc<Client>, owed: &RetainedFor, batch: &mut Batch) {
        let subscriber = Subscriber(client.clone());
        for (_, message) in self.retained.matching(&owed.filter, usize::MAX) {
            if message.is_expired(batch.now) {
                continue;
            }
            let mut scratch = std::mem::take(&mut batch.scratch);
            message.with_application(|application| {
                let mut frames = Frames::new(application, &mut scratch, batch.now);
                let delivery = Delivery {
                    qos: owed.subscription.qos,
                    retain: true, // [MQTT-3.3.1-8] of 3.1.1
                    identifiers: owed.subscription.identifier.as_slice(),
                };
                subscriber.deliver(&mut frames, delivery, batch);
            });
            batch.scratch = scratch;
        }
    }

    /// Removes subscriptions and answers with UNSUBACK.
    pub(super) fn unsubscribe(&self, client: &Arc<Client>, unsubscribe: &Unsubscribe<'_>) {
        let subscriber = Subscriber(client.clone());
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        for text in &unsubscribe.filters {
            reasons.push(match SubscriptionFilter::parse(text) {
                Err(_) => ReasonCode::TopicFilterInvalid,
                Ok(parsed) => {
                    let existed = parsed.share.is_none()
                        && client.lock().record.subscriptions.remove(&parsed.filter).is_some();
                    if existed {
                        self.router.unsubscribe(&parsed.filter, &subscriber);
                    }
                    if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted }
                }
            });
        }
        let packet_id = unsubscribe.packet_id;
        let answer = ReasonCodes { packet_id, reasons, properties: Properties::NONE };
        client.lock().session.send(&Packet::UnsubAck(answer));
    }
}
