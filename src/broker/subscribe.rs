//! SUBSCRIBE and UNSUBSCRIBE.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::batch::Batch;
use super::client::{Client, Subscriber};
use super::exclusive::Held;
use super::rewrite::Rewritten;
use super::session_record::granted;
use super::system;
use super::template::Names;
use super::{Broker, Limits};
use crate::codec::packet::{
    Packet, PacketId, Properties, PropertySet, ReasonCode, ReasonCodes, RetainHandling, Subscribe,
    SubscriptionOptions, Unsubscribe,
};
use crate::router::Subscription;
use crate::topic::{SubscriptionFilter, TopicFilter};

/// A SUBSCRIBE whose subscriptions are made, and whose SUBACK waits until other nodes know of them.
struct Subscribed {
    client: Arc<Client>,
    epoch: u64,
    /// None where the client has not asked, and is not answered.
    packet_id: Option<PacketId>,
    reasons: Vec<ReasonCode>,
    /// Filters that are new to the client.
    new: Vec<SubscriptionFilter>,
    /// Filters granted, new or not.
    granted: Vec<SubscriptionFilter>,
    /// Those that are owed retained messages once SUBACK is sent.
    retained: Vec<TopicFilter>,
}

impl Broker {
    /// Adds subscriptions. SUBACK follows when they are routed, and the retained messages they match behind it.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        client: &Arc<Client>,
        epoch: u64,
        subscribe: &Subscribe<'_>,
        now: Instant,
    ) {
        let identifier = subscribe.properties.subscription_identifiers.first().copied();
        self.add_subscriptions(client, epoch, Some(subscribe.packet_id), &subscribe.filters, identifier, now);
    }

    /// Subscribes a client that has just connected to what every client gets. Bridges are none: they would pass nothing of it on,
    /// and as members of a group take it from others.
    pub(super) fn auto_subscribe(self: &Arc<Self>, client: &Arc<Client>, epoch: u64, batch: &mut Batch) {
        if self.auto_subscribe.is_empty() {
            return;
        }
        let identity = client.lock().record.identity.clone();
        if identity.is_node() {
            return;
        }
        let names = Names { client_id: client.id(), user_name: identity.username() };
        let filters: Vec<(String, SubscriptionOptions)> =
            self.auto_subscribe.iter().filter_map(|each| Some((each.filter(names)?, each.options))).collect();
        let filters: Vec<(&str, SubscriptionOptions)> =
            filters.iter().map(|(filter, options)| (filter.as_str(), *options)).collect();
        self.add_subscriptions(client, epoch, None, &filters, None, batch.now);
    }

    fn add_subscriptions(
        self: &Arc<Self>,
        client: &Arc<Client>,
        epoch: u64,
        packet_id: Option<PacketId>,
        filters: &[(&str, SubscriptionOptions)],
        identifier: Option<NonZeroU32>,
        now: Instant,
    ) {
        let mut subscribed = Subscribed {
            client: client.clone(),
            epoch,
            packet_id,
            reasons: Vec::with_capacity(filters.len()),
            new: Vec::new(),
            granted: Vec::new(),
            retained: Vec::new(),
        };
        let changing = client.change_subscriptions();
        let limits = self.limits();
        let (taken, surplus) = filters.split_at(filters.len().min(limits.max_filters_per_subscribe));
        for (text, options) in taken {
            let reason = match self.subscribe_one(&mut subscribed, &limits, text, *options, identifier, now) {
                Ok(reason) | Err(reason) => reason,
            };
            subscribed.reasons.push(reason);
        }
        subscribed.reasons.extend(surplus.iter().map(|_| ReasonCode::QuotaExceeded));
        let Some(cluster) = self.cluster.get().filter(|_| !subscribed.granted.is_empty()) else {
            drop(changing);
            self.announce_subscriptions(client, &subscribed.granted, now);
            return self.finish_subscribe(subscribed, 0, now);
        };
        let sequence = cluster.add_interest(&subscribed.new, &subscribed.granted, now);
        drop(changing);
        self.announce_subscriptions(client, &subscribed.granted, now);
        client.lock().pending_subscribes += 1;
        let broker = self.clone();
        let then = move |missed| {
            subscribed.client.lock().pending_subscribes -= 1;
            subscribed.client.unthrottle();
            broker.finish_subscribe(subscribed, missed, Instant::now());
        };
        cluster.when_routed(sequence, now, Box::new(then));
    }

    fn subscribe_one(
        &self,
        subscribed: &mut Subscribed,
        limits: &Limits,
        text: &str,
        options: SubscriptionOptions,
        identifier: Option<NonZeroU32>,
        now: Instant,
    ) -> Result<ReasonCode, ReasonCode> {
        if text.len() > limits.max_filter_len {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let (filter, exclusive) = self.requested_filter(&subscribed.client, text)?;
        if filter.filter.levels().count() > limits.max_filter_levels {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let capabilities = &limits.capabilities;
        if !capabilities.wildcard_subscriptions && filter.filter.has_wildcards() {
            return Err(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        // What a client is given without asking is the operator's choice.
        if subscribed.packet_id.is_some() && !self.may_subscribe(&subscribed.client, &filter.filter) {
            tracing::debug!(client = subscribed.client.id(), filter = text, "subscription denied");
            return Err(ReasonCode::NotAuthorized);
        }
        if exclusive {
            let claimed = self.claim_exclusive(&filter.filter, &subscribed.client, now);
            claimed.map_err(|Held| ReasonCode::QuotaExceeded)?;
        }
        let subscription = Subscription {
            qos: options.qos.min(capabilities.max_qos), // [MQTT-3.2.2-10]
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            identifier,
        };
        let mut state = subscribed.client.lock();
        let subscriptions = &state.record.subscriptions;
        let new = !subscriptions.contains_key(&filter);
        let refused = if state.epoch != subscribed.epoch {
            // Another connection has the session now, or it is over: nobody hears of this answer.
            Some(ReasonCode::UnspecifiedError)
        } else if new && subscriptions.len() >= limits.max_subscriptions {
            Some(ReasonCode::QuotaExceeded)
        } else {
            None
        };
        if let Some(reason) = refused {
            drop(state);
            if new {
                self.release_exclusive(&filter, &subscribed.client, now);
            }
            return Err(reason);
        }
        state.record.subscriptions.insert(filter.clone(), subscription);
        state.record.lineage.unconfirmed &= subscribed.packet_id.is_none();
        state.record.lineage.unsubscribed.remove(&filter);
        let connected = state.attachment.is_some();
        drop(state);
        self.route(&filter, Subscriber(subscribed.client.clone()), subscription, connected);
        let send_retained = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => new,
            RetainHandling::DoNotSend => false,
        };
        // There is no telling which member they would be for (4.8.2).
        if send_retained && filter.share.is_none() {
            subscribed.retained.push(filter.filter.clone());
        }
        if new {
            subscribed.new.push(filter.clone());
        }
        subscribed.granted.push(filter);
        Ok(granted(subscription.qos))
    }

    /// What a client means by the text of a filter, by the rules that rename them, and whether it is to have it alone.
    pub(super) fn requested_filter(
        &self,
        client: &Client,
        text: &str,
    ) -> Result<(SubscriptionFilter, bool), ReasonCode> {
        let invalid = |_| ReasonCode::TopicFilterInvalid;
        let (text, exclusive) = self.exclusive.split(text);
        let mut requested = SubscriptionFilter::parse(text).map_err(invalid)?;
        if exclusive && requested.share.is_some() {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        if self.rewrite.concerns_subscriptions() {
            let identity = client.lock().record.identity.clone();
            let names = Names { client_id: client.id(), user_name: identity.username() };
            requested.filter = match self.rewrite.filter(&requested.filter, names) {
                Rewritten::Same => requested.filter,
                Rewritten::To(text) => TopicFilter::parse(&text).map_err(invalid)?,
                Rewritten::Unfit => return Err(ReasonCode::TopicFilterInvalid),
            };
        }
        Ok((requested, exclusive))
    }

    /// Sends SUBACK. `missed` live nodes have not confirmed the routes in time.
    fn finish_subscribe(&self, subscribed: Subscribed, missed: usize, now: Instant) {
        let Subscribed { client, epoch, packet_id, reasons, retained, .. } = subscribed;
        let reason = (missed > 0).then(|| {
            self.metrics.suback_timeouts.inc();
            format!("{missed} nodes of the cluster have not confirmed the route yet")
        });
        let mut batch = Batch::new(now);
        let mut state = client.lock();
        if state.epoch != epoch {
            return;
        }
        let properties = match &reason {
            Some(reason) if state.session.negotiated().is_some_and(|with| with.problem_information) => {
                PropertySet { reason_string: Some(reason), ..PropertySet::EMPTY }.into()
            }
            _ => Properties::NONE,
        };
        if let Some(packet_id) = packet_id
            && state.session.send(&Packet::SubAck(ReasonCodes { packet_id, reasons, properties }))
        {
            self.metrics.packets_out.suback.inc();
        }
        let (system, retained): (Vec<_>, Vec<_>) = retained.into_iter().partition(system::is_system);
        // Looked for by the client's own connection: this may be the task of a link, and there may be many.
        if self.retained.len() > 0 {
            state.owe_retained(retained);
        }
        drop(state);
        batch.touch(&client);
        for filter in system {
            self.send_system(&client, epoch, &filter, &mut batch);
        }
        batch.flush();
        batch.report(&self.metrics);
    }

    /// Removes subscriptions and answers with UNSUBACK.
    pub(super) fn unsubscribe(
        &self,
        client: &Arc<Client>,
        epoch: u64,
        unsubscribe: &Unsubscribe<'_>,
        now: Instant,
    ) {
        let changing = client.change_subscriptions();
        if client.lock().epoch != epoch {
            return;
        }
        let subscriber = Subscriber(client.clone());
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        let mut removed = Vec::new();
        for text in &unsubscribe.filters {
            reasons.push(match self.requested_filter(client, text) {
                Ok((filter, _)) => {
                    let mut state = client.lock();
                    if filter.share.is_none() {
                        state.record.owed_retained.forget(&filter.filter);
                    }
                    let former = state.record.subscriptions.remove(&filter);
                    if state.session.expects_rest() {
                        state.record.lineage.note_unsubscribed(&filter);
                    }
                    drop(state);
                    match former {
                        Some(_) => {
                            self.unroute(&filter, &subscriber);
                            self.release_exclusive(&filter, client, now);
                            removed.push(filter);
                            ReasonCode::Success
                        }
                        None => ReasonCode::NoSubscriptionExisted,
                    }
                }
                Err(reason) => reason,
            });
        }
        self.remove_interest(&removed, now);
        drop(changing);
        self.announce_subscriptions(client, &removed, now);
        let packet_id = unsubscribe.packet_id;
        let answer = ReasonCodes { packet_id, reasons, properties: Properties::NONE };
        let mut state = client.lock();
        if state.epoch == epoch && state.session.send(&Packet::UnsubAck(answer)) {
            self.metrics.packets_out.unsuback.inc();
        }
    }

    /// Local subscribers of these filters are gone.
    pub(super) fn remove_interest<'a>(
        &self,
        filters: impl IntoIterator<Item = &'a SubscriptionFilter>,
        now: Instant,
    ) {
        if let Some(cluster) = self.cluster.get() {
            cluster.remove_interest(filters, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Limits;
    use crate::broker::connection::ClientConnection;
    use crate::broker::tests::connect_with;
    use crate::codec;
    use crate::codec::packet::ProtocolVersion;

    fn connect(broker: &Broker, problem_information: Option<bool>) -> ClientConnection {
        let set = PropertySet { request_problem_information: problem_information, ..PropertySet::EMPTY };
        let connection = connect_with(broker, true, set);
        connection.client.lock().session.outbox().recycle();
        connection
    }

    /// [MQTT-3.1.2-29].
    #[test]
    fn who_wants_no_problem_information_gets_no_reason_string() {
        for (asked, told) in [(None, true), (Some(true), true), (Some(false), false)] {
            let broker = Broker::new(Limits::default());
            let ClientConnection { client, epoch, .. } = connect(&broker, asked);
            let subscribed = Subscribed {
                client: client.clone(),
                epoch,
                packet_id: Some(PacketId::MIN),
                reasons: vec![ReasonCode::Success],
                new: Vec::new(),
                granted: Vec::new(),
                retained: Vec::new(),
            };
            broker.finish_subscribe(subscribed, 2, Instant::now());
            let mut state = client.lock();
            let outbox = state.session.outbox().take();
            let packet = codec::decode(outbox.first().0, ProtocolVersion::V500).expect("a packet");
            let Packet::SubAck(suback) = packet else { panic!("not a SUBACK") };
            assert_eq!(suback.properties.reason_string.is_some(), told, "{asked:?}");
        }
    }

    /// What it costs must not fall on the task that finishes the SUBACK.
    #[test]
    fn finishing_a_subscribe_looks_for_no_retained_messages() {
        let (broker, now) = (Broker::new(Limits::default()), Instant::now());
        let set = PropertySet::EMPTY;
        let topic = crate::topic::Topic::new("a").expect("a topic name");
        let application = crate::message::Application {
            topic,
            payload: b"x",
            backing: None,
            qos: crate::codec::packet::QoS::AtMostOnce,
            retain: true,
            properties: &set,
            expires_at: None,
        };
        broker.retain(&application, now);
        let broker = Arc::new(broker);
        let ClientConnection { client, epoch, .. } = connect(&broker, None);
        let options = SubscriptionOptions {
            qos: crate::codec::packet::QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let subscribe = Subscribe {
            packet_id: PacketId::MIN,
            filters: vec![("#", options); 100],
            properties: Properties::NONE,
        };
        broker.subscribe(&client, epoch, &subscribe, now);
        let taken = client.lock().session.outbox().len();
        let mut batch = Batch::new(now);
        assert!(client.lock().owes_retained);
        broker.send_retained(&client, epoch, &mut batch);
        let mut state = client.lock();
        assert!(!state.owes_retained, "once, however often the filter was named");
        assert!((1..20).contains(&(state.session.outbox().len() - taken)), "one message");
    }

    #[test]
    fn a_session_that_is_over_is_owed_nothing() {
        let broker = Broker::new(Limits::default());
        let ClientConnection { client, .. } = connect(&broker, None);
        client.lock().owe_retained(vec![TopicFilter::parse("#").expect("a filter")]);
        let mut batch = Batch::new(Instant::now());
        broker.end_session(&client, client.lock(), &mut batch);
        let state = client.lock();
        assert!(!state.owes_retained && state.record.owed_retained.is_empty());
    }
}
