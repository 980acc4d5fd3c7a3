//! What the values below `$SYS` are made of.

use crate::broker::Broker;

/// What was counted since the node started, and what there is now and costs nothing to look at.
#[derive(Debug, Default)]
pub struct Counts {
    pub packets_received: u64,
    pub publishes_received: u64,
    pub publishes_sent: u64,
    pub publishes_dropped: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// Connections that clients opened and asked for something on.
    pub connections: u64,
    /// Those that were accepted.
    pub connects: u64,
    /// Sessions that outlived their connection and ended since.
    pub expired: u64,
    /// Clients with an open connection.
    pub connected: usize,
    /// Clients with a session.
    pub clients: usize,
}

impl Broker {
    /// The counters. Looks at no session.
    pub(super) fn counts(&self) -> Counts {
        let metrics = &self.metrics;
        let all = |counters: &[prometheus::IntCounter]| counters.iter().map(|counter| counter.get()).sum();
        Counts {
            packets_received: metrics.packets_received(),
            publishes_received: all(&metrics.messages_received),
            publishes_sent: all(&metrics.messages_delivered),
            publishes_dropped: metrics.dropped(),
            bytes_received: metrics.bytes_in.get(),
            bytes_sent: metrics.bytes_out.get(),
            connections: metrics.connects_attempted(),
            connects: metrics.connects.with_label_values(&["accepted"]).get(),
            expired: metrics.sessions_expired.get(),
            connected: usize::try_from(metrics.connections.get()).unwrap_or(0),
            clients: self.registry.len(),
        }
    }
}
