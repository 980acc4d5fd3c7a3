//! What nodes know, and when they come to know it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rumormq::admin::view::{MatchView, RoutesPage};
use rumormq::codec::packet::ProtocolVersion::V500;
use rumormq::codec::packet::QoS;

use super::agent::Agent;
use super::{Site, Stage};
use crate::history::{Event, Known, Moment, Node, Recorder, RoutesShown};
use crate::processes::http::Http;

/// Between two questions for all routes.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Between two new subscriptions.
const PROBE_EVERY: Duration = Duration::from_millis(300);
/// A route that is not known everywhere by then is not watched any longer: there may be a node that cannot know it.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// Asks one node again and again for its routes.
pub fn routes(node: Node, sites: &[Site], recorder: &Recorder, stage: &Stage) {
    let names = recorder.nodes();
    let http = Http::new(sites[node].http, sites[node].host.clone());
    let mut known: BTreeSet<(String, Node)> = BTreeSet::new();
    while !stage.over.load(Ordering::Acquire) {
        let began = Instant::now();
        let asked_at = recorder.now();
        if let Some(now) = all_routes(&http, &names) {
            let added = now.difference(&known).cloned().collect();
            let removed = known.difference(&now).cloned().collect();
            let at = recorder.now();
            recorder.record(Event::RoutesShown(RoutesShown { node, added, removed, asked_at, at }));
            known = now;
        }
        pause(ASK_EVERY.saturating_sub(began.elapsed()), stage);
    }
}

fn pause(time: Duration, stage: &Stage) {
    let until = Instant::now() + time;
    while Instant::now() < until && !stage.over.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(20).min(time));
    }
}

fn all_routes(http: &Http, names: &[String]) -> Option<BTreeSet<(String, Node)>> {
    let (mut routes, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = http.try_get(&format!("/api/v1/routes?limit=1000{cursor}"))?;
        let page: RoutesPage = serde_json::from_str(&page).ok()?;
        for route in page.routes {
            let nodes = route.nodes.iter().filter_map(|name| names.iter().position(|other| other == name));
            routes.extend(nodes.map(|node| (route.filter.clone(), node)));
        }
        match page.next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Some(routes),
        }
    }
}

/// Subscribes to new filters. Of two, one is watched until all nodes know it; to the other one a message is published on
/// another node as soon as SUBACK is there.
pub fn probe(sites: &Arc<[Site]>, recorder: &Arc<Recorder>, stage: &Stage) {
    let names = recorder.nodes();
    let https: Vec<Http> = sites.iter().map(|site| Http::new(site.http, site.host.clone())).collect();
    let mut agents: Vec<Agent> = (0..sites.len())
        .map(|node| Agent::new(&format!("probe-{}", node + 1), V500, false, recorder, sites))
        .collect();
    let mut filter = String::new();
    for number in 0.. {
        if stage.over.load(Ordering::Acquire) {
            break;
        }
        pause(PROBE_EVERY, stage);
        for (node, agent) in agents.iter_mut().enumerate() {
            if agent.node().is_none() {
                agent.reconnect(Some(node));
            }
            agent.serve(Instant::now());
        }
        if stage.settles.load(Ordering::Acquire) {
            continue;
        }
        let here = number % sites.len();
        if agents[here].node().is_none() {
            continue;
        }
        if !filter.is_empty() {
            // The one before, wherever it is.
            agents
                .iter_mut()
                .filter(|agent| agent.wanted().any(|held| held == filter))
                .for_each(|agent| agent.unsubscribe(&filter));
        }
        filter = format!("p/{number}");
        let asked_at = recorder.now();
        agents[here].subscribe(&filter, QoS::AtLeastOnce);
        if number % 2 == 0 {
            let known = watch(&mut agents[here], &https, &names, &filter, here, recorder);
            if let Some(at) = known {
                let known = Known { filter: filter.clone(), node: here, asked_at, at };
                recorder.record(Event::Known(known));
            }
        } else {
            let there = (here + 1 + agents[here].random.below(sites.len().max(2) - 1)) % sites.len();
            if agents[here].serve_until(PROBE_PATIENCE, Agent::is_idle) {
                agents[there].publish(&filter, QoS::AtLeastOnce, false);
                agents[here].serve(Instant::now() + Duration::from_millis(20));
                agents[there].serve_until(PROBE_PATIENCE, Agent::is_idle);
            }
        }
    }
    agents.iter_mut().for_each(Agent::finish);
}

/// When all nodes that answer have shown the route.
fn watch(
    agent: &mut Agent,
    https: &[Http],
    names: &[String],
    filter: &str,
    here: Node,
    recorder: &Recorder,
) -> Option<Moment> {
    let began = Instant::now();
    let mut missing: Vec<&Http> = https.iter().collect();
    while began.elapsed() < PROBE_PATIENCE {
        agent.serve(Instant::now() + Duration::from_millis(1));
        missing.retain(|http| !shows(http, filter, &names[here]));
        if missing.is_empty() {
            let at = recorder.now();
            return agent.serve_until(PROBE_PATIENCE, Agent::is_idle).then_some(at);
        }
    }
    None
}

fn shows(http: &Http, topic: &str, name: &str) -> bool {
    let answer = http.try_get(&format!("/api/v1/match?topic={topic}"));
    let view = answer.and_then(|answer| serde_json::from_str::<MatchView>(&answer).ok());
    view.is_some_and(|view| {
        view.matches.iter().any(|route| route.filter == topic && route.nodes.iter().any(|n| n == name))
    })
}
