//! What is to be done.

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsConnector;

use super::stamp::Stamp;
use crate::codec::packet::{ProtocolVersion, QoS};

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each publisher to a subscriber of its own.
    Pairs,
    /// Each publisher to all subscribers.
    FanOut,
    /// Publishers alone: whether anything arrives, nobody sees.
    Publish,
    /// Subscribers alone, of what others publish.
    Subscribe,
    /// Connections that say nothing.
    Idle,
}

/// A run of the generator.
#[derive(Clone)]
pub struct Plan {
    /// Who sends to whom.
    pub shape: Shape,
    /// Addresses that publishers connect to, in turn; also idle connections.
    pub publish_at: Vec<String>,
    /// Addresses that subscribers connect to, in turn.
    pub subscribe_at: Vec<String>,
    /// How many publishers, or idle connections.
    pub publishers: usize,
    /// How many subscribers. Of [`Shape::Pairs`] as many as publishers.
    pub subscribers: usize,
    /// Of messages and of subscriptions.
    pub qos: QoS,
    /// Bytes of a payload, at least [`Stamp::LEN`].
    pub size: usize,
    /// Messages a second, of all publishers together; `None`: as many as `window` lets through.
    pub rate: Option<f64>,
    /// Messages of a publisher that may be on their way at a time: unacknowledged, and without a rate also undelivered.
    pub window: usize,
    /// Messages of all publishers together, after which they stop; `None`: no such limit.
    pub count: Option<u64>,
    /// How long is published, or idle connections are held.
    pub duration: Duration,
    /// What has not come, when nothing has for so long, does not come any more.
    pub patience: Duration,
    /// What is spoken.
    pub version: ProtocolVersion,
    /// Publishers have topics below this one. [`Shape::Subscribe`] subscribes to it as it is.
    pub topic: String,
    /// What the run's messages and client identifiers are told from others by.
    pub run: u32,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// For TLS.
    pub tls: Option<TlsConnector>,
    /// Connections that are opened at a time.
    pub connecting: usize,
}

impl Plan {
    /// What is wrong with it, in words for who asked for it.
    ///
    /// # Errors
    /// The first thing.
    pub fn check(&self) -> Result<(), String> {
        let publishes = !matches!(self.shape, Shape::Subscribe | Shape::Idle);
        if publishes && self.size < Stamp::LEN {
            return Err(format!(
                "a payload has at least {} bytes: it says who sent it, which one it is, and when",
                Stamp::LEN
            ));
        }
        if self.publish_at.is_empty() || self.subscribe_at.is_empty() {
            return Err("there is no address to connect to".to_owned());
        }
        if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err("a rate is a number of messages a second, above 0".to_owned());
        }
        Ok(())
    }

    /// Subscribers that get each message.
    pub fn receivers(&self) -> usize {
        match self.shape {
            Shape::Pairs => 1,
            Shape::FanOut => self.subscribers,
            Shape::Publish | Shape::Subscribe | Shape::Idle => 0,
        }
    }

    /// The topic of a publisher.
    pub fn topic_of(&self, publisher: usize) -> String {
        format!("{}/{publisher}", self.topic)
    }

    /// The filter of a subscriber.
    pub fn filter_of(&self, subscriber: usize) -> String {
        match self.shape {
            Shape::Pairs => self.topic_of(subscriber),
            Shape::Subscribe => self.topic.clone(),
            Shape::FanOut | Shape::Publish | Shape::Idle => format!("{}/+", self.topic),
        }
    }

    /// Messages of a publisher, if there is a limit.
    pub fn count_of(&self, publisher: usize) -> Option<u64> {
        let (publishers, publisher) = (self.publishers as u64, publisher as u64);
        self.count.map(|count| count / publishers + u64::from(publisher < count % publishers))
    }

    /// The client identifier of the client with this role and number.
    pub fn client_id(&self, role: &str, number: usize) -> String {
        format!("bench-{:08x}-{role}-{number}", self.run)
    }
}

/// TLS that trusts these authorities.
///
/// # Errors
/// What the library says.
pub fn tls(
    authorities: tokio_rustls::rustls::RootCertStore,
) -> Result<TlsConnector, tokio_rustls::rustls::Error> {
    use tokio_rustls::rustls::ClientConfig;
    use tokio_rustls::rustls::crypto::ring::default_provider;

    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
