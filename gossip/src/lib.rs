//! A replicated set without a master: every node keeps the whole of it, and whatever the network loses, repeats or
//! reorders, nodes that can reach each other end with the same set.

pub mod chitchat;
mod config;
mod counters;
mod delta;
mod dots;
mod element;
mod event;
mod hash;
mod head;
mod history;
mod lane;
mod link_graph;
mod membership;
mod message;
mod node;
mod replica;
pub mod seal;
mod set;

pub use config::Config;
pub use counters::Counters;
pub use delta::{Delta, Frontier, Interval, SetId};
pub use dots::{DotBitmap, DotList};
pub use element::Element;
pub use event::{Event, RestartReason};
pub use hash::{LaneKey, SetHash};
pub use head::{Head, InvalidHead};
pub use lane::{Change, Lane, LaneLimits, Outcome};
pub use link_graph::LinkGraph;
pub use membership::{MemberState, Observation, Status};
pub use message::{Ack, Digest, Hello, LinkReport, Message, MessageError, Pull};
pub use node::{LaneStatus, LinkState, MemberStatus, Node};
pub use replica::{Incarnation, InvalidNodeName, NodeName, ReplicaId};
pub use set::{Diverged, Gap, ReplicatedSet};
