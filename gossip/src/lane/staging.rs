//! Pieces of an interval that have arrived, kept beside the lane until the last one is there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};

use crate::delta::{Frontier, Interval};
use crate::element::Element;

/// What the pieces so far change in the lane. Readers see none of it.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    /// How far the pieces reach.
    pub frontier: Frontier,
    /// The elements of all live dots up to here are in the lane or in `added`.
    pub held: u64,
    /// Dots of the lane that are gone.
    pub removed: BTreeSet<u64>,
    /// Dots that the lane does not have, or has with another element.
    pub added: BTreeMap<u64, Element>,
    /// Of these, keys and values.
    pub added_bytes: usize,
}

impl Staged {
    pub fn new(frontier: Frontier, held: u64) -> Staged {
        Staged { frontier, held, removed: BTreeSet::new(), added: BTreeMap::new(), added_bytes: 0 }
    }

    /// Adds a piece that fits at the frontier, over a lane of these elements.
    pub fn add(&mut self, lane: &BTreeMap<u64, Element>, piece: &Interval) {
        for dot in piece.removed.iter() {
            self.forget(dot);
            if lane.contains_key(&dot) {
                self.removed.insert(dot);
            }
        }

        let exact = (Excluded(piece.from.covered), Included(piece.to.covered));
        if piece.from.covered < piece.to.covered {
            self.removed.extend(lane.range(exact).map(|(dot, _)| *dot).filter(|dot| !piece.lists(*dot)));
            let gone: Vec<u64> =
                self.added.range(exact).map(|(dot, _)| *dot).filter(|dot| !piece.lists(*dot)).collect();
            gone.into_iter().for_each(|dot| self.forget(dot));
        }

        for (dot, element) in &piece.added {
            match lane.get(dot) {
                Some(present) if present == element => {}
                present => {
                    if present.is_some() {
                        self.removed.insert(*dot);
                    }
                    self.forget(*dot);
                    self.added_bytes += element.len();
                    self.added.insert(*dot, element.clone());
                }
            }
        }

        self.frontier = piece.to;
        self.held = self.held.max(piece.to.covered);
    }

    fn forget(&mut self, dot: u64) {
        if let Some(element) = self.added.remove(&dot) {
            self.added_bytes -= element.len();
        }
    }
}
