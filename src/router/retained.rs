//! Retained messages by topic, found by filter.
//!
//! A tree of topic levels, and two ordered lists of its nodes for the wildcards. A search goes only where its filter leads,
//! may rest after any number of steps, and goes on whatever came and went meanwhile: it remembers places, and an ordered list
//! can be gone on with behind any of them.

mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::level_hash::LevelHasher;
use super::level_tree::{LevelTree, NodeId, ROOT};
use crate::topic::Topic;
pub use search::Search;

/// One message for each topic.
pub struct Retained<M> {
    hasher: LevelHasher,
    tree: LevelTree<TopicNode<M>>,
    /// (parent, child): what `+` and `#` go through.
    children: BTreeSet<(NodeId, NodeId)>,
    /// (grandparent, hash of the level, grandchild): what `+` with a literal level behind it goes through. Few of a
    /// million children may have that level below them, and only these are looked at.
    grandchildren: BTreeSet<(NodeId, u32, NodeId)>,
    /// Nodes made so far.
    born: u64,
    len: usize,
}

struct TopicNode<M> {
    /// Which of all nodes ever made it is: what has its place in the slab later is another one.
    born: u64,
    message: Option<M>,
}

impl<M> Default for TopicNode<M> {
    fn default() -> Self {
        TopicNode { born: 0, message: None }
    }
}

/// Where a topic's message is, for as long as the topic has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    node: NodeId,
    born: u64,
}

impl<M> Default for Retained<M> {
    fn default() -> Self {
        Retained {
            hasher: LevelHasher::default(),
            tree: LevelTree::default(),
            children: BTreeSet::new(),
            grandchildren: BTreeSet::new(),
            born: 0,
            len: 0,
        }
    }
}

impl<M> Retained<M> {
    /// Sets the topic's message. Returns its place, and the message it had.
    pub fn insert(&mut self, topic: Topic<'_>, message: M) -> (Place, Option<M>) {
        let mut node = ROOT;
        for level in topic.levels() {
            let hash = self.hasher.level(level);
            node = match self.tree.child(node, level, hash) {
                Some(child) => child,
                None => self.add_child(node, level, hash),
            };
        }
        let old = self.tree[node].message.replace(message);
        self.len += usize::from(old.is_none());
        (self.place_of(node), old)
    }

    /// Removes the topic's message and returns it.
    pub fn remove(&mut self, topic: Topic<'_>) -> Option<M> {
        self.remove_at(self.place(topic)?)
    }

    /// Removes the message at this place and returns it.
    pub fn remove_at(&mut self, place: Place) -> Option<M> {
        if !self.is_there(place) {
            return None;
        }
        let message = self.tree[place.node].message.take()?;
        self.len -= 1;
        self.prune(place.node);
        Some(message)
    }

    /// The place of the topic's message, if it has one.
    pub fn place(&self, topic: Topic<'_>) -> Option<Place> {
        let child = |node, level: &str| self.tree.child(node, level, self.hasher.level(level));
        let node = topic.levels().try_fold(ROOT, child)?;
        self.tree[node].message.as_ref().map(|_| self.place_of(node))
    }

    /// The message at this place, if it is still one.
    pub fn at(&self, place: Place) -> Option<&M> {
        self.tree[place.node].message.as_ref().filter(|_| self.is_there(place))
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, place: Place) -> Option<&mut M> {
        if self.is_there(place) { self.tree[place.node].message.as_mut() } else { None }
    }

    /// The topic's message.
    pub fn message(&self, topic: Topic<'_>) -> Option<&M> {
        self.at(self.place(topic)?)
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place_of(&self, node: NodeId) -> Place {
        Place { node, born: self.tree[node].born }
    }

    fn is_there(&self, place: Place) -> bool {
        self.tree[place.node].born == place.born
    }

    fn add_child(&mut self, parent: NodeId, level: &str, hash: u64) -> NodeId {
        let child = self.tree.add_child(&self.hasher, parent, level, hash);
        self.born += 1;
        self.tree[child].born = self.born;
        self.children.insert((parent, child));
        if parent != ROOT {
            self.grandchildren.insert((self.tree.parent(parent), hash as u32, child));
        }
        child
    }

    /// Removes the node and what leads to nothing else, from the leaf up.
    fn prune(&mut self, mut node: NodeId) {
        while node != ROOT && self.tree[node].message.is_none() && !self.tree.has_edges(node) {
            let parent = self.tree.parent(node);
            self.children.remove(&(parent, node));
            if parent != ROOT {
                let hash = self.hasher.level(self.tree.level(node)) as u32;
                self.grandchildren.remove(&(self.tree.parent(parent), hash, node));
            }
            self.tree.remove(&self.hasher, node);
            node = parent;
        }
    }
}
