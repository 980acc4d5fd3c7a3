//! The task of a bridge: opens its two connections, lets the relay work between them, and begins anew when one breaks.

use std::convert::Infallible;
use std::io;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::{Duration, Instant};

use super::Node;
use super::config::{BridgeConfig, BridgeTopic};
use super::connection::{Connection, Progress};
use super::greeting::{Accepted, RECEIVE_MAXIMUM, encode, set_bridge_bit, subscribe};
use super::relay::{Here, LOCAL_VERSION, Relay, RelayError};
use super::remote::{Remote, RemoteError};
use super::topics::Topics;
use crate::broker::{BRIDGE_CLIENTS, BRIDGE_MARK, Capabilities};
use crate::codec;
use crate::codec::packet::{Connect, Packet, PropertySet, ProtocolVersion, QoS, ReasonCode};
use crate::net::pipe;

/// Longest wait for the other broker to take the connection and to answer CONNECT.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The first wait after a failure; each further one is twice as long.
const RETRY_MIN: Duration = Duration::from_millis(250);
/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Bytes that wait for one side before the other is not read from.
const BACKLOG_MAX: usize = 256 << 10;
/// How long the other broker keeps what it has for the bridge, in seconds.
const SESSION_SECS: u32 = 7 * 24 * 3600;

/// A bridge of this node.
pub struct Bridge {
    config: BridgeConfig,
    node: Node,
    remote: Remote,
    password: Option<Vec<u8>>,
    /// Its identifier at the other broker.
    client_id: String,
    /// Its identifier here.
    local_id: String,
    outward: Vec<(String, QoS)>,
    inward: Vec<(String, QoS)>,
    /// The other broker takes the bridge bit, as far as is known.
    bridge_bit: bool,
    /// It has been connected before.
    begun: bool,
}

