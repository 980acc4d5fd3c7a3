//! What the specification lets a server do without, or decide for its clients, and has it announce in CONNACK.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::connection::End;
use super::refused::Refused;
use super::template::{Names, Template};
use crate::access::Identity;
use crate::codec::packet::{Connect, PropertySet, Publish, QoS, ReasonCode, Subscribe, Will};
use crate::topic::{SubscriptionFilter, Topic};

/// What clients may use at all. By default everything.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Highest QoS of a publish; subscriptions are granted no more. 3.1.1 cannot announce it: its clients are closed when they
    /// publish above.
    pub max_qos: QoS,
    /// Whether messages may be retained. 3.1.1 clients that do are closed.
    pub retain_available: bool,
    /// Whether filters may have wildcards.
    pub wildcard_subscriptions: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_identifiers: bool,
    /// Longest Keep Alive, in whole seconds: clients that want a longer one, or none, are given this. It bounds how long a client
    /// that has vanished goes unnoticed. 3.1.1 clients cannot be told and have their way. Zero: all have.
    pub max_keep_alive: Duration,
    /// The Response Information of clients that ask for it: where their answers may be sent to. None: they are not told any.
    pub response_topic: Option<ResponseTopic>,
    /// Other servers, told with 0x9C to clients for which there is no place here or that have to go because the node stops.
    /// `HOST[:PORT]`, separated by spaces. None: they get another reason code and no advice.
    pub server_reference: Option<ServerReference>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Capabilities {
            max_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscriptions: true,
            subscription_identifiers: true,
            max_keep_alive: Duration::ZERO,
            response_topic: None,
            server_reference: None,
        }
    }
}

impl Capabilities {
    /// The Keep Alive that counts for a client, in seconds; 0 is none. `can_be_told` is whether its CONNACK can say so.
    pub fn keep_alive_secs(&self, asked: u16, can_be_told: bool) -> u16 {
        let max = u16::try_from(self.max_keep_alive.as_secs()).unwrap_or(u16::MAX);
        match can_be_told && max > 0 && (asked == 0 || asked > max) {
            true => max,
            false => asked,
        }
    }

    /// Adds what a client has to know to the properties of its CONNACK: only what is not as it may expect.
    pub(super) fn announce(&self, keep_alive_secs: u16, connect: &Connect<'_>, set: &mut PropertySet<'_>) {
        let missing = |available: bool| (!available).then_some(false);
        set.maximum_qos = (self.max_qos < QoS::ExactlyOnce).then_some(self.max_qos); // [MQTT-3.2.2-9]
        set.retain_available = missing(self.retain_available);
        set.wildcard_subscription_available = missing(self.wildcard_subscriptions);
        set.subscription_identifiers_available = missing(self.subscription_identifiers);
        // [MQTT-3.2.2-21]
        set.server_keep_alive_secs = (keep_alive_secs != connect.keep_alive_secs).then_some(keep_alive_secs);
    }

    /// The Response Information for a client that asks for it [MQTT-3.1.2-28].
    pub(super) fn response_information(
        &self,
        connect: &Connect<'_>,
        client_id: &str,
        identity: &Identity,
    ) -> Option<String> {
        let asked = connect.properties.request_response_information == Some(true);
        let template = &self.response_topic.as_ref().filter(|_| asked)?.template;
        template.fill(Names { client_id, user_name: identity.username() }, None)
    }

    /// Whether a client's will can be published some day [MQTT-3.2.2-12, MQTT-3.2.2-13].
    pub(super) fn check_will(&self, will: &Will<'_>) -> Result<(), Refused> {
        if will.qos > self.max_qos {
            return Err(Refused(ReasonCode::QoSNotSupported));
        }
        if will.retain && !self.retain_available {
            return Err(Refused(ReasonCode::RetainNotSupported));
        }
        Ok(())
    }

    /// Whether a publish keeps to what was announced (3.2.2.3.4, 3.2.2.3.5).
    #[inline]
    pub(super) fn check_publish(&self, publish: &Publish<'_>) -> Result<(), End> {
        if (publish.qos > self.max_qos) | (publish.retain & !self.retain_available) {
            let reason = match publish.qos > self.max_qos {
                true => ReasonCode::QoSNotSupported,
                false => ReasonCode::RetainNotSupported,
            };
            return Err(End::Violation(reason));
        }
        Ok(())
    }

    /// Whether a SUBSCRIBE of a client that was told keeps to what was announced (3.2.2.3.11, 3.2.2.3.12).
    pub(super) fn check_subscribe(&self, subscribe: &Subscribe<'_>) -> Result<(), End> {
        if !self.subscription_identifiers && !subscribe.properties.subscription_identifiers.is_empty() {
            return Err(End::Violation(ReasonCode::SubscriptionIdentifiersNotSupported));
        }
        let is_wildcard =
            |text: &str| SubscriptionFilter::parse(text).is_ok_and(|it| it.filter.has_wildcards());
        if !self.wildcard_subscriptions && subscribe.filters.iter().any(|(text, _)| is_wildcard(text)) {
            return Err(End::Violation(ReasonCode::WildcardSubscriptionsNotSupported));
        }
        Ok(())
    }
}

impl Capabilities {
    /// What a client is told that has to go elsewhere: `otherwise`, where there is nowhere to send it.
    pub fn reason_to_go(&self, otherwise: ReasonCode) -> ReasonCode {
        match self.server_reference {
            Some(_) => ReasonCode::UseAnotherServer,
            None => otherwise,
        }
    }

    /// The same where this server will not come back.
    pub fn reason_to_move(&self, otherwise: ReasonCode) -> ReasonCode {
        match self.server_reference {
            Some(_) => ReasonCode::ServerMoved,
            None => otherwise,
        }
    }
}

/// A topic in which `%c` stands for the client identifier and `%u` for the user name.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseTopic {
    text: String,
    template: Template,
}

/// A text is no [`ResponseTopic`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a topic without wildcards, such as reply/%c")]
pub struct InvalidResponseTopic;

impl FromStr for ResponseTopic {
    type Err = InvalidResponseTopic;

    fn from_str(text: &str) -> Result<ResponseTopic, InvalidResponseTopic> {
        Topic::new(text).map_err(|_| InvalidResponseTopic)?;
        let template = Template::parse(text, 0).map_err(|_| InvalidResponseTopic)?;
        Ok(ResponseTopic { text: text.to_owned(), template })
    }
}

impl fmt::Display for ResponseTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ResponseTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// One or more servers to go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReference(Box<str>);

/// A text is no [`ServerReference`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 1 to 1024 printable characters, such as mqtt2.example.org:1883")]
pub struct InvalidServerReference;

impl FromStr for ServerReference {
    type Err = InvalidServerReference;

    fn from_str(text: &str) -> Result<ServerReference, InvalidServerReference> {
        let fits = (1..=1024).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits { Ok(ServerReference(text.into())) } else { Err(InvalidServerReference) }
    }
}

impl fmt::Display for ServerReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
