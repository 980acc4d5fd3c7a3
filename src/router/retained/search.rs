//! The walk of a filter over the topics.

use std::collections::btree_set::Range;

use smallvec::SmallVec;

use super::super::level_tree::{NodeId, ROOT};
use super::{Place, Retained};
use crate::topic::{Level, TopicFilter};

/// A search for what a filter matches, as far as it has come. It holds no message and no lock. What is there from its
/// beginning to its end is found, and found once; what comes or goes meanwhile may be found.
#[derive(Debug, Default)]
pub struct Search {
    /// The lists that it is in the midst of, the outermost first. None before it has begun.
    rests: Option<Vec<Rest>>,
    /// A wildcard in front matches everything.
    unhidden: bool,
}

/// A list of descendants of `node` that was gone through up to `last`.
#[derive(Debug)]
struct Rest {
    node: Place,
    list: List,
    /// The root at the beginning, which is in no list and before all others.
    last: NodeId,
    /// Levels of the filter that lead to what is in the list.
    depth: usize,
}

#[derive(Clone, Copy, Debug)]
enum List {
    Children,
    /// Grandchildren by the hash of their level.
    Grandchildren(u32),
}

/// A search while it goes on and the store does not change.
struct Walk<'a, M> {
    store: &'a Retained<M>,
    levels: SmallVec<[Level<'a>; 16]>,
    lists: SmallVec<[(Rest, Members<'a>); 4]>,
    unhidden: bool,
}

enum Members<'a> {
    Children(Range<'a, (NodeId, NodeId)>),
    Grandchildren(Range<'a, (NodeId, u32, NodeId)>),
}

impl Search {
    /// A search in which a wildcard in front finds also what begins with $, for operators.
    pub fn unhidden() -> Search {
        Search { rests: None, unhidden: true }
    }

    /// Whether there is nothing more to find.
    pub fn is_over(&self) -> bool {
        self.rests.as_ref().is_some_and(Vec::is_empty)
    }
}

impl<M> Retained<M> {
    /// Goes on with the search for what `filter` matches, the same in all its calls, until `limit` places were found or
    /// `steps` nodes looked at. Returns the steps that are left.
    ///
    /// A `+` with a literal level behind it costs a step for each node that both lead to; a `+` without one, each child of
    /// where it stands; a `#`, all below. So `a/+/c` takes as long as it finds topics, and `a/+/+/c` as long as `a`
    /// has children.
    pub fn search_on(
        &self,
        filter: &TopicFilter,
        search: &mut Search,
        found: &mut impl Extend<Place>,
        mut limit: usize,
        mut steps: usize,
    ) -> usize {
        let (levels, unhidden) = (filter.levels().collect(), search.unhidden);
        let mut walk = Walk { store: self, levels, lists: SmallVec::new(), unhidden };
        let first = match search.rests.take() {
            None => walk.visit(ROOT, 0),
            Some(rests) => {
                rests.into_iter().for_each(|rest| walk.go_on(rest));
                None
            }
        };
        limit -= first.iter().len().min(limit);
        found.extend(first);
        while steps > 0 && limit > 0 && !walk.lists.is_empty() {
            steps -= 1;
            if let Some(place) = walk.step() {
                limit -= 1;
                found.extend([place]);
            }
        }
        search.rests = Some(walk.lists.into_iter().map(|(rest, _)| rest).collect());
        steps
    }
}

impl<'a, M> Walk<'a, M> {
    /// Looks at the next node of the innermost list.
    fn step(&mut self) -> Option<Place> {
        let (rest, members) = self.lists.last_mut()?;
        let next = match members {
            Members::Children(range) => range.next().map(|(_, node)| *node),
            Members::Grandchildren(range) => range.next().map(|(_, _, node)| *node),
        };
        let Some(node) = next else {
            self.lists.pop();
            return None;
        };
        rest.last = node;
        let (depth, from_root) = (rest.depth, rest.node.node == ROOT);
        let tree = &self.store.tree;
        let first_level = match rest.list {
            List::Children => node,
            List::Grandchildren(_) => tree.parent(node),
        };
        // A wildcard in front does not match what begins with $ [MQTT-4.7.2-1].
        let hidden = from_root && !self.unhidden && tree.level(first_level).starts_with('$');
        let is_other = match (rest.list, self.levels.get(depth.wrapping_sub(1))) {
            (List::Grandchildren(_), Some(Level::Literal(level))) => tree.level(node) != *level,
            _ => false,
        };
        if hidden || is_other { None } else { self.visit(node, depth) }
    }

    /// Goes from `node`, to which `depth` levels of the filter lead, as far as there is but one way, and into the list that
    /// comes then. Returns the place of the message there.
    fn visit(&mut self, mut node: NodeId, mut depth: usize) -> Option<Place> {
        loop {
            match self.levels.get(depth) {
                None => return self.message(node),
                Some(Level::Literal(level)) => {
                    node = self.store.tree.child(node, level, self.store.hasher.level(level))?;
                    depth += 1;
                }
                Some(Level::SingleLevel) => {
                    let (list, depth) = match self.levels.get(depth + 1) {
                        Some(Level::Literal(level)) => {
                            (List::Grandchildren(self.store.hasher.level(level) as u32), depth + 2)
                        }
                        _ => (List::Children, depth + 1),
                    };
                    self.enter(node, list, depth);
                    return None;
                }
                Some(Level::MultiLevel) => {
                    // All below is what the same `#` leads to from each child.
                    self.enter(node, List::Children, depth);
                    return self.message(node);
                }
            }
        }
    }

    fn message(&self, node: NodeId) -> Option<Place> {
        self.store.tree[node].message.as_ref().map(|_| self.store.place_of(node))
    }

    fn enter(&mut self, node: NodeId, list: List, depth: usize) {
        if self.store.tree.has_edges(node) {
            self.go_on(Rest { node: self.store.place_of(node), list, last: ROOT, depth });
        }
    }

    /// Goes on in a list, unless the node is gone, and with it all that was below.
    fn go_on(&mut self, rest: Rest) {
        if !self.store.is_there(rest.node) {
            return;
        }
        let (node, next) = (rest.node.node, rest.last + 1);
        let members = match rest.list {
            List::Children => {
                Members::Children(self.store.children.range((node, next)..=(node, NodeId::MAX)))
            }
            List::Grandchildren(hash) => Members::Grandchildren(
                self.store.grandchildren.range((node, hash, next)..=(node, hash, NodeId::MAX)),
            ),
        };
        self.lists.push((rest, members));
    }
}
