//! A replicated set without a master: every node keeps the whole of it, and whatever the network loses, repeats or
//! reorders, nodes that can reach each other end with the same set.

pub mod chitchat;
mod replica;
pub mod seal;

pub use replica::{Incarnation, InvalidNodeName, NodeName, ReplicaId};
