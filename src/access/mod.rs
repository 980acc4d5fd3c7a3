//! Who a client is. Pure: it knows no sockets, sessions or packets.

mod identity;

pub use identity::Identity;
