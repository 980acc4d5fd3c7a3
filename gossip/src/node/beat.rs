//! What is said periodically in a large cluster, where digests to all peers would cost each node the square of its links.
//!
//! Each peer hears every time that its partner lives and what has changed of its links, which is mostly nothing. What has changed in
//! which lane is told to one peer at a time, in turn (anti-entropy: Demers and others, 1987): so everybody hears it from
//! somebody at every turn. Now and then one, again in turn, is told of all lanes, and so is who asks for that: who is new, who
//! meets somebody that was away, and who has to know of all peers that they have something.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use super::{Node, Outgoing};
use crate::link_graph::report_hash;
use crate::message::{Ask, Beat, Digest, Hello, LinkReport, Message, MessageError};
use crate::replica::ReplicaId;

/// Of so many full digests that a small cluster sends, a large one sends one, and to one peer only.
const FULL_DIGESTS_SAVED: u64 = 4;

/// Rounds after which a peer that was asked for everything, and has not said it, is asked again.
const ASKED_AGAIN: u64 = 40;

/// What this node has told of its links.
#[derive(Debug, Default)]
pub(super) struct Reported {
    links: BTreeMap<ReplicaId, bool>,
    /// Who had the last digest.
    partner: Option<ReplicaId>,
    /// Who had the last one of all lanes in its turn.
    full_partner: Option<ReplicaId>,
    /// In which round everything was asked for last.
    asked_round: Option<u64>,
    /// Somebody who was away and may know what nobody here does.
    returned: Option<ReplicaId>,
}

/// What is said on one link.
#[derive(Debug)]
pub(super) struct Talk {
    /// The peer understands beats.
    beats: bool,
    /// Its greeting did not name all lanes.
    greeted_briefly: bool,
    /// It must be told all links, not only what has changed of them.
    needs_report: bool,
    /// The last round in which it had a digest.
    told_round: u64,
    /// The last round in which a digest of it came.
    heard_round: u64,
    /// The last round in which it was told all lanes because it asked.
    answered_round: Option<u64>,
    /// The last round in which it was told all links because it asked.
    reported_round: Option<u64>,
    /// The last round in which it was asked for all lanes.
    asked_round: Option<u64>,
}

impl Talk {
    pub fn new(round: u64) -> Talk {
        Talk {
            beats: false,
            greeted_briefly: false,
            needs_report: true,
            told_round: round,
            heard_round: round,
            answered_round: None,
            reported_round: None,
            asked_round: None,
        }
    }

    pub fn heard(&mut self, round: u64) {
        self.heard_round = round;
    }

    /// Whether a digest of the peer has come since everybody had what happened in that round.
    pub fn heard_after(&self, round: u64) -> bool {
        self.heard_round > round + 2
    }
}

impl Node {
    /// The link to `peer`, which has just come up, speaks version 2 of the protocol.
    pub fn allow_beats(&mut self, peer: &ReplicaId) {
        let Some(link) = self.links.get_mut(peer) else { return };
        link.talk.beats = true;
        if !link.talk.greeted_briefly {
            return;
        }
        // A newcomer asks for all lanes, and so does who meets somebody that was away.
        if self.links.len() == 1 {
            self.ask_everything(peer);
        } else if self.members.get_mut(peer).is_some_and(|member| std::mem::take(&mut member.returned)) {
            self.reported.returned = Some(peer.clone());
        }
    }

    pub(super) fn send_beats(&mut self, now: Instant) {
        let report = self.graph.report(now);
        let round = self.digest_round;
        let partner = self.next_peer(self.reported.partner.as_ref());
        self.reported.partner.clone_from(&partner);
        let mut full_partner = None;
        if round.is_multiple_of(self.config.full_digest_every.max(1) * FULL_DIGESTS_SAVED) {
            full_partner = self.next_peer(self.reported.full_partner.as_ref());
            self.reported.full_partner.clone_from(&full_partner);
        }
        let beat = self.reported.beat(&report);
        let needed = |is_for: fn(&Talk) -> bool| self.links.values().any(|link| is_for(&link.talk));
        let brief = needed(|talk| talk.needs_report).then(|| Arc::new(self.digest(u64::MAX, report.clone())));
        // Who does not understand beats gets what he would in a small cluster.
        let recent = needed(|talk| !talk.beats).then(|| {
            let all = round.is_multiple_of(self.config.full_digest_every.max(1));
            let since = if all { 0 } else { self.recent_round() };
            Arc::new(self.digest(since, report.clone()))
        });
        let told = partner.as_ref().and_then(|peer| self.links.get(peer)).map(|link| link.talk.told_round);
        let changed = Arc::new(self.digest(told.unwrap_or(round).saturating_sub(1), report.clone()));
        let full = full_partner.as_ref().map(|_| Arc::new(self.digest(0, report)));
        for (peer, link) in &mut self.links {
            let digest = if let Some(full) = &full
                && full_partner.as_ref() == Some(peer)
            {
                link.talk.told_round = round;
                full
            } else if partner.as_ref() == Some(peer) {
                link.talk.told_round = round;
                &changed
            } else if let Some(recent) = &recent
                && !link.talk.beats
            {
                recent
            } else if let Some(brief) = &brief
                && link.talk.needs_report
            {
                brief
            } else {
                let beat = Beat { spare: link.need.is_spare(&self.config, now), ..beat.clone() };
                self.outbox.push_back((peer.clone(), Outgoing::Message(Message::Beat(beat))));
                continue;
            };
            link.talk.needs_report = false;
            self.outbox.push_back((peer.clone(), Outgoing::Message(Message::Digest(digest.clone()))));
        }
        if let Some(returned) = self.reported.returned.take() {
            self.ask_everything(&returned);
        }
    }

