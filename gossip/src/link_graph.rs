//! Who can reach whom. A link is worth what was answered over it lately: an open socket is no evidence.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::time::{Duration, Instant};

use siphasher::sip::SipHasher13;

use crate::message::{Beat, LinkReport, ReportHash};
use crate::replica::{NodeName, ReplicaId};

/// This node's own links and what its peers report of theirs. Nodes further away are not seen.
#[derive(Clone, Debug)]
pub struct LinkGraph {
    me: ReplicaId,
    my_id: u64,
    evidence_window: Duration,
    report_window: Duration,
    /// When each linked peer answered last.
    pongs: BTreeMap<ReplicaId, Instant>,
    reports: BTreeMap<ReplicaId, Report>,
    /// Who names a replica in its report, old ones included: in a large cluster reports are many, and of most replicas the
    /// question is whether anybody names it at all.
    named_by: HashMap<ReplicaId, Vec<ReplicaId>, BuildHasherDefault<SipHasher13>>,
}

#[derive(Clone, Debug)]
struct Report {
    at: Instant,
    /// Peer and whether it reports the link as well.
    links: BTreeMap<ReplicaId, bool>,
    /// What stands for the one who says so.
    id: u64,
    /// What stands for these peers, in order: two lists are compared in no time.
    ids: Vec<u64>,
    hash: ReportHash,
}

impl Report {
    fn new(peer: &ReplicaId, links: BTreeMap<ReplicaId, bool>, at: Instant) -> Report {
        let mut ids: Vec<u64> = links.keys().map(id).collect();
        ids.sort_unstable();
        let hash = report_hash(links.iter().map(|(peer, mutual)| (peer, *mutual)));
        Report { at, links, id: id(peer), ids, hash }
    }
}

/// What stands for a replica where names would take too long.
fn id(replica: &ReplicaId) -> u64 {
    mix(name_hash(replica) ^ mix(replica.incarnation.0))
}

/// The sum over a report.
pub fn report_hash<'a>(links: impl Iterator<Item = (&'a ReplicaId, bool)>) -> ReportHash {
    // Odd factors lose nothing.
    let of_link = |(peer, mutual)| id(peer).wrapping_mul(if mutual { 0x9e37_79b9_7f4a_7c15 } else { 1 });
    ReportHash(links.map(of_link).fold(0, u64::wrapping_add))
}

impl LinkGraph {
    /// No links. A pong counts for `evidence_window`, a peer's report for `report_window`, which should be a little longer
    /// than the time between two reports.
    pub fn new(me: ReplicaId, evidence_window: Duration, report_window: Duration) -> LinkGraph {
        let my_id = id(&me);
        LinkGraph {
            me,
            my_id,
            evidence_window,
            report_window,
            pongs: BTreeMap::new(),
            reports: BTreeMap::new(),
            named_by: HashMap::default(),
        }
    }

    /// A linked peer has answered.
    pub fn handle_pong(&mut self, peer: &ReplicaId, now: Instant) {
        self.pongs.insert(peer.clone(), now);
    }

    /// A linked peer says whom it can reach.
    pub fn handle_report(&mut self, peer: &ReplicaId, links: &[LinkReport], now: Instant) {
        // Mostly it says what it said before, in the same order.
        if let Some(report) = self.reports.get_mut(peer)
            && report.links.iter().eq(links.iter().map(|link| (&link.peer, &link.mutual)))
        {
            report.at = now;
            return;
        }
        let links = links.iter().map(|link| (link.peer.clone(), link.mutual)).collect();
        self.replace_report(peer, Some(Report::new(peer, links, now)));
    }

    /// A linked peer says what has changed of that. False if it is not a change of what is known here.
    pub fn handle_beat(&mut self, peer: &ReplicaId, beat: &Beat, now: Instant) -> bool {
        let Some(report) = self.reports.get_mut(peer).filter(|report| report.hash == beat.before) else {
            return false;
        };
        if beat.changed.is_empty() && beat.gone.is_empty() {
            report.at = now;
            return report.hash == beat.after;
        }
        let mut links = report.links.clone();
        links.extend(beat.changed.iter().map(|link| (link.peer.clone(), link.mutual)));
        for gone in &beat.gone {
            links.remove(gone);
        }
        let report = Report::new(peer, links, now);
        let is_complete = report.hash == beat.after;
        self.replace_report(peer, Some(report));
        is_complete
    }

