//! Who takes part: which replicas are known, in what state, and when one is dropped.
//!
//! A replica has a [`Member`] exactly as long as its lanes may be merged. What must not come back through somebody who
//! still has it is in [`Departed`](super::departed::Departed).

use std::time::{Duration, Instant};

use super::Node;
use super::departed::Departure;
use super::promises::Promises;
use super::registers::tell;
use super::slot::Slot;
use crate::delta::SetId;
use crate::event::{Event, RestartReason};
use crate::head::Head;
use crate::lane::Change;
use crate::membership::{MemberState, Observation, Status};
use crate::replica::{Incarnation, NodeName, ReplicaId};

/// Another replica.
#[derive(Debug)]
pub(super) struct Member {
    pub slot: Slot,
    /// Whether its heartbeats arrive; unknown before the first observation.
    alive: Option<bool>,
    status: Status,
    pub state: Option<MemberState>,
    first_seen: Instant,
    /// Since when it has not been live.
    down_since: Option<Instant>,
    pub rtt: Option<Duration>,
    /// When the last link to it was lost.
    pub unlinked_at: Option<Instant>,
    /// Its lanes, by set.
    lanes: Vec<Known>,
    /// What it has applied of this node's lanes, by set.
    acked: Vec<u64>,
    /// What it has applied, but wrote other things before that have not arrived yet.
    pub promises: Promises,
    /// It missed its time for a change of this node's lane: not waited for until it has applied this.
    lagging: Vec<Option<u64>>,
    /// Digest round in which a lane of it changed here.
    changed_round: u64,
    conflict_reported: bool,
    /// It was dead and is back, with what those had who were with it.
    pub returned: bool,
}

/// What is known of a lane beyond what has been applied.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The newest sequence number heard of.
    seq: u64,
    /// The owner's own newest word.
    said: Option<Head>,
    /// The first sequence number heard of that is not applied, and since when.
    behind: Option<(u64, Instant)>,
}

impl Member {
    fn new(slot: Slot, sets: usize, round: u64, now: Instant) -> Member {
        Member {
            slot,
            alive: None,
            status: Status::Running,
            state: None,
            first_seen: now,
            down_since: Some(now),
            rtt: None,
            unlinked_at: None,
            lanes: vec![Known::default(); sets],
            acked: vec![0; sets],
            promises: Promises::default(),
            lagging: vec![None; sets],
            changed_round: round,
            conflict_reported: false,
            returned: false,
        }
    }

    pub fn is_live(&self) -> bool {
        self.state.is_some_and(MemberState::is_live)
    }

    pub fn conflict_reported(&self) -> bool {
        self.conflict_reported
    }

    /// It answers, and says nothing else: no evidence of links is needed.
    fn is_beyond_doubt(&self) -> bool {
        self.status == Status::Running && self.alive == Some(true)
    }

