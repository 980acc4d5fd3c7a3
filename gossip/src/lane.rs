//! One replica's part of one set, as its owner writes it and as every other node copies it.
//!
//! Invariant: the live dots at sequence number n are a function of (replica, n) alone. So any node that holds a lane at n
//! can serve it, and two that hold it at n must agree in the hash.

mod staging;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use crate::delta::{Frontier, Interval, element_weight};
use crate::dots::{DotBitmapBuilder, DotList};
use crate::element::Element;
use crate::hash::{LaneKey, SetHash};
use crate::head::Head;
use crate::history::History;
use staging::Staged;

/// The limits of a lane's copy.
#[derive(Clone, Copy, Debug)]
pub struct LaneLimits {
    /// Removes remembered, 16 bytes each. A peer that is further behind gets a bitmap instead of a list: too few
    /// cost bandwidth after short outages, too many cost memory on every node.
    pub remove_window: usize,
    /// Live elements accepted from a peer. An interval that would exceed it is refused.
    pub max_elements: usize,
    /// Bytes of their keys and values, pieces of an unfinished transfer included. An interval that would exceed it is refused, and
    /// the lane stays behind. Too low keeps what others have written from this node; too high lets one of them fill its memory.
    pub max_bytes: usize,
}

impl Default for LaneLimits {
    fn default() -> LaneLimits {
        LaneLimits { remove_window: 65_536, max_elements: 16_000_000, max_bytes: 4 << 30 }
    }
}

/// A lane at one sequence number, and what has arrived of the next.
#[derive(Clone, Debug)]
pub struct Lane {
    key: LaneKey,
    seq: u64,
    hash: SetHash,
    elements: BTreeMap<u64, Element>,
    /// Of all elements, keys and values.
    bytes: usize,
    history: History,
    limits: LaneLimits,
    staged: Option<Box<Staged>>,
    doubt: Option<Doubt>,
}

/// This copy was found to differ from the owner's at the same sequence number. What to fetch instead of the next interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Which dots are live, and what is newer: enough if one was missed or kept in excess.
    Dots,
    /// Everything: the elements themselves differ.
    Elements,
}

/// What an applied interval did.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The lane is at a new sequence number.
    Applied(Change),
    /// A piece is kept; the lane shows it when the last piece is there.
    Staged,
    /// It brings nothing new.
    Duplicate,
    /// It begins behind what this copy knows: something in between is missing.
    Gap,
    /// The result had another hash than the sender's, so nothing was applied. The lane asks for a
    /// snapshot from now on.
    Diverged,
    /// More elements than [`LaneLimits::max_elements`].
    TooLarge,
}

/// Elements that came and went with their dots, in the order of these. A key in both has a new value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// New dots.
    pub added: Vec<(u64, Element)>,
    /// Dots that are gone.
    pub removed: Vec<(u64, Element)>,
}

impl Lane {
    /// The empty lane at sequence number 0.
    pub fn new(key: LaneKey, limits: LaneLimits) -> Lane {
        Lane {
            key,
            seq: 0,
            hash: SetHash::default(),
            elements: BTreeMap::new(),
            bytes: 0,
            history: History::new(0, limits.remove_window),
            limits,
            staged: None,
            doubt: None,
        }
    }

    /// The state in short.
    pub fn head(&self) -> Head {
        Head { seq: self.seq, count: self.elements.len() as u64, hash: self.hash }
    }

    /// The element of a live dot.
    pub fn element(&self, dot: u64) -> Option<&Element> {
        self.elements.get(&dot)
    }

    /// Live dots and their elements, ascending.
    pub fn elements(&self) -> impl ExactSizeIterator<Item = (u64, &Element)> {
        self.elements.iter().map(|(dot, element)| (*dot, element))
    }

    /// Whether the lane was found to differ from its owner's and waits for a snapshot.
    pub fn in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Whether pieces of an unfinished transfer are kept.
    pub fn is_staging(&self) -> bool {
        self.staged.is_some()
    }

