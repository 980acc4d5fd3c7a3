use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::{FilterError, MAX_LEN, TopicFilter};

const PREFIX: &str = "$share/";

/// The name of a share group: at least one character, none of `/`, `+`, `#` and U+0000 [MQTT-4.8.2-1, MQTT-4.8.2-2].
/// A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct ShareName(Arc<str>);

/// What a SUBSCRIBE asks for: a filter, or `$share/NAME/FILTER` for a share of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct SubscriptionFilter {
    /// The share group, if the subscription is a shared one.
    pub share: Option<ShareName>,
    /// Which topics.
    pub filter: TopicFilter,
}

impl ShareName {
    /// Checks `name` and copies it.
    pub fn parse(name: &str) -> Result<Self, FilterError> {
        if name.is_empty() || name.len() > MAX_LEN || name.contains(['/', '+', '#', '\0']) {
            return Err(FilterError::ShareName);
        }
        Ok(ShareName(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SubscriptionFilter {
    /// Checks `text` and copies its parts. Whatever begins with `$share/` is a shared subscription or an error;
    /// `$share` alone is an ordinary filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let Some(shared) = text.strip_prefix(PREFIX) else {
            return Ok(SubscriptionFilter { share: None, filter: TopicFilter::parse(text)? });
        };
        if text.len() > MAX_LEN {
            return Err(FilterError::TooLong);
        }
        let (name, filter) = shared.split_once('/').ok_or(FilterError::ShareIncomplete)?;
        let share = Some(ShareName::parse(name)?);
        if filter.is_empty() {
            return Err(FilterError::ShareIncomplete);
        }
        Ok(SubscriptionFilter { share, filter: TopicFilter::parse(filter)? })
    }
}

impl From<TopicFilter> for SubscriptionFilter {
    fn from(filter: TopicFilter) -> Self {
        SubscriptionFilter { share: None, filter }
    }
}

impl fmt::Display for ShareName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SubscriptionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.share {
            Some(name) => write!(f, "{PREFIX}{name}/{}", self.filter),
            None => self.filter.fmt(f),
        }
    }
}

impl TryFrom<String> for ShareName {
    type Error = FilterError;

    fn try_from(name: String) -> Result<Self, FilterError> {
        ShareName::parse(&name)
    }
}

impl TryFrom<String> for SubscriptionFilter {
    type Error = FilterError;

    fn try_from(text: String) -> Result<Self, FilterError> {
        SubscriptionFilter::parse(&text)
    }
}

impl Serialize for ShareName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Serialize for SubscriptionFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
