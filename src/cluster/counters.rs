//! What the cluster counts beside the gossip's own counters.

use prometheus::IntCounter;

/// Forwards to and from one peer.
#[derive(Debug)]
pub struct ForwardCounters {
    /// Put on a link.
    pub sent: IntCounter,
    /// Of these, QoS 1 and 2 that an earlier link had carried before.
    pub resent: IntCounter,
    /// Acknowledged by the peer.
    pub acked: IntCounter,
    /// Received from the peer.
    pub received: IntCounter,
    /// Received before, and dropped.
    pub duplicate: IntCounter,
    /// QoS 0 dropped for want of a link.
    pub dropped_no_link: IntCounter,
    /// QoS 0 dropped because the link did not keep up.
    pub dropped_link_full: IntCounter,
    /// QoS 1 and 2 dropped because the buffer was full.
    pub dropped_overflow: IntCounter,
}

impl Default for ForwardCounters {
    fn default() -> Self {
        let counter =
            || IntCounter::new("forward", "counted here, named where it is shown").expect("a valid name");
        ForwardCounters {
            sent: counter(),
            resent: counter(),
            acked: counter(),
            received: counter(),
            duplicate: counter(),
            dropped_no_link: counter(),
            dropped_link_full: counter(),
            dropped_overflow: counter(),
        }
    }
}
