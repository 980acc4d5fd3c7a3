//! What the broker grants its clients.

use std::sync::Arc;
use std::time::Duration;

use super::capabilities::Capabilities;
use crate::router::Strategy;
use crate::session::SessionLimits;

/// Bounds of the broker. See the table of limits in the README.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest packet a client may send, in bytes; announced as Maximum Packet Size. Lower saves memory against a
    /// flood of large messages, too low refuses the fleet's own.
    pub max_packet_size: u32,
    /// Longest client identifier, in bytes.
    pub max_client_id_len: usize,
    /// Open client connections.
    pub max_connections: usize,
    /// Sessions, with and without a connection.
    pub max_sessions: usize,
    /// Subscriptions of one client.
    pub max_subscriptions: usize,
    /// Levels of a topic filter, each of which costs memory on every node; and of a topic with a retained message.
    pub max_filter_levels: usize,
    /// Bytes of a topic filter. A client's subscriptions take up to this times [`Limits::max_subscriptions`].
    pub max_filter_len: usize,
    /// Topic filters of one SUBSCRIBE or UNSUBSCRIBE packet, which is handled in one go.
    pub max_filters_per_subscribe: usize,
    /// SUBSCRIBE packets of a client that may wait for other nodes before it is not read from.
    pub max_pending_subscribes: usize,
    /// Topic aliases a client may set on its connection.
    pub topic_alias_maximum: u16,
    /// Longest a session outlives its connection. It is also what 3.1.1's `clean session = 0` gets, which names no
    /// interval of its own.
    pub max_session_expiry: Duration,
    /// Time from accepting a connection to its CONNACK.
    pub connect_timeout: Duration,
    /// Largest CONNECT, and AUTH before CONNACK, in bytes: what a client may send before it is known. A will of the greatest size
    /// takes 64 KiB of it, user name and password are in it as well.
    pub max_connect_size: u32,
    /// Memory for CONNECTs that come in pieces or wait for an answer, and for what came behind them, of all clients together. A
    /// small CONNECT that comes in one piece and is answered at once takes none of it.
    pub max_connecting_bytes: usize,
    /// Clients whose password waits to be checked. A check takes some 20 ms of a core: more than are done within the connect
    /// timeout wait in vain.
    pub max_pending_authentications: usize,
    /// Retained messages.
    pub max_retained_messages: usize,
    /// Memory of retained messages in bytes, the levels of their topics included.
    pub max_retained_bytes: usize,
    /// Which member of a group gets a message. To be the same on all nodes.
    pub shared_strategy: Strategy,
    /// A connected client is noted as slow if it takes so long to acknowledge a message, counted from when the node has it. Lower
    /// notes more clients, at the cost of a look for each acknowledgement; zero notes nobody, and costs nothing.
    pub slow_subscriber_threshold: Duration,
    /// What clients may use at all.
    pub capabilities: Capabilities,
    /// Bounds of each session.
    pub session: Arc<SessionLimits>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_packet_size: 1 << 20,
            max_client_id_len: 1024,
            max_connections: 1_000_000,
            max_sessions: 1_000_000,
            max_subscriptions: 100_000,
            max_filter_levels: 128,
            max_filter_len: 4096,
            max_filters_per_subscribe: 1024,
            max_pending_subscribes: 64,
            topic_alias_maximum: 32,
            max_session_expiry: Duration::from_secs(7 * 24 * 3600),
            connect_timeout: Duration::from_secs(10),
            max_connect_size: 128 << 10,
            max_connecting_bytes: 64 << 20,
            max_pending_authentications: 1000,
            max_retained_messages: 1_000_000,
            max_retained_bytes: 1 << 30,
            shared_strategy: Strategy::default(),
            slow_subscriber_threshold: Duration::ZERO,
            capabilities: Capabilities::default(),
            session: Arc::default(),
        }
    }
}
