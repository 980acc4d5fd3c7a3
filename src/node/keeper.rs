//! Keeps the data directory in step with the node: read and written before it starts, written again when something changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{IntCounter, Registry};
use rumormq_gossip::{Incarnation, NodeName};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::cluster::{Cluster, wall_clock_ms};
use crate::store::{DataDir, Found, Identity, StoreError};

/// Between two looks at what has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Known peers are not written more often.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// The clock may be so far behind the last start without a word.
const CLOCK_TOLERANCE_MS: u64 = 60_000;

/// What a node starts with.
pub(super) struct Start {
    /// Its name, a new incarnation, and whom it knew.
    pub(super) identity: Identity,
    /// Where that is kept, if anywhere.
    pub(super) dir: Option<Arc<DataDir>>,
}

impl Start {
    /// Takes the data directory, if there is to be one, and notes in it that there is a new start.
    pub(super) async fn begin(path: Option<PathBuf>, node: &NodeName) -> Result<Start, StoreError> {
        let node = node.clone();
        match path {
            None => Ok(Start { identity: Start::identity(node, None), dir: None }),
            Some(path) => blocking(move || Start::from(path, node)).await,
        }
    }

    fn from(path: PathBuf, node: NodeName) -> Result<Start, StoreError> {
        let dir = DataDir::open(&path)?;
        let former = match dir.load_identity()? {
            Found::Nothing => None,
            Found::Identity(former) if former.node != node => {
                let (owner, node) = (former.node.to_string(), node.to_string());
                return Err(StoreError::OtherNode { path, owner, node });
            }
            Found::Identity(former) => Some(former),
            Found::Damaged { kept_as } => {
                tracing::error!(
                    kept_as = %kept_as.display(),
                    "the data directory's file identity was damaged and is set aside; the node starts without it, and needs \
                     --join to find its cluster"
                );
                None
            }
        };
        let identity = Start::identity(node, former);
        dir.save_identity(&identity)?;
        Ok(Start { identity, dir: Some(Arc::new(dir)) })
    }

    fn identity(node: NodeName, former: Option<Identity>) -> Identity {
        let (last, peers) = former.map_or((0, Vec::new()), |former| (former.incarnation.0, former.peers));
        // A clock that was set back must not make it one that was used before.
        let now = wall_clock_ms();
        let incarnation = Incarnation(now.max(last.saturating_add(1)));
        if let Some(behind) = last.checked_sub(now).filter(|behind| *behind > CLOCK_TOLERANCE_MS) {
            tracing::warn!(
                behind_seconds = behind / 1000,
                "the clock is behind this node's last start, and the node goes on as if it were later: check the clock (NTP)"
            );
        }
        Identity { node, incarnation, peers }
    }
}

/// What a node leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// All it knows: it may come back.
    Everything,
    /// Only which incarnation it was: it belongs to no cluster any more.
    Incarnation,
}

/// The task that writes.
pub(super) struct Keeper {
    /// What is to be written last.
    stop: oneshot::Sender<Last>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Follows the cluster; `written` is what the directory has.
    pub(super) fn start(
        dir: Arc<DataDir>,
        written: Identity,
        cluster: Arc<Cluster>,
        registry: &Registry,
    ) -> Keeper {
        let (stop, stopping) = oneshot::channel();
        let errors = IntCounter::new(
            "rumormq_data_dir_errors_total",
            "Times that the data directory could not be written to.",
        )
        .expect("a valid name");
        registry.register(Box::new(errors.clone())).expect("metric names are distinct");
        let book = Book { dir, cluster, written, written_at: Instant::now(), failing: false, errors };
        Keeper { stop, task: tokio::spawn(book.keep(stopping)) }
    }

    /// Writes a last time.
    pub(super) async fn stop(self) {
        let _ = self.stop.send(Last::Everything);
        let _ = self.task.await;
    }

    /// The same for a node that has left its cluster.
    pub(super) async fn leave(self) {
        let _ = self.stop.send(Last::Incarnation);
        let _ = self.task.await;
    }
}

struct Book {
    dir: Arc<DataDir>,
    cluster: Arc<Cluster>,
    written: Identity,
    written_at: Instant,
    failing: bool,
    errors: IntCounter,
}

impl Book {
    /// Ends without a word where its [`Keeper`] is dropped: then the node ends like a crash.
    async fn keep(mut self, mut stopping: oneshot::Receiver<Last>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let present = self.present();
                    let peers_due = self.written_at.elapsed() >= WRITE_EVERY && has_news(&self.written, &present);
                    if present.incarnation != self.written.incarnation || peers_due {
                        self.write(present).await;
                    }
                }
                asked = &mut stopping => {
                    if let Ok(last) = asked {
                        let mut present = self.present();
                        if last == Last::Incarnation {
                            present.peers.clear();
                        }
                        self.write(present).await;
                    }
                    return;
                }
            }
        }
    }

    fn present(&self) -> Identity {
        let me = self.cluster.me();
        Identity { node: me.name, incarnation: me.incarnation, peers: self.cluster.known_peers() }
    }

    /// A node that serves goes on serving: what cannot be written is tried again.
    async fn write(&mut self, present: Identity) {
        let (dir, identity) = (self.dir.clone(), present.clone());
        self.written_at = Instant::now();
        match blocking(move || dir.save_identity(&identity)).await {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(path = %self.dir.path().display(), "the data directory is written to again");
                }
                self.written = present;
            }
            Err(error) => {
                self.errors.inc();
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the data directory is not up to date; the node tries again and serves meanwhile: make room on the disk, and give the node the right to write there");
                }
            }
        }
    }
}

/// Whether somebody came, went or moved. When somebody was seen last is no news.
fn has_news(written: &Identity, present: &Identity) -> bool {
    let places = |identity: &Identity| -> Vec<(NodeName, String)> {
        identity.peers.iter().map(|peer| (peer.name.clone(), peer.address.clone())).collect()
    };
    places(written) != places(present)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
