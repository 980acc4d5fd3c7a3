//! What the broker tells those who trace a client or a topic. All of it is off the way of whoever is not traced.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Broker;
use super::batch::Batch;
use super::client::{Client, ClientState, Subscriber};
use crate::cluster::wall_clock_ms;
use crate::codec::packet::{Connect, Packet, ReasonCode};
use crate::message::Application;
use crate::observation::trace::{
    Happening, Order, Part, Selector, Tap, Trace, TraceEvent, TracerFull, cut, message, packet,
};
use crate::router::Match;
use crate::session::Delivered;
use crate::session::frames::Frames;
use crate::session::outbox::Outbox;
use crate::topic::Topic;

/// Most names of subscribers that are told of one message.
const NAMES_MAX: usize = 20;

/// A publish whose topic is traced, on its way.
pub(super) struct TracedPublish {
    traces: Vec<Arc<Trace>>,
    /// Copies that the turn had given to subscribers before, and dropped.
    before: (u64, u64),
}

impl Broker {
    /// Begins a trace, or goes on with the one of this identifier, and gives what has happened after the event of that number,
    /// of at most so many bytes. It may take a while where it begins: it looks for the clients that are meant.
    pub fn trace(&self, order: Order, after: u64, bytes_max: usize) -> Result<Part, TracerFull> {
        let now = Instant::now();
        let (trace, begun) = self.tracer.begin(order, after, now, wall_clock_ms())?;
        if begun && let Selector::Client(pattern) = trace.selector() {
            match pattern.exact() {
                Some(id) => self.registry.find(id).iter().for_each(|client| client.trace(&trace)),
                None => {
                    let meant = self.registry.clients().filter(|client| pattern.matches(client.id()));
                    meant.for_each(|client| client.trace(&trace));
                }
            }
        }
        Ok(trace.read(after, bytes_max, now, wall_clock_ms()))
    }

    /// A CONNECT has come.
    pub fn trace_connect(&self, connect: &Connect<'_>, peer: Option<SocketAddr>) {
        if self.tracer.is_on_clients() {
            self.tell_of_client(connect.client_id, |payload_max| {
                let connect = Packet::Connect(Box::new(connect.clone()));
                packet(Happening::Received, connect_id(&connect), &connect, payload_max)
                    .with_some("address", peer)
            });
        }
    }

    /// An AUTH belongs to a CONNECT that is not answered yet.
    pub(super) fn trace_auth(&self, event: Happening, id: &str, auth: &Packet<'_>) {
        if self.tracer.is_on_clients() {
            self.tell_of_client(id, |payload_max| packet(event, id, auth, payload_max));
        }
    }

    /// A client is not let in, or has no permission, and this is why.
    pub(super) fn trace_denied(&self, id: &str, why: impl ToString) {
        if self.tracer.is_on_clients() {
            let why = why.to_string();
            self.tell_of_client(id, |_| TraceEvent::of(Happening::Denied, id).with("why", &why));
        }
    }

    /// A CONNECT is answered with this.
    pub fn trace_refused(&self, id: &str, reason: ReasonCode, peer: Option<SocketAddr>) {
        if self.tracer.is_on_clients() {
            self.tell_of_client(id, |_| {
                TraceEvent::of(Happening::Refused, id).because(reason).with_some("address", peer)
            });
        }
    }

    /// A publish is not allowed.
    #[cold]
    pub(super) fn trace_publish_denied(&self, client: &Client, topic: Topic<'_>) {
        let made = || {
            let told = TraceEvent::of(Happening::Denied, client.id());
            TraceEvent { topic: Some(cut(topic.as_str())), ..told }.with("why", "the ACL denies the publish")
        };
        client.tell(|_| made());
        if self.tracer.is_on_topics() {
            let at_ms = wall_clock_ms();
            self.tracer.of_topic(topic).iter().for_each(|trace| trace.push(at_ms, |_| made()));
        }
    }

