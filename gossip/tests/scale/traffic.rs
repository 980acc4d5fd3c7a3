//! Bytes and messages, by what they are for.

use rumormq_gossip::Message;

/// Of every frame on a link: length, type, flags.
const FRAME: usize = 6;
/// A ping or a pong: the time it was sent, in microseconds.
pub const PING: u64 = FRAME as u64 + 5;

/// What one or all nodes sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub deltas: u64,
    pub delta_bytes: u64,
    pub acks: u64,
    pub ack_bytes: u64,
    pub pull_bytes: u64,
    /// Greetings, digests and requests for them.
    pub vector_bytes: u64,
    pub beat_bytes: u64,
    pub ping_bytes: u64,
}

impl Traffic {
    /// Returns the bytes of the frame.
    pub fn count(&mut self, message: &Message) -> u64 {
        let bytes = (FRAME + size(message)) as u64;
        match message {
            Message::Delta(_) => {
                self.deltas += 1;
                self.delta_bytes += bytes;
            }
            Message::Ack(_) => {
                self.acks += 1;
                self.ack_bytes += bytes;
            }
            Message::Pull(_) => self.pull_bytes += bytes,
            Message::Digest(_) | Message::Ask(_) => self.vector_bytes += bytes,
            Message::Beat(_) => self.beat_bytes += bytes,
        }
        bytes
    }

    pub fn count_greeting(&mut self, greeting: &impl serde::Serialize) -> u64 {
        let bytes = (FRAME + size(greeting)) as u64;
        self.vector_bytes += bytes;
        bytes
    }

    /// What changes cost: they, their acknowledgements, and what was asked for.
    pub fn change_bytes(&self) -> u64 {
        self.delta_bytes + self.ack_bytes + self.pull_bytes
    }

    pub fn bytes(&self) -> u64 {
        self.change_bytes() + self.vector_bytes + self.beat_bytes + self.ping_bytes
    }

    pub fn since(&self, before: &Traffic) -> Traffic {
        Traffic {
            deltas: self.deltas - before.deltas,
            delta_bytes: self.delta_bytes - before.delta_bytes,
            acks: self.acks - before.acks,
            ack_bytes: self.ack_bytes - before.ack_bytes,
            pull_bytes: self.pull_bytes - before.pull_bytes,
            vector_bytes: self.vector_bytes - before.vector_bytes,
            beat_bytes: self.beat_bytes - before.beat_bytes,
            ping_bytes: self.ping_bytes - before.ping_bytes,
        }
    }
}

fn size(what: &impl serde::Serialize) -> usize {
    struct Count(usize);
    impl postcard::ser_flavors::Flavor for Count {
        type Output = usize;
        fn try_push(&mut self, _: u8) -> postcard::Result<()> {
            self.0 += 1;
            Ok(())
        }
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0 += bytes.len();
            Ok(())
        }
        fn finalize(self) -> postcard::Result<usize> {
            Ok(self.0)
        }
    }
    postcard::serialize_with_flavor(what, Count(0)).expect("every message can be written")
}
