//! The HTTP API and the metrics' page, over whatever can show a node.
//!
//! A [`NodeView`] gives the answers, [`router`] turns requests into questions, [`HttpServer`] keeps those who ask within
//! bounds: connections, sizes and times are limited, and nothing that a request says is trusted before it is parsed.
//! Whoever reaches it may read; what changes something passes a [`Guard`]. It knows nothing of sessions, sockets or links.

mod api;
mod cursor;
#[cfg(test)]
pub(crate) mod fake;
mod guard;
mod page;
mod server;
#[cfg(test)]
mod tests;
pub mod view;

pub use api::router;
pub use guard::Guard;
pub use page::{RetainedQuery, RoutesQuery};
pub use server::HttpServer;

use crate::topic::Topic;
use view::{ClusterView, MatchView, RetainedPage, RoutesPage};

/// A node as its HTTP API shows it. Each call is a snapshot of its own, and short: it runs on a task that serves others.
pub trait NodeView: Send + Sync + 'static {
    /// The members of the cluster, as this node sees them.
    fn cluster(&self) -> ClusterView;
    /// One page of the route table. [`RoutesQuery::page`] makes it of all routes.
    fn routes(&self, query: &RoutesQuery) -> RoutesPage;
    /// The filters that match a topic, sorted bytewise, with the nodes that a publish to it would reach.
    fn matches(&self, topic: Topic<'_>) -> MatchView;
    /// One page of the retained messages. It may take a while: it is called where that holds up nobody.
    fn retained(&self, query: &RetainedQuery) -> RetainedPage;
    /// Clears a topic's retained message, on all nodes. False if there is none.
    fn clear_retained(&self, topic: Topic<'_>) -> bool;
    /// Leaves the cluster for good, soon after this returns.
    fn leave(&self);
    /// All metrics, in the text format of Prometheus.
    fn metrics(&self) -> String;
    /// Whether clients should be sent here.
    fn readiness(&self) -> Readiness;
}

/// Whether a node is ready for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is.
    Ready,
    /// It is not, for this reason.
    NotReady(String),
}
