//! Where a client's traces see what is sent to it.

use std::collections::HashMap;
use std::sync::Arc;

use super::event::{Happening, TraceEvent, cut};
use super::packets::packet;
use super::tracer::Trace;
use crate::codec;
use crate::codec::packet::{Packet, ProtocolVersion};
use crate::topic::Topic;

/// The traces of one client. It reads the packets from the bytes that are written to the connection: what is told is what
/// was sent, and sending knows nothing of it.
#[derive(Debug)]
pub struct Tap {
    client: Box<str>,
    traces: Vec<Arc<Trace>>,
    /// Topics that we have given aliases on this connection.
    aliases: HashMap<u16, Box<str>>,
    /// Bytes at the front of what is to be written that were seen before.
    seen: usize,
}

impl Tap {
    /// A tap for a connection of this client that opens.
    pub fn new(client: &str, traces: Vec<Arc<Trace>>) -> Tap {
        Tap { client: client.into(), traces, aliases: HashMap::new(), seen: 0 }
    }

    /// A tap for one that may be open already: these topics have aliases, and so many bytes are to be written that nobody
    /// has asked for.
    pub fn midway(client: &str, aliases: HashMap<u16, Box<str>>, waiting: usize) -> Tap {
        Tap { client: client.into(), traces: Vec::new(), aliases, seen: waiting }
    }

    /// One trace more.
    pub fn add(&mut self, trace: &Arc<Trace>) {
        self.traces.retain(|trace| !trace.is_over());
        if !self.traces.iter().any(|other| Arc::ptr_eq(other, trace)) {
            self.traces.push(trace.clone());
        }
    }

    /// Whether none of its traces goes on.
    pub fn is_over(&mut self) -> bool {
        self.traces.retain(|trace| !trace.is_over());
        self.traces.is_empty()
    }

    /// Tells all of them something.
    pub fn tell(&self, at_ms: u64, make: impl Fn(usize) -> TraceEvent) {
        for trace in &self.traces {
            trace.push(at_ms, &make);
        }
    }

    /// So many bytes were not written, and come again.
    pub fn handle_put_back(&mut self, bytes: usize) {
        self.seen = bytes;
    }

    /// These bytes are about to be written. They begin with what was put back before, and then with a packet.
    pub fn handle_written(&mut self, bytes: &[u8], version: ProtocolVersion, at_ms: u64) {
        let mut rest = bytes.get(std::mem::take(&mut self.seen)..).unwrap_or_default();
        // What we write can be read again; should it not, the rest is not told.
        while let Ok(Some(length)) = codec::frame_len(rest, u32::MAX) {
            let Some((frame, behind)) = rest.split_at_checked(length) else { return };
            rest = behind;
            let Ok(sent) = codec::decode(frame, version) else { return };
            let topic = self.resolve(&sent).map(cut);
            self.tell(at_ms, |payload_max| {
                let told = packet(Happening::Sent, &self.client, &sent, payload_max);
                TraceEvent { topic: told.topic.or_else(|| topic.clone()), ..told }
            });
        }
    }

    /// The topic that the alias of a PUBLISH stands for.
    fn resolve(&mut self, sent: &Packet<'_>) -> Option<&str> {
        let Packet::Publish(publish) = sent else { return None };
        let alias = publish.properties.topic_alias?.get();
        if let Some(topic) = publish.topic.map(Topic::as_str) {
            self.aliases.insert(alias, topic.into());
        }
        self.aliases.get(&alias).map(|topic| &**topic)
    }
}
