//! What has been heard of the cluster, and what part of it is looked at. Pure: answers, keys and the time come in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::admin::view::{MemberState, NodeStats, PeerStats, StatsView};

/// Sums of rates that are kept for the curve.
const HISTORY: usize = 200;

/// The parts of the screen, in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Overview,
    Links,
    Convergence,
    Buffers,
}

impl Pane {
    pub(super) const ALL: [Pane; 4] = [Pane::Overview, Pane::Links, Pane::Convergence, Pane::Buffers];

    pub(super) fn name(self) -> &'static str {
        match self {
            Pane::Overview => "Overview",
            Pane::Links => "Links",
            Pane::Convergence => "Convergence",
            Pane::Buffers => "Buffers",
        }
    }
}

/// What was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Pane(usize),
    Next,
    Previous,
    Up(usize),
    Down(usize),
    Left,
    Right,
}

/// What happens in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) received: f64,
    pub(super) delivered: f64,
    pub(super) dropped: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
}

/// What happens in a second between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PeerRates {
    pub(super) sent: f64,
    pub(super) received: f64,
    pub(super) dropped: f64,
}

/// Since when the node does not answer, and what it said last.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) since: Instant,
    pub(super) error: String,
}

/// The screen's content.
pub(super) struct Model {
    /// The node that is asked.
    pub(super) base: String,
    pub(super) pane: Pane,
    /// The first row and column that are shown.
    pub(super) row: usize,
    pub(super) column: usize,
    /// The last answer.
    pub(super) stats: Option<StatsView>,
    pub(super) trouble: Option<Trouble>,
    /// Messages delivered in a second by all nodes, oldest first.
    pub(super) history: VecDeque<u64>,
    rates: BTreeMap<String, Rates>,
    peer_rates: BTreeMap<(String, String), PeerRates>,
}

impl Model {
    /// Nothing was heard yet.
    pub(super) fn new(base: String) -> Model {
        Model {
            base,
            pane: Pane::Overview,
            row: 0,
            column: 0,
            stats: None,
            trouble: None,
            history: VecDeque::new(),
            rates: BTreeMap::new(),
            peer_rates: BTreeMap::new(),
        }
    }

    /// The node has answered.
    pub(super) fn handle_stats(&mut self, stats: StatsView) {
        self.trouble = None;
        let former = self.stats.take();
        self.rates.clear();
        self.peer_rates.clear();
        for node in &stats.nodes {
            let same =
                |former: &&NodeStats| former.node == node.node && former.incarnation == node.incarnation;
            if let Some(former) = former.iter().flat_map(|former| &former.nodes).find(same) {
                self.handle_progress(former, node);
            }
        }
        if !self.rates.is_empty() {
            let delivered: f64 = self.rates.values().map(|rates| rates.delivered).sum();
            self.history.push_back(delivered as u64);
            self.history.drain(..self.history.len().saturating_sub(HISTORY));
        }
        self.stats = Some(stats);
    }

    fn handle_progress(&mut self, former: &NodeStats, node: &NodeStats) {
        let secs = node.uptime_seconds - former.uptime_seconds;
        if secs <= 0.0 {
            return;
        }
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / secs;
        let sum = |totals: &[u64; 3]| totals.iter().sum::<u64>();
        let rates = Rates {
            received: rate(sum(&node.received_total), sum(&former.received_total)),
            delivered: rate(sum(&node.delivered_total), sum(&former.delivered_total)),
            dropped: rate(node.dropped_total, former.dropped_total),
            bytes_in: rate(node.bytes_in_total, former.bytes_in_total),
            bytes_out: rate(node.bytes_out_total, former.bytes_out_total),
        };
        self.rates.insert(node.node.clone(), rates);
        for peer in &node.peers {
            if let Some(then) = former.peers.iter().find(|then| then.node == peer.node) {
                let rates = PeerRates {
                    sent: rate(peer.sent_total, then.sent_total),
                    received: rate(peer.received_total, then.received_total),
                    dropped: rate(peer.dropped_total, then.dropped_total),
                };
                self.peer_rates.insert((node.node.clone(), peer.node.clone()), rates);
            }
        }
    }

    /// The node has not answered, or with an error. What it said before stays on the screen.
    pub(super) fn handle_failure(&mut self, error: String, now: Instant) {
        let since = self.trouble.take().map_or(now, |trouble| trouble.since);
        self.trouble = Some(Trouble { since, error });
    }

    /// A key was pressed.
    pub(super) fn handle_key(&mut self, key: Key) {
        let place = Pane::ALL.iter().position(|pane| *pane == self.pane).unwrap_or(0);
        let to = match key {
            Key::Up(rows) => return self.row = self.row.saturating_sub(rows),
            // Drawing stops it where there is nothing more to see.
            Key::Down(rows) => return self.row = self.row.saturating_add(rows),
            Key::Left => return self.column = self.column.saturating_sub(1),
            Key::Right => return self.column = self.column.saturating_add(1),
            Key::Pane(place) => place,
            Key::Next => place + 1,
            Key::Previous => place + Pane::ALL.len() - 1,
        };
        self.pane = Pane::ALL[to % Pane::ALL.len()];
        (self.row, self.column) = (0, 0);
    }

