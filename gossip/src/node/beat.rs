//! What is said periodically in a large cluster, where digests to all peers would cost each node the square of its links.
//!
//! Each peer hears every time that its partner lives and what has changed of its links, which is mostly nothing. What was applied of which lane is told to one peer
//! at a time, in turn (anti-entropy: Demers and others, 1987): so everybody hears it from somebody at every turn. Who has been
//! away asks one of those that were not with him for everything.

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

/// What this node has told of its links.
#[derive(Debug, Default)]
pub(super) struct Reported {
    links: BTreeMap<ReplicaId, bool>,
    /// Who had the last digest.
    partner: Option<ReplicaId>,
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
    /// The last round in which it was told everything because it asked.
    answered_round: Option<u64>,
}

impl Talk {
    pub fn new(round: u64) -> Talk {
        Talk {
            beats: false,
            greeted_briefly: false,
            needs_report: true,
            told_round: round,
            answered_round: None,
        }
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
        let partner = self.next_partner();
        let beat = self.reported.beat(&report);
        let round = self.digest_round;
        let full = round.is_multiple_of(self.config.full_digest_every.max(1) * FULL_DIGESTS_SAVED);
        let brief = Arc::new(self.digest(u64::MAX, report.clone()));
        // Who does not understand beats gets what he would in a small cluster.
        let all = round.is_multiple_of(self.config.full_digest_every.max(1));
        let since = if all { 0 } else { self.recent_round() };
        let recent = Arc::new(self.digest(since, report.clone()));
        let told = partner.as_ref().and_then(|peer| self.links.get(peer)).map(|link| link.talk.told_round);
        let since = if full { 0 } else { told.unwrap_or(round).saturating_sub(1) };
        let long = Arc::new(self.digest(since, report));
        for (peer, link) in &mut self.links {
            let digest = if partner.as_ref() == Some(peer) {
                link.talk.told_round = round;
                &long
            } else if !link.talk.beats {
                &recent
            } else if link.talk.needs_report {
                &brief
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
    fn next_partner(&mut self) -> Option<ReplicaId> {
        let links = &self.links;
        let after = |last: &ReplicaId| {
            let behind = links.range((Bound::Excluded(last.clone()), Bound::Unbounded));
            behind.map(|(peer, _)| peer.clone()).next()
        };
        let next = self.reported.partner.as_ref().and_then(after);
        self.reported.partner = next.or_else(|| links.keys().next().cloned());
        self.reported.partner.clone()
    }

    pub(super) fn handle_beat(
        &mut self,
        from: &ReplicaId,
        beat: &Beat,
        now: Instant,
    ) -> Result<(), MessageError> {
        let Beat { changed, gone, .. } = beat;
        if changed.len() + gone.len() > 2 * self.config.max_members {
            return Err(MessageError::OversizedDigest(changed.len() + gone.len()));
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

    /// Everything is said to a peer once a round at most: it is long.
    pub(super) fn handle_ask(&mut self, from: &ReplicaId, ask: &Ask, now: Instant) {
        let round = self.digest_round;
        let Some(link) = self.links.get_mut(from) else { return };
        if ask.everything && link.talk.answered_round == Some(round) {
            return;
        }
        let since = if ask.everything { 0 } else { u64::MAX };
        if ask.everything {
            link.talk.answered_round = Some(round);
            link.talk.told_round = round;
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
        if self.links.contains_key(peer) {
            let ask = Message::Ask(Ask { everything: true });
            self.outbox.push_back((peer.clone(), Outgoing::Message(ask)));
        }
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
