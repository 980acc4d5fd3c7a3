//! Topic names, topic filters and shared-subscription names: parsed once, valid ever after.
//!
//! A value of a type of this module obeys section 4.7 (and 4.8.2 for shares) of the specification; nothing that holds
//! one checks again. The module knows no packet, session or table.

mod filter;
mod name;
mod share;

pub use filter::{FilterError, Level, TopicFilter};
pub use name::{Topic, TopicError};
pub use share::{ShareName, SubscriptionFilter};

#[cfg(test)]
mod tests;

/// No name or filter encodes to more bytes than this [MQTT-4.7.3-3].
const MAX_LEN: usize = 65_535;