    fn replace_report(&mut self, peer: &ReplicaId, report: Option<Report>) {
        let before = match report {
            Some(report) => self.reports.insert(peer.clone(), report),
            None => self.reports.remove(peer),
        };
        let (before, after) = (before.as_ref(), self.reports.get(peer));
        // Few of its links are others than before.
        let named_only_in = |one: Option<&Report>, other: Option<&Report>| -> Vec<ReplicaId> {
            let named = one.into_iter().flat_map(|report| report.links.keys());
            let is_new = |named: &&ReplicaId| other.is_none_or(|other| !other.links.contains_key(*named));
            named.filter(is_new).cloned().collect()
        };
        for named in named_only_in(after, before) {
            self.named_by.entry(named).or_default().push(peer.clone());
        }
        for gone in named_only_in(before, after) {
            let Some(reporters) = self.named_by.get_mut(&gone) else { continue };
            reporters.retain(|reporter| reporter != peer);
            if reporters.is_empty() {
                self.named_by.remove(&gone);
            }
        }
    }

    /// How many links a peer has reported.
    pub fn links_reported(&self, peer: &ReplicaId) -> usize {
        self.reports.get(peer).map_or(0, |report| report.links.len())
    }

    /// This node was not given time for so long. What waits for it may be answers: nothing that it knew is older for that.
    pub fn handle_pause(&mut self, pause: Duration, now: Instant) {
        let pongs = self.pongs.values_mut();
        let reports = self.reports.values_mut().map(|report| &mut report.at);
        pongs.chain(reports).for_each(|at| *at = (*at + pause).min(now));
    }

    /// The link to a peer is gone.
    pub fn handle_link_down(&mut self, peer: &ReplicaId) {
        self.pongs.remove(peer);
        self.replace_report(peer, None);
    }

    /// This node's own report.
    pub fn report(&self, now: Instant) -> Vec<LinkReport> {
        let fresh = self.pongs.keys().filter(|peer| self.answers(peer, now));
        fresh
            .map(|peer| {
                let mutual = self.report_of(peer, now).is_some_and(|report| report.contains_key(&self.me));
                LinkReport { peer: peer.clone(), mutual }
            })
            .collect()
    }

    /// Whether the linked peer answered lately.
    pub fn answers(&self, peer: &ReplicaId, now: Instant) -> bool {
        self.pongs.get(peer).is_some_and(|at| now.saturating_duration_since(*at) <= self.evidence_window)
    }

    /// The linked peers that said lately that they had an answer of the replica.
    pub fn reporters(&self, replica: &ReplicaId, now: Instant) -> impl Iterator<Item = &ReplicaId> {
        self.named(replica).filter(move |peer| self.fresh(peer, now).is_some())
    }

    /// The linked peers that have named the replica, be it long ago.
    fn named(&self, replica: &ReplicaId) -> impl Iterator<Item = &ReplicaId> {
        self.named_by.get(replica).into_iter().flatten()
    }

    /// Whether the linked peer `from` reports a link to `to`.
    pub fn is_reported(&self, from: &ReplicaId, to: &ReplicaId, now: Instant) -> bool {
        self.report_of(from, now).is_some_and(|links| links.contains_key(to))
    }

    /// The linked peer through which `destination` can be reached: both links work and both ends of the
    /// second say so. `None` if there is none, or if `destination` is linked itself. Of several, the first in the order of
    /// [`relays`](LinkGraph::relays).
    pub fn next_hop(&self, destination: &ReplicaId, now: Instant) -> Option<&ReplicaId> {
        if self.answers(destination, now) {
            return None;
        }
        let through = self
            .named(destination)
            .filter(|peer| self.answers(peer, now) && self.passes_on(peer, destination, now));
        through.min_by_key(|peer| self.rank(destination, peer))
    }

    /// Those `wanted` whom linked peers reach, be they linked themselves or not, each with the names of these peers. Their order
    /// differs from pair to pair, so that the work is shared, and is the same at both ends of one.
    pub fn relays(
        &self,
        wanted: impl Fn(&ReplicaId) -> bool,
        now: Instant,
    ) -> BTreeMap<ReplicaId, Vec<NodeName>> {
        let mut relays: BTreeMap<&ReplicaId, Vec<&ReplicaId>> = BTreeMap::new();
        for peer in self.reports.keys().filter(|peer| self.answers(peer, now)) {
            for (destination, mutual) in self.report_of(peer, now).into_iter().flatten() {
                if *mutual && *destination != self.me && wanted(destination) {
                    relays.entry(destination).or_default().push(peer);
                }
            }
        }
        let ranked = |(destination, mut peers): (&ReplicaId, Vec<&ReplicaId>)| {
            peers.sort_by_cached_key(|peer| self.rank(destination, peer));
            (destination.clone(), peers.into_iter().map(|peer| peer.name.clone()).collect())
        };
        relays.into_iter().map(ranked).collect()
    }

