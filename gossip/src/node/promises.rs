//! Acknowledgements that came before what their sender had written earlier.
//!
//! Who hears that a member has applied his change may rely on having all that the member wrote before: of a route that
//! was acknowledged, that every message retained there before it has arrived here. So such an acknowledgement
//! counts when the member's lanes have come to where they were when it was sent.

use std::collections::VecDeque;

use crate::delta::SetId;

/// One member's acknowledgements that do not count yet, in the order of arrival.
#[derive(Debug, Default)]
pub(super) struct Promises(VecDeque<Promise>);

#[derive(Debug)]
struct Promise {
    set: SetId,
    seq: u64,
    /// How far which lanes of the member must have come.
    missing: Vec<(SetId, u64)>,
}

impl Promises {
    /// More are put together: then they count when the last of them does.
    const MAX: usize = 64;

    pub fn add(&mut self, set: SetId, seq: u64, missing: Vec<(SetId, u64)>) {
        let is_full = self.0.len() >= Promises::MAX;
        let last = self.0.iter_mut().rev().find(|promise| promise.set == set);
        match last {
            // Said again, when the member had written more: the first word is enough.
            Some(last) if last.seq >= seq => {}
            Some(last) if is_full => *last = Promise { set, seq, missing },
            _ => self.0.push_back(Promise { set, seq, missing }),
        }
    }

    /// A lane of the member has come to `seq`: takes out what counts now.
    pub fn take_kept(&mut self, set: SetId, seq: u64) -> Vec<(SetId, u64)> {
        let mut kept = Vec::new();
        self.0.retain_mut(|promise| {
            promise.missing.retain(|(missing, head)| *missing != set || *head > seq);
            if promise.missing.is_empty() {
                kept.push((promise.set, promise.seq));
            }
            !promise.missing.is_empty()
        });
        kept
    }
}
