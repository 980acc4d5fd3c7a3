//! What the broker does beyond the specification, as the operator wants it.

use std::time::Duration;

use super::auto_subscribe::AutoSubscription;
use super::rewrite::RewriteRule;

/// Settings of what the specification does not know. By default nothing of it changes what it knows.
#[derive(Clone, Debug)]
pub struct Extras {
    /// Time between two rounds of values below `$SYS`, which also bounds how old those are that a new subscriber gets. Zero:
    /// nothing is said there. Shorter costs a look at every session each time, while anybody subscribes.
    pub sys_interval: Duration,
    /// `$exclusive/FILTER` is a subscription to FILTER that one client at a time may have. Otherwise it is a filter like any
    /// other. The same on all nodes.
    pub exclusive_subscriptions: bool,
    /// Rules that rename topics; the first that matches decides. Empty: none.
    pub rewrite: Vec<RewriteRule>,
    /// Subscriptions of every client. Each costs what a SUBSCRIBE would, at every connect.
    pub auto_subscribe: Vec<AutoSubscription>,
    /// Publishes to `$delayed/SECONDS/TOPIC` that may wait for their time. 0: there is no such thing, and the topic is one
    /// like any other.
    pub max_delayed_messages: usize,
    /// Memory of those, in bytes.
    pub max_delayed_bytes: usize,
}

impl Default for Extras {
    fn default() -> Self {
        Extras {
            sys_interval: Duration::from_secs(10),
            exclusive_subscriptions: false,
            rewrite: Vec::new(),
            auto_subscribe: Vec::new(),
            max_delayed_messages: 0,
            max_delayed_bytes: 64 << 20,
        }
    }
}
