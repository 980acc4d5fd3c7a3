use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::codec::Codec;
use super::config::MembershipConfig;
use super::counters::GossipCounters;
use super::generation::MAX_INCARNATION;
use super::heard::{Heard, Spell};
use super::observer::{Observation, Observer};
use super::seeds::{self, Seeds};
use super::session::{Died, Link, PAUSE, Session};
use crate::seal::ClusterKeys;

/// Observations that wait to be received. Beyond that they stay where they are and are joined with later ones.
const OBSERVATIONS_WAITING: usize = 64;
/// Keys that one node publishes.
const MAX_KEYS: usize = 64;
/// Longest key and value together, in bytes.
const MAX_ENTRY_LEN: usize = 1024;
/// Members told of the last keys when a node stops.
const TOLD_AT_STOP: usize = 16;
/// Ticks that they have for asking what is new.
const TICKS_AT_STOP: u32 = 2;
/// Pauses before chitchat is started anew: the first, doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A life so long makes the next pause the first again.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// A node's part in the membership, running until [`Membership::stop`], or until all clones of it are dropped: then it
/// ends like a crash. Cheap to clone.
#[derive(Clone)]
pub struct Membership {
    shared: Arc<Shared>,
    codec: Arc<Mutex<Codec>>,
    speaking: Arc<watch::Sender<bool>>,
    stop: Arc<watch::Sender<bool>>,
    stopped: watch::Receiver<bool>,
}

/// The membership cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The socket is not usable.
    #[error("the gossip socket is not usable")]
    Socket(#[source] io::Error),
    /// The machine yields no random bytes.
    #[error("the machine yields no random bytes")]
    Randomness,
    /// The incarnation is beyond what a generation holds; a clock centuries ahead can have made it.
    #[error("incarnation {0} is above {MAX_INCARNATION}")]
    Incarnation(u64),
}

/// A key was not published: the caller published too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Key and value together exceed 1 KiB.
    #[error("a key of the membership and its value have {0} bytes, at most {MAX_ENTRY_LEN} are carried")]
    TooLong(usize),
    /// 64 other keys are published.
    #[error("more than {MAX_KEYS} keys of the membership")]
    TooMany,
}

/// What the handle leaves for the next tick.
struct Shared {
    counters: Arc<GossipCounters>,
    heard: Arc<Heard>,
    seeds: watch::Sender<Vec<String>>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// All keys, with the values they have at the next tick. Kept, for chitchat may have to start anew.
    keys: BTreeMap<String, String>,
    keys_changed: bool,
}

impl Membership {
    /// Joins the cluster. Observations of the other members come through the channel, changes of one tick joined into
    /// one each; a receiver that is behind gets fewer and later ones, and always the last.
    pub async fn start(
        config: MembershipConfig,
    ) -> Result<(Membership, mpsc::Receiver<Observation>), StartError> {
        if config.me.incarnation.0 > MAX_INCARNATION {
            return Err(StartError::Incarnation(config.me.incarnation.0));
        }
        config.socket.ready().await.map_err(StartError::Socket)?;
        let mut boot = [0; 16];
        getrandom::fill(&mut boot).map_err(|_| StartError::Randomness)?;
        let counters = Arc::new(GossipCounters::default());
        let codec = Codec::new(&config.cluster, config.keys.as_ref(), boot, counters.clone());
        let link = Link {
            socket: config.socket.clone(),
            codec: Arc::new(Mutex::new(codec)),
            counters: counters.clone(),
            heard: Arc::default(),
        };
        let heard = link.heard.clone();
        let (seeds, given) = watch::channel(config.seeds.clone());
        let codec = link.codec.clone();
        let shared = Arc::new(Shared { counters, heard, seeds, waiting: Mutex::default() });
        let (speaking, may_speak) = watch::channel(!config.silent);
        let (stop, stopping) = watch::channel(false);
        let (stopped_sender, stopped) = watch::channel(false);
        let (observations, observed) = mpsc::channel(OBSERVATIONS_WAITING);
        let (resolved_sender, resolved) = watch::channel(Vec::new());
        tokio::spawn(seeds::resolve(given, resolved_sender));
        let driver = Driver {
            observer: Observer::new(config.me.clone(), config.forget_after, Instant::now()),
            observed: Instant::now(),
            seeds: Seeds::new(config.advertise, resolved),
            config,
            link,
            shared: shared.clone(),
            may_speak,
            stopping,
            observations,
        };
        tokio::spawn(driver.run(stopped_sender));
        let (speaking, stop) = (Arc::new(speaking), Arc::new(stop));
        Ok((Membership { shared, codec, speaking, stop, stopped }, observed))
    }

    /// Begins to speak and to listen, where that was to wait; see [`MembershipConfig::silent`].
    pub fn speak(&self) {
        self.speaking.send_replace(true);
    }

    /// Tells the others the value of a key, from the next tick on. Of several values in one tick the last one counts.
    pub fn publish(&self, key: &str, value: String) -> Result<(), PublishError> {
        let len = key.len() + value.len();
        if len > MAX_ENTRY_LEN {
            return Err(PublishError::TooLong(len));
        }
        let mut waiting = self.shared.waiting();
        if waiting.keys.len() >= MAX_KEYS && !waiting.keys.contains_key(key) {
            return Err(PublishError::TooMany);
        }
        let previous = waiting.keys.insert(key.to_owned(), value);
        waiting.keys_changed |= previous.as_ref() != waiting.keys.get(key);
        Ok(())
    }

    /// Whom to speak to from now on besides the members, each `HOST:PORT`; see [`MembershipConfig::seeds`].
    pub fn set_seeds(&self, seeds: Vec<String>) {
        self.shared.seeds.send_if_modified(|present| {
            let changed = *present != seeds;
            *present = seeds;
            changed
        });
    }

