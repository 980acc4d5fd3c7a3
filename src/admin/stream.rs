//! What happens, told while it happens: server-sent events (HTML Living Standard, 9.2).
//!
//! A watcher is told when it has taken what it was told before: who reads slowly has the newest state later, and no queue
//! grows. There are at most [`MAX_WATCHERS`].

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::NodeView;
use super::api::View;
use super::parameters::EventsParameters;
use super::refusal::Refusal;
use super::view::EventsView;
use crate::cluster::events::Newest;

/// Watchers at a time.
const MAX_WATCHERS: usize = 16;
/// Longest a watcher is served before it has to come back; less than a connection may last.
pub(super) const WATCH_MAX: Duration = Duration::from_secs(240);
/// The members are told so often though nothing has happened, and so that it is known that the node is there.
const BEAT: Duration = Duration::from_secs(1);
/// Added to that for each member: large answers come less often.
const BEAT_PER_MEMBER: Duration = Duration::from_millis(10);
/// Shortest time between two messages.
const PAUSE: Duration = Duration::from_millis(100);
/// A watcher is to come back so long after its connection has ended.
const RETRY_MS: u64 = 2000;

/// Room for watchers.
#[derive(Clone)]
pub(super) struct Watchers(Arc<Semaphore>);

impl Default for Watchers {
    fn default() -> Self {
        Watchers(Arc::new(Semaphore::new(MAX_WATCHERS)))
    }
}

pub(super) async fn events(
    State(shared): View,
    given: EventsParameters,
) -> Result<Json<EventsView>, Refusal> {
    let events = shared.view.events(given.after.unwrap_or(0));
    Ok(Json(EventsView { node: shared.view.name(), events }))
}

pub(super) async fn watch(
    State(shared): View,
    headers: HeaderMap,
    given: EventsParameters,
) -> Result<Response, Refusal> {
    let full = |_| {
        let why = format!("there are {MAX_WATCHERS} watchers already");
        Refusal(StatusCode::SERVICE_UNAVAILABLE, why)
    };
    let permit = shared.watchers.0.clone().try_acquire_owned().map_err(full)?;
    // A browser that comes back by itself says here what it has.
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let now = Instant::now();
    let watcher = Watcher {
        newest: shared.view.watch_events(),
        view: shared.view,
        after: last.or(given.after).unwrap_or(0),
        next: Next::Greeting,
        not_before: now,
        beat: now,
        ends: now + WATCH_MAX,
        _permit: permit,
    };
    let body = Body::from_stream(stream::unfold(watcher, Watcher::tell));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

/// Somebody who watches.
struct Watcher {
    view: Arc<dyn NodeView>,
    newest: watch::Receiver<Newest>,
    /// The number of the last event told.
    after: u64,
    next: Next,
    /// The pause after the last message ends.
    not_before: Instant,
    /// When something is told though nothing has happened.
    beat: Instant,
    ends: Instant,
    _permit: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Greeting,
    News,
    Nothing,
}

impl Watcher {
    /// Waits for the next message; none is the end.
    async fn tell(mut self) -> Option<(Result<String, Infallible>, Watcher)> {
        if self.next == Next::Nothing || Instant::now() >= self.ends {
            return None;
        }
        let mut text = String::new();
        if self.next == Next::Greeting {
            append(&mut text, format_args!("retry: {RETRY_MS}\n"));
            self.next = Next::News;
        } else {
            sleep_until(self.not_before).await;
            tokio::select! {
                changed = self.newest.changed() => changed.ok()?,
                () = sleep_until(self.beat) => {}
            }
        }
        let newest = *self.newest.borrow_and_update();
        for event in self.view.events(self.after) {
            self.after = event.number;
            append(&mut text, format_args!("id: {}\n", event.number));
            message(&mut text, "event", &event);
        }
        let cluster = self.view.cluster();
        message(&mut text, "cluster", &cluster);
        if newest == Newest::End {
            message(&mut text, "end", &serde_json::json!({}));
            self.next = Next::Nothing;
        }
        let members = u32::try_from(cluster.members.len()).unwrap_or(u32::MAX);
        let now = Instant::now();
        self.not_before = now + PAUSE;
        self.beat = now + BEAT + BEAT_PER_MEMBER.saturating_mul(members);
        Some((Ok(text), self))
    }
}

pub(super) fn message(text: &mut String, name: &str, data: &impl Serialize) {
    // Plain data becomes JSON, on one line.
    let data = serde_json::to_string(data).unwrap_or_default();
    append(text, format_args!("event: {name}\ndata: {data}\n\n"));
}

pub(super) fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = text.write_fmt(what);
}
