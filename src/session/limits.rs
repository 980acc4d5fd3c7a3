//! What one client may cost.

use std::num::NonZeroU16;

/// Bounds of a session. See the table of limits in the README.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// QoS 1 and 2 messages sent to a client and not yet acknowledged; a client's Receive Maximum may lower it.
    pub max_inflight: NonZeroU16,
    /// QoS 1 and 2 publishes of a client that may be unacknowledged: the Receive Maximum we announce.
    pub receive_maximum: NonZeroU16,
    /// Messages that wait for a client that is away or slow.
    pub max_queued_messages: usize,
    /// Bytes of those messages.
    pub max_queued_bytes: usize,
    /// Bytes that wait for a connected client's socket before QoS 0 messages to it are dropped.
    pub max_outbox_bytes: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        SessionLimits {
            max_inflight: NonZeroU16::new(1024).unwrap_or(NonZeroU16::MIN),
            receive_maximum: NonZeroU16::new(1024).unwrap_or(NonZeroU16::MIN),
            max_queued_messages: 1000,
            max_queued_bytes: 16 << 20,
            max_outbox_bytes: 1 << 20,
        }
    }
}