    /// It has been known for no longer than it takes to hear of all its links.
    pub fn is_new(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.first_seen) < Duration::from_secs(3)
    }

    pub fn changed_round(&self) -> u64 {
        self.changed_round
    }

    pub fn known_seq(&self, set: SetId) -> u64 {
        self.lanes[usize::from(set.0)].seq
    }

    /// The newest head heard of. Its hash is zero where only its number is known.
    pub fn known_head(&self, set: SetId, applied: Head) -> Head {
        let known = &self.lanes[usize::from(set.0)];
        match known.said {
            _ if known.seq <= applied.seq => applied,
            Some(said) if said.seq == known.seq => said,
            _ => Head { seq: known.seq, ..Head::default() },
        }
    }

    pub fn behind_since(&self, set: SetId) -> Option<Instant> {
        self.lanes[usize::from(set.0)].behind.map(|(_, since)| since)
    }

    /// Notes that the lane is at `seq` somewhere, while `applied` is what this node has.
    pub fn heard(&mut self, set: SetId, seq: u64, applied: u64, now: Instant) {
        let known = &mut self.lanes[usize::from(set.0)];
        known.seq = known.seq.max(seq);
        if known.seq > applied && known.behind.is_none() {
            known.behind = Some((known.seq, now));
        }
    }

    /// Notes that this node has applied the lane up to `seq`.
    pub fn applied(&mut self, set: SetId, seq: u64, round: u64, now: Instant) {
        self.changed_round = round;
        let known = &mut self.lanes[usize::from(set.0)];
        known.seq = known.seq.max(seq);
        if known.behind.is_some_and(|(first, _)| seq >= first) {
            known.behind = (known.seq > seq).then_some((known.seq, now));
        }
    }

    pub fn acked(&self, set: SetId) -> u64 {
        self.acked[usize::from(set.0)]
    }

    /// Notes an acknowledgement; true if it is news.
    pub fn acknowledged(&mut self, set: SetId, seq: u64) -> bool {
        let index = usize::from(set.0);
        if self.lagging[index].is_some_and(|until| seq >= until) {
            self.lagging[index] = None;
        }
        let news = seq > self.acked[index];
        self.acked[index] = self.acked[index].max(seq);
        news
    }

    pub fn is_lagging(&self, set: SetId) -> bool {
        self.lagging[usize::from(set.0)].is_some()
    }

    pub fn missed(&mut self, set: SetId, until: u64) {
        self.lagging[usize::from(set.0)] = Some(until);
    }

    /// This node begins a new lane, of which nobody has anything.
    pub fn begin_new_lane(&mut self) {
        self.acked.fill(0);
        self.promises = Promises::default();
        self.lagging.fill(None);
    }

    /// Whether everything that the replica began with is here.
    fn is_restored(&self, applied: impl Fn(SetId) -> u64) -> bool {
        (0u8..)
            .map(SetId)
            .zip(&self.lanes)
            .all(|(set, known)| applied(set) > 0 || known.said.is_some_and(|head| head.seq == 0))
    }

    /// `vouched` is whether somebody has an answer of it, `parted` whether the only link to it was lost just now.
    fn state_now(&self, vouched: bool, parted: bool) -> Option<MemberState> {
        match (self.status, self.alive) {
            (Status::Left, _) => Some(MemberState::Left),
            (Status::Stopped, _) => Some(MemberState::Stopped),
            (Status::Running, Some(true)) => Some(MemberState::Alive),
            (Status::Running, Some(false)) if vouched => Some(MemberState::Suspect),
            (Status::Running, Some(false)) => Some(MemberState::Dead),
            (Status::Running, None) if vouched => Some(MemberState::Alive),
            // Two that have just met may drop the link on which they did for the one that crosses it.
            (Status::Running, None) if parted => self.state.map(|_| MemberState::Suspect),
            // Met over a link that is silent now, and heartbeats have not arrived yet.
            (Status::Running, None) => self.state.map(|_| MemberState::Dead),
        }
    }
}

impl Node {
    /// Membership has news of a replica.
    pub fn handle_observation(&mut self, observation: Observation, now: Instant) {
        let Observation { replica, alive, status, heads } = observation;
        self.note_pause(now);
        if replica == self.me {
            return;
        }
        if status == Status::Left {
            self.handle_left(&replica, now);
            return;
        }
        match self.departed.forgotten(&replica).filter(|_| alive) {
            Some(forgotten) => self.revoked.beats(forgotten),
            None => self.revoked.silent(&replica),
        }
        if !self.admit_with(&replica, alive, now) {
            return;
        }
        if let Some(member) = self.members.get_mut(&replica) {
            member.alive = Some(alive);
            // Its own last word: what still says that it runs is older, for it can only run again as another incarnation.
            if member.status != Status::Stopped {
                member.status = status;
            }
        }
        for (set, head) in heads {
            if usize::from(set.0) < self.sets.len() {
                self.note_head(set, &replica, head, true, now);
            }
        }
        self.review_member(&replica, now);
        self.supersede(&replica.name, now);
    }

    /// Whether lanes of a replica may be merged; makes it a member if so.
    pub(super) fn admit(&mut self, replica: &ReplicaId, now: Instant) -> bool {
        self.admit_with(replica, false, now)
    }

