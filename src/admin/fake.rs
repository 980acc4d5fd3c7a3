//! A node that shows what a test tells it to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::view::{
    ClientView, ClientsPage, ClusterView, EventKind, EventView, HeadView, LeavingView, LinkKind, MatchView,
    MemberState, MemberView, NodeStats, RetainedPage, RetainedView, RouteView, RoutesPage, SetView,
    SlowSubscriberView, SlowSubscribersPage, SubscriptionView, SubscriptionsPage, TargetGroup,
};
use super::{
    Answers, ClientsQuery, FirstEntries, Later, LeaveRefused, LeaveRequest, NodeView, Readiness,
    RetainedQuery, RoutesQuery, SlowQuery, SubscriptionsQuery, answer,
};
use crate::broker::{Kick, Published, Unpublished};
use crate::cluster::events::Newest;
use crate::message::Message;
use crate::observation::top_topics::{Counted, CountsFull, TopTopics};
use crate::observation::trace::{Happening, Order, Part as TracePart, TraceEvent, Tracer, TracerFull};
use crate::topic::{Topic, TopicFilter};

/// Its routes can change between two questions.
pub(crate) struct FakeNode {
    pub(crate) routes: Mutex<BTreeMap<String, BTreeSet<String>>>,
    pub(crate) readiness: Mutex<Readiness>,
    pub(crate) left: AtomicBool,
    pub(crate) name: &'static str,
    pub(crate) clients: Mutex<BTreeSet<String>>,
    pub(crate) published: Mutex<Vec<Message>>,
    pub(crate) events: Mutex<Vec<EventView>>,
    pub(crate) newest: watch::Sender<Newest>,
    pub(crate) others: Mutex<Vec<std::sync::Arc<FakeNode>>>,
    pub(crate) tracer: Tracer,
    pub(crate) top_topics: TopTopics,
}

impl FakeNode {
    pub(crate) fn new(routes: &[(&str, &[&str])]) -> FakeNode {
        let owned = |nodes: &[&str]| nodes.iter().map(|node| (*node).to_owned()).collect();
        let routes = routes.iter().map(|(filter, nodes)| ((*filter).to_owned(), owned(nodes))).collect();
        FakeNode {
            routes: Mutex::new(routes),
            readiness: Mutex::new(Readiness::Ready),
            left: AtomicBool::new(false),
            name: "node1@h",
            clients: Mutex::default(),
            published: Mutex::default(),
            events: Mutex::default(),
            newest: watch::Sender::new(Newest::Number(0)),
            others: Mutex::default(),
            tracer: Tracer::default(),
            top_topics: TopTopics::default(),
        }
    }

    /// A link of `node2@h` comes up.
    pub(crate) fn has_event(&self, number: u64) {
        let node = Some("node2@h".to_owned());
        let text = format!("linked {number}");
        self.events.lock().push(EventView { number, at_ms: 7, kind: EventKind::Link, node, text });
        self.newest.send_replace(Newest::Number(number));
    }

    fn all(&self) -> Vec<RouteView> {
        let view = |(filter, nodes): (&String, &BTreeSet<String>)| RouteView {
            filter: filter.clone(),
            nodes: nodes.iter().cloned().collect(),
            members: BTreeMap::new(),
        };
        self.routes.lock().iter().map(view).collect()
    }
}

/// This node, one that is behind and relayed, and one that is gone.
pub(crate) fn cluster() -> ClusterView {
    let head = |seq| Some(HeadView { seq, hash: format!("{:016x}", seq * 0x1111) });
    let member = |name: &str, state, link, routes, set: SetView| MemberView {
        name: name.to_owned(),
        incarnation: 7,
        state,
        link,
        via: None,
        rtt_ms: None,
        routes,
        sets: BTreeMap::from([("routes".to_owned(), set.clone())]),
        routes_set: set,
    };
    let own = SetView { head: head(3), applied: head(3), lag_ops: 0, lag_seconds: 0.0 };
    let behind = SetView { head: head(9), applied: head(4), lag_ops: 5, lag_seconds: 1.25 };
    let unknown = SetView::default();
    let relayed = MemberView {
        via: Some("node3@h".to_owned()),
        rtt_ms: Some(0.75),
        ..member("node2@h", MemberState::Suspect, LinkKind::Relayed, 1200, behind)
    };
    ClusterView {
        node: "node1@h".to_owned(),
        incarnation: 7,
        converged: false,
        members: vec![
            member("node1@h", MemberState::Alive, LinkKind::Own, 3, own),
            relayed,
            member("node4@h", MemberState::Dead, LinkKind::None, 0, unknown),
        ],
    }
}