    /// Owner only: adds an element under the next sequence number, which becomes its dot, and removes `superseded`
    /// under the same number.
    pub(crate) fn write_add(&mut self, element: Element, superseded: Option<u64>) -> u64 {
        self.seq += 1;
        let gone = superseded.filter(|dot| self.drop_dot(*dot).is_some());
        self.hash.add(self.key.element_hash(self.seq, &element));
        self.bytes += element.len();
        self.elements.insert(self.seq, element);
        self.history.record(self.seq, gone);
        self.seq
    }

    /// Owner only: removes a live dot under the next sequence number.
    pub(crate) fn write_remove(&mut self, dot: u64) -> u64 {
        self.seq += 1;
        let gone = self.drop_dot(dot).map(|_| dot);
        self.history.record(self.seq, gone);
        self.seq
    }

    /// All that is live, and the lane no more.
    pub(crate) fn into_elements(self) -> BTreeMap<u64, Element> {
        self.elements
    }

    fn drop_dot(&mut self, dot: u64) -> Option<Element> {
        let element = self.elements.remove(&dot)?;
        self.hash.remove(self.key.element_hash(dot, &element));
        self.bytes -= element.len();
        Some(element)
    }

    /// Where this copy stands and up to which dot it has the elements: what to ask a peer to continue from.
    pub fn wanted_from(&self) -> (Frontier, u64) {
        self.staged.as_ref().map_or_else(|| self.base(), |staged| (staged.frontier, staged.held))
    }

    /// The same without the pieces of an unfinished transfer.
    fn base(&self) -> (Frontier, u64) {
        match self.doubt {
            None => (Frontier::complete(self.seq), self.seq),
            Some(Doubt::Dots) => (Frontier::START, self.seq),
            Some(Doubt::Elements) => (Frontier::START, 0),
        }
    }

    /// The sequence number that a peer must have reached to be of any use now.
    pub fn wanted_version(&self) -> u64 {
        match (&self.staged, self.doubt) {
            (Some(staged), _) => staged.frontier.version,
            (None, Some(_)) => self.seq,
            (None, None) => self.seq.saturating_add(1),
        }
    }

    /// Drops the pieces of an unfinished transfer: who sent them is gone, and nobody else is as far.
    pub fn abandon_staged(&mut self) {
        self.staged = None;
    }

    /// The owner says that the hash at this sequence number is another one: from now on the lane asks for a snapshot.
    /// False if it was in doubt already.
    pub fn doubt(&mut self) -> bool {
        let first = self.doubt.is_none();
        self.doubt.get_or_insert(Doubt::Dots);
        first
    }

    /// The next piece, of about `max_bytes`, for one who stands at `from` and has the elements of all live dots up
    /// to `held`. `None` if this copy is not further than that.
    ///
    /// Where the removes since `from.version` are not remembered, or `from.version` is no boundary here, the piece begins
    /// at an earlier frontier. It always brings the receiver forward, if only by one dot.
    pub fn interval(&self, from: Frontier, held: u64, max_bytes: usize) -> Option<Interval> {
        if self.seq < from.version || Frontier::complete(self.seq) == from {
            return None;
        }
        let (from, removed) = self.start(from, max_bytes / 2);
        let held = held.min(self.seq).max(from.covered);
        let mut budget = max_bytes.saturating_sub(removed.written_len());
        let mut covered = from.covered;

        let mut kept = DotBitmapBuilder::new();
        for (dot, _) in self.elements.range((Excluded(covered), Included(held))) {
            if kept.written_len() > budget / 2 {
                break;
            }
            kept.push(*dot);
            covered = *dot;
        }
        let all_kept = self.elements.range((Excluded(covered), Included(held))).next().is_none();
        budget = budget.saturating_sub(kept.written_len());

        let mut added = Vec::new();
        if all_kept {
            covered = held;
            let mut more = self.elements.range((Excluded(covered), Included(self.seq)));
            covered = loop {
                let Some((dot, element)) = more.next() else { break self.seq };
                let weight = element_weight(element);
                if weight > budget && covered > from.covered {
                    break covered;
                }
                budget = budget.saturating_sub(weight);
                added.push((*dot, element.clone()));
                covered = *dot;
            };
        }
        let to = Frontier { covered, version: self.seq };
        let kept = (held > from.covered).then(|| kept.finish());
        Some(Interval { from, to, held, removed, kept, added, hash: to.is_complete().then_some(self.hash) })
    }

