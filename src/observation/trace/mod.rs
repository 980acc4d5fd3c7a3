//! Traces: everything that happens to the clients or the topics that a [`Selector`] names, in order.
//!
//! A [`Trace`] is a bounded queue between who sees something happen, possibly under a client's lock, and one reader. It ends
//! when its time is over, or when nobody has read it for a while.

mod event;
mod packets;
mod queue;
mod selector;
mod tap;
#[cfg(test)]
mod tests;
mod tracer;

pub use event::{Happening, TraceEvent, cut};
pub use packets::{message, packet};
pub use selector::{ClientPattern, Selector, SelectorError};
pub use tap::Tap;
pub use tracer::{Order, Part, Trace, Tracer, TracerFull};
