//! Joins sessions, router and cluster: the one place where the effects of a packet are decided.
//!
//! Everything here is synchronous and runs on the task of whoever caused it: a connection, a link or a timer. It knows
//! no sockets and starts no tasks. Only a connect may have to wait: its connection polls it.

mod authentication;
mod auto_subscribe;
pub mod batch;
pub mod budget;
mod capabilities;
pub mod client;
mod clients;
mod cluster_host;
mod connect;
pub mod connection;
mod delayed;
mod delivery_time;
mod detour;
mod exclusive;
mod exodus;
mod extras;
mod handover;
mod limits;
pub mod metrics;
mod open;
mod operator;
mod owed_retained;
mod pending_connect;
mod permits;
mod portable;
mod publish;
mod reauthentication;
mod refused;
mod registry;
mod reload;
mod rest;
mod retain;
mod retained;
mod rewrite;
mod session_record;
mod shared;
mod slow_subscribers;
mod subscribe;
mod system;
mod template;
mod timers;
mod topic_memo;
mod traces;

#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

pub use auto_subscribe::AutoSubscription;
use batch::Batch;
use budget::Budget;
pub use capabilities::{Capabilities, ResponseTopic, ServerReference};
use client::{Client, ClientState, Close, Signal, Subscriber};
pub use clients::{ClientSummary, Kick};
pub use connect::{Progress, Request};
use delayed::Delayed;
use exclusive::Exclusive;
use exodus::Exodus;
pub use exodus::Whereabouts;
pub use extras::Extras;
pub use limits::Limits;
use metrics::Metrics;
pub use open::{BRIDGE_CLIENTS, BRIDGE_MARK, Connected, Ending};
pub use operator::{Published, Unpublished};
use owed_retained::OwedRetained;
use parking_lot::{Mutex, MutexGuard, RwLock};
pub use pending_connect::PendingConnect;
pub use refused::Refused;
use registry::Registry;
use retained::RetainedMessages;
use rewrite::Rewrite;
pub use rewrite::RewriteRule;
use rumormq_gossip::MemberState;
pub use session_record::ConnectionRecord;
pub use slow_subscribers::Lag;
use system::SystemTopics;
use timers::{Due, Timers};

use crate::access::{Access, AccessConfig, DenialLog};
use crate::cluster::Cluster;
use crate::observation::slow::SlowSubscribers;
use crate::observation::top_topics::TopTopics;
use crate::observation::trace::{Happening, TraceEvent, Tracer};
use crate::router::{MatchingFilter, MatchingShare, Router, Strategy};
use crate::session::Session;
use crate::topic::Topic;

/// Between two looks whether a session that has expired is still being handed over.
const DEPARTING: Duration = Duration::from_secs(1);

/// One node's broker.
pub struct Broker {
    /// Guards which limits count for what begins from now on.
    limits: RwLock<Arc<Limits>>,
    /// Guards who decides from now on.
    access: RwLock<Arc<Access>>,
    /// Changes with the rules about what clients may do.
    rules: AtomicU64,
    shared_strategy: Strategy,
    /// Memory of clients that are not let in yet.
    pub connecting: Budget,
    denials: DenialLog,
    rewrite: Rewrite,
    auto_subscribe: Vec<AutoSubscription>,
    delayed: Delayed,
    system: SystemTopics,
    exclusive: Exclusive,
    exodus: Exodus,
    /// The node's name, once it has one.
    name: OnceLock<String>,
    router: Router<Subscriber>,
    registry: Registry,
    retained: RetainedMessages,
    /// Guards the timers of sessions without a connection. Taken under a client's lock, never the other way round.
    timers: Mutex<Timers<Weak<Client>>>,
    cluster: OnceLock<Arc<Cluster>>,
    /// Connections whose publish waits for the node to catch up.
    waiting: Mutex<Vec<Arc<Signal>>>,
    /// Who looks closely at what.
    pub tracer: Tracer,
    /// Who was late, where that is noted.
    pub slow: SlowSubscribers,
    /// What is published to most, where that is counted.
    pub top_topics: TopTopics,
    /// What is counted.
    pub metrics: Metrics,
}

