//! The node as its HTTP API shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rumormq_gossip::{Head, LaneStatus, MemberState as State, MemberStatus, NodeName};

use tokio::sync::watch;

use super::clients::ClientRoll;
use super::departure::Departure;
use super::members::{link_of, state_of};
use super::stats::Stats;
use super::{clients, metrics, slow};
use crate::admin::view::{
    ClientView, ClientsPage, ClusterView, EventKind, EventView, HeadView, LeavingView, LinkKind, MatchView,
    MemberState, MemberView, NodeStats, RetainedPage, RetainedView, RouteView, RoutesPage, SetView,
    SlowSubscribersPage, SubscriptionsPage, TargetGroup,
};
use crate::admin::{
    Answers, ClientsQuery, FirstEntries, Later, LeaveRefused, LeaveRequest, NodeView, Readiness,
    RetainedQuery, RoutesQuery, SlowQuery, SubscriptionsQuery, answer,
};
use crate::broker::{Broker, Kick, Published, Unpublished};
use crate::cluster::events::{Newest, Occurrence, Subject};
use crate::cluster::interest::SETS;
use crate::cluster::{Answerer, Cluster, Snapshot};
use crate::message::Message;
use crate::observation::top_topics::{Counted, CountsFull};
use crate::observation::trace::{Order, Part as TracePart, TracerFull};
use crate::router::Members;
use crate::topic::Topic;

/// A node that is further behind than this should not be sent clients.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// Answers questions about a node.
pub struct View {
    broker: Arc<Broker>,
    cluster: Arc<Cluster>,
    ready: AtomicBool,
    departure: Arc<Departure>,
    stats: Stats,
    roll: ClientRoll,
}

impl View {
    /// A view of a node that is not ready yet.
    pub fn new(broker: Arc<Broker>, cluster: Arc<Cluster>, departure: Arc<Departure>) -> View {
        let (ready, stats, roll) = (AtomicBool::new(false), Stats::new(), ClientRoll::default());
        View { broker, cluster, ready, departure, stats, roll }
    }

    /// Clients may connect.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }
}

impl Answerer for View {
    fn answer(&self, question: &[u8], max: usize) -> Vec<u8> {
        answer(self, question, max)
    }
}

impl NodeView for View {
    fn name(&self) -> String {
        self.cluster.name_of_node().to_string()
    }

    fn cluster(&self) -> ClusterView {
        let snapshot = self.cluster.snapshot(Instant::now());
        let me = &snapshot.me;
        let mut members: Vec<MemberView> = snapshot.members.iter().map(member).collect();
        members.push(own(&snapshot));
        members.sort_by(|a, b| (&a.name, a.incarnation).cmp(&(&b.name, b.incarnation)));
        ClusterView {
            node: me.name.to_string(),
            incarnation: me.incarnation.0,
            converged: snapshot.converged,
            members,
        }
    }

    fn routes(&self, query: &RoutesQuery) -> RoutesPage {
        let mut first = FirstRoutes::of(query);
        self.cluster.for_each_route(|filter, node, members| {
            first.handle_route(filter, node.as_str(), members);
        });
        if query.node.is_some() {
            self.cluster.for_each_route(|filter, node, members| {
                first.add_node(filter, node.as_str(), members);
            });
        }
        first.into_page()
    }

    fn matches(&self, topic: Topic<'_>) -> MatchView {
        let me = self.cluster.me().name;
        let matching = self.broker.matching_filters(topic);
        let indices = matching.iter().flat_map(|matching| matching.peers.iter());
        let replicas = self.cluster.visible_replicas(indices);
        let matches = matching.into_iter().filter_map(|matching| {
            let visible = matching.peers.iter().filter_map(|index| replicas.get(&index));
            let mut nodes: BTreeSet<String> = visible.map(|replica| replica.name.to_string()).collect();
            if matching.locals > 0 {
                nodes.insert(me.to_string());
            }
            let nodes: Vec<String> = nodes.into_iter().collect();
            (!nodes.is_empty()).then_some(RouteView {
                filter: matching.filter,
                nodes,
                members: BTreeMap::new(),
            })
        });
        let mut matches: Vec<RouteView> = matches.collect();
        matches.extend(self.matching_shares(topic, &me));
        matches.sort();
        MatchView { topic: topic.as_str().to_owned(), matches }
    }

