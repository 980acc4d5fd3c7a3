//! Membership: who is in the cluster, who is alive, and a few small keys that each member tells of itself. The protocol
//! is chitchat's (scuttlebutt gossip, phi-accrual failure detection); this module drives it.
//!
//! What it adds: datagrams sealed and of a size that travels (`codec`), bounds on what peers may feed it
//! (`admission`), one identity for each start of a node whatever happens to chitchat (`generation`), and a stream of
//! [`Observation`]s in place of chitchat's state (`observer`).
//!
//! Invariant: nothing that a peer sends ends the membership. chitchat's assertions can be fed by what messages say, so
//! its task may panic: it is then started anew under a higher generation of the same incarnation, and what was known of
//! the others stays known meanwhile. This needs panics that unwind.
//!
//! Replicated sets never travel here: their heads do, as keys.

mod admission;
mod codec;
mod config;
mod counters;
mod fragment;
mod generation;
mod heard;
mod membership;
mod network;
mod observer;
mod seeds;
mod session;
mod sizes;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use admission::MAX_MEMBERS;
pub use config::MembershipConfig;
pub use counters::GossipCounters;
pub use heard::Spell;
pub use membership::{Membership, PublishError, StartError};
pub use network::Datagrams;
pub use observer::{Liveness, Observation};
pub use sizes::Sizes;
