//! What Prometheus sees of a cluster that is split, heals, and is then cut in part: every panel and every alert has data,
//! and, where it can be known, the right data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::load::Load;
use crate::panels::{DASHBOARDS, Panel};
use crate::processes::netns::Network;
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits};
use crate::prometheus::{Condition, Prometheus, Series, now};
use crate::{picture, tool};

/// When the cluster was in a state to be looked at, in seconds.
pub struct Moments {
    pub began: f64,
    pub before: f64,
    pub cut: f64,
    pub during: f64,
    pub healed: f64,
    pub after: f64,
    pub cut_in_part: f64,
    pub relayed: f64,
    pub mended: f64,
    pub end: f64,
}

#[test]
fn every_panel_and_alert_shows_what_happens() {
    let (Some(network), true) = (Network::new(), tool::is_there("prometheus")) else { return };
    let hosts: Vec<_> = (0..3).map(|_| network.host()).collect();
    let mut nodes: Vec<Process> = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let launch = Launch::within(host, &format!("n{}", number + 1)).cookie("a secret for tests only");
        let launch = nodes.last().into_iter().fold(launch, |launch, last| launch.join(last.cluster_addr()));
        nodes.push(launch.start());
    }
    await_converged(&nodes.iter().collect::<Vec<_>>());
    // It reaches all nodes, at all times, and is told of one.
    let prometheus = Prometheus::start(&network.host(), nodes[1].http_addr());
    let holds_for = |secs| std::thread::sleep(Duration::from_secs(secs)); // So that there is something to be seen.
    let moment = |what: &str, conditions: &[Condition]| prometheus.awaits(what, conditions);
    moment("it finds all three", &[("count(up{job=\"rumormq\"} == 1)", |count| count == 3.0)]);

    let load = Load::default();
    let well: &[Condition] = &[
        ("min(rumormq_members{state=\"alive\"})", |count| count == 3.0),
        ("min(rumormq_link_up)", |up| up == 1.0),
        ("count(count_values(\"hash\", rumormq_route_set_hash))", |count| count == 1.0),
        ("max(rumormq_route_lag_seconds)", |lag| lag == 0.0),
        ("min(rumormq_converged_seconds)", |secs| secs > 1.0),
        ("max(rumormq_forward_unacked)", |count| count < 20.0),
        ("max(rumormq_forward_oldest_seconds)", |secs| secs < 1.0),
    ];
    let moments = load.during(&nodes, || {
        let began = now();
        load.churn.store(true, Ordering::Relaxed);
        holds_for(8);
        load.churn.store(false, Ordering::Relaxed);
        let before = moment("all is well", well);

        load.churn.store(true, Ordering::Relaxed);
        let cut = now();
        hosts[2].separate(&hosts[0]);
        hosts[2].separate(&hosts[1]);
        holds_for(5);
        load.churn.store(false, Ordering::Relaxed);
        let split: &[Condition] = &[
            ("min(rumormq_members{state=\"alive\"})", |count| count == 1.0),
            ("max(rumormq_members{state=\"alive\"})", |count| count == 2.0),
            ("max(rumormq_members{state=\"suspect\"})", |count| count == 0.0),
            ("sum(rumormq_link_up)", |up| up == 2.0),
            ("sum(rumormq_link_relayed)", |relayed| relayed == 0.0),
            ("count(count_values(\"hash\", rumormq_route_set_hash))", |count| count == 2.0),
            ("min(rumormq_converged_seconds)", |secs| secs > 1.0),
            ("count(rumormq_forward_oldest_seconds > 4)", |count| count == 4.0),
        ];
        let during = moment("each side is one", split);

        hosts[2].heal();
        let healed = now();
        let after = moment("all is well again", well);

        hosts[2].separate(&hosts[0]);
        let cut_in_part = now();
        let round: &[Condition] = &[
            ("sum(rumormq_link_relayed)", |relayed| relayed == 2.0),
            ("sum(rumormq_link_up)", |up| up == 4.0),
            ("min(rumormq_members{state=\"alive\"})", |count| count == 3.0),
            ("min(rumormq_converged_seconds)", |secs| secs > 1.0),
        ];
        let relayed = moment("there is a way round", round);
        holds_for(2);
        hosts[2].heal();
        let mended = now();
        moment("the direct way is back", well);
        holds_for(2);
        let end = moment("and stays", well);
        Moments { began, before, cut, during, healed, after, cut_in_part, relayed, mended, end }
    });
    let view = View { prometheus, nodes, moments };
    view.every_expression_has_data();
    view.known_values_are_right();
    view.alerts_are_in_order();
    picture::draw(&view);
}