/// A client of this node, connected if its name does not end in `-away`.
fn client(node: &str, id: &str) -> ClientView {
    let connected = !id.ends_with("-away");
    ClientView {
        client: id.to_owned(),
        node: node.to_owned(),
        username: Some("alice".to_owned()).filter(|_| id.starts_with('a')),
        connected,
        address: Some("127.0.0.1:50000".to_owned()),
        listener: Some("mqtt".to_owned()),
        protocol: Some("5.0".to_owned()),
        clean_start: Some(false),
        keep_alive_secs: Some(60),
        connected_ms: Some(7).filter(|_| connected),
        disconnected_ms: Some(7).filter(|_| !connected),
        session_expiry_secs: 3600,
        subscriptions: 1,
        inflight: 0,
        queued: 0,
        unacknowledged: 0,
        will: false,
    }
}

impl NodeView for FakeNode {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn cluster(&self) -> ClusterView {
        cluster()
    }

    fn routes(&self, query: &RoutesQuery) -> RoutesPage {
        query.page(self.all())
    }

    fn matches(&self, topic: Topic<'_>) -> MatchView {
        let matches = |route: &RouteView| TopicFilter::parse(&route.filter).is_ok_and(|it| it.matches(topic));
        let mut all = self.all();
        all.retain(matches);
        MatchView { topic: topic.as_str().to_owned(), matches: all }
    }

    /// There are three, of which none is ever cleared but `b/x`.
    fn retained(&self, query: &RetainedQuery) -> RetainedPage {
        let mut first = FirstEntries::of(&query.part);
        for topic in ["a/x", "b/x", "b/y"] {
            let matches = |filter: &TopicFilter| Topic::new(topic).is_ok_and(|topic| filter.matches(topic));
            if query.filter.as_ref().is_none_or(matches) {
                let message = RetainedView {
                    topic: topic.to_owned(),
                    qos: 1,
                    payload_size: 5,
                    node: Some("node1@h".to_owned()),
                    published_ms: 7,
                    expires_in: None,
                };
                first.insert(topic.to_owned(), message);
            }
        }
        first.into()
    }

    fn clear_retained(&self, topic: Topic<'_>) -> bool {
        topic.as_str() == "b/x"
    }

    fn clients(&self, query: &ClientsQuery) -> ClientsPage {
        let mut first = FirstEntries::of(&query.part);
        for id in self.clients.lock().iter() {
            let view = client(self.name, id);
            let wanted = query.prefix.as_ref().is_none_or(|prefix| id.starts_with(prefix))
                && query.username.as_ref().is_none_or(|name| view.username.as_ref() == Some(name))
                && query.connected.is_none_or(|connected| connected == view.connected);
            if wanted {
                first.insert(id.clone(), view);
            }
        }
        first.into()
    }

    fn client(&self, id: &str) -> Option<ClientView> {
        self.clients.lock().contains(id).then(|| client(self.name, id))
    }

    fn kick(&self, id: &str, kick: Kick) -> bool {
        match kick {
            Kick::Session => self.clients.lock().remove(id),
            Kick::Connection => self.clients.lock().contains(id) && !id.ends_with("-away"),
        }
    }

