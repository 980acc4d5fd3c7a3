//! Dials what a host stands for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connect::connect;
use crate::cluster::Cluster;
use crate::cluster::link::driver::{self, LinkError};

/// Time for a name to be resolved.
const RESOLVE_MAX: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried in an attempt.
const ADDRESSES_MAX: usize = 16;
/// The next address of a name is tried when the one before has not led to a link for so long.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It led to a link, which has ended since or was not wanted any more.
    Linked,
    /// It led back to this node.
    Itself,
    /// It did not lead to a link, for this reason.
    Failed(String),
}

/// Dials what a host stands for now, one address after the other without waiting long for any, until a link is up; returns when
/// all of these attempts have ended; it led to this node itself if every address does. Of `turn`s with the same host, each begins
/// with another address.
pub async fn dial_host(cluster: &Arc<Cluster>, host: &str, turn: usize) -> Outcome {
    let mut addresses: Vec<SocketAddr> = match timeout(RESOLVE_MAX, lookup_host(host)).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => {
            tracing::debug!(%host, %error, "cannot resolve");
            return Outcome::Failed(format!("the name cannot be resolved: {error}"));
        }
        Err(_) => {
            tracing::debug!(%host, "no answer from the resolver");
            return Outcome::Failed("the name cannot be resolved: no answer in time".to_owned());
        }
    };
    let own = cluster.config.advertise_socket;
    let mut itself = addresses.contains(&own);
    addresses.retain(|address| *address != own);
    // Another one comes first each time, for not all of many are tried.
    let first = turn.checked_rem(addresses.len()).unwrap_or(0);
    addresses.rotate_left(first);
    let mut attempts = JoinSet::new();
    let mut others = None;
    let mut note = |ended: Result<Outcome, _>| match ended {
        Ok(Outcome::Itself) => itself = true,
        Ok(Outcome::Linked) => others = Some(Outcome::Linked),
        Ok(failed) => {
            others.get_or_insert(failed);
        }
        Err(_) => {}
    };
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let dialling = cluster.clone();
        attempts.spawn(async move { dial_address(&dialling, address, || true).await });
        if let Ok(Some(ended)) = timeout(NEXT_ADDRESS_AFTER, attempts.join_next()).await {
            note(ended);
        }
        if cluster.has_links() {
            break;
        }
    }
    while let Some(ended) = attempts.join_next().await {
        note(ended);
    }
    match others {
        Some(outcome) => outcome,
        None if itself => Outcome::Itself,
        None => Outcome::Failed("the name stands for no address".to_owned()),
    }
}

/// One attempt, with the link that comes of it, to its end. It ends early where the connection is not wanted any more when it
/// opens.
pub async fn dial_address(cluster: &Arc<Cluster>, address: SocketAddr, wanted: impl Fn() -> bool) -> Outcome {
    match connect(address).await {
        Ok(stream) if wanted() => {
            let result = driver::run(cluster.clone(), stream, true).await;
            let outcome = match &result {
                Ok(()) | Err(LinkError::Superseded) => Outcome::Linked,
                Err(LinkError::Itself) => Outcome::Itself,
                Err(error) => Outcome::Failed(error.to_string()),
            };
            cluster.handle_link_end(address, true, result);
            outcome
        }
        Ok(_) => Outcome::Linked,
        Err(error) => {
            tracing::debug!(%address, %error, "cannot reach");
            Outcome::Failed(error.to_string())
        }
    }
}
