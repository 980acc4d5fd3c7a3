//! MQTT on the wire: bytes to [`Packet`] and back, for 3.1.1 and 5.0 in one model.

pub mod packet;

pub use packet::Packet;