pub struct View {
    pub prometheus: Prometheus,
    nodes: Vec<Process>,
    pub moments: Moments,
}

impl View {
    /// With what Grafana would fill in.
    pub fn fill_in(&self, expression: &str) -> String {
        expression
            .replace("$cluster", "rumormq")
            .replace("$node", ".*")
            .replace("$__rate_interval", "8s")
            .replace("$__range", "60s")
    }

    fn every_expression_has_data(&self) {
        let Moments { before, during, after, relayed, .. } = self.moments;
        for panel in DASHBOARDS.iter().flat_map(|dashboard| dashboard.panels) {
            for query in panel.queries {
                let expression = self.fill_in(&query.expression());
                let found = [before, during, after, relayed].map(|at| self.prometheus.query(&expression, at));
                let has_data = found.iter().flatten().any(|series| series.value().is_finite());
                assert!(has_data, "{}: nothing for {expression}", panel.title);
                let names: BTreeSet<&str> =
                    query.legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).collect();
                for series in found.iter().flatten() {
                    let missing: Vec<_> = names.iter().filter(|name| series.label(name).is_empty()).collect();
                    assert!(missing.is_empty(), "{}: no {missing:?} in {series:?}", panel.title);
                }
            }
        }
    }

    /// The values of a panel's query, by the numbers of the nodes in these labels.
    fn panel(&self, title: &str, query: usize, labels: &[&str], at: f64) -> BTreeMap<String, f64> {
        let panels = DASHBOARDS.iter().flat_map(|dashboard| dashboard.panels);
        let panel: &Panel = panels.into_iter().find(|panel| panel.title == title).expect("a panel");
        let found = self.prometheus.query(&self.fill_in(&panel.queries[query].expression()), at);
        let name = |series: &Series| {
            let names = labels.iter().map(|label| series.label(label).split('@').next().unwrap_or_default());
            names.collect::<Vec<_>>().join(" ")
        };
        found.iter().map(|series| (name(series), series.value())).collect()
    }

    fn known_values_are_right(&self) {
        let Moments { before, during, after, relayed, end, .. } = self.moments;
        let number = |title, at| self.panel(title, 0, &[], at)[""];
        for (at, hashes, fewest, most) in [
            (before, 1.0, 3.0, 3.0),
            (during, 2.0, 1.0, 2.0),
            (after, 1.0, 3.0, 3.0),
            (relayed, 1.0, 3.0, 3.0),
        ] {
            // What is behind a cut is not known: each side has all that it can have.
            assert_eq!(number("Converged?", at), 1.0);
            assert_eq!(number("Distinct set hashes", at), hashes);
            assert_eq!(number("Diverged", at), 0.0);
            assert_eq!(number("Nodes", at), 3.0, "Prometheus reaches all");
            assert_eq!(number("Live members, fewest and most", at), fewest);
            assert_eq!(self.panel("Live members, fewest and most", 1, &[], at)[""], most);
        }
        let nodes =
            |values: [(&str, f64); 3]| BTreeMap::from(values.map(|(name, value)| (name.to_owned(), value)));
        let alive = |at| self.panel("Members as seen by each node", 0, &["node"], at);
        assert_eq!(alive(before), nodes([("n1", 3.0), ("n2", 3.0), ("n3", 3.0)]));
        assert_eq!(alive(during), nodes([("n1", 2.0), ("n2", 2.0), ("n3", 1.0)]));
        assert_eq!(alive(after), nodes([("n1", 3.0), ("n2", 3.0), ("n3", 3.0)]));
        let dead = self.panel("Members as seen by each node", 1, &["node", "state"], during);
        assert_eq!(dead, nodes([("n1 dead", 1.0), ("n2 dead", 1.0), ("n3 dead", 2.0)]));

        let links = |at| self.panel("Links", 0, &["node", "peer"], at);
        for (at, between_1_and_3, between_2_and_3) in
            [(before, 2.0, 2.0), (during, 0.0, 0.0), (after, 2.0, 2.0), (relayed, 1.0, 2.0), (end, 2.0, 2.0)]
        {
            let links = links(at);
            assert_eq!(links.len(), 6, "all pairs, at all times: {links:?}");
            for (pair, expected) in [
                ("n1 n2", 2.0),
                ("n2 n1", 2.0),
                ("n1 n3", between_1_and_3),
                ("n3 n1", between_1_and_3),
                ("n2 n3", between_2_and_3),
                ("n3 n2", between_2_and_3),
            ] {
                assert_eq!(links[pair], expected, "{pair}");
            }
        }

        let waiting = |title, at, pair: &str| self.panel(title, 0, &["node", "peer"], at)[pair];
        for pair in ["n1 n3", "n2 n3", "n3 n1", "n3 n2"] {
            assert!(waiting("Forward buffers: messages", during, pair) > 5.0, "{pair}");
            assert!(waiting("Forward buffers: bytes", during, pair) > 50.0, "{pair}");
            assert!(waiting("Forward buffers: oldest", during, pair) > 4.0, "{pair}");
            for at in [before, after, end] {
                assert!(waiting("Forward buffers: messages", at, pair) < 20.0, "{pair}");
                assert!(waiting("Forward buffers: oldest", at, pair) < 1.0, "{pair}");
            }
        }
        assert!(waiting("Forward buffers: oldest", during, "n1 n2") < 1.0, "they are on one side");
        for at in [before, after, end] {
            let lags = self.panel("Lag, by node and origin", 0, &["node", "origin"], at);
            assert_eq!(lags.len(), 6, "{lags:?}");
            assert!(lags.values().all(|lag| *lag == 0.0), "{lags:?}");
        }
        let p50 = number("Propagation of a change", before);
        assert!(p50 > 0.0 && p50 < 1.0, "{p50}");
        // Three publishers at up to 2 * 50 messages a second, each of which goes to two other nodes.
        let (received, delivered) = (number("Messages in", before), number("Messages out", before));
        assert!(received > 3.0 && received < 300.0, "{received}");
        assert!((delivered / received - 3.0).abs() < 1.0, "{delivered} of {received}");
        assert_eq!(number("Messages lost between nodes", end), 0.0);
        let dropped = self.panel("Forwards dropped", 0, &["reason"], during);
        assert!(dropped["no_link"] > 0.0, "QoS 0 does not wait: {dropped:?}");
        assert_eq!(dropped["overflow"] + dropped["age"], 0.0);
        assert_eq!(self.nodes.len(), 3);
    }

    fn alerts_are_in_order(&self) {
        let Moments { during, end, .. } = self.moments;
        let inactive = || self.prometheus.rules().iter().all(|rule| rule["state"] == "inactive");
        awaits("no alert is left", PATIENCE, inactive);
        let rules = self.prometheus.rules();
        assert!(rules.len() >= 6);
        for rule in &rules {
            assert_eq!(rule["health"], "ok", "{rule}");
            let expression = rule["query"].as_str().expect("a query");
            // Without its bound it has a value all the time.
            let bound = [" > ", " == ", " != "].iter().find_map(|sign| expression.split_once(sign));
            let (value, _) = bound.expect("a bound");
            let found = self.prometheus.query(value, end);
            assert!(found.iter().any(|series| series.value().is_finite()), "nothing for {value}");
            assert!(found.iter().all(|series| series.label("cluster") == "rumormq"), "{found:?}");
        }
        let pending = self
            .prometheus
            .query("ALERTS{alertname=\"RumorMQMembersDisagree\", alertstate=\"pending\"}", during);
        let nodes: BTreeSet<&str> = pending.iter().map(|series| series.label("node")).collect();
        assert_eq!(nodes.len(), 3, "none sees all three: {pending:?}");
        let others = "ALERTS{alertname!=\"RumorMQMembersDisagree\"}";
        assert!(self.prometheus.query(others, during).is_empty(), "a short split is no more than that");
    }
}