    /// The peers in turn.
    fn next_peer(&self, last: Option<&ReplicaId>) -> Option<ReplicaId> {
        let behind = |last: &ReplicaId| {
            let behind = self.links.range((Bound::Excluded(last.clone()), Bound::Unbounded));
            behind.map(|(peer, _)| peer.clone()).next()
        };
        last.and_then(behind).or_else(|| self.links.keys().next().cloned())
    }

    /// Something waits for what these peers have not said since their links came up, or when it was their turn. In a small cluster
    /// they have said all, and in a large one nobody has to wait for the next turn: one of them is asked in a round.
    pub(super) fn ask_silent(&mut self, silent: &BTreeSet<ReplicaId>) {
        let round = self.digest_round;
        if self.mesh.is_full() || self.reported.asked_round == Some(round) {
            return;
        }
        let may_be_asked = |peer: &&ReplicaId| {
            self.links.get(*peer).is_some_and(|link| {
                link.talk.beats && link.talk.asked_round.is_none_or(|asked| asked + ASKED_AGAIN <= round)
            })
        };
        if let Some(peer) = silent.iter().find(may_be_asked) {
            self.ask_everything(peer);
        }
    }

    pub(super) fn handle_beat(
        &mut self,
        from: &ReplicaId,
        beat: &Beat,
        now: Instant,
    ) -> Result<(), MessageError> {
        // What is reported may grow with every beat.
        let entries = self.graph.links_reported(from) + beat.changed.len() + beat.gone.len();
        if entries > 8 * self.config.max_members {
            return Err(MessageError::OversizedDigest(entries));
        }
        if let Some(link) = self.links.get_mut(from) {
            link.need.peer_says(beat.spare);
        }
        if !self.graph.handle_beat(from, beat, now) {
            let ask = Message::Ask(Ask { everything: false });
            self.outbox.push_back((from.clone(), Outgoing::Message(ask)));
        } else if !beat.changed.is_empty() {
            self.offer_newcomer(from, now);
        }
        Ok(())
    }

    /// Both are said to a peer once a round at most: they are long.
    pub(super) fn handle_ask(&mut self, from: &ReplicaId, ask: &Ask, now: Instant) {
        let round = self.digest_round;
        let Some(talk) = self.links.get_mut(from).map(|link| &mut link.talk) else { return };
        let answered = if ask.everything { &mut talk.answered_round } else { &mut talk.reported_round };
        if answered.replace(round) == Some(round) {
            return;
        }
        let since = if ask.everything { 0 } else { u64::MAX };
        if ask.everything {
            talk.told_round = round;
        }
        let links = match self.mesh.is_full() || self.reported.links.is_empty() {
            true => self.graph.report(now),
            false => self.reported.report(),
        };
        let digest = Arc::new(self.digest(since, links));
        self.outbox.push_back((from.clone(), Outgoing::Message(Message::Digest(digest))));
    }

    pub(super) fn note_greeting(&mut self, peer: &ReplicaId, hello: &Hello) {
        if let Some(link) = self.links.get_mut(peer) {
            link.talk.greeted_briefly = !is_complete(hello);
        }
    }

    fn ask_everything(&mut self, peer: &ReplicaId) {
        let round = self.digest_round;
        let Some(link) = self.links.get_mut(peer) else { return };
        link.talk.asked_round = Some(round);
        self.reported.asked_round = Some(round);
        let ask = Message::Ask(Ask { everything: true });
        self.outbox.push_back((peer.clone(), Outgoing::Message(ask)));
    }
}

/// A digest of all lanes names everybody whom its sender reports a link to.
pub(super) fn is_complete(hello: &Digest) -> bool {
    let named: BTreeSet<&ReplicaId> = hello.applied.iter().map(|(replica, _)| replica).collect();
    hello.links.iter().all(|link| named.contains(&link.peer))
}

