//! Retained messages by topic, found by filter.

use parking_lot::RwLock;
use smallvec::SmallVec;

use super::level_hash::LevelHasher;
use super::level_tree::{LevelTree, NodeId, ROOT};
use crate::topic::{Level, Topic, TopicFilter};

/// One message for each topic. Methods that change it block readers for the time of the change.
pub struct Retained<M> {
    hasher: LevelHasher,
    /// One lock: retained messages are set and asked for far more seldom than matched.
    store: RwLock<Store<M>>,
}

struct Store<M> {
    tree: LevelTree<TopicNode<M>>,
    len: usize,
}

/// Children are a list, so that a wildcard can go through them; [`ROOT`] for none.
struct TopicNode<M> {
    first_child: NodeId,
    next_sibling: NodeId,
    previous_sibling: NodeId,
    message: Option<M>,
}

impl<M> Default for TopicNode<M> {
    fn default() -> Self {
        TopicNode { first_child: ROOT, next_sibling: ROOT, previous_sibling: ROOT, message: None }
    }
}

impl<M> Default for Retained<M> {
    fn default() -> Self {
        Retained {
            hasher: LevelHasher::default(),
            store: RwLock::new(Store { tree: LevelTree::default(), len: 0 }),
        }
    }
}

impl<M: Clone> Retained<M> {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the topic's message. Returns the one it had.
    pub fn insert(&self, topic: Topic<'_>, message: M) -> Option<M> {
        self.store.write().insert(&self.hasher, topic, message)
    }

    /// Removes the topic's message and returns it.
    pub fn remove(&self, topic: Topic<'_>) -> Option<M> {
        self.store.write().remove(&self.hasher, topic)
    }

    /// The topic's message.
    pub fn message(&self, topic: Topic<'_>) -> Option<M> {
        let store = self.store.read();
        let node = store.find(&self.hasher, topic)?;
        store.tree[node].message.clone()
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.store.read().len
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Topics and messages that the filter matches, at most `limit`, in no order. Goes only where the filter leads: through
    /// the children of a node where it has a `+`, through all below a node where it has a `#`.
    pub fn matching(&self, filter: &TopicFilter, limit: usize) -> Vec<(String, M)> {
        self.store.read().matching(&self.hasher, filter, limit)
    }
}

impl<M: Clone> Store<M> {
    fn insert(&mut self, hasher: &LevelHasher, topic: Topic<'_>, message: M) -> Option<M> {
        let mut node = ROOT;
        for level in topic.levels() {
            let hash = hasher.level(level);
            node = match self.tree.child(node, level, hash) {
                Some(child) => child,
                None => self.add_child(hasher, node, level, hash),
            };
        }
        let old = self.tree[node].message.replace(message);
        if old.is_none() {
            self.len += 1;
        }
        old
    }

    fn remove(&mut self, hasher: &LevelHasher, topic: Topic<'_>) -> Option<M> {
        let node = self.find(hasher, topic)?;
        let message = self.tree[node].message.take()?;
        self.len -= 1;
        self.prune(hasher, node);
        Some(message)
    }

    fn find(&self, hasher: &LevelHasher, topic: Topic<'_>) -> Option<NodeId> {
        let mut levels = topic.levels();
        levels.try_fold(ROOT, |node, level| self.tree.child(node, level, hasher.level(level)))
    }

    fn add_child(&mut self, hasher: &LevelHasher, parent: NodeId, level: &str, hash: u64) -> NodeId {
        let child = self.tree.add_child(hasher, parent, level, hash);
        let sibling = std::mem::replace(&mut self.tree[parent].first_child, child);
        self.tree[child].next_sibling = sibling;
        if sibling != ROOT {
            self.tree[sibling].previous_sibling = child;
        }
        child
    }

    /// Removes the node and what leads to nothing else, from the leaf up.
    fn prune(&mut self, hasher: &LevelHasher, mut node: NodeId) {
        while node != ROOT && self.tree[node].message.is_none() && self.tree[node].first_child == ROOT {
            let parent = self.tree.parent(node);
            let TopicNode { next_sibling, previous_sibling, .. } = self.tree[node];
            if next_sibling != ROOT {
                self.tree[next_sibling].previous_sibling = previous_sibling;
            }
            match previous_sibling {
                ROOT => self.tree[parent].first_child = next_sibling,
                previous => self.tree[previous].next_sibling = next_sibling,
            }
            self.tree.remove(hasher, node);
            node = parent;
        }
    }

