//! The properties that travel with a message, as they are written for other nodes.

use serde::{Deserialize, Serialize};

use super::forwarded;
use crate::codec::packet::{Properties, PropertySet};
use crate::topic::{Topic, TopicError};

/// What of a [`PropertySet`] goes along with a message, apart from its expiry, of which only what is left goes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct CarriedProperties<'a> {
    payload_format_indicator: Option<bool>,
    content_type: Option<&'a str>,
    response_topic: Option<&'a str>,
    #[serde(borrow, with = "serde_bytes")]
    correlation_data: Option<&'a [u8]>,
    #[serde(borrow)]
    user_properties: Vec<(&'a str, &'a str)>,
}

impl<'a> CarriedProperties<'a> {
    /// Those of a publish; none if it has none of them.
    pub fn of(set: &PropertySet<'a>) -> Option<CarriedProperties<'a>> {
        forwarded(set).then(|| CarriedProperties {
            payload_format_indicator: set.payload_format_indicator,
            content_type: set.content_type,
            response_topic: set.response_topic.map(Topic::as_str),
            correlation_data: set.correlation_data,
            user_properties: set.user_properties.clone(),
        })
    }

    /// The properties to deliver the message with. An error where a peer has sent a response topic that is none.
    pub fn read(carried: Option<CarriedProperties<'a>>) -> Result<Properties<'a>, TopicError> {
        let Some(carried) = carried else { return Ok(Properties::NONE) };
        Ok(Properties::from(PropertySet {
            payload_format_indicator: carried.payload_format_indicator,
            content_type: carried.content_type,
            response_topic: carried.response_topic.map(Topic::new).transpose()?,
            correlation_data: carried.correlation_data,
            user_properties: carried.user_properties,
            ..PropertySet::EMPTY
        }))
    }
}
