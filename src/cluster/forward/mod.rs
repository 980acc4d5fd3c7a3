//! Publishes on their way to other nodes.
//!
//! QoS 0 goes as it comes. QoS 1 and 2 run in a stream from this replica to each destination by name: numbered without
//! gaps, kept until the destination's sessions have them, sent again on the next link. [`stream`] is the sending end,
//! `pace` how fast it goes, [`budget`] what all of them may hold; [`inbound`] is the receiving end, [`wire`] what passes between them. What the destination's members of shared subscriptions make
//! of their messages comes back as [`settlements`]. All of it is sans-IO.

pub mod budget;
pub mod inbound;
mod pace;
pub mod settlements;
pub mod stream;
pub mod wire;

#[cfg(test)]
mod tests;
