//! What a session has sent of its own accord.

/// Packets given to the outbox, by type. Counted where the session is locked anyway, and taken by whoever writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Messages, those sent again included.
    pub publish: u32,
    /// Acknowledgements of QoS 1 publishes.
    pub puback: u32,
    /// First acknowledgements of QoS 2 publishes.
    pub pubrec: u32,
    /// Releases of QoS 2 messages.
    pub pubrel: u32,
    /// Ends of QoS 2 publishes.
    pub pubcomp: u32,
}

impl Sent {
    /// Adds what another session has sent.
    pub fn add(&mut self, other: Sent) {
        self.publish += other.publish;
        self.puback += other.puback;
        self.pubrec += other.pubrec;
        self.pubrel += other.pubrel;
        self.pubcomp += other.pubcomp;
    }
}