    /// A connection of the client has opened, whose lock `state` is, and nothing was sent to it yet.
    pub(super) fn trace_opened(&self, client: &Client, state: &mut ClientState, resumed: bool) {
        state.tap = None;
        client.traced.store(false, Ordering::Relaxed);
        if !self.tracer.is_on_clients() {
            return;
        }
        let traces = self.tracer.of_client(client.id());
        if traces.is_empty() {
            return;
        }
        let tap = Tap::new(client.id(), traces);
        tap.tell(wall_clock_ms(), |_| {
            let session = if resumed { "resumed" } else { "new" };
            state.describe(TraceEvent::of(Happening::Connected, client.id()).with("session", session))
        });
        state.tap = Some(Box::new(tap));
        client.traced.store(true, Ordering::Relaxed);
    }

    /// A session has come from another node.
    pub(super) fn trace_arrived(&self, client: &Client) {
        if !self.tracer.is_on_clients() {
            return;
        }
        let traces = self.tracer.of_client(client.id());
        // The client's lock comes before those of traces.
        let mut state = client.lock();
        let told = state.describe(TraceEvent::of(Happening::SessionArrives, client.id()));
        let at_ms = wall_clock_ms();
        for trace in &traces {
            trace.push(at_ms, |_| told.clone());
            client.tap(&mut state, trace);
        }
    }

    /// A publish of this client, or of nobody's, is about to be routed.
    #[cold]
    pub(super) fn trace_published(
        &self,
        application: &Application<'_>,
        from: Option<&Client>,
        batch: &Batch,
    ) -> TracedPublish {
        let client = from.map(Client::id).filter(|id| !id.is_empty());
        let told = |payload_max| message(Happening::Published, client, application, payload_max);
        self.begin_traced(application.topic, told, batch)
    }

    /// A publish has come from another node, and is about to be routed here.
    #[cold]
    pub(super) fn trace_forwarded(
        &self,
        application: &Application<'_>,
        node: &str,
        batch: &Batch,
    ) -> TracedPublish {
        let told =
            |payload_max| message(Happening::Forwarded, None, application, payload_max).with("from", node);
        self.begin_traced(application.topic, told, batch)
    }

    fn begin_traced(
        &self,
        topic: Topic<'_>,
        told: impl Fn(usize) -> TraceEvent,
        batch: &Batch,
    ) -> TracedPublish {
        let (traces, at_ms) = (self.tracer.of_topic(topic), wall_clock_ms());
        traces.iter().for_each(|trace| trace.push(at_ms, &told));
        TracedPublish { traces, before: batch.outcome() }
    }

    /// It is routed. `peers` says whether other nodes get it from this one.
    pub(super) fn trace_routed(
        &self,
        traced: &TracedPublish,
        topic: Topic<'_>,
        matches: &Match<Subscriber>,
        peers: bool,
        batch: &Batch,
    ) {
        if traced.traces.is_empty() {
            return;
        }
        let (delivered, dropped) = batch.outcome();
        let names = |names: &mut dyn Iterator<Item = &str>, all: usize| {
            let mut text = names.take(NAMES_MAX).collect::<Vec<_>>().join(" ");
            if all > NAMES_MAX {
                text.push_str(&format!(" and {} more", all - NAMES_MAX));
            }
            Some(text).filter(|text| !text.is_empty())
        };
        let locals =
            names(&mut matches.locals.iter().map(|local| local.subscriber.id()), matches.locals.len());
        let groups: Vec<String> = matches.groups.iter().map(|group| group.share.to_string()).collect();
        let groups = names(&mut groups.iter().map(String::as_str), groups.len());
        let peers = match self.cluster.get() {
            Some(cluster) if peers => cluster.destinations(&matches.peers),
            _ => Default::default(),
        };
        let mut nodes: Vec<&str> = peers.iter().map(|peer| peer.name().as_str()).collect();
        nodes.sort_unstable();
        let nodes = names(&mut nodes.iter().copied(), nodes.len());
        let at_ms = wall_clock_ms();
        for trace in &traced.traces {
            trace.push(at_ms, |_| {
                let told = TraceEvent { event: Happening::Routed, ..TraceEvent::default() };
                TraceEvent { topic: Some(cut(topic.as_str())), ..told }
                    .with("delivered", delivered - traced.before.0)
                    .with("dropped", dropped - traced.before.1)
                    .with_some("subscribers", locals.as_deref())
                    .with_some("groups", groups.as_deref())
                    .with_some("nodes", nodes.as_deref())
            });
        }
    }