    fn retained(&self, query: &RetainedQuery) -> RetainedPage {
        let (mut first, now) = (FirstEntries::of(&query.part), Instant::now());
        self.broker.for_each_retained(query.filter.as_ref(), now, |message, expires_at| {
            let topic = message.topic.as_str();
            if first.admits(topic) {
                let view = RetainedView {
                    topic: topic.to_owned(),
                    qos: message.qos as u8,
                    payload_size: message.payload_len,
                    node: None,
                    published_ms: message.published_ms,
                    expires_in: expires_at.map(|at| at.saturating_duration_since(now).as_secs()),
                };
                first.insert(topic.to_owned(), view);
            }
        });
        let mut page = RetainedPage::from(first);
        for message in &mut page.retained {
            let winner = self.cluster.retained(&message.topic);
            message.node = winner.map(|winner| winner.replica.name.to_string());
        }
        page
    }

    fn clear_retained(&self, topic: Topic<'_>) -> bool {
        self.broker.clear_retained(topic, Instant::now())
    }

    fn clients(&self, query: &ClientsQuery) -> ClientsPage {
        clients::list(&self.broker, &self.roll, &self.name(), query)
    }

    fn client(&self, id: &str) -> Option<ClientView> {
        clients::find(&self.broker, &self.name(), id)
    }

    fn kick(&self, id: &str, kick: Kick) -> bool {
        self.broker.kick(id, kick)
    }

    fn subscriptions(&self, query: &SubscriptionsQuery) -> SubscriptionsPage {
        clients::subscriptions(&self.broker, &self.roll, &self.name(), query)
    }

    fn slow_subscribers(&self, query: &SlowQuery) -> SlowSubscribersPage {
        slow::list(&self.broker, &self.name(), query)
    }

    fn count_topics(&self, count: &str, seconds: u64) -> Result<(), CountsFull> {
        self.broker.top_topics.begin(count, Duration::from_secs(seconds.min(3600)), Instant::now())
    }

    fn counted_topics(&self, count: &str) -> Option<Counted> {
        self.broker.top_topics.fetch(count, Instant::now())
    }

    fn stats(&self) -> NodeStats {
        self.stats.look(&self.broker, &self.cluster, self.readiness() == Readiness::Ready)
    }

    fn events(&self, after: u64) -> Vec<EventView> {
        self.cluster.events.after(after).into_iter().map(event).collect()
    }

    fn watch_events(&self) -> watch::Receiver<Newest> {
        self.cluster.events.watch()
    }

    fn trace(&self, order: Order, after: u64, bytes_max: usize) -> Result<TracePart, TracerFull> {
        self.broker.trace(order, after, bytes_max)
    }

    fn publish(&self, message: Message) -> Later<Result<Published, Unpublished>> {
        let broker = self.broker.clone();
        Box::pin(async move { broker.publish_for_operator(message).await })
    }

    fn ask_members(&self, question: Vec<u8>) -> Later<Answers> {
        let cluster = self.cluster.clone();
        Box::pin(async move {
            let answers = cluster.ask_members(&question).await.into_iter();
            answers.map(|it| (it.node.to_string(), it.result.map_err(|error| error.to_string()))).collect()
        })
    }

    fn leave(&self, request: &LeaveRequest) -> Result<(), LeaveRefused> {
        if request.drain && !self.departure.is_draining() && self.cluster.refuges().is_empty() {
            return Err(LeaveRefused::NoOtherNode);
        }
        self.departure.ask(request);
        Ok(())
    }

    fn leaving(&self) -> LeavingView {
        LeavingView { node: self.name(), drain: self.departure.view() }
    }

    fn metrics(&self) -> String {
        metrics::render(&self.broker, &self.cluster)
    }