/// Why a bridge's connections end.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the other broker cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("the other broker does not answer")]
    Silent,
    #[error("the other broker does not take the bridge: {0:?}")]
    Refused(ReasonCode),
    #[error("the other broker does not know the bridge bit of 3.1.1")]
    NoBridgeBit,
    #[error("the other broker answers CONNECT with something else")]
    NoConnAck,
    #[error(
        "both brokers are of a cluster called {0:?}: give one of them another --cluster-name, or messages that come back \
         cannot be told from new ones"
    )]
    SameCluster(String),
    #[error("this node does not take the bridge: {0:?}")]
    RefusedHere(ReasonCode),
    #[error("the connection to {0} is lost: {1}")]
    Lost(&'static str, io::Error),
    #[error(transparent)]
    Relay(#[from] RelayError),
}

fn lost(error: io::Error) -> RunError {
    RunError::Lost("the other broker", error)
}

fn lost_here(error: io::Error) -> RunError {
    RunError::Lost("this node", error)
}

/// The password that is in the bridge's file, if it has one.
pub(super) fn password(config: &BridgeConfig) -> Result<Option<Vec<u8>>, RemoteError> {
    let Some(path) = &config.password_file else { return Ok(None) };
    let content = std::fs::read(path).map_err(|error| {
        let (bridge, path) = (config.name.clone(), path.clone());
        RemoteError::Password { bridge, path, error }
    })?;
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Some(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
}

impl Bridge {
    /// A bridge that is not connected yet.
    pub fn new(config: BridgeConfig, node: Node) -> Result<Bridge, RemoteError> {
        let plain = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c), "-");
        let default_id = || format!("bridge-{}-{}", config.name, plain(&node.name));
        let pick = |goes: fn(&BridgeTopic) -> bool, name: fn(&BridgeTopic) -> String| {
            let topics = config.topics.iter().filter(|topic| goes(topic));
            topics.map(|topic| (name(topic), topic.qos)).collect()
        };
        Ok(Bridge {
            remote: Remote::new(&config)?,
            password: password(&config)?,
            client_id: config.client_id.clone().unwrap_or_else(default_id),
            local_id: format!("{BRIDGE_CLIENTS}{}/{}", config.name, node.name),
            outward: pick(|topic| topic.out, BridgeTopic::local),
            inward: pick(|topic| topic.into, BridgeTopic::remote),
            bridge_bit: config.version == ProtocolVersion::V311,
            begun: false,
            config,
            node,
        })
    }

    /// Runs until the task is aborted.
    pub async fn run(mut self) {
        let name = self.config.name.clone();
        if let Err(error) = self.open_session().await {
            tracing::error!(bridge = name, "{error}: raise the limit that is named, and restart the node");
        }
        let mut wait = RETRY_MIN;
        loop {
            let began = Instant::now();
            let Err(error) = self.connect_and_relay().await;
            self.node.metrics.up.with_label_values(&[&name]).set(0);
            if matches!(error, RunError::NoBridgeBit) {
                self.bridge_bit = false;
                continue;
            }
            if began.elapsed() > RETRY_MAX {
                wait = RETRY_MIN;
            }
            tracing::warn!(bridge = name, retry_in = ?wait, "{error}; it is tried again: check [[bridge]] and the other broker");
            tokio::time::sleep(wait).await;
            wait = RETRY_MAX.min(wait * 2);
        }
    }

    /// From here on this node keeps messages for the other broker, whether that can be reached or not.
    async fn open_session(&self) -> Result<(), RunError> {
        if self.outward.is_empty() {
            return Ok(());
        }
        let mut local = self.connect_local(RECEIVE_MAXIMUM, QoS::ExactlyOnce).await?;
        loop {
            let frame = local.ask(&[]).await.map_err(lost_here)?;
            if matches!(codec::decode(&frame, LOCAL_VERSION), Ok(Packet::SubAck(_))) {
                return Ok(());
            }
        }
    }

    async fn connect_and_relay(&mut self) -> Result<Infallible, RunError> {
        let opening = tokio::time::timeout(CONNECT_MAX, self.connect_remote());
        let (mut remote, accepted) = opening.await.unwrap_or(Err(RunError::Silent))?;
        self.begun = true;
        let local = self.connect_local(accepted.receive_maximum, accepted.maximum_qos).await?;
        // What this node does not take ends the local connection, and would come again on the next one.
        let limits = self.node.broker.limits();
        let Capabilities { max_qos, retain_available, .. } = limits.capabilities;
        let here = Here { max_packet_size: limits.max_packet_size, retain: retain_available };
        let subscribe = subscribe(&self.inward, max_qos, accepted.peer.version);
        remote.output.extend_from_slice(&subscribe.unwrap_or_default());
        self.node.metrics.up.with_label_values(&[&self.config.name]).set(1);
        tracing::info!(bridge = self.config.name, address = self.config.address, "bridge connected");
        let (outward, inward) = (Topics::outward(&self.config.topics), Topics::inward(&self.config.topics));
        let relay = Relay::new(outward, inward, self.node.cluster.clone(), accepted.peer, here);
        self.relay(relay, remote, local, accepted.keep_alive).await
    }

    /// Opens the connection to the other broker, up to CONNACK.
    async fn connect_remote(&self) -> Result<(Connection, Accepted), RunError> {
        let limits = self.node.broker.limits();
        let stream = self.remote.connect().await.map_err(RunError::Unreachable)?;
        let mut remote = Connection::new(stream, limits.max_packet_size);
        let version = self.config.version;
        let connect = Connect {
            version,
            // When a node starts it knows nothing of what was under way there, and the packet identifiers of that would be
            // taken for those of new messages. But messages that wait there for the bridge must not be lost.
            clean_start: !self.begun && self.inward.is_empty(),
            keep_alive_secs: u16::try_from(self.config.keep_alive.as_secs()).unwrap_or(u16::MAX),
            client_id: &self.client_id,
            will: None,
            username: self.config.username.as_deref(),
            password: self.password.as_deref(),
            properties: PropertySet {
                session_expiry_interval_secs: Some(SESSION_SECS),
                receive_maximum: Some(limits.session.receive_maximum),
                maximum_packet_size: NonZeroU32::new(limits.max_packet_size),
                user_properties: vec![(BRIDGE_MARK, &self.node.cluster)],
                ..PropertySet::EMPTY
            }
            .into(),
        };
        let mut frame = encode(&Packet::Connect(Box::new(connect)), version);
        if self.bridge_bit {
            set_bridge_bit(&mut frame);
        }
        // Some say no to the bit, others hang up.
        let or_bit = |error| if self.bridge_bit { RunError::NoBridgeBit } else { error };
        let answer = remote.ask(&frame).await.map_err(|error| or_bit(RunError::Unreachable(error)))?;
        let Ok(Packet::ConnAck(connack)) = codec::decode(&answer, version) else {
            return Err(or_bit(RunError::NoConnAck));
        };
        match connack.reason {
            ReasonCode::Success => {}
            reason @ ReasonCode::UnsupportedProtocolVersion => return Err(or_bit(RunError::Refused(reason))),
            reason => return Err(RunError::Refused(reason)),
        }
        let accepted = Accepted::of(&connack, version, self.config.keep_alive);
        match accepted.peer.cluster.as_ref().filter(|name| **name == self.node.cluster) {
            Some(name) => Err(RunError::SameCluster(name.clone())),
            None => Ok((remote, accepted)),
        }
    }

    /// Opens the connection to this node, up to CONNACK; SUBSCRIBE is in its output.
    async fn connect_local(
        &self,
        receive_maximum: NonZeroU16,
        maximum_qos: QoS,
    ) -> Result<Connection, RunError> {
        let mut local = Connection::new(Box::new(pipe::connect(&self.node.broker)), u32::MAX);
        let connect = Connect {
            version: LOCAL_VERSION,
            clean_start: false,
            keep_alive_secs: 0,
            client_id: &self.local_id,
            will: None,
            username: None,
            password: None,
            properties: PropertySet {
                session_expiry_interval_secs: Some(u32::MAX),
                receive_maximum: Some(receive_maximum),
                ..PropertySet::EMPTY
            }
            .into(),
        };
        let connect = encode(&Packet::Connect(Box::new(connect)), LOCAL_VERSION);
        let answer = local.ask(&connect).await.map_err(lost_here)?;
        match codec::decode(&answer, LOCAL_VERSION) {
            Ok(Packet::ConnAck(connack)) if connack.reason == ReasonCode::Success => {}
            Ok(Packet::ConnAck(connack)) => return Err(RunError::RefusedHere(connack.reason)),
            _ => return Err(RunError::RefusedHere(ReasonCode::ProtocolError)),
        }
        let subscribe = subscribe(&self.outward, maximum_qos, LOCAL_VERSION);
        local.output.extend_from_slice(&subscribe.unwrap_or_default());
        Ok(local)
    }

    /// Passes packets on until a connection breaks.
    async fn relay(
        &self,
        mut relay: Relay,
        mut remote: Connection,
        mut local: Connection,
        keep_alive: Duration,
    ) -> Result<Infallible, RunError> {
        let mut heard = Instant::now();
        let mut pings = tokio::time::interval(keep_alive);
        pings.tick().await;
        loop {
            let (read_remote, read_local) =
                (local.output.len() < BACKLOG_MAX, remote.output.len() < BACKLOG_MAX);
            tokio::select! {
                progress = remote.progress(read_remote) => if progress.map_err(lost)? == Progress::Read {
                    heard = Instant::now();
                    while let Some(frame) = remote.next_frame().map_err(lost)? {
                        relay.handle_remote(&frame)?;
                    }
                },
                progress = local.progress(read_local) => if progress.map_err(lost_here)? == Progress::Read {
                    while let Some(frame) = local.next_frame().map_err(lost_here)? {
                        relay.handle_local(&frame)?;
                    }
                },
                _ = pings.tick() => {
                    if heard.elapsed() > keep_alive * 3 / 2 {
                        return Err(RunError::Silent);
                    }
                    relay.ping();
                }
            }
            remote.output.extend_from_slice(&std::mem::take(&mut relay.to_remote));
            local.output.extend_from_slice(&std::mem::take(&mut relay.to_local));
            self.node.metrics.count(&self.config.name, std::mem::take(&mut relay.counts));
        }
    }
}
