//! What an operator may want to know.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Node;
use crate::delta::SetId;
use crate::element::Element;
use crate::head::Head;
use crate::membership::MemberState;
use crate::replica::{NodeName, ReplicaId};

/// How a member can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Over a link.
    Direct,
    /// Through this peer.
    Relayed(ReplicaId),
    /// Not at all.
    None,
}

/// One replica's lane in one set, as this node has it.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneStatus {
    /// The set.
    pub set: SetId,
    /// The newest head heard of. Its hash is zero where only its number is known.
    pub known: Head,
    /// What has been applied.
    pub applied: Head,
    /// Since when a newer state has been known that is not applied.
    pub lag: Option<Duration>,
    /// What the member has applied of this node's own lane.
    pub acked_seq: u64,
}

impl LaneStatus {
    /// Changes known of and not applied.
    pub fn lag_ops(&self) -> u64 {
        self.known.seq.saturating_sub(self.applied.seq)
    }
}

/// One other replica.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberStatus {
    /// Who.
    pub replica: ReplicaId,
    /// `None` if it is known by hearsay only.
    pub state: Option<MemberState>,
    /// Whether its elements count.
    pub visible: bool,
    /// How it can be reached.
    pub link: LinkState,
    /// Round trip of the last answered ping.
    pub rtt: Option<Duration>,
    /// Its lanes, by set.
    pub lanes: Vec<LaneStatus>,
}

impl Node {
    /// All other replicas that are known, by name and incarnation.
    pub fn members(&self, now: Instant) -> Vec<MemberStatus> {
        let lane = |replica: &ReplicaId, member: &super::Member, set: SetId| {
            let applied = self.lane(set, replica).map_or(Head::default(), |lane| lane.head());
            LaneStatus {
                set,
                known: member.known_head(set, applied),
                applied,
                lag: member.behind_since(set).map(|since| now.saturating_duration_since(since)),
                acked_seq: member.acked(set),
            }
        };
        let status = |(replica, member): (&ReplicaId, &super::Member)| MemberStatus {
            replica: replica.clone(),
            state: member.state,
            visible: self.is_visible(replica),
            link: match self.graph.next_hop(replica, now) {
                _ if self.links.contains_key(replica) => LinkState::Direct,
                Some(through) => LinkState::Relayed(through.clone()),
                None => LinkState::None,
            },
            rtt: member.rtt,
            lanes: self.set_ids().map(|set| lane(replica, member, set)).collect(),
        };
        self.members.iter().map(status).collect()
    }

    /// Whether a replica, or a later one of its node, is known to have left for good.
    pub fn has_left(&self, replica: &ReplicaId) -> bool {
        self.departed.has_left(replica)
    }

    /// The other replicas in such a state, by name and incarnation.
    pub fn members_in(&self, is_wanted: impl Fn(MemberState) -> bool) -> impl Iterator<Item = &ReplicaId> {
        let wanted = move |member: &super::Member| member.state.is_some_and(&is_wanted);
        self.members.iter().filter(move |(_, member)| wanted(member)).map(|(replica, _)| replica)
    }

    /// Whether lanes of this replica are merged.
    pub fn is_member(&self, replica: &ReplicaId) -> bool {
        self.members.contains_key(replica)
    }

    /// The state of a member.
    pub fn member_state(&self, replica: &ReplicaId) -> Option<MemberState> {
        self.members.get(replica)?.state
    }

    /// Names that more than one live node has, this one included: those of [`Event::Conflict`](crate::Event::Conflict), for as
    /// long as it lasts.
    pub fn name_conflicts(&self) -> usize {
        let reported = self.live_members().filter(|(_, member)| member.conflict_reported());
        let names: BTreeSet<_> = reported.map(|(replica, _)| &replica.name).collect();
        let count = |name: &NodeName| {
            let others = self.incarnations(name).filter(|(_, member)| member.is_live()).count();
            others + usize::from(self.me.name == *name)
        };
        names.into_iter().filter(|name| count(name) > 1).count()
    }

    /// Whether a replica's elements count: it is live, or a newer incarnation is and has not restored everything yet.
    pub fn is_visible(&self, replica: &ReplicaId) -> bool {
        *replica == self.me
            || self
                .incarnations(&replica.name)
                .any(|(same_name, member)| same_name >= replica && member.is_live())
    }

    /// Whether this node has applied the newest state it knows of every live member in every set, without a
    /// difference in hashes, and no replica must begin a new lane. Of a member whose state is not known, it must have
    /// applied what linked peers have.
    pub fn converged(&self) -> bool {
        // What no linked peer has of a replica that is perhaps dead may never arrive.
        let expected = |member: &super::Member, set| match member.state {
            None => self.links.values().map(|link| link.has(set, member.slot)).max().unwrap_or(0),
            Some(_) => member.known_seq(set),
        };
        let up_to_date = |replica: &ReplicaId, member: &super::Member| {
            self.set_ids().all(|set| match self.lane(set, replica) {
                Some(lane) => lane.head().seq >= expected(member, set) && !lane.in_doubt(),
                None => expected(member, set) == 0,
            })
        };
        let counts = |member: &super::Member| member.state.is_none_or(MemberState::is_live);
        !self.revoked.iter().any(|replica| self.departed.contains(replica))
            && !self.restart_asked
            && self.members.iter().all(|(replica, member)| !counts(member) || up_to_date(replica, member))
    }

    /// The lanes of a set and their elements, by replica; those of members that are not visible on request.
    ///
    /// # Panics
    /// If there is no such set.
    pub fn elements(&self, set: SetId, also_hidden: bool) -> impl Iterator<Item = (&ReplicaId, &Element)> {
        let lanes = self.sets[usize::from(set.0)].lanes();
        let shown = lanes.filter(move |(replica, _)| also_hidden || self.is_visible(replica));
        shown.flat_map(|(replica, lane)| lane.elements().map(move |(_, element)| (replica, element)))
    }

    /// What is known of one replica's lane: its state here.
    pub fn applied(&self, set: SetId, replica: &ReplicaId) -> Option<Head> {
        Some(self.lane(set, replica)?.head())
    }
}
