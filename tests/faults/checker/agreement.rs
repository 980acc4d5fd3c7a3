//! After quiet, all nodes hold the same: routes, sessions and retained messages.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use rumormq::admin::view::{
    ClusterView, HeadView, MemberState, RetainedPage, RetainedView, RouteView, RoutesPage,
};

use crate::processes::{PATIENCE, Process};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a node shows of itself.
#[derive(Clone, Debug)]
pub struct Shown {
    pub cluster: ClusterView,
    pub routes: Vec<RouteView>,
    pub retained: Vec<RetainedView>,
    /// Sets whose hash differed from their owner's at the same number.
    pub divergences: f64,
    pub has_panicked: bool,
}

impl Shown {
    /// Asks the node; none if it does not answer.
    pub fn by(node: &Process) -> Option<Shown> {
        Some(Shown {
            cluster: node.try_cluster()?,
            routes: routes(node),
            retained: retained(node),
            divergences: node.metric("divergence_detected_total", &[]),
            has_panicked: node.has_logged(&["panicked"]),
        })
    }

    /// The newest state of each live member's part of each set, as this node has it. Nothing written is as good as nothing
    /// heard.
    fn lanes(&self) -> BTreeMap<(&str, u64, &str), Option<&HeadView>> {
        let live = self.cluster.members.iter().filter(|member| member.state == MemberState::Alive);
        let lanes = live.flat_map(|member| {
            let sets = member.sets.iter();
            sets.map(|(set, view)| {
                let head = view.applied.as_ref().filter(|head| head.seq > 0);
                ((member.name.as_str(), member.incarnation, set.as_str()), head)
            })
        });
        lanes.collect()
    }

    /// Retained messages without what depends on when it was asked.
    fn lasting(&self) -> Vec<RetainedView> {
        self.retained.iter().map(|message| RetainedView { expires_in: None, ..message.clone() }).collect()
    }
}

/// What is wrong with what nodes show, in words.
pub fn differences(nodes: &[Shown]) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(first) = nodes.first() else { return wrong };
    for node in nodes {
        let name = &node.cluster.node;
        if !node.cluster.converged {
            wrong.push(format!("{name} has not converged"));
        }
        if node.divergences > 0.0 {
            wrong.push(format!("{name} has seen {} divergences", node.divergences));
        }
        if node.has_panicked {
            wrong.push(format!("{name} has panicked"));
        }
        let names = (&first.cluster.node, name);
        wrong.extend(difference("parts of sets", names, &pairs(first.lanes()), &pairs(node.lanes())));
        wrong.extend(difference("routes", names, &first.routes, &node.routes));
        wrong.extend(difference("retained messages", names, &first.lasting(), &node.lasting()));
    }
    wrong
}

fn pairs<K, V>(map: BTreeMap<K, V>) -> Vec<(K, V)> {
    map.into_iter().collect()
}

fn difference<T: PartialEq + Debug>(
    what: &str,
    (one, other): (&String, &String),
    ones: &[T],
    others: &[T],
) -> Option<String> {
    let only = |these: &[T], those: &[T]| {
        let only: Vec<String> =
            these.iter().filter(|item| !those.contains(item)).map(|i| format!("{i:?}")).collect();
        format!("{} {:?}", only.len(), &only[..only.len().min(3)])
    };
    (ones != others).then(|| {
        format!("{what}: only {one} has {}; only {other} has {}", only(ones, others), only(others, ones))
    })
}

/// Waits until all nodes show the same routes, sessions and retained messages, by hash and by contents.
///
/// # Panics
/// If they do not within [`PATIENCE`], or one has counted a divergence or has panicked.
#[track_caller]
pub fn assert_equal(nodes: &[&Process]) {
    let mut wrong = Vec::new();
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let shown: Option<Vec<Shown>> = nodes.iter().map(|node| Shown::by(node)).collect();
        wrong = shown.map_or_else(|| vec!["a node does not answer".to_owned()], |shown| differences(&shown));
        if wrong.is_empty() {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    panic!("after {PATIENCE:?} nodes disagree:\n{}", wrong.join("\n"));
}

fn routes(node: &Process) -> Vec<RouteView> {
    let (mut routes, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = node.page(&format!("/api/v1/routes?limit=1000{cursor}"));
        let page: RoutesPage = serde_json::from_str(&page).expect("a page of routes");
        routes.extend(page.routes);
        match page.next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return routes,
        }
    }
}

fn retained(node: &Process) -> Vec<RetainedView> {
    let (mut retained, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = node.page(&format!("/api/v1/retained?limit=1000{cursor}"));
        let page: RetainedPage = serde_json::from_str(&page).expect("a page of retained messages");
        retained.extend(page.retained);
        match page.next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return retained,
        }
    }
}
