//! One shard's filters as a trie. Wildcards are links of their own, so that a node costs at most one hash look-up a match.

use std::sync::Arc;

use smallvec::SmallVec;

use super::level_hash::LevelHasher;
use super::level_tree::{LevelTree, NodeId, ROOT};
use super::peer::PeerIndex;
use super::share::ShareGroup;
use super::subscribers::SubscriberMap;
use super::{Subscriber, Subscription};
use crate::topic::{Level, ShareName, SubscriptionFilter, Topic, TopicFilter};

/// The trie. Branches that lead to no entry are pruned.
pub(super) struct FilterTrie<S> {
    tree: LevelTree<FilterNode<S>>,
    filters: usize,
    groups: usize,
}

struct FilterNode<S> {
    /// Children by the wildcards; [`ROOT`] for none.
    single_level: NodeId,
    multi_level: NodeId,
    entry: Option<Box<Entry<S>>>,
}

/// Everyone who asks for one filter; never empty in the trie.
pub(super) struct Entry<S> {
    pub(super) locals: SubscriberMap<S, Subscription>,
    /// Ascending. Eight fit in place, and no cluster has so many that inserting in the middle costs.
    pub(super) peers: SmallVec<[PeerIndex; 8]>,
    /// The groups of shared subscriptions, which few filters have.
    pub(super) groups: Option<Box<Groups<S>>>,
}

/// The groups of one filter; never empty in the trie.
pub(super) struct Groups<S>(Vec<Arc<ShareGroup<S>>>);

impl<S> Default for FilterTrie<S> {
    fn default() -> Self {
        FilterTrie { tree: LevelTree::default(), filters: 0, groups: 0 }
    }
}

impl<S> Default for FilterNode<S> {
    fn default() -> Self {
        FilterNode { single_level: ROOT, multi_level: ROOT, entry: None }
    }
}

impl<S> Default for Groups<S> {
    fn default() -> Self {
        Groups(Vec::new())
    }
}

impl<S> Groups<S> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<ShareGroup<S>>> {
        self.0.iter()
    }

    fn position(&self, name: &ShareName) -> Option<usize> {
        self.0.iter().position(|group| group.share.share.as_ref() == Some(name))
    }
}

impl<S> Default for Entry<S> {
    fn default() -> Self {
        Entry { locals: SubscriberMap::default(), peers: SmallVec::new(), groups: None }
    }
}

impl<S: Subscriber> Entry<S> {
    fn is_empty(&self) -> bool {
        !self.has_plain() && self.groups.is_none()
    }

    /// Whether anyone asks for the filter other than as a member of a group.
    pub(super) fn has_plain(&self) -> bool {
        !self.locals.is_empty() || !self.peers.is_empty()
    }
}

impl<S: Subscriber> FilterTrie<S> {
    pub(super) fn filter_count(&self) -> usize {
        self.filters
    }

    pub(super) fn group_count(&self) -> usize {
        self.groups
    }

    #[cfg(test)]
    pub(super) fn node_count(&self) -> usize {
        self.tree.node_count()
    }

    /// Returns the subscription it replaces.
    pub(super) fn subscribe(
        &mut self,
        hasher: &LevelHasher,
        filter: &TopicFilter,
        subscriber: S,
        subscription: Subscription,
    ) -> Option<Subscription> {
        self.entry_or_new(hasher, filter).locals.insert(subscriber, subscription)
    }

    pub(super) fn unsubscribe(&mut self, hasher: &LevelHasher, filter: &TopicFilter, subscriber: &S) -> bool {
        self.take_from_entry(hasher, filter, |entry| entry.locals.remove(subscriber).is_some())
    }

    pub(super) fn insert_route(
        &mut self,
        hasher: &LevelHasher,
        filter: &TopicFilter,
        peer: PeerIndex,
    ) -> bool {
        let peers = &mut self.entry_or_new(hasher, filter).peers;
        match peers.binary_search(&peer) {
            Ok(_) => false,
            Err(position) => {
                peers.insert(position, peer);
                true
            }
        }
    }

    pub(super) fn remove_route(
        &mut self,
        hasher: &LevelHasher,
        filter: &TopicFilter,
        peer: PeerIndex,
    ) -> bool {
        self.take_from_entry(hasher, filter, |entry| {
            let position = entry.peers.binary_search(&peer);
            position.is_ok_and(|position| entry.peers.remove(position) == peer)
        })
    }

    /// Lets `change` alter the group, which is made where there is none.
    pub(super) fn change_group<R>(
        &mut self,
        hasher: &LevelHasher,
        name: &ShareName,
        filter: &TopicFilter,
        change: impl FnOnce(&mut ShareGroup<S>) -> R,
    ) -> R {
        let groups = self.entry_or_new(hasher, filter).groups.get_or_insert_default();
        let position = groups.position(name);
        let at = position.unwrap_or_else(|| {
            let share = SubscriptionFilter { share: Some(name.clone()), filter: filter.clone() };
            groups.0.push(Arc::new(ShareGroup::new(share)));
            groups.0.len() - 1
        });
        let result = change(Arc::make_mut(&mut groups.0[at]));
        self.groups += usize::from(position.is_none());
        result
    }

    /// Lets `take` remove someone from the group, and removes the group if that was the last.
    pub(super) fn take_from_group(
        &mut self,
        hasher: &LevelHasher,
        name: &ShareName,
        filter: &TopicFilter,
        take: impl FnOnce(&mut ShareGroup<S>) -> bool,
    ) -> bool {
        let mut emptied = false;
        let taken = self.take_from_entry(hasher, filter, |entry| {
            let Some(groups) = &mut entry.groups else { return false };
            let Some(at) = groups.position(name) else { return false };
            let taken = take(Arc::make_mut(&mut groups.0[at]));
            emptied = groups.0[at].is_empty();
            if emptied {
                groups.0.swap_remove(at);
            }
            if groups.0.is_empty() {
                entry.groups = None;
            }
            taken
        });
        self.groups -= usize::from(emptied);
        taken
    }