/// How much there is of what comes and goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Census {
    /// Sessions with a connection.
    pub connected: usize,
    /// Sessions without one.
    pub disconnected: usize,
    /// Subscriptions of all sessions.
    pub subscriptions: usize,
    /// Messages sent and not acknowledged.
    pub inflight: usize,
    /// Messages that wait for their client.
    pub queued: usize,
    /// Groups of shared subscriptions that have members, here or elsewhere.
    pub shared_groups: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of those.
    pub retained_bytes: usize,
    /// Publishes that wait for their delay to pass.
    pub delayed: usize,
}

impl Broker {
    /// A broker without clients, which lets everybody in.
    pub fn new(limits: Limits) -> Broker {
        Broker::with_extras(limits, Extras::default())
    }

    /// A broker that does more than the specification asks for.
    pub fn with_extras(limits: Limits, extras: Extras) -> Broker {
        let slow = SlowSubscribers::default();
        slow.set_threshold(limits.slow_subscriber_threshold);
        Broker {
            connecting: Budget::new(limits.max_connecting_bytes),
            shared_strategy: limits.shared_strategy,
            limits: RwLock::new(Arc::new(limits)),
            access: RwLock::new(Arc::new(Access::new(AccessConfig::default()))),
            rules: AtomicU64::new(0),
            denials: DenialLog::default(),
            rewrite: Rewrite::new(extras.rewrite),
            auto_subscribe: extras.auto_subscribe,
            system: SystemTopics::new(extras.sys_interval),
            exclusive: Exclusive::new(extras.exclusive_subscriptions),
            exodus: Exodus::default(),
            name: OnceLock::new(),
            delayed: Delayed::new(extras.max_delayed_messages, extras.max_delayed_bytes),
            router: Router::new(),
            registry: Registry::default(),
            retained: RetainedMessages::default(),
            timers: Mutex::default(),
            cluster: OnceLock::new(),
            waiting: Mutex::default(),
            tracer: Tracer::default(),
            slow,
            top_topics: TopTopics::default(),
            metrics: Metrics::new(),
        }
    }

    /// The same broker, with this to decide who is let in.
    pub fn with_access(self, access: Access) -> Broker {
        Broker { access: RwLock::new(Arc::new(access)), ..self }
    }

    /// Joins the broker to its cluster; before, and without, it is alone.
    pub fn join(&self, cluster: Arc<Cluster>) {
        let _ = self.name.set(cluster.me().name.to_string());
        // A second cluster is the caller's mistake and changes nothing.
        let _ = self.cluster.set(cluster);
    }

    /// The name that the broker's own topics bear.
    fn node_name(&self) -> &str {
        self.name.get().map_or("rumormq", String::as_str)
    }

    /// The names of the live nodes, this one included.
    fn live_nodes(&self) -> Vec<String> {
        let Some(cluster) = self.cluster.get() else { return vec![self.node_name().to_owned()] };
        let snapshot = cluster.snapshot(Instant::now());
        let alive = snapshot.members.iter().filter(|member| member.state == Some(MemberState::Alive));
        let mut names: Vec<String> = alive.map(|member| member.replica.name.to_string()).collect();
        names.push(self.node_name().to_owned());
        names.sort_unstable();
        names
    }

    /// The filters that match a topic, with the number of local subscribers and the peers of each.
    pub fn matching_filters(&self, topic: Topic<'_>) -> Vec<MatchingFilter> {
        self.router.matching_filters(topic)
    }

    /// The shared subscriptions that match a topic, with their members.
    pub fn matching_shares(&self, topic: Topic<'_>) -> Vec<MatchingShare> {
        self.router.matching_shares(topic)
    }

    /// Filters with a subscriber here or a route elsewhere.
    pub fn filter_count(&self) -> usize {
        self.router.filter_count()
    }

