//! What happens to one client or topic, told while it happens: server-sent events.
//!
//! The broker puts what happens into a bounded queue, which is emptied here as fast as the reader takes it: whoever reads
//! slowly, or not at all, holds up nobody. Other nodes are asked again and again for what is in theirs. A trace that nobody
//! asks for ends by itself, here and there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until, timeout};

use super::api::View;
use super::body::whole;
use super::parameters::{Scope, ScopeParameter};
use super::question::{Question, Reply};
use super::refusal::Refusal;
use super::stream::{WATCH_MAX, append, message};
use super::view::{Missing, MissingView, TraceEvent, TraceRequest, TraceView, TracedView};
use super::{Answers, Later, NodeView};
use crate::observation::trace::{Order, Selector, SelectorError};

/// Time of a trace where the request does not say, and the longest there is, in seconds.
const SECONDS: u64 = 600;
const SECONDS_MAX: u64 = 86_400;
/// Most bytes of a payload that are told.
const PAYLOAD_MAX: usize = 65_536;
/// Between two looks at the node's own queue.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two questions to the other nodes.
const PAUSE_OTHERS: Duration = Duration::from_millis(300);
/// Nodes go on with a trace for so long after its time, for its reader to take the rest.
const GRACE: Duration = Duration::from_secs(5);
/// Other nodes have so long to say what they have at the end, twice.
const LAST: Duration = Duration::from_secs(2);
/// Something is sent so often, so that it shows when the reader has gone.
const BEAT: Duration = Duration::from_secs(5);
/// Bytes of events that are taken from a queue at once. As JSON they are a few times as many.
const BYTES_MAX: usize = 128 << 10;

/// A trace as nodes ask each other for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TraceQuestion {
    trace: String,
    client: Option<String>,
    topic: Option<String>,
    payload: usize,
    seconds: u64,
    /// The number of the last event that was had of each node.
    after: BTreeMap<String, u64>,
    bytes: usize,
}

/// What a node has to tell of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct TraceReply {
    pub(super) events: Vec<TraceEvent>,
    /// Why it does not trace.
    pub(super) refused: Option<String>,
}

impl TraceQuestion {
    fn order(&self) -> Result<Order, SelectorError> {
        Ok(Order {
            id: self.trace.clone(),
            selector: Selector::new(self.client.as_deref(), self.topic.as_deref())?,
            payload_max: self.payload.min(PAYLOAD_MAX),
            time: Duration::from_secs(self.seconds.min(SECONDS_MAX)) + GRACE,
        })
    }

