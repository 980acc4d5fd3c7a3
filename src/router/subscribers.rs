//! A map from subscribers to values that is read as a list: dense, in no order, small while it is small.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;

use super::Subscriber;

/// The map. Most filters have one subscriber, so one is held in place.
pub(super) struct SubscriberMap<S, V> {
    list: SmallVec<[(S, V); 1]>,
    /// Positions in the list, by subscriber; only while the list is too long to be searched.
    index: Option<Box<SubscriberIndex>>,
}

#[derive(Default)]
struct SubscriberIndex {
    hasher: DefaultHashBuilder,
    positions: HashTable<u32>,
}

/// Up to this length the list is searched.
const SEARCHED: usize = 16;

impl<S, V> Default for SubscriberMap<S, V> {
    fn default() -> Self {
        SubscriberMap { list: SmallVec::new(), index: None }
    }
}

impl<S: Subscriber, V> SubscriberMap<S, V> {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &(S, V)> {
        self.list.iter()
    }

    pub(super) fn into_list(self) -> SmallVec<[(S, V); 1]> {
        self.list
    }

    /// Adds a subscriber that is not in the map, unchecked.
    pub(super) fn push(&mut self, subscriber: S, value: V) {
        self.list.push((subscriber, value));
        if let Some(index) = &mut self.index {
            index.add(&self.list, self.list.len() - 1);
        }
    }

    pub(super) fn value_mut(&mut self, subscriber: &S) -> Option<&mut V> {
        self.position(subscriber).map(|position| &mut self.list[position].1)
    }

    /// Sets a subscriber's value. Returns the one it had.
    pub(super) fn insert(&mut self, subscriber: S, value: V) -> Option<V> {
        match self.value_mut(&subscriber) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => {
                self.push(subscriber, value);
                None
            }
        }
    }

    pub(super) fn remove(&mut self, subscriber: &S) -> Option<V> {
        let position = self.position(subscriber)?;
        if let Some(index) = &mut self.index {
            index.swap_remove(&self.list, position);
        }
        let (_, value) = self.list.swap_remove(position);
        if self.list.len() <= self.list.capacity() / 4 {
            // Where the rest is still too long to be searched, the next access makes a smaller index.
            self.list.shrink_to_fit();
            self.index = None;
        }
        Some(value)
    }

    fn position(&mut self, subscriber: &S) -> Option<usize> {
        if self.list.len() <= SEARCHED && self.index.is_none() {
            return self.list.iter().position(|(other, _)| other == subscriber);
        }
        let index = self.index.get_or_insert_with(|| {
            let mut index = Box::<SubscriberIndex>::default();
            (0..self.list.len()).for_each(|position| index.add(&self.list, position));
            index
        });
        index.position(&self.list, subscriber)
    }
}

impl SubscriberIndex {
    fn add<S: Subscriber, V>(&mut self, list: &[(S, V)], position: usize) {
        let hash = self.hasher.hash_one(&list[position].0);
        let rehash = |&position: &u32| self.hasher.hash_one(&list[position as usize].0);
        self.positions.insert_unique(hash, position as u32, rehash);
    }

    fn position<S: Subscriber, V>(&self, list: &[(S, V)], subscriber: &S) -> Option<usize> {
        let hash = self.hasher.hash_one(subscriber);
        self.positions.find(hash, |&position| list[position as usize].0 == *subscriber).map(|&p| p as usize)
    }

    /// Follows what `swap_remove` is about to do to the list: the last one takes the place of the removed.
    fn swap_remove<S: Subscriber, V>(&mut self, list: &[(S, V)], position: usize) {
        let last = list.len() - 1;
        let hash = self.hasher.hash_one(&list[position].0);
        if let Ok(entry) = self.positions.find_entry(hash, |&other| other as usize == position) {
            entry.remove();
        }
        let hash = self.hasher.hash_one(&list[last].0);
        if let Some(moved) = self.positions.find_mut(hash, |&other| other as usize == last) {
            *moved = position as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_as_a_hash_map(steps in prop::collection::vec((0u8..3, 0u32..60, any::<u8>()), 0..400)) {
            let mut map = SubscriberMap::default();
            let mut model = HashMap::new();
            for (kind, subscriber, value) in steps {
                if kind > 0 {
                    prop_assert_eq!(map.insert(subscriber, value), model.insert(subscriber, value));
                } else {
                    prop_assert_eq!(map.remove(&subscriber), model.remove(&subscriber));
                }
                prop_assert_eq!(map.value_mut(&subscriber).copied(), model.get(&subscriber).copied());
                prop_assert_eq!(map.is_empty(), model.is_empty());
            }
            let list: HashMap<u32, u8> = map.iter().copied().collect();
            prop_assert_eq!(map.iter().len(), model.len());
            prop_assert_eq!(list, model);
        }
    }
}
