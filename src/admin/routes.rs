//! Topics: who wants them, what is retained at them, and publishes to them.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::api::View;
use super::body::whole;
use super::page::{RetainedQuery, RoutesQuery};
use super::parameters::{MatchParameters, RetainedParameters, RoutesParameters, TopicParameter, part};
use super::refusal::Refusal;
use super::view::{
    ClearedView, MatchView, PublishProperties, PublishRequest, PublishedView, RetainedPage, RoutesPage,
};
use crate::broker::Published;
use crate::codec::packet::{PropertySet, QoS};
use crate::message::{Application, Message};
use crate::topic::{Topic, TopicFilter};

pub(super) async fn routes(
    State(shared): View,
    given: RoutesParameters,
) -> Result<Json<RoutesPage>, Refusal> {
    let part = part(given.limit, given.cursor)?;
    Ok(Json(shared.view.routes(&RoutesQuery { filter: given.filter, node: given.node, part })))
}

pub(super) async fn matches(State(shared): View, given: MatchParameters) -> Result<Json<MatchView>, Refusal> {
    Ok(Json(shared.view.matches(topic("topic", &given.topic)?)))
}

pub(super) async fn retained(
    State(shared): View,
    given: RetainedParameters,
) -> Result<Json<RetainedPage>, Refusal> {
    let part = part(given.limit, given.cursor)?;
    let filter = given.filter.map(|filter| TopicFilter::parse(&filter)).transpose();
    let filter = filter.map_err(|error| Refusal::bad_request(format!("filter: {error}")))?;
    let query = RetainedQuery { filter, part };
    let page = tokio::task::spawn_blocking(move || shared.view.retained(&query)).await;
    // It does not panic; should it, one answer is empty.
    Ok(Json(page.unwrap_or_default()))
}

pub(super) async fn clear_retained(
    State(shared): View,
    given: TopicParameter,
) -> Result<Json<ClearedView>, Refusal> {
    match shared.view.clear_retained(topic("topic", &given.topic)?) {
        true => Ok(Json(ClearedView { topic: given.topic })),
        false => Err(Refusal::not_found(format!("{} has no retained message", given.topic))),
    }
}

pub(super) async fn publish(State(shared): View, body: Body) -> Result<Json<PublishedView>, Refusal> {
    let body = whole(body).await?;
    let request: PublishRequest =
        serde_json::from_slice(&body).map_err(|error| Refusal::bad_request(format!("body: {error}")))?;
    let message = message(&request, Instant::now())?;
    let Published { matched, acknowledged } = shared.view.publish(message).await?;
    Ok(Json(PublishedView { topic: request.topic, matched, acknowledged }))
}

fn message(request: &PublishRequest, now: Instant) -> Result<Message, Refusal> {
    let payload = either(("payload", &request.payload), ("payload_base64", &request.payload_base64))?;
    let PublishProperties { correlation_data, correlation_data_base64, .. } = &request.properties;
    let correlation =
        either(("correlation_data", correlation_data), ("correlation_data_base64", correlation_data_base64))?;
    let given = &request.properties;
    let indicator = match given.payload_format_indicator {
        Some(2..) => return Err(Refusal::bad_request("payload_format_indicator is 0 or 1")),
        indicator => indicator.map(|indicator| indicator == 1),
    };
    let response_topic =
        given.response_topic.as_deref().map(|name| topic("response_topic", name)).transpose()?;
    let pairs = given.user_properties.pairs();
    let texts = pairs.iter().flat_map(|(name, value)| [*name, *value]).chain(given.content_type.as_deref());
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(Refusal::bad_request("a text of MQTT does not contain U+0000"));
    }
    let properties = PropertySet {
        payload_format_indicator: indicator,
        content_type: given.content_type.as_deref(),
        response_topic,
        correlation_data: correlation.as_deref(),
        user_properties: pairs,
        ..PropertySet::EMPTY
    };
    let expiry = given.message_expiry_interval.map(|secs| now + Duration::from_secs(secs.into()));
    let qos = QoS::from_bits(request.qos).ok_or_else(|| Refusal::bad_request("qos is 0, 1 or 2"))?;
    let application = Application {
        topic: topic("topic", &request.topic)?,
        payload: payload.as_deref().unwrap_or_default(),
        backing: None,
        qos,
        retain: request.retain,
        properties: &properties,
        expires_at: expiry,
    };
    Ok(application.to_message())
}

/// The bytes that are given as text or in Base64.
fn either(
    (name, text): (&str, &Option<String>),
    (encoded_name, encoded): (&str, &Option<String>),
) -> Result<Option<Vec<u8>>, Refusal> {
    match (text, encoded) {
        (Some(_), Some(_)) => {
            Err(Refusal::bad_request(format!("{name} and {encoded_name} cannot both be given")))
        }
        (Some(text), None) => Ok(Some(text.as_bytes().to_vec())),
        (None, Some(encoded)) => {
            let decoded = BASE64_STANDARD.decode(encoded);
            Ok(Some(decoded.map_err(|error| Refusal::bad_request(format!("{encoded_name}: {error}")))?))
        }
        (None, None) => Ok(None),
    }
}

fn topic<'a>(what: &str, name: &'a str) -> Result<Topic<'a>, Refusal> {
    Topic::new(name).map_err(|error| Refusal::bad_request(format!("{what}: {error}")))
}
