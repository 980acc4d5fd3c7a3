//! Client identifier to client.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::client::Client;

/// The sessions of this node. Its lock is held for one look-up, and no other is taken under it.
#[derive(Debug, Default)]
pub struct Registry {
    clients: Mutex<HashSet<Key>>,
}

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

impl Registry {
    /// The client of this identifier; a new one, made by `make`, where there is none.
    pub fn find_or_insert(
        &self,
        id: &str,
        maximum: usize,
        make: impl FnOnce() -> Client,
    ) -> Result<Arc<Client>, RegistryFull> {
        let mut clients = self.clients.lock();
        if let Some(Key(client)) = clients.get(id) {
            return Ok(client.clone());
        }
        if clients.len() >= maximum {
            return Err(RegistryFull);
        }
        let client = Arc::new(make());
        clients.insert(Key(client.clone()));
        Ok(client)
    }

    /// The client of this identifier, if there is one.
    pub fn find(&self, id: &str) -> Option<Arc<Client>> {
        self.clients.lock().get(id).map(|Key(client)| client.clone())
    }

    /// Puts a client in the place of the one of the same identifier, which it returns, if there is none or it may go.
    pub fn replace_if(
        &self,
        client: Arc<Client>,
        may_go: impl FnOnce(&Client) -> bool,
    ) -> Result<Option<Arc<Client>>, Taken> {
        let mut clients = self.clients.lock();
        if clients.get(client.id()).is_some_and(|Key(former)| !may_go(former)) {
            return Err(Taken);
        }
        Ok(clients.replace(Key(client)).map(|Key(former)| former))
    }

    /// Whether a session has this identifier.
    pub fn contains(&self, id: &str) -> bool {
        self.clients.lock().contains(id)
    }

    /// Removes this very client; a newer one of the same identifier stays.
    pub fn remove(&self, client: &Arc<Client>) {
        let mut clients = self.clients.lock();
        if clients.get(client.id()).is_some_and(|Key(current)| Arc::ptr_eq(current, client)) {
            clients.remove(client.id());
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.clients.lock().len()
    }

    /// All clients, in no order.
    pub fn clients(&self) -> Vec<Arc<Client>> {
        self.clients.lock().iter().map(|Key(client)| client.clone()).collect()
    }
}