    /// The same where its heartbeats arrive, or do not.
    fn admit_with(&mut self, replica: &ReplicaId, alive: bool, now: Instant) -> bool {
        if *replica == self.me || self.members.contains_key(replica) {
            return true;
        }
        let linked = self.links.contains_key(replica) && replica.incarnation <= Incarnation::MAX;
        if !linked && !self.is_credible(replica) {
            return false;
        }
        if self.departed.contains(replica) {
            if self.links.contains_key(replica)
                && let Some(forgotten) = self.departed.forgotten(replica)
            {
                self.revoked.insert(&forgotten);
            }
            return false;
        }
        // What a start left counts until what the next one began with is here: that may have died before anybody had it.
        if let Some(newer) = self.newer_than(replica)
            && self.has_all_of(&newer)
            && !self.vouches_for(replica, now)
            && !(alive && self.is_settled(&newer, now))
        {
            return false;
        }
        if self.members.len() >= self.config.max_members {
            self.counters.members_refused += 1;
            return false;
        }
        let member = Member::new(self.slots.take(), self.sets.len(), self.digest_round, now);
        self.members.insert(replica.clone(), member);
        true
    }

    /// Whether it is believed that there is, or was, such a replica where others say so.
    pub(super) fn is_credible(&self, replica: &ReplicaId) -> bool {
        replica.incarnation <= Incarnation::MAX_HEARSAY
            || *replica == self.me
            || self.members.contains_key(replica)
    }

    /// Whether somebody who lives had an answer of the replica lately: this node, or a linked peer that says so and is heard of
    /// itself. What a peer said before it fell silent does not speak for those that fell with it.
    pub fn vouches_for(&self, replica: &ReplicaId, now: Instant) -> bool {
        let beats = |peer: &ReplicaId| self.members.get(peer).is_some_and(|peer| peer.alive == Some(true));
        self.graph.answers(replica, now)
            || self.graph.reporters(replica, now).any(|peer| self.graph.answers(peer, now) || beats(peer))
    }

    /// The newest incarnation of the name that is known, if it is newer than the replica.
    fn newer_than(&self, replica: &ReplicaId) -> Option<ReplicaId> {
        let newest = self.incarnations(&replica.name).last().map(|(replica, _)| replica);
        let own = (self.me.name == replica.name).then_some(&self.me);
        newest.max(own).filter(|newest| *newest > replica).cloned()
    }

    pub(super) fn incarnations(
        &self,
        name: &NodeName,
    ) -> impl DoubleEndedIterator<Item = (&ReplicaId, &Member)> {
        let any = |incarnation| ReplicaId { name: name.clone(), incarnation: Incarnation(incarnation) };
        self.members.range(any(0)..=any(u64::MAX))
    }

    /// Somebody knows of a state of a replica's lane; `is_owner` if it is its owner.
    pub(super) fn note_head(
        &mut self,
        set: SetId,
        replica: &ReplicaId,
        head: Head,
        is_owner: bool,
        now: Instant,
    ) {
        let applied = self.lane(set, replica).map_or(Head::default(), |lane| lane.head());
        let Some(member) = self.members.get_mut(replica) else { return };
        member.heard(set, head.seq, applied.seq, now);
        if is_owner {
            let said = &mut member.lanes[usize::from(set.0)].said;
            if said.is_none_or(|before| before.seq <= head.seq) {
                *said = Some(head);
            }
        }
        if head.seq > applied.seq {
            self.want(set, replica, self.expected_at(replica, now));
        } else if is_owner
            && head.seq == applied.seq
            && head.hash != applied.hash
            && self.sets[usize::from(set.0)].copy_mut(replica).is_some_and(|lane| lane.doubt())
        {
            self.diverged(set, replica, now);
        }
    }

    /// A replica has left for good.
    pub(super) fn handle_left(&mut self, replica: &ReplicaId, now: Instant) {
        if !self.is_credible(replica) {
            return;
        }
        if replica.name == self.me.name && *replica >= self.me {
            // This node serves, and nobody takes anything of it that is not later than what has left.
            self.ask_restart(RestartReason::Outdone, replica.incarnation);
            return;
        }
        // It may have come back after it was forgotten, and has left before it began a new lane.
        if self.departed.is_forgotten(replica) {
            self.revoked.remove_name(&replica.name);
        }
        if self.departed.has_left(replica) && !self.members.contains_key(replica) {
            return;
        }
        self.departed.insert(replica, Departure::Left);
        self.drop_member(replica, Some(MemberState::Left), now);
        let earlier = self.incarnations(&replica.name).map(|(other, _)| other);
        let earlier: Vec<ReplicaId> =
            earlier.filter(|other| self.is_of_the_left(other, now)).cloned().collect();
        for earlier in earlier {
            self.counters.superseded += 1;
            self.drop_member(&earlier, None, now);
        }
    }