    pub(super) fn group(
        &self,
        hasher: &LevelHasher,
        name: &ShareName,
        filter: &TopicFilter,
    ) -> Option<&Arc<ShareGroup<S>>> {
        let node = filter.levels().try_fold(ROOT, |id, level| self.child(hasher, id, level))?;
        let groups = self.tree[node].entry.as_ref()?.groups.as_ref()?;
        groups.position(name).map(|at| &groups.0[at])
    }

    /// The filter of a node, as text.
    pub(super) fn filter(&self, node: NodeId) -> String {
        self.tree.path(node)
    }

    /// Visits the node and entry of every filter that matches. Goes level by level, with all nodes that the levels so far lead to: as
    /// each node has one path, no node is visited twice, and the work is bounded by the filters that exist.
    pub(super) fn visit_matching(
        &self,
        hasher: &LevelHasher,
        topic: Topic<'_>,
        mut visit: impl FnMut(NodeId, &Entry<S>),
    ) {
        // A wildcard in front does not match what begins with $ [MQTT-4.7.2-1].
        let mut wildcards = !topic.is_system();
        let mut reached: SmallVec<[NodeId; 16]> = SmallVec::from_slice(&[ROOT]);
        let mut next: SmallVec<[NodeId; 16]> = SmallVec::new();
        for level in topic.levels() {
            let hash = hasher.level(level);
            for &id in &reached {
                let node = &self.tree[id];
                if wildcards && node.multi_level != ROOT {
                    self.visit_entry(node.multi_level, &mut visit);
                }
                if wildcards && node.single_level != ROOT {
                    next.push(node.single_level);
                }
                next.extend(self.tree.child(id, level, hash));
            }
            if next.is_empty() {
                return;
            }
            std::mem::swap(&mut reached, &mut next);
            next.clear();
            wildcards = true;
        }
        for id in reached {
            self.visit_entry(id, &mut visit);
            // The multi-level wildcard stands for its parent level, too (4.7.1.2).
            if self.tree[id].multi_level != ROOT {
                self.visit_entry(self.tree[id].multi_level, &mut visit);
            }
        }
    }

    fn visit_entry(&self, id: NodeId, visit: &mut impl FnMut(NodeId, &Entry<S>)) {
        if let Some(entry) = &self.tree[id].entry {
            visit(id, entry);
        }
    }

    fn entry_or_new(&mut self, hasher: &LevelHasher, filter: &TopicFilter) -> &mut Entry<S> {
        let mut id = ROOT;
        for level in filter.levels() {
            id = match self.child(hasher, id, level) {
                Some(child) => child,
                None => self.add_child(hasher, id, level),
            };
        }
        let entry = &mut self.tree[id].entry;
        if entry.is_none() {
            self.filters += 1;
        }
        entry.get_or_insert_default()
    }

    /// Lets `take` remove something from the filter's entry, and prunes what that leaves empty. Returns what `take` does.
    fn take_from_entry(
        &mut self,
        hasher: &LevelHasher,
        filter: &TopicFilter,
        take: impl FnOnce(&mut Entry<S>) -> bool,
    ) -> bool {
        let node = filter.levels().try_fold(ROOT, |id, level| self.child(hasher, id, level));
        let Some((id, slot)) = node.map(|id| (id, &mut self.tree[id].entry)) else { return false };
        let Some(entry) = slot else { return false };
        let taken = take(entry);
        if entry.is_empty() {
            *slot = None;
            self.filters -= 1;
            self.prune(hasher, id);
        }
        taken
    }

    fn child(&self, hasher: &LevelHasher, id: NodeId, level: Level<'_>) -> Option<NodeId> {
        let node = &self.tree[id];
        match level {
            Level::Literal(text) => self.tree.child(id, text, hasher.level(text)),
            Level::SingleLevel => Some(node.single_level).filter(|&child| child != ROOT),
            Level::MultiLevel => Some(node.multi_level).filter(|&child| child != ROOT),
        }
    }

    fn add_child(&mut self, hasher: &LevelHasher, id: NodeId, level: Level<'_>) -> NodeId {
        match level {
            Level::Literal(text) => self.tree.add_child(hasher, id, text, hasher.level(text)),
            Level::SingleLevel => {
                let child = self.tree.add_unlinked(id, "+");
                self.tree[id].single_level = child;
                child
            }
            Level::MultiLevel => {
                let child = self.tree.add_unlinked(id, "#");
                self.tree[id].multi_level = child;
                child
            }
        }
    }

    /// Removes the node and what leads to nothing else, from the leaf up.
    fn prune(&mut self, hasher: &LevelHasher, mut id: NodeId) {
        while id != ROOT && !self.tree.has_edges(id) && self.tree[id].is_empty() {
            let parent_id = self.tree.parent(id);
            let parent = &mut self.tree[parent_id];
            if parent.single_level == id {
                parent.single_level = ROOT;
            } else if parent.multi_level == id {
                parent.multi_level = ROOT;
            }
            self.tree.remove(hasher, id);
            id = parent_id;
        }
    }
}

impl<S> FilterNode<S> {
    fn is_empty(&self) -> bool {
        self.entry.is_none() && self.single_level == ROOT && self.multi_level == ROOT
    }
}
