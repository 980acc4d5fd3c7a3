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
}

impl Staged {
    pub fn new(frontier: Frontier, held: u64) -> Staged {
        Staged { frontier, held, removed: BTreeSet::new(), added: BTreeMap::new() }
    }

    /// Adds a piece that fits at the frontier, over a lane of these elements.
    pub fn add(&mut self, lane: &BTreeMap<u64, Element>, piece: &Interval) {
        for dot in piece.removed.iter() {
            self.added.remove(&dot);
            if lane.contains_key(&dot) {
                self.removed.insert(dot);
            }
        }

        let exact = (Excluded(piece.from.covered), Included(piece.to.covered));
        if piece.from.covered < piece.to.covered {
            self.removed.extend(lane.range(exact).map(|(dot, _)| *dot).filter(|dot| !piece.lists(*dot)));
            let gone: Vec<u64> =
                self.added.range(exact).map(|(dot, _)| *dot).filter(|dot| !piece.lists(*dot)).collect();
            gone.iter().for_each(|dot| {
                self.added.remove(dot);
            });
        }

        for (dot, element) in &piece.added {
            match lane.get(dot) {
                Some(present) if present == element => {}
                Some(_) => {
                    self.removed.insert(*dot);
                    self.added.insert(*dot, element.clone());
                }
                None => {
                    self.added.insert(*dot, element.clone());
                }
            }
        }

        self.frontier = piece.to;
        self.held = self.held.max(piece.to.covered);
    }
}
