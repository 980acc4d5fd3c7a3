//! What the broker says to the other nodes of its cluster, and what it makes of what they say.

pub mod link;
