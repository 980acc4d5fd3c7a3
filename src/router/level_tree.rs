//! A tree whose edges are topic levels: nodes in a slab, all edges in one hash table. Loops only, for peers choose the depth.

use std::ops::{Index, IndexMut};

use hashbrown::HashTable;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::level_hash::{LevelHasher, mix};

/// A node's place in the slab. [`ROOT`] is no node's child, so that 0 can stand for no child in links.
pub(super) type NodeId = u32;

pub(super) const ROOT: NodeId = 0;

/// The tree; `N` is what its user keeps at a node.
pub(super) struct LevelTree<N> {
    nodes: Vec<Node<N>>,
    /// From (parent, level) to the node; both are read from the node itself.
    edges: HashTable<NodeId>,
    /// Freed nodes, linked by `parent`; [`ROOT`] ends the list.
    free: NodeId,
    free_count: usize,
}

struct Node<N> {
    parent: NodeId,
    /// Number of edges to children.
    edges: u32,
    level: SmolStr,
    content: N,
}

impl<N: Default> Default for LevelTree<N> {
    fn default() -> Self {
        let root = Node { parent: ROOT, edges: 0, level: SmolStr::default(), content: N::default() };
        LevelTree { nodes: vec![root], edges: HashTable::new(), free: ROOT, free_count: 0 }
    }
}

impl<N: Default> LevelTree<N> {
    /// Number of nodes, the root apart.
    #[cfg(test)]
    pub(super) fn node_count(&self) -> usize {
        self.nodes.len() - 1 - self.free_count
    }

    pub(super) fn parent(&self, node: NodeId) -> NodeId {
        self.nodes[node as usize].parent
    }

    /// The level on the edge that leads to the node.
    pub(super) fn level(&self, node: NodeId) -> &str {
        &self.nodes[node as usize].level
    }

    /// The levels that lead to the node, joined.
    pub(super) fn path(&self, node: NodeId) -> String {
        let up = std::iter::successors(Some(node), |&node| Some(self.parent(node)));
        let mut levels: SmallVec<[&str; 16]> =
            up.take_while(|&node| node != ROOT).map(|node| self.level(node)).collect();
        levels.reverse();
        levels.join("/")
    }

    /// Whether there are edges to children.
    pub(super) fn has_edges(&self, node: NodeId) -> bool {
        self.nodes[node as usize].edges > 0
    }

    /// Follows an edge. `hash` is the level's.
    pub(super) fn child(&self, parent: NodeId, level: &str, hash: u64) -> Option<NodeId> {
        if !self.has_edges(parent) {
            return None;
        }
        let is_it = |&id: &NodeId| {
            let node = &self.nodes[id as usize];
            node.parent == parent && node.level == level
        };
        self.edges.find(edge_hash(parent, hash), is_it).copied()
    }

    /// Adds a node with an edge that the tree lacks. `hash` is the level's.
    pub(super) fn add_child(
        &mut self,
        hasher: &LevelHasher,
        parent: NodeId,
        level: &str,
        hash: u64,
    ) -> NodeId {
        let id = self.add_unlinked(parent, level);
        self.nodes[parent as usize].edges += 1;
        let nodes = &self.nodes;
        self.edges.insert_unique(edge_hash(parent, hash), id, |&id| {
            let node = &nodes[id as usize];
            edge_hash(node.parent, hasher.level(&node.level))
        });
        id
    }

    /// Adds a node with no edge to it: the parent's content has to know it. `level` is what its path says.
    pub(super) fn add_unlinked(&mut self, parent: NodeId, level: &str) -> NodeId {
        let node = Node { parent, edges: 0, level: level.into(), content: N::default() };
        if self.free == ROOT {
            self.nodes.push(node);
            return (self.nodes.len() - 1) as NodeId;
        }
        let id = self.free;
        self.free = self.nodes[id as usize].parent;
        self.free_count -= 1;
        self.nodes[id as usize] = node;
        id
    }

    /// Removes a node and its edge, if it has one. Its children must be gone.
    pub(super) fn remove(&mut self, hasher: &LevelHasher, id: NodeId) {
        let node = &self.nodes[id as usize];
        let (parent, hash) = (node.parent, edge_hash(node.parent, hasher.level(&node.level)));
        if let Ok(edge) = self.edges.find_entry(hash, |&other| other == id) {
            edge.remove();
            self.nodes[parent as usize].edges -= 1;
        }
        self.nodes[id as usize] =
            Node { parent: self.free, edges: 0, level: SmolStr::default(), content: N::default() };
        self.free = id;
        self.free_count += 1;
    }
}

impl<N> Index<NodeId> for LevelTree<N> {
    type Output = N;

    fn index(&self, node: NodeId) -> &N {
        &self.nodes[node as usize].content
    }
}

impl<N> IndexMut<NodeId> for LevelTree<N> {
    fn index_mut(&mut self, node: NodeId) -> &mut N {
        &mut self.nodes[node as usize].content
    }
}

/// The parent's factor is odd, so that it is no power of two times another's.
fn edge_hash(parent: NodeId, level: u64) -> u64 {
    mix(level, u64::from(parent).wrapping_mul(2).wrapping_add(0xA076_1D64_78BD_642F))
}
