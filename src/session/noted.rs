//! Names of publishes that a session has had, while the same may come again.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Names that all sessions of the process note together: some 100 MB.
const ALL_MAX: usize = 1 << 22;

static ALL: AtomicUsize = AtomicUsize::new(0);

/// Some names. Where there is no room for more, the first ones stay.
#[derive(Debug)]
pub struct Noted<T> {
    names: HashSet<T>,
}

impl<T> Default for Noted<T> {
    fn default() -> Noted<T> {
        Noted { names: HashSet::new() }
    }
}

impl<T: Copy + Eq + Hash> Noted<T> {
    /// One more, of at most `max`.
    pub fn insert(&mut self, name: T, max: usize) {
        if self.names.len() < max && ALL.load(Ordering::Relaxed) < ALL_MAX && self.names.insert(name) {
            ALL.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it is noted.
    pub fn contains(&self, name: T) -> bool {
        self.names.contains(&name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.names.iter().copied()
    }
}

impl<T> Drop for Noted<T> {
    fn drop(&mut self) {
        ALL.fetch_sub(self.names.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_noted_as_long_as_there_is_room() {
        let mut noted = Noted::default();
        (0..5).for_each(|name| noted.insert(name, 3));
        assert_eq!([0, 2, 3].map(|name| noted.contains(name)), [true, true, false]);
        assert_eq!(noted.iter().count(), 3);
        assert!(ALL.load(Ordering::Relaxed) >= 3);
    }
}
