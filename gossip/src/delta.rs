//! What travels to bring a peer's copy of a lane forward.

use serde::{Deserialize, Serialize};

use crate::dots::{DotBitmap, DotList};
use crate::element::Element;
use crate::hash::SetHash;
use crate::replica::ReplicaId;

/// Names one of the replicated sets: its index in the list that the application gave at construction. It must mean the
/// same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SetId(pub u8);

/// How far knowledge of a lane reaches: for every dot up to `covered` it is known whether it was live at sequence number
/// `version`. A lane that is complete at n stands at (n, n); a node in the middle of a large transfer, whose pieces
/// arrive in the order of dots, stands at a `covered` below `version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    /// The highest dot that is covered.
    pub covered: u64,
    /// The sequence number whose state is known.
    pub version: u64,
}

impl Frontier {
    /// Nothing is known; every lane was empty at 0.
    pub const START: Frontier = Frontier { covered: 0, version: 0 };

    /// The whole state at `seq`.
    pub fn complete(seq: u64) -> Frontier {
        Frontier { covered: seq, version: seq }
    }

    /// Whether a whole state is known.
    pub fn is_complete(self) -> bool {
        self.covered == self.version
    }

    /// Whether who stands here knows all that who stands at `other` does.
    pub fn reaches(self, other: Frontier) -> bool {
        self.covered >= other.covered && self.version >= other.version
    }
}

/// A delta interval of one lane: brings who stands at `from`, or anywhere beyond, to `to`.
///
/// Its rule for dots up to `from.covered`: those removed between the two versions are listed. Its rule for dots behind,
/// up to `to.covered`: exactly those in `kept` and `added` are live, whatever the receiver has. The second
/// rule is what lets one coalesced interval serve every receiver that stands inside it: what came and went
/// within it is in no list.
///
/// The plain interval (a, b] goes from (a, a] to (b, b). A large one is cut anywhere into pieces, each an interval of
/// its own; any node that is far enough can serve the next piece, and only the last one, which ends complete, changes
/// what the receiver shows. An interval from [`Frontier::START`] with `held` above 0 is a snapshot: one
/// compressed bitmap in place of a list of removes that nobody remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Where the receiver must stand at least.
    pub from: Frontier,
    /// Where it stands afterwards.
    pub to: Frontier,
    /// Live dots in (`from.covered`, `held`] are in `kept` without their elements: the receiver has those.
    pub held: u64,
    /// Dots up to `from.covered` that are gone at `to.version`.
    pub removed: DotList,
    /// Live dots in (`from.covered`, `held`], as far as `to.covered`. Absent if there can be none.
    pub kept: Option<DotBitmap>,
    /// Live dots in (`held`, `to.covered`] and their elements, ascending.
    pub added: Vec<(u64, Element)>,
    /// Hash of the lane at `to.version`. Only what ends complete can be checked, and carries it.
    pub hash: Option<SetHash>,
}

impl Interval {
    /// Whether one who stands at `frontier`, with the elements of all live dots up to `held`, can apply it.
    pub fn fits(&self, frontier: Frontier, held: u64) -> bool {
        frontier.reaches(self.from) && self.held <= held
    }

    /// Whether it says what an interval can say. What a peer sent is checked with this before it is looked at.
    pub fn is_well_formed(&self) -> bool {
        let floor = self.from.covered.max(self.held);
        self.from.covered <= self.from.version
            && self.to.covered <= self.to.version
            && self.to.reaches(self.from)
            && self.removed.last().is_none_or(|dot| dot <= self.from.covered)
            && self.added.is_sorted_by(|(one, _), (next, _)| one < next)
            && self.added.first().is_none_or(|(dot, _)| *dot > floor)
            && self.added.last().is_none_or(|(dot, _)| *dot <= self.to.covered)
            && self.hash.is_some() == self.to.is_complete()
    }

    /// Whether `dot`, which lies in the part with the exact rule, is live.
    pub(crate) fn lists(&self, dot: u64) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.contains(dot))
            || self.added.binary_search_by_key(&dot, |(added, _)| *added).is_ok()
    }

    /// About what it takes in memory and on the wire, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let added: usize = self.added.iter().map(|(_, element)| element_weight(element)).sum();
        200 + self.removed.written_len()
            + self.kept.as_ref().map_or(0, |kept| kept.len() as usize / 4)
            + added
    }
}

/// About what an added element takes when written, in bytes: itself, its dot and two lengths.
pub(crate) fn element_weight(element: &Element) -> usize {
    element.len() + 16
}

/// An interval with its address: the operation of the replicated set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Which set.
    pub set: SetId,
    /// Whose lane in it.
    pub replica: ReplicaId,
    /// What happened there.
    pub interval: Interval,
}