    /// The frontier at or before `from` that this copy can start at, and the removes since. A list of more than
    /// `max_bytes` is not worth sending: the bitmap of all live dots is smaller.
    fn start(&self, from: Frontier, max_bytes: usize) -> (Frontier, DotList) {
        if let Some(boundary) = self.history.boundary_at_or_below(from.version) {
            let covered = from.covered.min(boundary);
            let removed = self.history.removed_since(boundary).filter(|dot| *dot <= covered).collect();
            let removed = DotList::new(removed);
            if removed.written_len() <= max_bytes {
                return (Frontier { covered, version: boundary }, removed);
            }
        }
        (Frontier::START, DotList::default())
    }

    /// Applies an interval that [is well formed](Interval::is_well_formed).
    pub fn apply(&mut self, interval: &Interval) -> Outcome {
        let continues = self.staged.as_ref().filter(|staged| interval.fits(staged.frontier, staged.held));
        if let Some(staged) = continues {
            if staged.frontier.reaches(interval.to) || interval.to.version < staged.frontier.version {
                return Outcome::Duplicate;
            }
        } else {
            if interval.to.version < self.seq || (interval.to.version == self.seq && self.doubt.is_none()) {
                return Outcome::Duplicate;
            }
            let (frontier, held) = self.base();
            if !interval.fits(frontier, held) {
                return Outcome::Gap;
            }
            if self.staged.is_some() && !interval.to.is_complete() {
                // Two transfers at once would undo each other; the one begun first goes on.
                return Outcome::Duplicate;
            }
            self.staged = Some(Box::new(Staged::new(frontier, held)));
        }
        let Some(mut staged) = self.staged.take() else { return Outcome::Duplicate };
        staged.add(&self.elements, interval);
        if self.is_too_large(&staged) {
            return Outcome::TooLarge;
        }
        match interval.hash {
            Some(hash) if interval.to.is_complete() => self.commit(*staged, interval.to.version, hash),
            _ => {
                self.staged = Some(staged);
                Outcome::Staged
            }
        }
    }

    /// Whether the lane with the staged pieces would exceed its limits.
    fn is_too_large(&self, staged: &Staged) -> bool {
        let elements = self.elements.len() + staged.added.len();
        let bytes = self.bytes + staged.added_bytes;
        // What goes is looked at only where it matters.
        elements > self.limits.max_elements.saturating_add(staged.removed.len())
            || (bytes > self.limits.max_bytes && {
                let removed = staged.removed.iter().filter_map(|dot| self.elements.get(dot));
                bytes - removed.map(Element::len).sum::<usize>() > self.limits.max_bytes
            })
    }

    /// Makes the staged pieces the state at `seq`, if the hash then is the owner's.
    fn commit(&mut self, staged: Staged, seq: u64, expected: SetHash) -> Outcome {
        let mut hash = self.hash;
        for dot in &staged.removed {
            if let Some(element) = self.elements.get(dot) {
                hash.remove(self.key.element_hash(*dot, element));
            }
        }
        for (dot, element) in &staged.added {
            hash.add(self.key.element_hash(*dot, element));
        }
        if hash != expected {
            self.doubt = Some(if self.doubt.is_none() { Doubt::Dots } else { Doubt::Elements });
            return Outcome::Diverged;
        }

        let removed: Vec<(u64, Element)> =
            staged.removed.iter().filter_map(|dot| Some((*dot, self.elements.remove(dot)?))).collect();
        let added = staged.added.iter().map(|(dot, element)| (*dot, element.clone())).collect();
        let removed_bytes: usize = removed.iter().map(|(_, element)| element.len()).sum();
        self.bytes = self.bytes - removed_bytes + staged.added_bytes;
        self.elements.extend(staged.added);
        self.hash = hash;
        self.seq = seq;
        if self.doubt.take().is_some() {
            // What was removed when is not known of a copy that was wrong.
            self.history = History::new(seq, self.limits.remove_window);
        } else {
            self.history.record(seq, staged.removed);
        }
        Outcome::Applied(Change { added, removed })
    }
}

#[cfg(test)]
mod tests;
