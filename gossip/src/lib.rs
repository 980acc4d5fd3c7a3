//! A replicated set without a master: every node keeps the whole of it, and whatever the network loses, repeats or
//! reorders, nodes that can reach each other end with the same set.

mod delta;
mod dots;
mod element;
mod hash;
mod head;
mod history;
mod lane;
mod replica;
mod set;
pub mod chitchat;
pub mod seal;

pub use delta::{Delta, Frontier, Interval, SetId};
pub use dots::{DotBitmap, DotList};
pub use element::Element;
pub use hash::{LaneKey, SetHash};
pub use head::{Head, InvalidHead};
pub use lane::{Change, Lane, LaneLimits, Outcome};
pub use replica::{Incarnation, InvalidNodeName, NodeName, ReplicaId};
pub use set::{Diverged, Gap, ReplicatedSet};