    fn tell_of_client(&self, id: &str, make: impl Fn(usize) -> TraceEvent) {
        let at_ms = wall_clock_ms();
        self.tracer.of_client(id).iter().for_each(|trace| trace.push(at_ms, &make));
    }
}

fn connect_id<'a>(packet: &'a Packet<'_>) -> &'a str {
    match packet {
        Packet::Connect(connect) => connect.client_id,
        _ => "",
    }
}

impl Client {
    /// Whether somebody may trace it.
    #[inline]
    pub fn is_traced(&self) -> bool {
        self.traced.load(Ordering::Relaxed)
    }

    /// Somebody traces it from now on.
    fn trace(&self, trace: &Arc<Trace>) {
        let mut state = self.lock();
        if state.record.ended || state.record.shipped {
            return;
        }
        trace.push(wall_clock_ms(), |_| {
            let connected = state.attachment.is_some();
            state.describe(TraceEvent::of(Happening::Found, self.id()).with("connected", connected))
        });
        self.tap(&mut state, trace);
    }

    /// The same, told already.
    fn tap(&self, state: &mut ClientState, trace: &Arc<Trace>) {
        let tap = Tap::midway(self.id(), state.session.outbound_aliases(), state.session.outbox().len());
        state.tap.get_or_insert_with(|| Box::new(tap)).add(trace);
        self.traced.store(true, Ordering::Relaxed);
    }

    /// Tells those who trace it, if anybody does.
    pub fn tell(&self, make: impl Fn(usize) -> TraceEvent) {
        if self.is_traced() {
            self.tell_traced(make);
        }
    }

    #[cold]
    fn tell_traced(&self, make: impl Fn(usize) -> TraceEvent) {
        let mut state = self.lock();
        if state.tap.as_mut().is_none_or(|tap| tap.is_over()) {
            state.tap = None;
            self.traced.store(false, Ordering::Relaxed);
        }
        state.tell(make);
    }
}

impl ClientState {
    /// Tells those who trace the client, if anybody does.
    pub(super) fn tell(&self, make: impl Fn(usize) -> TraceEvent) {
        if let Some(tap) = &self.tap {
            tap.tell(wall_clock_ms(), make);
        }
    }

    /// These bytes are about to be written.
    #[cold]
    pub fn trace_written(&mut self, bytes: &Outbox) {
        if self.tap.as_mut().is_some_and(|tap| tap.is_over()) {
            self.tap = None;
        }
        if let (Some(tap), Some(negotiated)) = (&mut self.tap, self.session.negotiated()) {
            tap.handle_written(&bytes.to_vec(), negotiated.version, wall_clock_ms());
        }
    }

    /// A message for the client was not put on its way.
    #[cold]
    pub(super) fn trace_unsent(&self, id: &str, frames: &Frames<'_>, delivered: Delivered) {
        let (event, why) = match delivered {
            Delivered::Queued => (Happening::Queued, None),
            Delivered::Dropped(reason) => (Happening::Dropped, Some(reason.label())),
            Delivered::Sent | Delivered::Known => return,
        };
        self.tell(|payload_max| {
            message(event, Some(id), frames.application(), payload_max)
                .with_some("why", why)
                .with("queued", self.session.queued())
                .with("inflight", self.session.inflight())
        });
    }

    /// What there is to say of the session and its connection.
    fn describe(&self, told: TraceEvent) -> TraceEvent {
        let connection = self.record.connection.as_ref();
        told.with_some("address", connection.and_then(|connection| connection.peer))
            .with_some("listener", connection.and_then(|connection| connection.listener))
            .with_some("username", self.record.identity.username())
            .with("session_expiry", self.record.expiry.as_secs())
            .with("subscriptions", self.record.subscriptions.len())
            .with("queued", self.session.queued())
            .with("inflight", self.session.inflight())
    }
}