    /// The names of all nodes that anybody knows, sorted: what the matrices' rows and columns are.
    pub(super) fn names(&self) -> Vec<&str> {
        let Some(stats) = &self.stats else { return Vec::new() };
        let nodes = stats.nodes.iter().map(|node| node.node.as_str());
        let peers = stats.nodes.iter().flat_map(|node| &node.peers).map(|peer| peer.node.as_str());
        let missing = stats.missing.iter().map(|missing| missing.node.as_str());
        nodes.chain(peers).chain(missing).collect::<BTreeSet<&str>>().into_iter().collect()
    }

    /// What a node says of itself, if it has answered.
    pub(super) fn node(&self, name: &str) -> Option<&NodeStats> {
        self.stats.as_ref()?.nodes.iter().find(|node| node.node == name)
    }

    /// What a node says of another.
    pub(super) fn peer(&self, of: &str, name: &str) -> Option<&PeerStats> {
        self.node(of)?.peers.iter().find(|peer| peer.node == name)
    }

    /// What happens on a node in a second, once two answers have told.
    pub(super) fn rates(&self, name: &str) -> Option<Rates> {
        self.rates.get(name).copied()
    }

    /// What happens between two nodes in a second, as the first says.
    pub(super) fn peer_rates(&self, of: &str, name: &str) -> Option<PeerRates> {
        self.peer_rates.get(&(of.to_owned(), name.to_owned())).copied()
    }

    /// The state of a node as others see it, worst first, with how many of those who say something see it so.
    pub(super) fn state(&self, name: &str) -> Option<(MemberState, usize, usize)> {
        let stats = self.stats.as_ref()?;
        let mut seen: Vec<MemberState> =
            stats.nodes.iter().filter_map(|node| Some(self.peer(&node.node, name)?.state)).collect();
        if self.node(name).is_some() {
            seen.push(MemberState::Alive);
        }
        let worst = *seen.iter().max()?;
        Some((worst, seen.iter().filter(|state| **state == worst).count(), seen.len()))
    }

    /// Whether every node that has answered has all it knows of.
    pub(super) fn is_converged(&self) -> bool {
        self.stats.as_ref().is_some_and(|stats| stats.nodes.iter().all(|node| node.converged))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stats(uptime_seconds: f64, delivered: u64) -> StatsView {
        let delivered_total = [delivered, 0, 0];
        let node = NodeStats {
            node: "a".to_owned(),
            incarnation: 1,
            uptime_seconds,
            delivered_total,
            ..Default::default()
        };
        StatsView { nodes: vec![node], missing: Vec::new() }
    }

    #[test]
    fn two_answers_make_a_rate_unless_the_node_has_started_again() {
        let mut model = Model::new(String::new());
        model.handle_stats(stats(10.0, 100));
        assert_eq!(model.rates("a"), None);
        model.handle_stats(stats(12.0, 150));
        assert_eq!(model.rates("a").map(|rates| rates.delivered), Some(25.0));
        let mut restarted = stats(1.0, 5);
        restarted.nodes[0].incarnation = 2;
        model.handle_stats(restarted);
        assert_eq!(model.rates("a"), None);
        assert_eq!(model.history, [25]);
    }

    #[test]
    fn what_was_heard_stays_while_the_node_is_away() {
        let (mut model, now) = (Model::new(String::new()), Instant::now());
        assert!(!model.is_converged(), "nothing is known yet");
        model.handle_stats(stats(10.0, 100));
        model.handle_failure("gone".to_owned(), now);
        model.handle_failure("still gone".to_owned(), now + Duration::from_secs(5));
        let trouble = model.trouble.as_ref().expect("it is away");
        assert_eq!((trouble.since, trouble.error.as_str()), (now, "still gone"));
        assert_eq!(model.names(), ["a"]);
        model.handle_stats(stats(20.0, 100));
        assert!(model.trouble.is_none());
    }

    #[test]
    fn keys_change_the_pane_and_what_is_seen_of_it() {
        let mut model = Model::new(String::new());
        for (key, pane) in [
            (Key::Next, Pane::Links),
            (Key::Pane(3), Pane::Buffers),
            (Key::Next, Pane::Overview),
            (Key::Previous, Pane::Buffers),
        ] {
            model.handle_key(Key::Down(3));
            model.handle_key(key);
            assert_eq!((model.pane, model.row), (pane, 0));
        }
        model.handle_key(Key::Up(1));
        model.handle_key(Key::Right);
        assert_eq!((model.row, model.column), (0, 1));
    }
}