    /// Whether a member does not live, and a later start of its node has left. Of a name that has left, nobody takes in what an
    /// earlier start of it wrote: so nobody keeps what a dead one did.
    fn is_of_the_left(&self, replica: &ReplicaId, now: Instant) -> bool {
        self.departed.has_left(replica)
            && self.members.get(replica).is_some_and(|member| !member.is_live())
            && !self.vouches_for(replica, now)
    }

    pub(super) fn live_members(&self) -> impl Iterator<Item = (&ReplicaId, &Member)> {
        self.members.iter().filter(|(_, member)| member.is_live())
    }

    pub(super) fn review_member(&mut self, replica: &ReplicaId, now: Instant) {
        let Some(member) = self.members.get(replica) else { return };
        let vouched = !member.is_beyond_doubt() && self.vouches_for(replica, now);
        let parted = member
            .unlinked_at
            .is_some_and(|at| now.saturating_duration_since(at) <= self.config.evidence_window);
        let state = member.state_now(vouched, parted);
        self.set_state(replica, state, now);
    }

    fn set_state(&mut self, replica: &ReplicaId, to: Option<MemberState>, now: Instant) {
        let Some(member) = self.members.get_mut(replica) else { return };
        let from = std::mem::replace(&mut member.state, to);
        if from == to {
            return;
        }
        self.mesh_stale = true;
        if member.is_live() {
            member.returned |= from == Some(MemberState::Dead);
            member.down_since = None;
        } else {
            member.down_since.get_or_insert(now);
        }
        self.events.push_back(Event::Member { replica: replica.clone(), from, to });
        self.settle_all(now);
    }

    /// Looks at everybody: evidence grows old without any message.
    pub(super) fn review(&mut self, now: Instant) {
        let mut before = &self.me.name;
        let mut concerned = Vec::new();
        for (replica, member) in &self.members {
            // Of most, time alone changes nothing.
            if *before == replica.name
                || !member.is_beyond_doubt()
                || member.state != Some(MemberState::Alive)
            {
                concerned.push(replica.clone());
            }
            before = &replica.name;
        }
        concerned.extend(self.incarnations(&self.me.name).map(|(replica, _)| replica.clone()));
        for replica in concerned {
            self.review_member(&replica, now);
            let Some(member) = self.members.get(&replica) else { continue };
            let down_for = member.down_since.map(|since| now.saturating_duration_since(since));
            if down_for.is_some_and(|time| time >= self.config.forget_after) {
                self.counters.forgotten += 1;
                self.departed.insert(&replica, Departure::Forgotten);
                self.drop_member(&replica, None, now);
            } else if self.is_of_the_left(&replica, now) {
                self.counters.superseded += 1;
                self.drop_member(&replica, None, now);
            } else {
                self.supersede(&replica.name, now);
            }
        }
        let mut revoked = std::mem::take(&mut self.revoked);
        revoked.retain(|forgotten, beats| {
            let is_meant = |replica: &ReplicaId| replica.name == forgotten.name && replica <= forgotten;
            let returned =
                self.departed.is_forgotten(forgotten) && (beats || self.links.keys().any(is_meant));
            let is_known = || self.incarnations(&forgotten.name).any(|(replica, _)| is_meant(replica));
            self.newer_than(forgotten).is_none() && (returned || is_known())
        });
        self.revoked = revoked;
        self.outdo_former_starts(now);
    }

