//! Who has a link to whom. A small cluster is a full mesh. A large one is a grid, with about as many links a node at 500
//! members as a full mesh has at 64.
//!
//! Each name has a row and a column by its hash, and a node links to all in its row and all in its column (a rook's
//! graph). So two nodes that share neither have two places at which somebody may stand who is linked to both: where the row of the one
//! crosses the column of the other. Two pairs of nodes stand there on average; where nobody does, the two link directly. So
//! for any set of live names:
//!
//! - *Everybody is at most two links away.* This is what the number of links is paid for: it grows with the root of the number of members
//!   (about `2.8 * sqrt(n)`), not with its logarithm as in overlays that route over many hops. In exchange everything that takes one node
//!   in between goes on to work: evidence that a peer lives, acknowledgements ("SUBACK means routed"), relayed publishes.
//! - *Both ends say the same*, from the names alone, without a word between them.
//! - *A join or a death moves few links*: those of that node, and on average about as many between others. Rows and columns
//!   are found by jump consistent hashing (Lamping and Veach, 2014), so that one more takes its share from all others and leaves the
//!   rest where it is.
//!
//! Nodes that see other members for a while disagree on few links; then the one that wants a link has its way.

use std::collections::BTreeSet;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::replica::NodeName;

/// Nodes that stand at one crossing of a row and a column, on average. More make more links, fewer leave more pairs without
/// somebody in between, which then link directly.
const PER_CROSSING: usize = 2;

/// Whom one node is to have links to.
#[derive(Clone, Debug)]
pub struct Mesh {
    full_up_to: usize,
    neighbours: Option<BTreeSet<NodeName>>,
}

impl Mesh {
    /// A full mesh of up to so many nodes, this one included; the grid above. Back to the full mesh it goes at an eighth less, so
    /// that a node that comes and goes does not turn everything over.
    pub fn new(full_up_to: usize) -> Mesh {
        Mesh { full_up_to, neighbours: None }
    }

    /// Others live from now on.
    pub fn handle_members<'a>(&mut self, me: &NodeName, others: impl Iterator<Item = &'a NodeName>) {
        let names: BTreeSet<&NodeName> = others.filter(|name| *name != me).collect();
        let most = match self.is_full() {
            true => self.full_up_to,
            false => self.full_up_to - self.full_up_to / 8,
        };
        self.neighbours = (names.len() + 1 > most).then(|| neighbours(me, &names));
    }

    /// Whether everybody links to everybody.
    pub fn is_full(&self) -> bool {
        self.neighbours.is_none()
    }

    /// The others in the row and the column of this node, where there are any.
    pub fn neighbours(&self) -> Option<&BTreeSet<NodeName>> {
        self.neighbours.as_ref()
    }

    /// Whether this node is to have a link to that one.
    pub fn wants(&self, name: &NodeName) -> bool {
        self.neighbours.as_ref().is_none_or(|neighbours| neighbours.contains(name))
    }
}

/// Whom `me` links to in the grid of itself and `others`.
pub fn neighbours(me: &NodeName, others: &BTreeSet<&NodeName>) -> BTreeSet<NodeName> {
    let grid = Grid::of(others.len() + 1);
    let mine = grid.place(me);
    let mut taken = vec![false; grid.rows as usize * grid.columns as usize];
    let mut is_taken = |place: Place, take: bool| {
        let crossing = &mut taken[(place.row * grid.columns + place.column) as usize];
        *crossing |= take;
        *crossing
    };
    let places: Vec<(&NodeName, Place)> = others.iter().map(|name| (*name, grid.place(name))).collect();
    for (_, place) in &places {
        is_taken(*place, true);
    }
    let linked = places.into_iter().filter(|(_, theirs)| {
        let crossings =
            [Place { row: mine.row, column: theirs.column }, Place { row: theirs.row, column: mine.column }];
        mine.row == theirs.row
            || mine.column == theirs.column
            || !crossings.into_iter().any(|crossing| is_taken(crossing, false))
    });
    linked.map(|(name, _)| name.clone()).collect()
}

/// How many rows and columns there are. Both only grow with the number of nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Grid {
    rows: u32,
    columns: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    row: u32,
    column: u32,
}

impl Grid {
    fn of(nodes: usize) -> Grid {
        let crossings = (nodes / PER_CROSSING).max(1) as u32;
        let rows = crossings.isqrt();
        Grid { rows, columns: if crossings >= rows * (rows + 1) { rows + 1 } else { rows } }
    }

    fn place(self, name: &NodeName) -> Place {
        // Both hashes are fixed by their papers, so that nodes of different machines and versions agree.
        let mut hasher = SipHasher13::new();
        hasher.write(name.as_str().as_bytes());
        let hash = hasher.finish128();
        Place { row: bucket(hash.h1, self.rows), column: bucket(hash.h2, self.columns) }
    }
}

/// Jump consistent hashing: one bucket more takes its share from all others, and moves nothing between them.
fn bucket(mut hash: u64, buckets: u32) -> u32 {
    let (mut bucket, mut next) = (0, 0);
    while next < u64::from(buckets) {
        bucket = next;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) << 31) / ((hash >> 33) + 1);
    }
    bucket as u32
}

#[cfg(test)]
mod tests;