    /// What is there at the moment. It looks at every session, each for a moment: call it where that holds up nobody.
    pub fn census(&self) -> Census {
        let mut census = Census {
            shared_groups: self.router.group_count(),
            retained_messages: self.retained.len(),
            retained_bytes: self.retained.bytes(),
            delayed: self.delayed.len(),
            ..Census::default()
        };
        for client in self.registry.clients() {
            let state = client.lock();
            match state.attachment {
                Some(_) => census.connected += 1,
                None => census.disconnected += 1,
            }
            census.subscriptions += state.record.subscriptions.len();
            census.inflight += state.session.inflight();
            census.queued += state.session.queued();
        }
        census
    }

    /// What clients are granted from now on. A connection keeps what it has begun with, for it was told that.
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.read().clone()
    }

    fn access(&self) -> Arc<Access> {
        self.access.read().clone()
    }

    /// Does what has become due. Call it about ten times a second.
    pub fn handle_tick(&self, now: Instant) {
        let mut batch = Batch::new(now);
        self.tidy_retained(now);
        self.tracer.tidy(now);
        self.top_topics.tidy(now);
        loop {
            let Some((key, due, client)) = self.timers.lock().pop(now) else { break };
            let Some(client) = client.upgrade() else { continue };
            let mut state = client.lock();
            match due {
                Due::Will if state.record.will_timer == Some(key) => {
                    state.record.will_timer = None;
                    let will = state.record.will.take();
                    drop(state);
                    if let Some(will) = will {
                        self.publish_will(&client, *will, &mut batch);
                    }
                }
                // Its client may have come in time, elsewhere: it ends there, or here if it does not go.
                Due::SessionExpiry if state.record.expiry_timer == Some(key) && state.record.departs => {
                    let timer = self.timers.lock().set(now + DEPARTING, due, Arc::downgrade(&client));
                    state.record.expiry_timer = Some(timer);
                }
                Due::SessionExpiry if state.record.expiry_timer == Some(key) => {
                    self.metrics.sessions_expired.inc();
                    state.tell(|_| TraceEvent::of(Happening::SessionExpired, client.id()));
                    self.end_session(&client, state, &mut batch);
                }
                Due::Will | Due::SessionExpiry => {}
            }
        }
        self.end_lost_exclusive(now);
        self.publish_delayed(&mut batch);
        self.publish_system(&mut batch);
        batch.flush();
        batch.report(&self.metrics);
    }

    /// Closes every connection, because the node stops.
    pub fn close_all(&self, why: Close) {
        for client in self.registry.clients() {
            if let Some(attachment) = &client.lock().attachment {
                attachment.signal.close(why);
            }
        }
    }

    /// The session, whose lock `state` is, is over: its subscriptions go, and its will is published now if it still
    /// waits [MQTT-3.1.2-8]. From here on no connection can open on it.
    fn end_session(&self, client: &Arc<Client>, mut state: MutexGuard<'_, ClientState>, batch: &mut Batch) {
        state.record.ended = true;
        state.tell(|_| TraceEvent::of(Happening::SessionEnded, client.id()));
        state.void();
        let for_others = self.take_shared(&mut state);
        // Cached matches may hold the client for a while yet; what it holds itself goes now.
        state.session = Session::new(self.limits().session.clone());
        state.record.owed_retained = OwedRetained::default();
        state.owes_retained = false;
        let will = state.record.will.take();
        self.cancel_timers(&mut state);
        drop(state);
        self.registry.remove(client);
        if let Some(cluster) = self.cluster.get() {
            cluster.retire_session(client.id(), client.claim(), batch.now);
        }
        let _changing = client.change_subscriptions();
        let subscriptions = std::mem::take(&mut client.lock().record.subscriptions);
        let subscriber = Subscriber(client.clone());
        for filter in subscriptions.keys() {
            self.unroute(filter, &subscriber);
            self.release_exclusive(filter, client, batch.now);
        }
        self.remove_interest(subscriptions.keys(), batch.now);
        self.pass_on(for_others, batch);
        if let Some(will) = will {
            self.publish_will(client, *will, batch);
        }
    }

    fn cancel_timers(&self, state: &mut ClientState) {
        let mut timers = self.timers.lock();
        timers.cancel(state.record.will_timer.take());
        timers.cancel(state.record.expiry_timer.take());
    }
}