    fn targets(&self) -> Vec<TargetGroup> {
        let group = |(node, address): (NodeName, String)| {
            let labels = [("cluster", self.cluster.name()), ("node", node.as_str())];
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            TargetGroup { targets: vec![address], labels }
        };
        self.cluster.http_addresses().into_iter().map(group).collect()
    }

    fn readiness(&self) -> Readiness {
        if let Some(reason) = self.departure.reason() {
            return Readiness::NotReady(reason.to_owned());
        }
        if !self.ready.load(Ordering::Acquire) {
            return Readiness::NotReady("the first synchronisation with a peer is not done".to_owned());
        }
        let snapshot = self.cluster.snapshot(Instant::now());
        let live = snapshot.members.iter().filter(|member| member.state.is_some_and(State::is_live));
        let lag = live.flat_map(|member| &member.lanes).filter_map(|lane| lane.lag).max();
        match lag.filter(|lag| *lag > BEHIND_MAX) {
            Some(lag) => Readiness::NotReady(format!("{} s behind a live member", lag.as_secs())),
            None => Readiness::Ready,
        }
    }
}

impl View {
    /// The shared subscriptions that match, with the nodes that have members.
    fn matching_shares(&self, topic: Topic<'_>, me: &NodeName) -> Vec<RouteView> {
        let matching = self.broker.matching_shares(topic);
        let indices = matching.iter().flat_map(|share| share.peers.iter().map(|peer| peer.peer));
        let replicas = self.cluster.visible_replicas(indices);
        let shown = matching.into_iter().filter_map(|share| {
            let visible = share.peers.iter().filter_map(|peer| {
                let replica = replicas.get(&peer.peer)?;
                Some((replica.name.to_string(), peer.members.total()))
            });
            let mut members: BTreeMap<String, u32> = visible.collect();
            if share.members != Members::default() {
                members.insert(me.to_string(), share.members.total());
            }
            let nodes: Vec<String> = members.keys().cloned().collect();
            (!nodes.is_empty()).then_some(RouteView { filter: share.share, nodes, members })
        });
        shown.collect()
    }
}

/// The first routes behind the cursor: all others are compared, and not copied.
struct FirstRoutes<'a> {
    query: &'a RoutesQuery,
    /// The nodes of each filter, each with its members if the filter is a group's.
    nodes: FirstEntries<(String, Nodes)>,
}

type Nodes = BTreeMap<String, Option<u32>>;

