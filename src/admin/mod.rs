//! The HTTP API, the metrics' page and the status page, over whatever can show a node.
//!
//! A [`NodeView`] gives the answers, [`router`] turns requests into questions, [`HttpServer`] keeps those who ask within
//! bounds: connections, sizes and times are limited, and nothing that a request says is trusted before it is parsed.
//! A [`Guard`] says who may read, and who may change something. It knows nothing of sessions, sockets or links.
//!
//! One table of paths both answers and describes them. What happens is streamed to a few watchers, of which the status page is
//! one. What each node knows of itself alone is a `question`, which can be asked of all.

mod api;
mod body;
mod clients;
mod cursor;
mod endpoint;
#[cfg(test)]
pub(crate) mod fake;
mod guard;
mod leaving;
mod page;
mod parameters;
mod question;
mod refusal;
mod routes;
#[cfg(test)]
mod schema_check;
mod server;
mod status_page;
mod stream;
#[cfg(test)]
mod tests;
mod top_topics;
mod trace;
pub mod view;

pub use api::router;
pub use guard::Guard;
pub use leaving::{DrainStage, DrainView, LeaveRefused, LeaveRequest};
pub use page::{
    ClientsQuery, DEFAULT_LIMIT, FirstEntries, MAX_LIMIT, Part, RetainedQuery, RoutesQuery, SlowQuery,
    SubscriptionsQuery,
};
pub use question::answer;
pub use server::HttpServer;

use std::future::Future;
use std::pin::Pin;

use tokio::sync::watch;

use crate::broker::{Kick, Published, Unpublished};
use crate::cluster::events::Newest;
use crate::message::Message;
use crate::observation::top_topics::{Counted, CountsFull};
use crate::observation::trace::{Order, Part as TracePart, TracerFull};
use crate::topic::Topic;
use view::{
    ClientView, ClientsPage, ClusterView, EventView, LeavingView, MatchView, NodeStats, RetainedPage,
    RoutesPage, SlowSubscribersPage, SubscriptionsPage, TargetGroup,
};

/// What comes later.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// The answers of other nodes by their names, each the text of one, or why there is none.
pub type Answers = Vec<(String, Result<Vec<u8>, String>)>;

/// A node as its HTTP API shows it. Each call is a snapshot of its own, and short: it runs on a task that serves others.
pub trait NodeView: Send + Sync + 'static {
    /// The node's name.
    fn name(&self) -> String;
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
    /// One page of the clients with a session here. It may take a while, as may the next ones.
    fn clients(&self, query: &ClientsQuery) -> ClientsPage;
    /// A client with a session here.
    fn client(&self, id: &str) -> Option<ClientView>;
    /// Ends a client's connection, and its session if that is to go. False if it is not here, or there is nothing to end.
    fn kick(&self, id: &str, kick: Kick) -> bool;
    /// One page of the subscriptions of these clients.
    fn subscriptions(&self, query: &SubscriptionsQuery) -> SubscriptionsPage;
    /// One page of the clients that take long for what is published for them. It may take a while.
    fn slow_subscribers(&self, query: &SlowQuery) -> SlowSubscribersPage;
    /// Begins to count what is published to which topic, for so many seconds, until it is fetched by this name.
    fn count_topics(&self, count: &str, seconds: u64) -> Result<(), CountsFull>;
    /// Ends that count; none where there is none.
    fn counted_topics(&self, count: &str) -> Option<Counted>;
    /// What the node does, in numbers.
    fn stats(&self) -> NodeStats;
    /// What has happened after the event of that number, oldest first.
    fn events(&self, after: u64) -> Vec<EventView>;
    /// Tells how far the events go, whenever that has changed.
    fn watch_events(&self) -> watch::Receiver<Newest>;
    /// Begins a trace, or goes on with the one of this identifier, and gives what has happened after the event of that number,
    /// of at most so many bytes. It may take a while where it begins.
    fn trace(&self, order: Order, after: u64, bytes_max: usize) -> Result<TracePart, TracerFull>;
    /// Publishes a message, past all access rules.
    fn publish(&self, message: Message) -> Later<Result<Published, Unpublished>>;
    /// Asks all other nodes something that [`answer`] answers there.
    fn ask_members(&self, question: Vec<u8>) -> Later<Answers>;
    /// Leaves the cluster for good, soon after this returns, or when it is drained. A second request cuts a drain short.
    fn leave(&self, request: &LeaveRequest) -> Result<(), LeaveRefused>;
    /// How far that has got.
    fn leaving(&self) -> LeavingView;
    /// All metrics, in the text format of Prometheus. It may take a while: it is called where that holds up nobody.
    fn metrics(&self) -> String;
    /// All members that others reach over HTTP, this one included, sorted by name.
    fn targets(&self) -> Vec<TargetGroup>;
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
