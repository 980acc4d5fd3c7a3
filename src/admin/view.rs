//! The answers' shapes. What is unknown is null; names and filters are sorted bytewise.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod clients;
mod events;
mod publish;
mod slow;
mod stats;
mod targets;
mod top_topics;
mod trace;

use super::leaving::DrainView;
pub use clients::{ClientView, ClientsPage, KickedView, Missing, SubscriptionView, SubscriptionsPage};
pub use events::{EventKind, EventView, EventsView};
pub use publish::{PublishProperties, PublishRequest, PublishedView, UserProperties};
pub use slow::{SlowSubscriberView, SlowSubscribersPage};
pub use stats::{NodeStats, PeerStats, StatsView};
pub use targets::TargetGroup;
pub use top_topics::{RankingView, TopTopicView, TopTopicsView};
pub use trace::{Happening, MissingView, TraceEvent, TraceRequest, TraceView, TracedView};

/// `GET /api/v1/cluster`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterView {
    /// The name of the node that answers.
    pub node: String,
    /// Which start of it this is; higher is later.
    pub incarnation: u64,
    /// Whether this node has applied, for every set, the newest head it knows of every live or suspect member, and no hash
    /// differs.
    pub converged: bool,
    /// All members, this one included, sorted by name.
    pub members: Vec<MemberView>,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemberView {
    /// Its name.
    pub name: String,
    /// Which start of it; higher is later.
    pub incarnation: u64,
    /// Whether it lives.
    pub state: MemberState,
    /// How this node reaches it.
    pub link: LinkKind,
    /// The peer that relays to it, where the link is relayed.
    pub via: Option<String>,
    /// Time to it and back in milliseconds, where there is a link.
    pub rtt_ms: Option<f64>,
    /// Filters that its clients want, as far as this node has applied them.
    pub routes: u64,
    /// How far this node has followed its routes.
    #[serde(flatten)]
    pub routes_set: SetView,
    /// The same for every replicated set, by the set's name; `routes` is one of them.
    pub sets: BTreeMap<String, SetView>,
}

/// How far a node has followed a member's part of a replicated set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SetView {
    /// The newest state that is known of.
    pub head: Option<HeadView>,
    /// The state that is applied.
    pub applied: Option<HeadView>,
    /// Operations between the two.
    pub lag_ops: u64,
    /// For how long a newer state than the applied one has been known.
    pub lag_seconds: f64,
}

/// A state of one member's part of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeadView {
    /// Number of the last operation.
    pub seq: u64,
    /// Hash of what is in the set then, in hexadecimal.
    pub hash: String,
}

/// Whether a member lives, as far as can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// It is heard of.
    Alive,
    /// Gossip misses it, and another node still hears it.
    Suspect,
    /// Nobody hears it.
    Dead,
    /// It said that it stops, and may come back.
    Stopped,
    /// It said that it leaves for good.
    Left,
}

/// How a node reaches a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// It is that member.
    #[serde(rename = "self")]
    Own,
    /// By a connection of their own.
    Direct,
    /// Through another member.
    Relayed,
    /// Not at all.
    None,
}

/// `GET /api/v1/routes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoutesPage {
    /// Sorted by filter.
    pub routes: Vec<RouteView>,
    /// What to ask for as `cursor` to get the next page; null on the last one.
    pub next: Option<String>,
}

/// A topic filter and who wants what it matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct RouteView {
    /// The filter; for a shared subscription with `$share/NAME/` before it.
    pub filter: String,
    /// Names of the nodes, sorted.
    pub nodes: Vec<String>,
    /// For a shared subscription: how many members each node has, with and without a connection. Absent for others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<String, u32>,
}

/// `GET /api/v1/match`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MatchView {
    /// The topic that was asked about.
    pub topic: String,
    /// The filters that match, sorted.
    pub matches: Vec<RouteView>,
}

/// `GET /api/v1/retained`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetainedPage {
    /// Sorted by topic.
    pub retained: Vec<RetainedView>,
    /// What to ask for as `cursor` to get the next page; null on the last one.
    pub next: Option<String>,
}

/// A retained message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct RetainedView {
    /// Where it was published.
    pub topic: String,
    /// QoS of the publish.
    pub qos: u8,
    /// Bytes of the payload.
    pub payload_size: usize,
    /// The node that took it, be it gone since.
    pub node: Option<String>,
    /// When that node took it, in milliseconds since 1970.
    pub published_ms: u64,
    /// Seconds until it expires.
    pub expires_in: Option<u64>,
}

/// `DELETE /api/v1/retained`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClearedView {
    /// The topic that has no retained message any more.
    pub topic: String,
}

/// `GET` and `POST /api/v1/leave`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeavingView {
    /// The node that answers.
    pub node: String,
    /// How far it is drained, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainView>,
}

/// `GET /healthz` and `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthView {
    /// `ok`, `ready` or `not ready`.
    pub status: String,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Any answer whose status is no success, except that of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorView {
    /// What is wrong with the request.
    pub error: String,
}