    /// Drops older incarnations of a name once the newest one is complete here. One that still answers is kept: then the
    /// name was given twice.
    pub(super) fn supersede(&mut self, name: &NodeName, now: Instant) {
        let own = (self.me.name == *name).then_some(&self.me);
        let known: Vec<&ReplicaId> = self.incarnations(name).map(|(replica, _)| replica).chain(own).collect();
        if known.len() < 2 {
            return;
        }
        let Some(newest) = known.iter().max().map(|newest| (*newest).clone()) else { return };
        let older: Vec<ReplicaId> = known.into_iter().filter(|older| **older < newest).cloned().collect();
        let complete = self.has_all_of(&newest);
        // For a while after a restart others still have answers of the incarnation before, be its number the higher one.
        let is_outlived = self.members.get(&newest).is_some_and(Member::is_live)
            && self.is_settled(&newest, now)
            && self.is_settled(&self.me, now);
        if older.contains(&self.me) && is_outlived {
            self.report_conflict(&self.me.clone(), &newest);
        }
        for older in older {
            if older == self.me {
                continue;
            }
            // Who goes on beating beside a later start is another node of that name.
            let beats = self.members.get(&older).is_some_and(|member| member.alive == Some(true));
            if self.vouches_for(&older, now) || (beats && self.is_settled(&newest, now)) {
                // For a while after a restart answers of the incarnation before are still on their way; or the older one has
                // just started, with a clock that is behind.
                let lives = newest == self.me || self.members.get(&newest).is_some_and(Member::is_live);
                if lives && self.is_settled(&newest, now) && self.is_settled(&older, now) {
                    self.report_conflict(&older, &newest);
                }
                continue;
            }
            let known = self.members.get(&older);
            let empty = known.is_none_or(|member| self.set_ids().all(|set| member.known_seq(set) == 0));
            if complete || empty {
                self.counters.superseded += 1;
                self.drop_member(&older, None, now);
            }
        }
    }

    /// Whether everything that a start of a node began with is here, as of this node itself.
    fn has_all_of(&self, replica: &ReplicaId) -> bool {
        let applied = |set| self.lane(set, replica).map_or(0, |lane| lane.head().seq);
        self.members.get(replica).is_none_or(|member| member.is_restored(applied))
    }

    /// A start of this node with a higher incarnation is known. If that lives, the name was given twice, and both go on; if it does
    /// not, this node's clock was behind when it started, and it goes on as a later one.
    fn outdo_former_starts(&mut self, now: Instant) {
        if let Some(gone) = self.departed.later_than(&self.me) {
            self.ask_restart(RestartReason::Outdone, gone);
        }
        let Some((newest, member)) = self.incarnations(&self.me.name).last() else { return };
        if *newest > self.me
            && !member.is_live()
            && !self.vouches_for(newest, now)
            && self.is_settled(newest, now)
            && self.is_settled(&self.me, now)
        {
            self.ask_restart(RestartReason::Outdone, newest.incarnation);
        }
    }

    /// Whether a replica has been known for so long that an incarnation before it, or after it, is known to have ended if it has.
    fn is_settled(&self, replica: &ReplicaId, now: Instant) -> bool {
        let since = self.members.get(replica).map_or(self.started, |member| member.first_seen);
        now.saturating_duration_since(since) > 6 * self.config.evidence_window
    }

    fn report_conflict(&mut self, older: &ReplicaId, newer: &ReplicaId) {
        let mut news = false;
        for replica in [older, newer] {
            if let Some(member) = self.members.get_mut(replica) {
                news |= !std::mem::replace(&mut member.conflict_reported, true);
            }
        }
        if news {
            self.events.push_back(Event::Conflict { older: older.clone(), newer: newer.clone() });
        }
    }

    /// Drops a replica with its lanes. The application is told also of one whose state was never known: it may have seen
    /// changes of it.
    fn drop_member(&mut self, replica: &ReplicaId, to: Option<MemberState>, now: Instant) {
        let Some(member) = self.members.remove(replica) else { return };
        self.mesh_stale = true;
        self.events.push_back(Event::Member { replica: replica.clone(), from: member.state, to });
        for set in self.set_ids() {
            self.repairs.remove(&(set, replica.clone()));
            self.waiting.drop_lane(set, replica);
            let index = usize::from(set.0);
            let Some(lane) = self.sets[index].drop_lane(replica) else { continue };
            if let Some(registers) = &mut self.registers[index] {
                registers.drop_lane(&self.sets[index], replica, lane, now, &mut tell(&mut self.events, set));
                continue;
            }
            let removed: Vec<_> = lane.into_elements().into_iter().collect();
            if !removed.is_empty() {
                let change = Change { added: Vec::new(), removed };
                self.events.push_back(Event::Changed { set, replica: replica.clone(), change });
            }
        }
        for link in self.links.values_mut() {
            link.forget_lane(member.slot);
        }
        self.slots.give_back(member.slot);
        self.settle_all(now);
    }
}