    /// Begins the trace if it is not going on, and says what has happened.
    pub(super) fn answer(&self, view: &dyn NodeView) -> TraceReply {
        let after = self.after.get(&view.name()).copied().unwrap_or(0);
        let told = match self.order() {
            Ok(order) => view.trace(order, after, self.bytes).map_err(|full| full.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match told {
            Ok(part) => TraceReply { events: part.events, refused: None },
            Err(why) => TraceReply { events: Vec::new(), refused: Some(why) },
        }
    }

    /// Halves what is asked for; false where it cannot be less.
    pub(super) fn ask_for_less(&mut self) -> bool {
        self.bytes /= 2;
        self.bytes > 0
    }
}

impl TraceRequest {
    fn question(self) -> Result<TraceQuestion, Refusal> {
        let TraceRequest { client, topic, payload, seconds, trace } = self;
        Selector::new(client.as_deref(), topic.as_deref())
            .map_err(|error| Refusal::bad_request(error.to_string()))?;
        if payload > PAYLOAD_MAX {
            return Err(Refusal::bad_request(format!("payload is from 0 to {PAYLOAD_MAX} bytes")));
        }
        let seconds = seconds.unwrap_or(SECONDS);
        if !(1..=SECONDS_MAX).contains(&seconds) {
            return Err(Refusal::bad_request(format!("seconds is from 1 to {SECONDS_MAX}")));
        }
        let is_name = |trace: &String| (1..=64).contains(&trace.len());
        if trace.as_ref().is_some_and(|trace| !is_name(trace)) {
            return Err(Refusal::bad_request("trace is not one that an earlier stream has named"));
        }
        let random = || {
            let half = || getrandom::u64().unwrap_or_default();
            format!("{:016x}{:016x}", half(), half())
        };
        let (trace, after) = (trace.unwrap_or_else(random), BTreeMap::new());
        Ok(TraceQuestion { trace, client, topic, payload, seconds, after, bytes: BYTES_MAX })
    }
}

pub(super) async fn trace(
    State(shared): View,
    given: ScopeParameter,
    body: Body,
) -> Result<Response, Refusal> {
    let request: TraceRequest = serde_json::from_slice(&whole(body).await?)
        .map_err(|error| Refusal::bad_request(error.to_string()))?;
    let question = request.question()?;
    let Reply::Trace(first) = Question::Trace(question.clone()).ask_node(&shared.view).await else {
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "the node does not trace now".to_owned()));
    };
    if let Some(why) = first.refused {
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    let now = Instant::now();
    let mut text = String::new();
    let (node, trace) = (shared.view.name(), question.trace.clone());
    message(&mut text, "trace", &TraceView { trace, node: node.clone(), seconds: question.seconds });
    let mut watcher = Watcher {
        view: shared.view,
        others: matches!(given.scope, Scope::Cluster),
        ends: now + Duration::from_secs(question.seconds),
        leaves: now + WATCH_MAX,
        question,
        node,
        look: now,
        ask: now,
        beat: now + BEAT,
        asking: None,
        missing: Vec::new(),
        over: false,
        text,
    };
    watcher.tell_events(None, first.events);
    let body = Body::from_stream(stream::unfold(watcher, Watcher::tell));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

/// Whether there is likely to be more than these.
fn is_full(events: &[TraceEvent]) -> bool {
    events.iter().map(TraceEvent::size).sum::<usize>() > BYTES_MAX / 2
}

/// Somebody who reads a trace.
struct Watcher {
    view: Arc<dyn NodeView>,
    node: String,
    question: TraceQuestion,
    /// Whether other nodes are asked as well.
    others: bool,
    /// The trace is over.
    ends: Instant,
    /// The reader has to come back.
    leaves: Instant,
    /// When the node's own queue is looked at.
    look: Instant,
    /// When the others are asked.
    ask: Instant,
    beat: Instant,
    asking: Option<Later<Answers>>,
    missing: Vec<Missing>,
    over: bool,
    /// What the reader gets next.
    text: String,
}

impl Watcher {
    /// Waits for what there is to tell; none is the end.
    async fn tell(mut self) -> Option<(Result<String, Infallible>, Watcher)> {
        while self.text.is_empty() && !self.over {
            let now = Instant::now();
            if now >= self.ends {
                if self.others {
                    self.ask_for_the_last().await;
                }
                self.question.bytes = usize::MAX; // What waits is bounded.
                self.look();
                message(&mut self.text, "end", &serde_json::json!({"reason": "its time is over"}));
                self.over = true;
            } else if now >= self.leaves {
                self.over = true;
            } else {
                self.wait().await;
            }
        }
        self.beat = Instant::now() + BEAT;
        let text = std::mem::take(&mut self.text);
        (!text.is_empty()).then_some((Ok(text), self))
    }

    fn ask_others(&self, at: Instant) -> Later<Answers> {
        let view = self.view.clone();
        // Plain data becomes JSON.
        let question = serde_json::to_vec(&Question::Trace(self.question.clone())).unwrap_or_default();
        Box::pin(async move {
            sleep_until(at).await;
            view.ask_members(question).await
        })
    }

    /// Takes what other nodes have at the end, as far as they answer at once.
    async fn ask_for_the_last(&mut self) {
        let begun = self.asking.take();
        let last = |watcher: &Watcher| watcher.ask_others(Instant::now());
        for asking in [begun, None] {
            let asking = asking.unwrap_or_else(|| last(self));
            if let Ok(answers) = timeout(LAST, asking).await {
                self.handle_answers(answers);
            }
        }
    }

    async fn wait(&mut self) {
        if self.others && self.asking.is_none() {
            self.asking = Some(self.ask_others(self.ask));
        }
        let answers = async {
            match &mut self.asking {
                Some(asking) => asking.await,
                None => pending().await,
            }
        };
        tokio::select! {
            answers = answers => self.handle_answers(answers),
            () = sleep_until(self.look.min(self.ends)) => self.look(),
            () = sleep_until(self.beat) => append(&mut self.text, format_args!(":\n\n")),
        }
    }

    /// Takes what the node itself has to tell. It is short: the trace has begun.
    fn look(&mut self) {
        let reply = self.question.answer(&*self.view);
        let pause = if is_full(&reply.events) { Duration::ZERO } else { PAUSE };
        self.tell_events(None, reply.events);
        self.look = Instant::now() + pause;
    }

    fn handle_answers(&mut self, answers: Answers) {
        self.asking = None;
        let (mut missing, mut more) = (Vec::new(), false);
        for (node, answer) in answers {
            let reply = answer.map(|text| serde_json::from_slice(&text).unwrap_or(Reply::Unknown));
            let reason = match reply {
                Ok(Reply::Trace(TraceReply { events, refused })) => {
                    more |= is_full(&events);
                    if refused.is_none() {
                        self.tell_events(Some(&node), events);
                    }
                    refused
                }
                Ok(_) => Some(super::question::UNKNOWN.to_owned()),
                Err(reason) => Some(reason),
            };
            missing.extend(reason.map(|reason| Missing { node, reason }));
        }
        self.ask = Instant::now() + if more { Duration::ZERO } else { PAUSE_OTHERS };
        missing.sort();
        if missing != self.missing {
            message(&mut self.text, "missing", &MissingView { missing: missing.clone() });
            self.missing = missing;
        }
    }

    /// Events of this node, or of another.
    fn tell_events(&mut self, node: Option<&str>, events: Vec<TraceEvent>) {
        let node = node.unwrap_or(&self.node).to_owned();
        // A node that was asked once is to say where it begins anew: no event has so low a number.
        let last = events.last().map_or(1, |event| event.number);
        let after = self.question.after.entry(node.clone()).or_default();
        *after = last.max(*after);
        for event in events {
            message(&mut self.text, "event", &TracedView { node: node.clone(), event });
        }
    }
}
