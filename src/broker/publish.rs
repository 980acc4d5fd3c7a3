//! A message's way to its subscribers.

use std::sync::Arc;

use super::Broker;
use super::batch::Batch;
use super::client::Subscriber;
use crate::codec::packet::ReasonCode;
use crate::message::{Application, Message};
use crate::router::Match;
use crate::session::Delivery;
use crate::session::frames::Frames;

impl Broker {
    /// Stores the message if it is to be retained, and gives it to every local subscriber. Returns what its
    /// acknowledgement says.
    pub(super) fn route(
        &self,
        application: &Application<'_>,
        matches: &Match<Subscriber>,
        batch: &mut Batch,
    ) -> ReasonCode {
        if application.retain && self.retain(application).is_err() {
            return ReasonCode::QuotaExceeded;
        }
        self.deliver(application, matches, batch);
        match matches.locals.is_empty() {
            true => ReasonCode::NoMatchingSubscribers,
            false => ReasonCode::Success,
        }
    }

    /// Publishes a message of the broker's own: a will.
    pub(super) fn publish_message(&self, message: &Message, batch: &mut Batch) {
        message.with_application(|application| {
            let matches = self.router.matches(application.topic, None);
            self.route(application, &matches, batch)
        });
    }

    fn deliver(&self, application: &Application<'_>, matches: &Match<Subscriber>, batch: &mut Batch) {
        let mut scratch = std::mem::take(&mut batch.scratch);
        let mut frames = Frames::new(application, &mut scratch, batch.now);
        for local in &matches.locals {
            let delivery = Delivery {
                qos: local.qos,
                retain: application.retain && local.retain_as_published,
                identifiers: &local.identifiers,
            };
            local.subscriber.deliver(&mut frames, delivery, batch);
        }
        batch.scratch = scratch;
    }

    /// Replaces the topic's retained message, or clears it where the payload is empty [MQTT-3.3.1-5, MQTT-3.3.1-6].
    fn retain(&self, application: &Application<'_>) -> Result<(), RetainedFull> {
        let topic = application.topic;
        if application.payload.is_empty() {
            self.retained.remove(topic);
            return Ok(());
        }
        if self.retained.len() >= self.limits.max_retained_messages && self.retained.message(topic).is_none()
        {
            return Err(RetainedFull);
        }
        self.retained.insert(topic, Arc::new(application.to_message()));
        Ok(())
    }
}

struct RetainedFull;
