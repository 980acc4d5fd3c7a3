use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the classes, in bytes. Gossip keeps below 1,400 to fit into one packet on the way.
const BOUNDS: [u64; 6] = [100, 200, 400, 800, 1400, 65536];

/// How many datagrams there were of which size. Relaxed atomics, for metrics only.
#[derive(Debug, Default)]
pub struct Sizes {
    classes: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    sum: AtomicU64,
}

impl Sizes {
    /// Counts a datagram of so many bytes.
    pub(super) fn count_one(&self, len: usize) {
        let len = len as u64;
        if let Some(class) = BOUNDS.iter().position(|&bound| len <= bound) {
            self.classes[class].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(len, Ordering::Relaxed);
    }

    /// Datagrams.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes of all of them.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// Bounds in bytes, ascending, each with the number of datagrams that are not larger.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.classes.iter().map(|class| class.load(Ordering::Relaxed));
        let totals = counts.scan(0, |total, count| {
            *total += count;
            Some(*total)
        });
        BOUNDS.into_iter().zip(totals)
    }
}
