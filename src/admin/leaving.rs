//! How a node is asked to leave, and how far that has got.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::View;
use super::body::whole;
use super::refusal::Refusal;
use super::view::LeavingView;

/// The body of `POST /api/v1/leave`; an empty one asks for nothing special.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeaveRequest {
    /// Whether clients and sessions go to other nodes first.
    pub drain: bool,
    /// Clients that are sent away in a second; by default `drain_rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<NonZeroU32>,
    /// Time in seconds, at most an hour, in which `/readyz` is red and all else goes on; by default `drain_grace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<f64>,
}

/// Longest grace, in seconds.
const GRACE_MAX: f64 = 3600.0;

impl LeaveRequest {
    /// The grace that is asked for, if one is.
    pub fn grace(&self) -> Option<Duration> {
        self.grace_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    fn read(body: &[u8]) -> Result<LeaveRequest, String> {
        if body.is_empty() {
            return Ok(LeaveRequest::default());
        }
        let request: LeaveRequest = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        match request.grace_seconds {
            Some(seconds) if !(0.0..=GRACE_MAX).contains(&seconds) => {
                Err(format!("grace_seconds is from 0 to {GRACE_MAX}"))
            }
            _ if !request.drain && request != LeaveRequest::default() => {
                Err("rate and grace_seconds are for a drain".to_owned())
            }
            _ => Ok(request),
        }
    }
}

/// How far a drain has got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrainView {
    /// What is going on.
    pub stage: DrainStage,
    /// Clients that are connected yet.
    pub clients: u64,
    /// Sessions without a connection that are here yet.
    pub sessions: u64,
    /// Clients that were sent away.
    pub clients_sent_away: u64,
    /// Sessions that other nodes have now.
    pub sessions_moved: u64,
    /// Seconds since it was asked for.
    pub seconds: f64,
}

/// The parts of a drain, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrainStage {
    /// Load balancers are given time to notice.
    #[default]
    Grace,
    /// Clients and sessions go to other nodes.
    Moving,
    /// They would, if there were another live node.
    NoOtherNode,
    /// The others get what is left to be said.
    Flushing,
    /// The node leaves.
    Leaving,
}

/// Why a node does not do as it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaveRefused {
    /// There is nowhere to go.
    #[error(
        "no other live node takes this one's clients and sessions: start one, or leave without a drain, which ends the sessions"
    )]
    NoOtherNode,
}

pub(super) async fn leave(
    State(shared): View,
    body: Body,
) -> Result<(StatusCode, Json<LeavingView>), Refusal> {
    let request = LeaveRequest::read(&whole(body).await?).map_err(Refusal::bad_request)?;
    shared.view.leave(&request).map_err(|refused| Refusal(StatusCode::CONFLICT, refused.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(shared.view.leaving())))
}

pub(super) async fn leaving(State(shared): View) -> Json<LeavingView> {
    Json(shared.view.leaving())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_it_means_or_is_refused() {
        assert_eq!(LeaveRequest::read(b""), Ok(LeaveRequest::default()));
        assert_eq!(LeaveRequest::read(b"{}"), Ok(LeaveRequest::default()));
        let drain = LeaveRequest::read(br#"{"drain": true, "rate": 5, "grace_seconds": 0.5}"#).unwrap();
        assert_eq!((drain.drain, drain.rate.map(NonZeroU32::get)), (true, Some(5)));
        assert_eq!(drain.grace(), Some(Duration::from_millis(500)));
        for wrong in [
            r#"{"drain": true, "rate": 0}"#,
            r#"{"drain": true, "rates": 1}"#,
            r#"{"drain": true, "grace_seconds": -1}"#,
            r#"{"drain": true, "grace_seconds": 3601}"#,
            r#"{"rate": 5}"#,
            "drain",
        ] {
            assert!(LeaveRequest::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