    /// Rendezvous hashing: the peer with the lowest number stands between this node and `destination`.
    fn rank(&self, destination: &ReplicaId, peer: &ReplicaId) -> u64 {
        let ends = name_hash(&self.me) ^ name_hash(destination);
        mix(ends.wrapping_add(mix(name_hash(peer))))
    }

    /// Whether the linked peer `through` has a link to `to` of which both ends say that it works.
    pub fn passes_on(&self, through: &ReplicaId, to: &ReplicaId, now: Instant) -> bool {
        self.report_of(through, now).is_some_and(|links| links.get(to) == Some(&true))
    }

    /// Whether a peer beside `replica` itself reports a link to it that works both ways.
    pub fn is_seen_by_others(&self, replica: &ReplicaId, now: Instant) -> bool {
        let mut others = self.named(replica).filter(|peer| *peer != replica && self.answers(peer, now));
        others.any(|peer| self.passes_on(peer, replica, now))
    }

    /// What `owner`, a linked peer, says now, and to whom it falls to this node to pass it on.
    pub fn go_between(&self, owner: &ReplicaId, now: Instant) -> GoBetween<'_> {
        GoBetween { graph: self, owner: self.fresh(owner, now), owner_id: id(owner), now }
    }

    fn fresh(&self, peer: &ReplicaId, now: Instant) -> Option<&Report> {
        let report = self.reports.get(peer)?;
        (now.saturating_duration_since(report.at) <= self.report_window).then_some(report)
    }

    fn report_of(&self, peer: &ReplicaId, now: Instant) -> Option<&BTreeMap<ReplicaId, bool>> {
        Some(&self.fresh(peer, now)?.links)
    }
}

/// One of those who have links to an owner of lanes.
#[derive(Clone, Copy, Debug)]
pub struct GoBetween<'a> {
    graph: &'a LinkGraph,
    owner: Option<&'a Report>,
    owner_id: u64,
    now: Instant,
}

impl GoBetween<'_> {
    /// Whether it falls to this node to pass the owner's changes on to a linked `peer`: that has no link to the owner, and of the
    /// peers that both report this is the one. It is another one for every pair, so that none has all the work. Where
    /// neither can be known it does: a delta too many is cheap.
    pub fn passes_on_to(self, peer: &ReplicaId) -> bool {
        let Some(peer) = self.graph.fresh(peer, self.now) else { return true };
        if peer.ids.binary_search(&self.owner_id).is_ok() {
            return false;
        }
        let Some(owner) = self.owner else { return true };
        // Rendezvous hashing (Thaler and Ravishankar, 1998), with the pair as the key.
        let pair = self.owner_id ^ peer.id;
        let first = common(&owner.ids, &peer.ids).min_by_key(|id| mix(id ^ pair));
        first.is_none_or(|first| first == self.graph.my_id)
    }
}