impl Reported {
    fn report(&self) -> Vec<LinkReport> {
        let reports = self.links.iter();
        reports.map(|(peer, mutual)| LinkReport { peer: peer.clone(), mutual: *mutual }).collect()
    }

    /// What is to be said from now on, and what has changed.
    fn beat(&mut self, report: &[LinkReport]) -> Beat {
        let links: BTreeMap<ReplicaId, bool> =
            report.iter().map(|link| (link.peer.clone(), link.mutual)).collect();
        let before = std::mem::replace(&mut self.links, links);
        let sum = |links: &BTreeMap<ReplicaId, bool>| {
            report_hash(links.iter().map(|(peer, mutual)| (peer, *mutual)))
        };
        let changed = report.iter().filter(|link| before.get(&link.peer) != Some(&link.mutual));
        let gone = before.keys().filter(|peer| !self.links.contains_key(*peer));
        Beat {
            changed: changed.cloned().collect(),
            gone: gone.cloned().collect(),
            before: sum(&before),
            after: sum(&self.links),
            spare: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::replica::{Incarnation, NodeName};
    use crate::{SetSpec, message::ReportHash};

    fn replica(number: usize) -> ReplicaId {
        let name = NodeName::parse(&format!("n{number}@host")).unwrap();
        ReplicaId { name, incarnation: Incarnation(1) }
    }

    /// A node of a grid, linked to the replicas 1 to `peers`.
    fn node(peers: usize, now: Instant) -> Node {
        let config = Config { full_mesh_up_to: 1, max_members: 10, ..Config::default() };
        let mut node = Node::new(config, replica(0), &[SetSpec::plain("routes")], now);
        for peer in (1..=peers).map(replica) {
            let hello = Hello { applied: vec![(peer.clone(), Vec::new())], ..Hello::default() };
            assert!(node.handle_link_up(peer.clone(), hello, now));
            node.allow_beats(&peer);
        }
        node.review_links(now);
        assert!(!node.is_full_mesh());
        node
    }

    fn sent(node: &mut Node) -> Vec<(ReplicaId, Message)> {
        std::iter::from_fn(|| node.poll_transmit()).collect()
    }

    #[test]
    fn what_a_peer_reports_beat_by_beat_is_bounded() {
        let now = Instant::now();
        let mut node = node(1, now);
        let mut links: Vec<LinkReport> = Vec::new();
        let hash = |links: &[LinkReport]| report_hash(links.iter().map(|link| (&link.peer, link.mutual)));
        assert_eq!(hash(&links), ReportHash::default());
        let mut refused = None;
        for number in 2..200 {
            let link = LinkReport { peer: replica(number), mutual: true };
            let before = hash(&links);
            links.push(link.clone());
            let beat =
                Beat { before, changed: vec![link], gone: Vec::new(), after: hash(&links), spare: false };
            if node.handle_message(&replica(1), Message::Beat(beat), now).is_err() {
                refused = Some(number);
                break;
            }
        }
        assert!(refused.is_some_and(|number| (20..100).contains(&number)), "{refused:?}");
    }

    #[test]
    fn everything_is_said_once_a_round() {
        let now = Instant::now();
        let mut node = node(2, now);
        sent(&mut node);
        for everything in [true, false, true, false] {
            node.handle_message(&replica(1), Message::Ask(Ask { everything }), now).unwrap();
        }
        let lengths: Vec<usize> = sent(&mut node)
            .into_iter()
            .map(|(_, message)| match message {
                Message::Digest(digest) => digest.applied.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lengths, [3, 1], "all lanes, and its own");
    }

    /// Also where the number of peers and the rounds between two full digests have a factor in common.
    #[test]
    fn every_peer_is_told_of_all_lanes_in_turn() {
        let start = Instant::now();
        let mut node = node(4, start);
        let rounds = node.config.full_digest_every * FULL_DIGESTS_SAVED * 4;
        let mut told: BTreeSet<ReplicaId> = BTreeSet::new();
        sent(&mut node);
        // Nobody's lane changes, so that after a few rounds only full digests name them.
        for round in 1..=rounds + 1 {
            let now = start
                + node.config.digest_interval * u32::try_from(round).unwrap()
                + Duration::from_millis(1);
            for peer in 1..=4 {
                node.handle_pong(&replica(peer), Duration::ZERO, now);
            }
            node.handle_tick(now);
            for (peer, message) in sent(&mut node) {
                if round > 16 && matches!(&message, Message::Digest(digest) if digest.applied.len() == 5) {
                    told.insert(peer);
                }
            }
        }
        assert_eq!(told.len(), 4, "{told:?}");
    }
}
