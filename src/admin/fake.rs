//! A node that shows what a test tells it to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::view::{
    ClusterView, HeadView, LinkKind, MatchView, MemberState, MemberView, RetainedPage, RetainedView,
    RouteView, RoutesPage, SetView,
};
use super::{NodeView, Readiness, RetainedQuery, RoutesQuery};
use crate::topic::{Topic, TopicFilter};

/// Its routes can change between two questions.
pub(crate) struct FakeNode {
    pub(crate) routes: Mutex<BTreeMap<String, BTreeSet<String>>>,
    pub(crate) readiness: Mutex<Readiness>,
    pub(crate) left: AtomicBool,
}

impl FakeNode {
    pub(crate) fn new(routes: &[(&str, &[&str])]) -> FakeNode {
        let owned = |nodes: &[&str]| nodes.iter().map(|node| (*node).to_owned()).collect();
        let routes = routes.iter().map(|(filter, nodes)| ((*filter).to_owned(), owned(nodes))).collect();
        FakeNode {
            routes: Mutex::new(routes),
            readiness: Mutex::new(Readiness::Ready),
            left: AtomicBool::new(false),
        }
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

impl NodeView for FakeNode {
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
        let mut page = BTreeMap::new();
        for topic in ["a/x", "b/x", "b/y"] {
            let matches = |filter: &TopicFilter| Topic::new(topic).is_ok_and(|topic| filter.matches(topic));
            if query.filter.as_ref().is_none_or(matches) && query.admits(topic, &page) {
                let message = RetainedView {
                    topic: topic.to_owned(),
                    qos: 1,
                    payload_size: 5,
                    node: Some("node1@h".to_owned()),
                    published_ms: 7,
                    expires_in: None,
                };
                query.take(message, &mut page);
            }
        }
        query.page(page)
    }

    fn clear_retained(&self, topic: Topic<'_>) -> bool {
        topic.as_str() == "b/x"
    }

    fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    fn metrics(&self) -> String {
        "# TYPE rumormq_connections gauge\nrumormq_connections 0\n".to_owned()
    }

    fn readiness(&self) -> Readiness {
        self.readiness.lock().clone()
    }
}
