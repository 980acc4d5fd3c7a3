//! Client identifier to client.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::client::Client;

/// The sessions of this node.
#[derive(Debug)]
pub struct Registry {
    /// By hash of the identifier. Each lock is held for one look-up, or for copying a shard's few references, and no other
    /// is taken under it.
    shards: [Mutex<HashSet<Key>>; SHARDS],
    hasher: RandomState,
    /// How many there are in all shards. Changed under the lock of the one that changes.
    len: AtomicUsize,
}

/// Enough for whoever looks at all sessions to hold up nobody for long.
const SHARDS: usize = 64;

/// A client as its own key, so that the identifier is stored once.
#[derive(Debug)]
struct Key(Arc<Client>);

impl std::borrow::Borrow<str> for Key {
    fn borrow(&self) -> &str {
        self.0.id()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

/// There are as many sessions as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryFull;

/// The client that is there stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

impl Default for Registry {
    fn default() -> Registry {
        let shards = std::array::from_fn(|_| Mutex::default());
        Registry { shards, hasher: RandomState::new(), len: AtomicUsize::new(0) }
    }
}

impl Registry {
    /// The client of this identifier; a new one, made by `make`, where there is none.
    pub fn find_or_insert(
        &self,
        id: &str,
        maximum: usize,
        make: impl FnOnce() -> Client,
    ) -> Result<Arc<Client>, RegistryFull> {
        let mut clients = self.shard(id).lock();
        if let Some(Key(client)) = clients.get(id) {
            return Ok(client.clone());
        }
        // Counted before it is there, so that no two take the last place.
        if self.len.fetch_add(1, Ordering::Relaxed) >= maximum {
            self.len.fetch_sub(1, Ordering::Relaxed);
            return Err(RegistryFull);
        }
        let client = Arc::new(make());
        clients.insert(Key(client.clone()));
        Ok(client)
    }

    /// The client of this identifier, if there is one.
    pub fn find(&self, id: &str) -> Option<Arc<Client>> {
        self.shard(id).lock().get(id).map(|Key(client)| client.clone())
    }

    /// Puts a client in the place of the one of the same identifier, which it returns, if there is none or it may go.
    pub fn replace_if(
        &self,
        client: Arc<Client>,
        may_go: impl FnOnce(&Client) -> bool,
    ) -> Result<Option<Arc<Client>>, Taken> {
        let mut clients = self.shard(client.id()).lock();
        if clients.get(client.id()).is_some_and(|Key(former)| !may_go(former)) {
            return Err(Taken);
        }
        let former = clients.replace(Key(client));
        if former.is_none() {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        Ok(former.map(|Key(former)| former))
    }

    /// Whether a session has this identifier.
    pub fn contains(&self, id: &str) -> bool {
        self.shard(id).lock().contains(id)
    }

    /// Removes this very client; a newer one of the same identifier stays.
    pub fn remove(&self, client: &Arc<Client>) {
        let mut clients = self.shard(client.id()).lock();
        if clients.get(client.id()).is_some_and(|Key(current)| Arc::ptr_eq(current, client)) {
            clients.remove(client.id());
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// All clients, in no order, and without those that come or go meanwhile. It copies the references of a few at a time.
    pub fn clients(&self) -> impl Iterator<Item = Arc<Client>> {
        let copy = |shard: &Mutex<HashSet<Key>>| -> Vec<Arc<Client>> {
            shard.lock().iter().map(|Key(client)| client.clone()).collect()
        };
        self.shards.iter().flat_map(copy)
    }

    fn shard(&self, id: &str) -> &Mutex<HashSet<Key>> {
        &self.shards[self.hasher.hash_one(id) as usize % SHARDS]
    }
}