/// FNV-1a: the same everywhere.
fn name_hash(replica: &ReplicaId) -> u64 {
    let bytes = replica.name.as_str().bytes();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The finisher of SplitMix64: every bit of the result depends on every bit of the number.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// What two ordered lists share.
fn common(one: &[u64], other: &[u64]) -> impl Iterator<Item = u64> {
    let mut rest = other;
    one.iter().copied().filter(move |id| {
        while let [first, behind @ ..] = rest
            && first < id
        {
            rest = behind;
        }
        rest.first() == Some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Incarnation;

    fn replica(name: &str) -> ReplicaId {
        ReplicaId { name: NodeName::parse(&format!("{name}@host")).unwrap(), incarnation: Incarnation(1) }
    }

    fn link(name: &str, mutual: bool) -> LinkReport {
        LinkReport { peer: replica(name), mutual }
    }

    fn graph() -> LinkGraph {
        LinkGraph::new(replica("me"), Duration::from_secs(1), Duration::from_millis(750))
    }

    #[test]
    fn an_edge_counts_while_both_ends_report_it() {
        let (mut graph, now) = (graph(), Instant::now());
        graph.handle_pong(&replica("b"), now);
        graph.handle_report(&replica("b"), &[link("me", true), link("c", false)], now);
        assert_eq!(graph.next_hop(&replica("c"), now), None, "only one end says so");
        assert_eq!(graph.reporters(&replica("c"), now).collect::<Vec<_>>(), [&replica("b")]);

        graph.handle_report(&replica("b"), &[link("me", true), link("c", true)], now);
        assert_eq!(graph.next_hop(&replica("c"), now), Some(&replica("b")));
        assert_eq!(graph.next_hop(&replica("b"), now), None, "is linked itself");
        assert_eq!(graph.report(now), [link("b", true)]);

        let later = now + Duration::from_millis(800);
        assert_eq!(graph.next_hop(&replica("c"), later), None, "the report is too old");
        assert_eq!(graph.reporters(&replica("c"), later).count(), 0);
        assert!(graph.answers(&replica("b"), later));
        assert!(!graph.answers(&replica("b"), now + Duration::from_millis(1001)));
    }

    #[test]
    fn both_ends_of_a_pair_choose_the_same_peer_and_pairs_choose_differently() {
        let now = Instant::now();
        let between: Vec<String> = (0..8).map(|number| format!("between{number}")).collect();
        let seen_by = |me: &str, others: &[String]| {
            let mut graph = LinkGraph::new(replica(me), Duration::from_secs(1), Duration::from_millis(750));
            for peer in &between {
                graph.handle_pong(&replica(peer), now);
                let mut links: Vec<LinkReport> = others.iter().map(|other| link(other, true)).collect();
                links.push(link(me, true));
                graph.handle_report(&replica(peer), &links, now);
            }
            graph
        };
        let ends: Vec<String> = (0..12).map(|number| format!("end{number}")).collect();
        let graphs: Vec<LinkGraph> = ends.iter().map(|end| seen_by(end, &ends)).collect();
        let mut chosen = std::collections::BTreeSet::new();
        for (graph, me) in graphs.iter().zip(&ends) {
            let relays = graph.relays(|_| true, now);
            assert_eq!(relays.len(), ends.len() - 1, "everybody else, who is not linked");
            for (other, end) in graphs.iter().zip(&ends).filter(|(_, end)| *end != me) {
                let peers = &relays[&replica(end)];
                assert_eq!(peers.len(), between.len());
                assert_eq!(graph.next_hop(&replica(end), now).map(|peer| &peer.name), Some(&peers[0]));
                assert_eq!(other.next_hop(&replica(me), now).map(|peer| &peer.name), Some(&peers[0]));
                chosen.insert(peers[0].clone());
            }
        }
        assert!(chosen.len() >= 6, "the work is shared: {chosen:?}");
    }

    #[test]
    fn one_of_the_common_peers_is_the_go_between() {
        let now = Instant::now();
        let names = ["b", "c", "d"];
        let says = |name: &str| {
            let me = replica(name);
            let mut graph = LinkGraph::new(me, Duration::from_secs(1), Duration::from_millis(750));
            graph.handle_report(&replica("x"), &names.map(|name| link(name, true)), now);
            graph.handle_report(&replica("y"), &["b", "c", "d", "e"].map(|name| link(name, true)), now);
            graph.handle_report(&replica("z"), &["b", "c", "d", "x"].map(|name| link(name, true)), now);
            let passes_on =
                |graph: &LinkGraph, peer| graph.go_between(&replica("x"), now).passes_on_to(&replica(peer));
            assert!(!passes_on(&graph, "z"), "it has a link to the owner");
            assert!(passes_on(&graph, "w"), "nobody knows");
            let is_one = passes_on(&graph, "y");
            graph.handle_link_down(&replica("x"));
            assert!(passes_on(&graph, "y"), "nobody knows");
            is_one
        };
        assert_eq!(names.into_iter().filter(|name| says(name)).count(), 1);
        assert!(!says("e"));
    }

    #[test]
    fn a_report_is_kept_up_to_date_by_its_changes() {
        let (mut graph, now) = (graph(), Instant::now());
        let hash = |links: &[LinkReport]| report_hash(links.iter().map(|link| (&link.peer, link.mutual)));
        let before = [link("me", false), link("c", true)];
        let after = [link("me", true), link("d", true)];
        let beat = Beat {
            before: hash(&before),
            changed: after.to_vec(),
            gone: vec![replica("c")],
            after: hash(&after),
            spare: false,
        };
        assert!(!graph.handle_beat(&replica("b"), &beat, now), "nothing is known that could change");
        graph.handle_report(&replica("b"), &before, now);
        assert!(graph.handle_beat(&replica("b"), &beat, now));
        assert!(graph.is_reported(&replica("b"), &replica("d"), now));
        assert!(!graph.is_reported(&replica("b"), &replica("c"), now));
        assert!(!graph.handle_beat(&replica("b"), &beat, now), "that was another report");

        let same = Beat { before: hash(&after), changed: Vec::new(), gone: Vec::new(), ..beat };
        let later = now + Duration::from_millis(500);
        assert!(graph.handle_beat(&replica("b"), &same, later));
        assert!(graph.is_reported(&replica("b"), &replica("d"), later + Duration::from_millis(500)));
    }
}
