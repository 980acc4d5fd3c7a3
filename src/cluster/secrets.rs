//! What this node shows the others to be let in, and how it checks them. It may be replaced while the node runs: what is up
//! stays up, and the next handshake and the next datagram use what is new.

use std::sync::Arc;

use parking_lot::RwLock;
use rumormq_gossip::seal::ClusterKeys;

use super::Cluster;
use super::link::handshake::Credentials;
use super::link::tls::LinkTls;

/// Secrets that do not go with how the cluster is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// A node without the other's kind of protection would be cut off by all others.
    #[error("whether there is a cookie cannot change while the node runs: restart it, and all others")]
    Cookie,
    /// The same for TLS.
    #[error("whether links run within TLS cannot change while the node runs: restart it, and all others")]
    Tls,
}

/// The secrets in use.
pub(super) struct Secrets {
    /// Guards which they are.
    present: RwLock<Arc<Present>>,
}

struct Present {
    keys: Option<ClusterKeys>,
    credentials: Arc<Credentials>,
}

impl Secrets {
    /// Those of the start.
    pub(super) fn new(cluster: &str, keys: Option<ClusterKeys>, tls: Option<Arc<LinkTls>>) -> Secrets {
        Secrets { present: RwLock::new(Arc::new(Present::new(cluster, keys, tls))) }
    }

    /// For the next handshake.
    pub(super) fn credentials(&self) -> Arc<Credentials> {
        self.present.read().credentials.clone()
    }

    /// For datagrams.
    pub(super) fn keys(&self) -> Option<ClusterKeys> {
        self.present.read().keys.clone()
    }

    fn replace(&self, keys: Option<ClusterKeys>, tls: Option<Arc<LinkTls>>) -> Result<(), SecretsError> {
        let mut present = self.present.write();
        if keys.is_some() != present.keys.is_some() {
            return Err(SecretsError::Cookie);
        }
        if tls.is_some() != present.credentials.tls.is_some() {
            return Err(SecretsError::Tls);
        }
        *present = Arc::new(Present::new(&present.credentials.cluster, keys, tls));
        Ok(())
    }
}

impl Present {
    fn new(cluster: &str, keys: Option<ClusterKeys>, tls: Option<Arc<LinkTls>>) -> Present {
        let psks = keys.as_ref().map(ClusterKeys::link_psks).unwrap_or_default();
        Present { keys, credentials: Arc::new(Credentials { cluster: cluster.to_owned(), psks, tls }) }
    }
}

impl Cluster {
    /// Uses other cookies and certificates from now on. Links that are up are not touched.
    pub fn replace_secrets(
        &self,
        keys: Option<ClusterKeys>,
        tls: Option<Arc<LinkTls>>,
    ) -> Result<(), SecretsError> {
        self.secrets.replace(keys, tls)?;
        self.use_present_keys();
        Ok(())
    }

    /// Has the membership use the keys of now. One that starts while they are replaced may have begun with those before.
    pub(super) fn use_present_keys(&self) {
        let membership = self.membership.read();
        if let (Some(membership), Some(keys)) = (&*membership, self.secrets.keys()) {
            membership.replace_keys(&keys);
        }
    }
}
