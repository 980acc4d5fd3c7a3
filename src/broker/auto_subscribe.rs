//! Subscriptions that every client gets when it connects, without asking.

use serde::Deserialize;

use super::template::{Names, Template};
use crate::codec::packet::{QoS, RetainHandling, SubscriptionOptions};
use crate::topic::SubscriptionFilter;

/// One subscription of every client.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Fields")]
pub struct AutoSubscription {
    topic: Template,
    /// The subscription's options.
    pub options: SubscriptionOptions,
}

/// A subscription as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    topic: String,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    no_local: bool,
    #[serde(default)]
    retain_as_published: bool,
    #[serde(default)]
    retain_handling: u8,
}

impl TryFrom<Fields> for AutoSubscription {
    type Error = String;

    fn try_from(fields: Fields) -> Result<AutoSubscription, String> {
        let refused = |why: &str| format!("topic {:?} {why}", fields.topic);
        let topic =
            Template::parse(&fields.topic, 0).map_err(|_| refused("names a group of no expression"))?;
        // With names that are levels it is a filter or it is none, whatever they are.
        let names = Names { client_id: "c", user_name: Some("u") };
        let example = topic.fill(names, None).and_then(|text| SubscriptionFilter::parse(&text).ok());
        example.ok_or_else(|| refused("is not a topic filter"))?;
        let options = SubscriptionOptions {
            qos: QoS::from_bits(fields.qos).ok_or("qos is 0, 1 or 2")?,
            no_local: fields.no_local,
            retain_as_published: fields.retain_as_published,
            retain_handling: match fields.retain_handling {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err("retain_handling is 0, 1 or 2".to_owned()),
            },
        };
        Ok(AutoSubscription { topic, options })
    }
}

impl AutoSubscription {
    /// The filter for this client; none where it has not the name that the template wants.
    pub fn filter(&self, names: Names<'_>) -> Option<String> {
        self.topic.fill(names, None)
    }
}
