//! A node in a program: starts the listeners, the broker and its cluster, and stops them.

mod clients;
mod departure;
mod drain;
mod keeper;
mod members;
mod metrics;
mod preflight;
mod reload;
mod roll;
mod slow;
mod stats;
mod view;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq_gossip::seal::{ClusterKeys, Cookie, KeyError};
use rumormq_gossip::{LaneLimits, NodeName, ReplicaId};
use tokio::task::JoinHandle;

use crate::access::{Access, AccessConfig};
use crate::admin::{Guard, HttpServer, NodeView};
use crate::bridge::{Bridges, RemoteError};
use crate::broker::client::Close;
use crate::broker::{Broker, Limits};
use crate::cluster::events::{News, Subject};
use crate::cluster::forward::stream::ForwardLimits;
use crate::cluster::link::hello::Addresses;
use crate::cluster::link::tls::{LinkTls, LinkTlsError};
use crate::cluster::{Answerer, Cluster, ClusterConfig, Endpoint, NameTaken, SecretsError};
use crate::config::{Config, ConfigError, HostPort, advertised};
use crate::net::tls::{Tls, TlsError};
use crate::net::{Door, Listener, PageOrigins, Protocol, TrustedProxies};
use crate::store::{Identity, StoreError};
use departure::{Departure, DrainPlan};
use drain::Drain;
use keeper::{Keeper, Start};
pub use preflight::unusable_files;
use view::View;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener's address cannot be bound.
    #[error("cannot listen on {address} ({listener}): {error}; {}", bind_advice(listener, error))]
    Bind {
        /// Which listener.
        listener: &'static str,
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cookie yields no keys.
    #[error("cannot derive keys from the cookie: {0}")]
    Keys(#[from] KeyError),
    /// The certificates and keys for clients cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificates and keys for other nodes cannot be used.
    #[error(transparent)]
    LinkTls(#[from] LinkTlsError),
    /// A bridge cannot be set up.
    #[error(transparent)]
    Bridge(#[from] RemoteError),
    /// Another node has this one's name.
    #[error(transparent)]
    NameTaken(#[from] NameTaken),
    /// The membership does not start.
    #[error(transparent)]
    Membership(#[from] rumormq_gossip::chitchat::StartError),
}

impl StartError {
    /// Whether the operator has to change the configuration.
    pub fn is_usage(&self) -> bool {
        match self {
            StartError::Config(_)
            | StartError::Tls(_)
            | StartError::LinkTls(_)
            | StartError::Bridge(_)
            | StartError::NameTaken(_) => true,
            StartError::Store(error) => error.is_usage(),
            StartError::Bind { .. } | StartError::Keys(_) | StartError::Membership(_) => false,
        }
    }
}

fn bind_advice(listener: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("stop what uses the port (`ss -lntup` shows it), or give another --{listener} ADDR")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "the machine has no such address: give --{listener} one that `ip address` shows, or 0.0.0.0"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "ports below 1024 are for root: give --{listener} a higher one, or the process CAP_NET_BIND_SERVICE"
            )
        }
        _ => format!("give another --{listener} ADDR"),
    }
}

/// Why a node goes on with what it had.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It would not start with what it is given now.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The change needs a restart.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// Reading has failed in a way that it should not.
    #[error("reading the files has panicked")]
    Panicked,
}

impl From<ConfigError> for ReloadError {
    fn from(error: ConfigError) -> ReloadError {
        StartError::from(error).into()
    }
}

impl From<TlsError> for ReloadError {
    fn from(error: TlsError) -> ReloadError {
        StartError::from(error).into()
    }
}

/// Between two looks at what is due in the broker.
const TICK: Duration = Duration::from_millis(100);
/// Time for clients to be told that the node stops.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// A running node. Dropped without [`Node::stop`] it ends like a crash.
pub struct Node {
    name: NodeName,
    /// The listeners for clients: the name of each one's setting, and where it listens. MQTT over plain TCP is the first.
    listeners: Vec<(&'static str, SocketAddr)>,
    /// What counts at present. Guards that one reload comes after the other.
    in_force: tokio::sync::Mutex<Config>,
    guard: Guard,
    tls: Option<Arc<Tls>>,
    http: SocketAddr,
    cluster_addr: SocketAddr,
    broker: Arc<Broker>,
    cluster: Arc<Cluster>,
    view: Arc<View>,
    departure: Arc<Departure>,
    drain: JoinHandle<()>,
    listening: Vec<JoinHandle<()>>,
    bridges: Bridges,
    keeper: Option<Keeper>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    /// Starts a node. Returns when clients may connect: it has what a reachable peer had, or waited `join_grace` for one.
    pub async fn start(config: Config) -> Result<Node, StartError> {
        config.validate()?;
        let in_force = tokio::sync::Mutex::new(config.clone());
        let name = config.node_name()?;
        let bind = |listener, address| move |error| StartError::Bind { listener, address, error };
        let tls = config.tls_files()?.map(Tls::load).transpose()?.map(Arc::new);
        let clients = bind_listeners(&config, tls.as_ref())?;
        let http = HttpServer::bind(config.http).await.map_err(bind("http", config.http))?;
        let endpoint = Endpoint::bind(config.cluster).map_err(bind("cluster", config.cluster))?;
        let listeners: Vec<_> = clients.iter().map(|it| (it.protocol().name(), it.address())).collect();
        let mqtt = listeners[0].1;
        let http_addr = http.local_addr().map_err(bind("http", config.http))?;
        let cluster_addr = endpoint.local_addr().map_err(bind("cluster", config.cluster))?;

        let advertise = Addresses {
            cluster: advertised(config.advertise_cluster.as_ref(), &name, cluster_addr)
                .map_or_else(|| cluster_addr.to_string(), |address| address.to_string()),
            mqtt: advertised(config.advertise_mqtt.as_ref(), &name, mqtt).map(|at| at.to_string()),
            http: advertised(config.advertise_http.as_ref(), &name, http_addr).map(|at| at.to_string()),
        };
        let reached = resolve(&advertise.cluster, cluster_addr).await.ok_or_else(|| {
            let host = name.host().to_owned();
            ConfigError::NothingToAdvertise { listener: "cluster", bound: cluster_addr, host }
        })?;
        let start = Start::begin(config.data_dir.clone(), &name).await?;
        let broker = Broker::with_extras(config.limits.clone(), config.extras.clone());
        let broker = Arc::new(broker.with_access(Access::new(access(&config))));
        let settings = cluster_config(&config, &start.identity, advertise, reached)?;
        let cluster = Arc::new(Cluster::new(settings, broker.cluster_host()));
        broker.join(cluster.clone());
        let mut bridges = Bridges::new(&broker, &config.bridge, name.as_str(), &config.cluster_name)?;
        let plan = DrainPlan { rate: config.drain_rate, grace: config.drain_grace };
        let departure = Arc::new(Departure::new(plan));
        let view = Arc::new(View::new(broker.clone(), cluster.clone(), departure.clone()));
        let drain = Drain {
            broker: broker.clone(),
            cluster: cluster.clone(),
            departure: departure.clone(),
            // Who comes through a proxy may not reach other nodes by their own addresses.
            names_nodes: config.trusted_proxies.is_empty(),
        };
        let answerer: Arc<dyn Answerer> = view.clone();
        cluster.answer_by(Arc::downgrade(&answerer));
        let guard = Guard::new(config.http_token.clone(), config.http_read_token.clone())
            .with_hosts(own_hosts(&name, config.advertise_http.as_ref()));
        let tasks =
            vec![tokio::spawn(http.run(view.clone(), guard.clone())), tokio::spawn(tick(broker.clone()))];
        cluster.start(endpoint).await?;
        let keeper = start
            .dir
            .map(|dir| Keeper::start(dir, start.identity, cluster.clone(), &broker.metrics.registry));
        cluster.ready().await?;
        view.set_ready();
        note(&cluster, "ready for clients");
        bridges.start();
        let door = Door::new(broker.clone(), TrustedProxies::new(config.trusted_proxies));
        let listening =
            clients.into_iter().map(|listener| tokio::spawn(listener.run(door.clone()))).collect();
        tracing::info!(node = %name, %mqtt, http = %http_addr, "started");
        Ok(Node {
            name,
            listeners,
            in_force,
            guard,
            tls,
            http: http_addr,
            cluster_addr,
            broker,
            cluster,
            view,
            departure,
            drain: tokio::spawn(drain.run()),
            listening,
            bridges,
            keeper,
            tasks,
        })
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Where clients connect.
    pub fn mqtt_addr(&self) -> SocketAddr {
        self.listeners[0].1
    }

    /// All listeners for clients, each by the name of its setting: `mqtt`, then `mqtts`, `ws` and `wss` where they are on.
    pub fn client_listeners(&self) -> &[(&'static str, SocketAddr)] {
        &self.listeners
    }

    /// Reads the certificates and keys for clients again. Connections that are open keep what they have; after an error new ones
    /// get what was read before.
    pub fn reload_certificates(&self) -> Result<(), TlsError> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// Where nodes connect.
    pub fn cluster_addr(&self) -> SocketAddr {
        self.cluster_addr
    }

    /// Where the HTTP API is.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// What the HTTP API shows.
    pub fn view(&self) -> Arc<dyn NodeView> {
        self.view.clone()
    }

    /// Stops: tells the other nodes and the clients, and ends all tasks.
    pub async fn stop(mut self) {
        note(&self.cluster, "stops");
        self.say_goodbye(Close::ShuttingDown).await;
        self.cluster.stop(Instant::now() + GOODBYE_MAX).await;
        if let Some(keeper) = self.keeper.take() {
            keeper.stop().await;
        }
        tracing::info!(node = %self.name, "stopped");
    }

    /// Resolves when somebody has asked over HTTP that the node leaves its cluster, and it has been drained if that was asked for,
    /// too; [`Node::leave`] does it.
    pub async fn asked_to_leave(&self) {
        self.departure.leave_asked().await;
    }

    /// Leaves the cluster for good, and ends. The others drop what they know of this node at once, as soon as they hear of it;
    /// started again it is a newcomer, that knows nobody.
    pub async fn leave(mut self) {
        note(&self.cluster, "leaves the cluster for good");
        self.say_goodbye(Close::Leaving).await;
        self.cluster.leave(Instant::now() + GOODBYE_MAX).await;
        if let Some(keeper) = self.keeper.take() {
            keeper.leave().await;
        }
        tracing::info!(node = %self.name, "left the cluster");
    }

    /// Tells the other nodes not to wait for this one, and clients to go.
    async fn say_goodbye(&mut self, why: Close) {
        self.departure.begin_end();
        self.drain.abort();
        self.cluster.events.end();
        self.bridges = Bridges::default();
        self.listening.iter().for_each(JoinHandle::abort);
        self.cluster.announce_stop();
        self.broker.close_all(why);
        let deadline = Instant::now() + GOODBYE_MAX;
        while self.broker.metrics.connections.get() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.listening.iter().for_each(JoinHandle::abort);
        self.tasks.iter().chain([&self.drain]).for_each(JoinHandle::abort);
        self.cluster.abort();
    }
}

/// Binds what clients connect to, plain TCP first.
fn bind_listeners(config: &Config, tls: Option<&Arc<Tls>>) -> Result<Vec<Listener>, StartError> {
    let origins = PageOrigins::new(config.ws_origins.clone());
    let wanted = [
        (Some(config.mqtt), Some(Protocol::Mqtt)),
        (config.mqtts, tls.cloned().map(Protocol::Mqtts)),
        (config.ws, Some(Protocol::Ws(origins.clone()))),
        (config.wss, tls.cloned().map(|tls| Protocol::Wss(tls, origins))),
    ];
    let wanted = wanted.into_iter().filter_map(|(address, protocol)| address.zip(protocol));
    wanted
        .map(|(address, protocol)| {
            let listener = protocol.name();
            Listener::bind(address, protocol).map_err(|error| StartError::Bind { listener, address, error })
        })
        .collect()
}

/// The address that a host name stands for, of the bound one's family where it has one. The bound one itself where the
/// name stands for nothing and others can reach that.
async fn resolve(host: &str, bound: SocketAddr) -> Option<SocketAddr> {
    let found: Vec<SocketAddr> =
        tokio::net::lookup_host(host).await.map(Iterator::collect).unwrap_or_default();
    let of_family = found.iter().find(|address| address.is_ipv4() == bound.is_ipv4());
    let bound = (!bound.ip().is_unspecified()).then_some(bound);
    of_family.or(found.first()).copied().or(bound)
}

/// What this machine is called by those who are told of the node.
fn own_hosts(name: &NodeName, advertised: Option<&HostPort>) -> Vec<String> {
    let hosts = [Some(name.host()), advertised.map(HostPort::host)];
    hosts.into_iter().flatten().map(str::to_owned).collect()
}

/// Something that the node itself does is among its events.
fn note(cluster: &Cluster, text: &str) {
    cluster.events.note(News { subject: Subject::Node, node: None, text: text.to_owned() });
}

async fn tick(broker: Arc<Broker>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        broker.handle_tick(Instant::now());
    }
}

fn access(config: &Config) -> AccessConfig {
    AccessConfig {
        passwords: config.password_file.clone(),
        acl: config.acl_file.clone(),
        allow_anonymous: config.allow_anonymous,
        certificate_as_username: config.certificate_as_username,
        max_pending_authentications: config.limits.max_pending_authentications,
    }
}

/// What a peer's part of a replicated set may hold: more than any node with these limits takes and takes over, for who
/// refuses it stays behind.
fn lane_limits(limits: &Limits) -> LaneLimits {
    let default = LaneLimits::default();
    LaneLimits {
        max_elements: default.max_elements.max(limits.max_retained_messages.saturating_mul(4)),
        max_bytes: default.max_bytes.max(limits.max_retained_bytes.saturating_mul(4)),
        ..default
    }
}

/// Takes 50 ms of CPU for each cookie.
fn keys(cluster: &str, cookies: &[Cookie]) -> Result<Option<ClusterKeys>, KeyError> {
    (!cookies.is_empty()).then(|| ClusterKeys::derive(cluster, cookies)).transpose()
}

fn cluster_config(
    config: &Config,
    start: &Identity,
    advertise: Addresses,
    advertise_socket: SocketAddr,
) -> Result<ClusterConfig, StartError> {
    let keys = keys(&config.cluster_name, &config.cookies)?;
    let tls = config.cluster_tls_files()?.map(|files| LinkTls::load(&files, &start.node)).transpose()?;
    Ok(ClusterConfig {
        cluster: config.cluster_name.clone(),
        replica: ReplicaId { name: start.node.clone(), incarnation: start.incarnation },
        advertise,
        advertise_socket,
        seeds: config.join.iter().map(ToString::to_string).collect(),
        known: start.peers.clone(),
        keys,
        tls: tls.map(Arc::new),
        gossip: rumormq_gossip::Config {
            lane: lane_limits(&config.limits),
            settle_timeout: config.suback_timeout,
            forget_after: config.forget_after,
            tombstone_ttl: config.tombstone_ttl,
            full_mesh_up_to: config.full_mesh_up_to,
            ..rumormq_gossip::Config::default()
        },
        gossip_interval: config.gossip_interval,
        phi: config.phi,
        join_grace: config.join_grace,
        puback_timeout: config.puback_timeout,
        takeover_timeout: config.takeover_timeout,
        forward: ForwardLimits {
            messages: config.forward_buffer_messages,
            bytes: config.forward_buffer_bytes,
            age: config.forward_buffer_age,
            overflow: config.forward_overflow,
        },
        forward_total_bytes: config.forward_total_bytes,
        max_shared_bytes: config.shared_buffer_bytes,
    })
}
