//! What a node takes over while it runs.

use std::sync::Arc;

use super::{Node, ReloadError, StartError, access, keys};
use crate::cluster::link::tls::LinkTls;
use crate::config::{Change, Config};
use crate::net::tls::TlsConfig;

impl Node {
    /// Takes over what a configuration has that may change while a node runs: certificates, cookies, users and rules, limits,
    /// and what the HTTP API asks for; files are read again where they are the same. Gives what differs from the configuration
    /// before, also where that counts after a restart only.
    ///
    /// # Errors
    /// The node would not run with it as it would then be. Nothing has changed.
    pub async fn reload(&self, config: &Config) -> Result<Vec<Change>, ReloadError> {
        let mut in_force = self.in_force.lock().await;
        let changes = in_force.changes(config);
        // What waits for a restart must not be what makes the rest safe.
        let next = in_force.adopting(config);
        next.validate()?;

        let (cluster, cookies) = (self.cluster.name().to_owned(), next.cookies.clone());
        let (link_files, me) = (next.cluster_tls_files()?, self.name.clone());
        let client_files = next.tls_files()?;
        // The derivation takes its time on purpose, and files may be slow.
        let read = tokio::task::spawn_blocking(move || {
            let links = link_files.map(|files| LinkTls::load(&files, &me)).transpose()?;
            let clients = client_files.map(TlsConfig::read).transpose()?;
            Ok::<_, StartError>((keys(&cluster, &cookies)?, links.map(Arc::new), clients))
        });
        let (keys, links, clients) = read.await.map_err(|_| ReloadError::Panicked)??;

        // The last step that may fail; after it all is replaced.
        self.cluster.replace_secrets(keys, links)?;
        if let (Some(tls), Some(read)) = (&self.tls, clients) {
            tls.replace(read);
        }
        self.guard.replace(next.http_token.clone(), next.http_read_token.clone());
        self.broker.replace_limits(next.limits.clone());
        let has_other_rules = next.acl_file != in_force.acl_file;
        if has_other_rules || is_other_access(&in_force, &next) {
            self.broker.replace_access(access(&next));
        }
        if has_other_rules {
            let broker = self.broker.clone();
            let ended = tokio::task::spawn_blocking(move || broker.end_forbidden_subscriptions());
            let ended = ended.await.map_err(|_| ReloadError::Panicked)?;
            if ended > 0 {
                tracing::info!(ended, "subscriptions that the rules do not allow any more have ended");
            }
        }
        *in_force = next;
        Ok(changes)
    }
}

fn is_other_access(one: &Config, other: &Config) -> bool {
    let of = |config: &Config| {
        let bounds = config.limits.max_pending_authentications;
        (config.password_file.clone(), config.allow_anonymous, config.certificate_as_username, bounds)
    };
    of(one) != of(other)
}