    /// Walks the tree by the filter. The stack holds a node for every level at most, as siblings are linked and children are
    /// put there one at a time.
    fn matching(&self, hasher: &LevelHasher, filter: &TopicFilter, limit: usize) -> Vec<(String, M)> {
        let levels: SmallVec<[Level<'_>; 16]> = filter.levels().collect();
        let mut found = Vec::new();
        let mut stack: SmallVec<[Step; 16]> = SmallVec::new();
        stack.push(Step { node: ROOT, depth: 0, siblings: false });
        while let Some(Step { node, depth, siblings }) = stack.pop() {
            if found.len() >= limit {
                break;
            }
            if siblings && self.tree[node].next_sibling != ROOT {
                stack.push(Step { node: self.tree[node].next_sibling, depth, siblings });
            }
            if siblings && self.is_hidden(node) {
                continue;
            }
            let first_child = self.tree[node].first_child;
            match levels.get(depth) {
                None => self.emit(node, &mut found),
                Some(Level::Literal(level)) => {
                    let child = self.tree.child(node, level, hasher.level(level));
                    stack.extend(child.map(|node| Step { node, depth: depth + 1, siblings: false }));
                }
                Some(Level::SingleLevel) if first_child != ROOT => {
                    stack.push(Step { node: first_child, depth: depth + 1, siblings: true });
                }
                Some(Level::SingleLevel) => {}
                Some(Level::MultiLevel) => {
                    self.emit(node, &mut found);
                    if first_child != ROOT {
                        // All below is what the same `#` leads to from each child.
                        stack.push(Step { node: first_child, depth, siblings: true });
                    }
                }
            }
        }
        found
    }

    /// A wildcard in front does not match what begins with $ [MQTT-4.7.2-1].
    fn is_hidden(&self, node: NodeId) -> bool {
        self.tree.parent(node) == ROOT && self.tree.level(node).starts_with('$')
    }

    fn emit(&self, node: NodeId, found: &mut Vec<(String, M)>) {
        if let Some(message) = &self.tree[node].message {
            found.push((self.tree.path(node), message.clone()));
        }
    }
}

/// A node that the first `depth` levels of the filter lead to.
struct Step {
    node: NodeId,
    depth: usize,
    /// Its further siblings are reached, too.
    siblings: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::router::tests::{any_filter, any_topic, filter, topic};

    proptest! {
        #[test]
        fn store_equals_a_scan_of_all_topics(
            steps in prop::collection::vec((any_topic(), any::<Option<u8>>()), 1..60),
            filters in prop::collection::vec(any_filter(), 12),
            limit in 0usize..6,
        ) {
            let (retained, mut model) = (Retained::new(), BTreeMap::new());
            for (text, message) in steps {
                match message {
                    Some(message) => {
                        prop_assert_eq!(retained.insert(topic(&text), message), model.insert(text, message));
                    }
                    None => prop_assert_eq!(retained.remove(topic(&text)), model.remove(&text)),
                }
                prop_assert_eq!(retained.len(), model.len());
            }
            for filter in &filters {
                let mut found = retained.matching(filter, usize::MAX);
                found.sort();
                let scanned = model.iter().filter(|(text, _)| filter.matches(topic(text)));
                let scanned: Vec<_> = scanned.map(|(text, message)| (text.clone(), *message)).collect();
                prop_assert_eq!(&found, &scanned, "{}", filter);
                let limited = retained.matching(filter, limit);
                prop_assert_eq!(limited.len(), limit.min(scanned.len()));
                prop_assert!(limited.iter().all(|one| scanned.contains(one)));
            }
            for (text, message) in &model {
                prop_assert_eq!(retained.message(topic(text)), Some(*message));
                prop_assert_eq!(retained.remove(topic(text)), Some(*message));
            }
            prop_assert!(retained.is_empty());
            prop_assert_eq!(retained.store.read().tree.node_count(), 0);
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let retained = Retained::new();
        let deep = vec!["a"; 32_768].join("/");
        retained.insert(topic(&deep), 1);
        let single = vec!["+"; 32_768].join("/");
        for text in ["#", "a/#", &deep, &single] {
            assert_eq!(retained.matching(&filter(text), 10), [(deep.clone(), 1)]);
        }
        retained.remove(topic(&deep));
        assert_eq!(retained.store.read().tree.node_count(), 0);
    }
}
