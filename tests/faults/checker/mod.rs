//! Decides from a history what was owed and whether it came. Pure: the same history has the same verdict.

pub mod agreement;

use crate::history::History;

/// What a scenario promises beyond what is owed always.
#[derive(Clone, Copy, Debug, Default)]
pub struct Promises {
    /// No client loses its connection but by its own will, also while nodes cannot reach each other. Connections to a node
    /// that is killed or stopped are not meant.
    pub no_disconnects: bool,
    /// Nothing is exempt: no node died.
    pub no_exemptions: bool,
}

/// What came of a history.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The first few of each kind, in words.
    pub violations: Vec<String>,
}

/// Compares what was owed with what came.
pub fn check(_history: &History, _promises: &Promises) -> Verdict {
    Verdict::default()
}

impl Verdict {
    /// # Panics
    /// With all that is known, if a promise was not kept; the history is in a file then.
    #[track_caller]
    pub fn assert_kept(&self, history: &History) {
        if !self.violations.is_empty() {
            let path = history.save();
            panic!("seed {}, history in {path:?}:\n{}", history.seed, self.violations.join("\n"));
        }
    }
}
