//! What operators look at more closely than at the rest: traces of one client or topic, slow subscribers, and the
//! topics that are published to most.
//!
//! Nothing of it goes on unless somebody asks, everything is bounded, and nobody waits for who watches: what a watcher does
//! not take in time is left out, counted, and told. It knows packets and topics, but no sockets, clocks or tasks: `now` is an
//! argument. What happens is told to it by the broker, which calls it for what is watched alone.

pub mod heavy_hitters;
pub mod slow;
pub mod top_topics;
pub mod trace;
