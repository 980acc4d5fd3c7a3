//! One life of chitchat: from its start to its death or ours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::chitchat::transport::{Socket, Transport};
use ::chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, FailureDetectorConfig, NodeState,
    spawn_chitchat,
};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use super::codec::Codec;
use super::config::MembershipConfig;
use super::counters::GossipCounters;
use super::fragment::MAX_SENT_DATAGRAM_LEN;
use super::generation::{self, generation};
use super::heard::Heard;
use super::network::Datagrams;
use super::observer::{Observer, Sighting};
use crate::seal::MAX_DATAGRAM_LEN;

/// Pause after the socket failed to receive, so that a lasting failure does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(50);

/// A node that was not given time for so long, be it that its process or its machine was stopped, has not listened. It draws no
/// conclusions from that, and what waits for it in its socket is no news: taken for heartbeats in quick succession, it would make
/// their next pause look like a death. Ticks are far more frequent, and other nodes notice a death later.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// Datagrams dropped after a pause, at most; sockets hold fewer.
const MAX_STALE: usize = 10_000;

/// What all lives of chitchat share: the socket and what is known of its peers.
#[derive(Clone)]
pub(super) struct Link {
    pub socket: Arc<dyn Datagrams>,
    /// Held for the encoding or decoding of one message.
    pub codec: Arc<Mutex<Codec>>,
    pub counters: Arc<GossipCounters>,
    pub heard: Arc<Heard>,
}

/// chitchat is no more: its task panicked, or it did so in our hands.
pub(super) struct Died;

pub(super) struct Session {
    chitchat: ChitchatHandle,
    link: Link,
}

impl Session {
    pub(super) async fn start(
        config: &MembershipConfig,
        restart: u32,
        keys: Vec<(String, String)>,
        link: Link,
    ) -> Result<Session, Died> {
        let generation = generation(config.me.incarnation, restart);
        let chitchat_config = ChitchatConfig {
            chitchat_id: ChitchatId::new(config.me.name.as_str(), generation, config.advertise),
            cluster_id: config.cluster.clone(),
            gossip_interval: config.gossip_interval,
            listen_addr: config.advertise,
            // Seeds come and go while chitchat runs, so they are kept here.
            seed_nodes: Vec::new(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: config.phi,
                initial_interval: config.initial_interval,
                dead_node_grace_period: config.forget_after,
                // The pause of an outage is no interval between heartbeats: counted as one, it would make the next
                // death be noticed late.
                max_interval: config.gossip_interval * 10,
                ..FailureDetectorConfig::default()
            },
            // Keys are never deleted.
            marked_for_deletion_grace_period: config.forget_after,
            catchup_callback: None,
            extra_liveness_predicate: None,
        };
        let chitchat = spawn_chitchat(chitchat_config, keys, &link).await.map_err(|_| Died)?;
        Ok(Session { chitchat, link })
    }

    /// Resolves when chitchat's task has ended.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let ended = self.chitchat.termination_watcher();
        async move {
            let _ = ended.await;
        }
    }

    /// Resolves when a member has come to life, died, or changed a key; `known` keeps what was seen last.
    pub(super) async fn changed(known: &mut watch::Receiver<BTreeMap<ChitchatId, NodeState>>) {
        // An error means that chitchat has ended, which is noticed elsewhere.
        if known.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// What [`Session::changed`] waits for.
    pub(super) async fn live_members(&self) -> watch::Receiver<BTreeMap<ChitchatId, NodeState>> {
        self.chitchat.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await
    }

    /// Publishes keys, takes over the state, and tells the addresses of the live members.
    pub(super) async fn exchange(
        &self,
        keys: &[(String, String)],
        observer: &mut Observer,
    ) -> Result<BTreeSet<SocketAddr>, Died> {
        let chitchat = self.chitchat.chitchat();
        let mut chitchat = chitchat.lock().await;
        // A version that a peer made up for this node can make `set` panic.
        catch_unwind(AssertUnwindSafe(|| {
            let me = chitchat.self_node_state();
            keys.iter().for_each(|(key, value)| me.set(key, value));
            self.observe(&chitchat, observer)
        }))
        .map_err(|_| Died)
    }

    fn observe(&self, chitchat: &Chitchat, observer: &mut Observer) -> BTreeSet<SocketAddr> {
        let me = chitchat.self_chitchat_id();
        let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().filter(|id| *id != me).collect();
        let sightings = chitchat.node_states().iter().filter_map(|(id, state)| {
            Some(Sighting {
                replica: generation::replica(id)?,
                generation: id.generation_id,
                live: live.contains(id),
                cluster_addr: id.gossip_advertise_addr,
                version: state.max_version(),
                keys: state,
            })
        });
        observer.handle_state(Instant::now(), sightings);
        self.link.codec().admission.retain_known(chitchat.node_states().keys());
        live.into_iter().map(|id| id.gossip_advertise_addr).collect()
    }

    /// Begins an exchange with whoever is at the address.
    pub(super) fn gossip(&self, to: SocketAddr) {
        // It fails only if chitchat has ended, which is noticed elsewhere.
        let _ = self.chitchat.gossip(to);
    }

    /// Ends chitchat.
    pub(super) fn end(self) {
        self.chitchat.abort();
    }
}

impl Link {
    fn codec(&self) -> std::sync::MutexGuard<'_, Codec> {
        // Its buffers are cleared before each use, so a panic leaves nothing half done.
        self.codec.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for Link {
    async fn open(&self, _listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let buffer = vec![0; MAX_DATAGRAM_LEN + 1];
        let mut socket = SealedSocket { link: self.clone(), buffer, listened: Instant::now() };
        // What came before anybody listened.
        socket.drop_stale().await;
        Ok(Box::new(socket))
    }
}

struct SealedSocket {
    link: Link,
    buffer: Vec<u8>,
    /// When chitchat last asked for messages, which it does with every tick.
    listened: Instant,
}

impl SealedSocket {
    /// Drops what waits in the socket.
    async fn drop_stale(&mut self) {
        for _ in 0..MAX_STALE {
            let waiting = self.link.socket.recv_from(&mut self.buffer);
            if tokio::time::timeout(Duration::ZERO, waiting).await.is_err() {
                break;
            }
        }
    }
}

#[async_trait]
impl Socket for SealedSocket {
    /// Never waits and never fails: what the socket does not take at once is lost, as on any network.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let Link { socket, counters, .. } = &self.link;
        self.link.codec().encode(&message, |datagram| {
            debug_assert!(datagram.len() <= MAX_SENT_DATAGRAM_LEN);
            match socket.try_send_to(datagram, to) {
                Ok(()) => counters.sent(datagram.len()),
                Err(error) => {
                    counters.not_sent();
                    tracing::debug!(%to, %error, "a gossip datagram was not sent");
                }
            }
        });
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        let now = Instant::now();
        if now.duration_since(std::mem::replace(&mut self.listened, now)) >= PAUSE {
            self.drop_stale().await;
        }
        loop {
            match self.link.socket.recv_from(&mut self.buffer).await {
                Ok((len, from)) => {
                    let now = Instant::now();
                    let message = self.link.codec().decode(from, &self.buffer[..len], now);
                    if let Some(message) = message {
                        self.link.heard.note(from, now);
                        return Ok((from, message));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the gossip socket failed to receive: check the network interface, and restart the node if this goes on");
                    tokio::time::sleep(RECEIVE_PAUSE).await;
                }
            }
        }
    }
}
