//! The codec against tables of bytes, and against everything that can be generated.

mod generated;
mod limits;
mod malformed;
mod vectors;
mod wire;

use super::packet::*;
use super::*;
use ProtocolVersion::{V310, V311, V500};

const EVERY_VERSION: [ProtocolVersion; 3] = [V310, V311, V500];

/// Properties with what `fill` sets.
fn properties<'a>(fill: impl FnOnce(&mut PropertySet<'a>)) -> Properties<'a> {
    let mut set = PropertySet::default();
    fill(&mut set);
    set.into()
}

fn packet_id(value: u16) -> PacketId {
    PacketId::new(value).expect("a test's packet identifier is not zero")
}

fn topic(name: &str) -> crate::topic::Topic<'_> {
    crate::topic::Topic::new(name).expect("a test's topic is valid")
}

/// What `encode` makes of a packet when size does not matter.
fn encoded(packet: &Packet<'_>, version: ProtocolVersion) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode(packet, version, u32::MAX, &mut out)?;
    Ok(out)
}
