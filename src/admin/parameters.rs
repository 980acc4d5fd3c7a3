//! What the queries of requests may say. The comments are the API's own description of it.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cursor::Cursor;
use super::page::{DEFAULT_LIMIT, MAX_LIMIT, Part};
use super::refusal::Refusal;
use crate::broker::Kick;

/// Whose answer is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    /// That of the node alone.
    #[default]
    Node,
    /// That of all nodes that can be reached.
    Cluster,
}

/// What becomes of a kicked client's session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SessionFate {
    /// It ends.
    #[default]
    End,
    /// It stays until it expires.
    Keep,
}

impl SessionFate {
    /// What a client has to have to be kicked.
    pub(super) fn what_goes(self) -> &'static str {
        match self {
            SessionFate::End => "session",
            SessionFate::Keep => "connection",
        }
    }
}

impl From<SessionFate> for Kick {
    fn from(fate: SessionFate) -> Kick {
        match fate {
            SessionFate::End => Kick::Session,
            SessionFate::Keep => Kick::Connection,
        }
    }
}

/// Declares the parameters of a query: a struct that is taken from requests, and says what is wrong with them.
macro_rules! parameters {
    ($($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$about])*
            #[derive(Deserialize, JsonSchema)]
            #[serde(deny_unknown_fields)]
            pub(super) struct $name {
                $($(#[$field_about])* pub(super) $field: $type,)*
            }

            impl<S: Send + Sync> FromRequestParts<S> for $name {
                type Rejection = Refusal;

                async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
                    query(parts)
                }
            }
        )*
    };
}

fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, Refusal> {
    let Query(parameters) = Query::try_from_uri(&parts.uri)?;
    Ok(parameters)
}

parameters! {
    /// Of `/stats` and `/clients/ID`.
    ScopeParameter {
        /// Whether the node answers for itself, or asks all.
        #[serde(default)]
        scope: Scope,
    }

    /// Of `DELETE /clients/ID`.
    KickParameters {
        /// Whether the client is looked for on this node, or on all.
        #[serde(default)]
        scope: Scope,
        /// What becomes of its session.
        #[serde(default)]
        session: SessionFate,
    }

    /// Of `/events` and `/events/stream`.
    EventsParameters {
        /// Only events after the one of this number.
        after: Option<u64>,
    }

    /// Of `/routes`.
    RoutesParameters {
        /// Only this topic filter.
        filter: Option<String>,
        /// Only filters that this node wants.
        node: Option<String>,
        /// Most entries on the page: 1 to 1000, 100 if it is not said.
        limit: Option<usize>,
        /// The `next` of the page before.
        cursor: Option<String>,
    }

    /// Of `/retained`.
    RetainedParameters {
        /// Only topics that this filter matches.
        filter: Option<String>,
        /// Most entries on the page: 1 to 1000, 100 if it is not said.
        limit: Option<usize>,
        /// The `next` of the page before.
        cursor: Option<String>,
    }

    /// Of `/match`.
    MatchParameters {
        /// The topic of a publish.
        topic: String,
    }

    /// Of `DELETE /retained`.
    TopicParameter {
        /// The topic of the message.
        topic: String,
    }

    /// Of `/clients`.
    ClientsParameters {
        /// Only identifiers that begin so.
        prefix: Option<String>,
        /// Only clients of this user.
        username: Option<String>,
        /// Only clients with a connection, or without.
        connected: Option<bool>,
        /// Whether the node answers for itself, or asks all.
        #[serde(default)]
        scope: Scope,
        /// Most entries on the page: 1 to 1000, 100 if it is not said.
        limit: Option<usize>,
        /// The `next` of the page before.
        cursor: Option<String>,
    }

    /// Of `/slow-subscribers`.
    SlowParameters {
        /// Only clients that take so many milliseconds: by default `slow_subscriber_threshold`, or 1000.
        threshold_ms: Option<u64>,
        /// Whether the node answers for itself, or asks all.
        #[serde(default)]
        scope: Scope,
        /// Most entries on the page: 1 to 1000, 100 if it is not said.
        limit: Option<usize>,
        /// The `next` of the page before.
        cursor: Option<String>,
    }

    /// Of `/top-topics`.
    TopTopicsParameters {
        /// How long to count, from the request on: 1 to 60, 5 if it is not said.
        seconds: Option<u64>,
        /// Whether the node answers for itself, or asks all.
        #[serde(default)]
        scope: Scope,
        /// Most topics of each kind: 1 to 1000, 20 if it is not said.
        limit: Option<usize>,
    }

    /// Of `/subscriptions`.
    SubscriptionsParameters {
        /// Only those of this client.
        client: Option<String>,
        /// Only those to this filter, as it was subscribed to.
        filter: Option<String>,
        /// Whether the node answers for itself, or asks all.
        #[serde(default)]
        scope: Scope,
        /// Most entries on the page: 1 to 1000, 100 if it is not said.
        limit: Option<usize>,
        /// The `next` of the page before.
        cursor: Option<String>,
    }
}

/// The part of a list that is asked for.
pub(super) fn part(limit: Option<usize>, cursor: Option<String>) -> Result<Part, Refusal> {
    let limit = match limit {
        None => DEFAULT_LIMIT,
        Some(limit @ 1..=MAX_LIMIT) => limit,
        Some(_) => return Err(Refusal::bad_request(format!("limit is from 1 to {MAX_LIMIT}"))),
    };
    let unknown = || Refusal::bad_request("cursor is not one that an earlier answer gave as next");
    let after = cursor.map(|text| Cursor::decode(&text).map(|cursor| cursor.0).ok_or_else(unknown));
    Ok(Part { after: after.transpose()?, limit })
}
