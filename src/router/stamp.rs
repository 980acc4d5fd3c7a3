//! Whether a match made earlier is still right, told from a few counters.
//!
//! Every change of the trie raises one counter, that of the changed filter's literal prefix (the levels before its first
//! wildcard, at most [`Prefixes::MAX`] - 1 of them). A filter that matches a topic has a literal prefix that the topic begins
//! with. So what a topic matches depends on the counters of the topic's own prefixes alone, and subscriptions
//! that come and go under `x/1/+` leave matches of `x/2/y` alone. Prefixes share counters by hash; that can only make
//! a match look older than it is.
//!
//! **The sum is enough.** Counters only grow. A later reading of the same counters is, one by one, no smaller (reads of one
//! atomic by a reader that saw the earlier reading never go back), so the sums are equal only if every counter is
//! equal. That the counters of one reading are read one after the other does no harm: each is compared with itself.
//!
//! **A stale match is never kept.** A writer raises the counter while it holds the write lock of the filter's shard. A reader
//! reads its stamp first, then takes the shard's read lock. Suppose that the match lacks the change: the reader's critical
//! section came before the writer's, so its stamp, read before that, came before the counter was raised; the stamp
//! cannot include it. (Had it read the raised value, that load would have synchronised with the release of the raise, which
//! follows the writer's lock, which follows the reader's unlock, which follows the load: a circle.) From when the change
//! has returned, everyone who knows of it reads the raised counter and refuses the match. The other way round, a stamp
//! from before the change on a match that has it, costs one needless match.
//!
//! The same holds for a reader that takes no lock because the shard's number of filters reads 0: it reads that after its
//! stamp, and the writer sets it before it raises the counter. With a change in the stamp, the number is at least as new.

use std::sync::atomic::{AtomicU64, Ordering};

use super::level_hash::Prefixes;

/// A power of two. 32 KiB: it stays in a core's first-level cache; the chance that an unrelated change touches one of
/// a topic's four counters is 0.1 %.
const COUNTERS: usize = 4096;

/// The counters.
pub(super) struct Stamps(Box<[AtomicU64; COUNTERS]>);

/// The state of a topic's counters at some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    sum: u64,
    counters: [u16; Prefixes::MAX],
    used: u8,
}

impl Default for Stamps {
    fn default() -> Self {
        Stamps(Box::new([const { AtomicU64::new(0) }; COUNTERS]))
    }
}

impl Stamps {
    /// The stamp of a topic as of now. To be taken before the topic is matched.
    pub(super) fn stamp(&self, topic: &Prefixes) -> Stamp {
        let mut stamp = Stamp { sum: 0, counters: [0; Prefixes::MAX], used: topic.hashes().len() as u8 };
        for (counter, &hash) in stamp.counters.iter_mut().zip(topic.hashes()) {
            *counter = counter_of(hash);
        }
        stamp.sum = self.sum(&stamp);
        stamp
    }

    pub(super) fn is_current(&self, stamp: &Stamp) -> bool {
        self.sum(stamp) == stamp.sum
    }

    /// Marks matches that a change of this filter may have made wrong. To be called under the lock of the filter's shard.
    pub(super) fn raise(&self, filter: &Prefixes) {
        self.0[usize::from(counter_of(filter.longest()))].fetch_add(1, Ordering::Release);
    }

    fn sum(&self, stamp: &Stamp) -> u64 {
        let counters = &stamp.counters[..usize::from(stamp.used)];
        counters.iter().map(|&i| self.0[usize::from(i) % COUNTERS].load(Ordering::Acquire)).sum()
    }
}

/// The high bits: the low ones choose the shard.
fn counter_of(hash: u64) -> u16 {
    (hash >> (u64::BITS - COUNTERS.ilog2())) as u16
}