    /// Seals with the first of these keys from now on and accepts all of them, and no others. They have to be of the same
    /// cluster; a membership without keys gets some only by a new start.
    pub fn replace_keys(&self, keys: &ClusterKeys) {
        // Its buffers are cleared before each use, so a panic leaves nothing half done.
        self.codec.lock().unwrap_or_else(PoisonError::into_inner).replace_keys(keys);
    }

    /// What was counted so far.
    pub fn counters(&self) -> &GossipCounters {
        &self.shared.counters
    }

    /// When messages came from this address itself, up to the last: whoever is there reaches this node then, and can perhaps
    /// be reached.
    pub fn heard(&self, from: SocketAddr) -> Option<Spell> {
        self.shared.heard.spell(from)
    }

    /// Tells the keys published last to some members, for two ticks, and ends. Others hear of it from them.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // An error means that the driver is gone already.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_keys(&self) -> Vec<(String, String)> {
        let mut waiting = self.waiting();
        waiting.keys_changed = false;
        waiting.keys.clone().into_iter().collect()
    }

    fn changed_keys(&self) -> Vec<(String, String)> {
        // Those that have not changed cost chitchat a comparison each.
        if self.waiting().keys_changed { self.all_keys() } else { Vec::new() }
    }
}

/// The task behind a [`Membership`]: starts chitchat, ticks it, and starts it anew when it dies.
struct Driver {
    config: MembershipConfig,
    link: Link,
    shared: Arc<Shared>,
    observer: Observer,
    /// When chitchat's state was last taken over.
    observed: Instant,
    seeds: Seeds,
    may_speak: watch::Receiver<bool>,
    stopping: watch::Receiver<bool>,
    observations: mpsc::Sender<Observation>,
}

impl Driver {
    async fn run(mut self, stopped: watch::Sender<bool>) {
        let may_speak = tokio::select! {
            asked = self.may_speak.wait_for(|speaking| *speaking) => asked.is_ok(),
            _ = self.stopping.wait_for(|stopping| *stopping) => false,
        };
        if may_speak {
            self.observed = Instant::now();
            self.lives().await;
        }
        stopped.send_replace(true);
    }

    /// One life of chitchat after the other, until the node stops.
    async fn lives(&mut self) {
        let mut pause = FIRST_PAUSE;
        for restart in 0.. {
            let start = Instant::now();
            if self.live(restart).await.is_ok() {
                break;
            }
            self.shared.counters.restarted();
            tracing::error!(
                restart,
                "the membership protocol failed on what a peer sent, and is started anew: upgrade the oldest nodes, and report it"
            );
            if start.elapsed() >= GOOD_LIFE {
                pause = FIRST_PAUSE;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.stopping.wait_for(|stopping| *stopping) => break,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.observer.handle_deafness(Instant::now());
        }
    }

    /// One life of chitchat. It ends well only when the node stops.
    async fn live(&mut self, restart: u32) -> Result<(), Died> {
        let session =
            Session::start(&self.config, restart, self.shared.all_keys(), self.link.clone()).await?;
        let ended = session.ended();
        tokio::pin!(ended);
        let mut live_members = session.live_members().await;
        let mut stopping = self.stopping.clone();
        let mut ticks = tokio::time::interval(self.config.gossip_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let result = loop {
            tokio::select! {
                _ = ticks.tick() => {
                    if self.tick(&session).await.is_err() {
                        break Err(Died);
                    }
                }
                // A death is told when it is noticed, not a tick later.
                () = Session::changed(&mut live_members) => {
                    if self.observe(&session, &[]).await.is_err() {
                        break Err(Died);
                    }
                }
                () = &mut ended => break Err(Died),
                // Also when all handles were dropped.
                asked = async { stopping.wait_for(|stopping| *stopping).await.is_ok() } => break Ok(asked),
            }
        };
        let result = match result {
            Ok(true) => self.say_goodbye(&session).await,
            Ok(false) => Ok(()),
            Err(died) => Err(died),
        };
        session.end();
        result
    }

    async fn tick(&mut self, session: &Session) -> Result<(), Died> {
        let live = self.observe(session, &self.shared.changed_keys()).await?;
        if live.is_empty() {
            // After a restart of chitchat, those that it knew.
            self.observer.live_addresses().for_each(|address| self.seeds.add(address));
        }
        self.seeds.poll_targets(&live).into_iter().for_each(|address| session.gossip(address));
        Ok(())
    }

    /// Publishes keys, tells what has changed, and gives the addresses of the live members.
    async fn observe(
        &mut self,
        session: &Session,
        keys: &[(String, String)],
    ) -> Result<BTreeSet<SocketAddr>, Died> {
        let now = Instant::now();
        if now.duration_since(std::mem::replace(&mut self.observed, now)) >= PAUSE {
            tracing::warn!(
                "this node stood still; whom it has not heard meanwhile is not dead for that: check the machine's load, memory and pauses"
            );
            self.observer.handle_deafness(now);
        }
        let live = session.exchange(keys, &mut self.observer).await?;
        while let Ok(permit) = self.observations.try_reserve() {
            let Some(observation) = self.observer.poll_observation() else { break };
            permit.send(observation);
        }
        Ok(live)
    }

    async fn say_goodbye(&mut self, session: &Session) -> Result<(), Died> {
        let live = self.observe(session, &self.shared.changed_keys()).await?;
        live.into_iter().take(TOLD_AT_STOP).for_each(|address| session.gossip(address));
        tokio::time::sleep(self.config.gossip_interval * TICKS_AT_STOP).await;
        Ok(())
    }
}