    fn subscriptions(&self, query: &SubscriptionsQuery) -> SubscriptionsPage {
        let mut first = FirstEntries::of(&query.part);
        for client in self.clients.lock().iter() {
            for filter in ["#", "$share/g/a"] {
                if query.client.as_ref().is_none_or(|wanted| wanted == client) {
                    let (client, filter, node) = (client.clone(), filter.to_owned(), self.name.to_owned());
                    let key = SubscriptionsQuery::key(&client, &filter);
                    let (qos, no_local, retain_as_published, identifier) = (1, false, false, Some(7));
                    let view = SubscriptionView {
                        client,
                        filter,
                        node,
                        qos,
                        no_local,
                        retain_as_published,
                        identifier,
                    };
                    first.insert(key, view);
                }
            }
        }
        first.into()
    }

    /// Each client is slower than the one before.
    fn slow_subscribers(&self, query: &SlowQuery) -> SlowSubscribersPage {
        let mut first = FirstEntries::of(&query.part);
        for (at, client) in self.clients.lock().iter().enumerate() {
            let (client, node, worst_ms) = (client.clone(), self.name.to_owned(), 100 * (at as u64 + 1));
            let view = SlowSubscriberView { client, node, worst_ms, ..SlowSubscriberView::default() };
            if worst_ms >= query.threshold_ms.unwrap_or(0) {
                first.insert(view.key(), view);
            }
        }
        first.into()
    }

    /// One publish to `t/NODE`, as soon as it counts.
    fn count_topics(&self, count: &str, seconds: u64) -> Result<(), CountsFull> {
        let time = std::time::Duration::from_secs(seconds);
        self.top_topics.begin(count, time, std::time::Instant::now())?;
        self.top_topics.add(&format!("t/{}", self.name), 10);
        Ok(())
    }

    fn counted_topics(&self, count: &str) -> Option<Counted> {
        self.top_topics.fetch(count, std::time::Instant::now())
    }

    fn stats(&self) -> NodeStats {
        NodeStats { node: self.name.to_owned(), connections: 3, ..NodeStats::default() }
    }

    fn events(&self, after: u64) -> Vec<EventView> {
        self.events.lock().iter().filter(|event| event.number > after).cloned().collect()
    }

    fn watch_events(&self) -> watch::Receiver<Newest> {
        self.newest.subscribe()
    }

    fn trace(&self, order: Order, after: u64, bytes_max: usize) -> Result<TracePart, TracerFull> {
        let (trace, begun) = self.tracer.begin(order, after, std::time::Instant::now(), 7)?;
        if begun {
            trace.push(8, |_| TraceEvent::of(Happening::Found, self.name));
        }
        Ok(trace.read(after, bytes_max, std::time::Instant::now(), 9))
    }

    fn publish(&self, message: Message) -> Later<Result<Published, Unpublished>> {
        let result = match message.topic() {
            "$SYS/x" => Err(Unpublished::SystemTopic),
            topic => Ok(Published { matched: topic == "a/x", acknowledged: true }),
        };
        self.published.lock().push(message);
        Box::pin(async move { result })
    }

    fn ask_members(&self, question: Vec<u8>) -> Later<Answers> {
        let ask = |other: &std::sync::Arc<FakeNode>| (other.name(), Ok(answer(&**other, &question, 1 << 20)));
        let mut answers: Answers = self.others.lock().iter().map(ask).collect();
        answers.push(("silent@h".to_owned(), Err("it has not answered".to_owned())));
        Box::pin(async move { answers })
    }

    /// It is alone.
    fn leave(&self, request: &LeaveRequest) -> Result<(), LeaveRefused> {
        if request.drain {
            return Err(LeaveRefused::NoOtherNode);
        }
        self.left.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn leaving(&self) -> LeavingView {
        LeavingView { node: cluster().node, drain: None }
    }

    fn metrics(&self) -> String {
        "# TYPE rumormq_connections gauge\nrumormq_connections 0\n".to_owned()
    }

    fn targets(&self) -> Vec<TargetGroup> {
        let labels = BTreeMap::from([("node".to_owned(), self.name.to_owned())]);
        vec![TargetGroup { targets: vec!["h:18083".to_owned()], labels }]
    }

    fn readiness(&self) -> Readiness {
        self.readiness.lock().clone()
    }
}