impl<'a> FirstRoutes<'a> {
    fn of(query: &'a RoutesQuery) -> FirstRoutes<'a> {
        FirstRoutes { query, nodes: FirstEntries::of(&query.part) }
    }

    /// A route, in any order. Where the query names a node, the other nodes of its filters are asked for afterwards, when
    /// it is known which filters these are.
    fn handle_route(&mut self, filter: &str, node: &str, members: Option<u32>) {
        let wanted = self.query.node.as_deref().is_none_or(|wanted| wanted == node);
        // What was once too far behind stays so: a filter that is here has all its nodes.
        if !wanted || !self.query.admits(filter) || !self.nodes.admits(filter) {
            return;
        }
        match self.nodes.get_mut(filter) {
            Some((_, nodes)) => drop(nodes.insert(node.to_owned(), members)),
            None => {
                let nodes = BTreeMap::from([(node.to_owned(), members)]);
                self.nodes.insert(filter.to_owned(), (filter.to_owned(), nodes));
            }
        }
    }

    fn add_node(&mut self, filter: &str, node: &str, members: Option<u32>) {
        if let Some((_, nodes)) = self.nodes.get_mut(filter) {
            nodes.insert(node.to_owned(), members);
        }
    }

    fn into_page(self) -> RoutesPage {
        let (routes, next) = self.nodes.into_page();
        RoutesPage { routes: routes.into_iter().map(|(filter, nodes)| route(filter, nodes)).collect(), next }
    }
}

fn route(filter: String, nodes: Nodes) -> RouteView {
    let counted = |(node, members): (&String, &Option<u32>)| Some((node.clone(), (*members)?));
    let members = nodes.iter().filter_map(counted).collect();
    RouteView { filter, nodes: nodes.into_keys().collect(), members }
}

fn member(status: &MemberStatus) -> MemberView {
    let (link, via) = link_of(status);
    let sets: BTreeMap<String, SetView> =
        status.lanes.iter().map(|lane| (SETS[usize::from(lane.set.0)].name.to_owned(), set(lane))).collect();
    MemberView {
        name: status.replica.name.to_string(),
        incarnation: status.replica.incarnation.0,
        state: state_of(status),
        link,
        via,
        rtt_ms: status.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
        routes: status.lanes.first().map_or(0, |lane| lane.applied.count),
        routes_set: status.lanes.first().map(set).unwrap_or_default(),
        sets,
    }
}

fn own(snapshot: &Snapshot) -> MemberView {
    let view = |head: &Head| SetView {
        head: Some(head_view(head)),
        applied: Some(head_view(head)),
        lag_ops: 0,
        lag_seconds: 0.0,
    };
    let named = SETS.iter().zip(&snapshot.heads);
    let sets: BTreeMap<String, SetView> =
        named.map(|(set, (_, head))| (set.name.to_owned(), view(head))).collect();
    MemberView {
        name: snapshot.me.name.to_string(),
        incarnation: snapshot.me.incarnation.0,
        state: MemberState::Alive,
        link: LinkKind::Own,
        via: None,
        rtt_ms: None,
        routes: snapshot.heads.first().map_or(0, |(_, head)| head.count),
        routes_set: snapshot.heads.first().map(|(_, head)| view(head)).unwrap_or_default(),
        sets,
    }
}

fn event(occurrence: Occurrence) -> EventView {
    let kind = match occurrence.subject {
        Subject::Node => EventKind::Node,
        Subject::Member => EventKind::Member,
        Subject::Link => EventKind::Link,
        Subject::Convergence => EventKind::Convergence,
        Subject::Repair => EventKind::Repair,
        Subject::Session => EventKind::Session,
        Subject::Alarm => EventKind::Alarm,
    };
    let Occurrence { number, at_ms, node, text, .. } = occurrence;
    EventView { number, at_ms, kind, node: node.map(|node| node.to_string()), text }
}

fn set(lane: &LaneStatus) -> SetView {
    SetView {
        head: Some(head_view(&lane.known)),
        applied: Some(head_view(&lane.applied)),
        lag_ops: lane.lag_ops(),
        lag_seconds: lane.lag.map_or(0.0, |lag| lag.as_secs_f64()),
    }
}

fn head_view(head: &Head) -> HeadView {
    HeadView { seq: head.seq, hash: head.hash.to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admin::Part;

    proptest! {
        /// The page of a bounded number of routes is the page of all.
        #[test]
        fn the_first_routes_make_the_page(
            routes in prop::collection::vec(("[a-d]{1,2}", "[xyz]"), 0..60),
            filter in prop::option::weighted(0.1, "[a-d]"),
            node in prop::option::of("[xyz]"),
            after in prop::option::of("[a-d]{1,2}"),
            limit in 0..8_usize,
        ) {
            let query = RoutesQuery { filter, node, part: Part { after, limit } };
            let mut first = FirstRoutes::of(&query);
            let mut all: BTreeMap<String, Nodes> = BTreeMap::new();
            let members = |filter: &str| filter.starts_with('a').then_some(2);
            for (filter, node) in &routes {
                first.handle_route(filter, node, members(filter));
                prop_assert!(first.nodes.kept() <= limit.max(1) + 1, "memory for a page");
                all.entry(filter.clone()).or_default().insert(node.clone(), members(filter));
            }
            if query.node.is_some() {
                routes.iter().for_each(|(filter, node)| first.add_node(filter, node, members(filter)));
            }
            let all = all.into_iter().map(|(filter, nodes)| route(filter, nodes));
            prop_assert_eq!(first.into_page(), query.page(all));
        }
    }
}
