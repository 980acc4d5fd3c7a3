//! What others are told: the node's name, and where to connect.

use std::net::{IpAddr, SocketAddr};

use super::{Config, ConfigError, HostPort, NodeName};

impl Config {
    /// The node's name: the one configured, or `rumormq@` and the host that fits the addresses: that of `cluster` if it
    /// names one, the machine's name if any listener is open to other machines, else loopback.
    pub fn node_name(&self) -> Result<NodeName, ConfigError> {
        if let Some(name) = &self.node {
            return Ok(name.clone());
        }
        let cluster = self.cluster.ip();
        let clients = self.client_listeners().map(|(_, address)| address);
        let closed = [self.cluster, self.http].into_iter().chain(clients).all(|it| it.ip().is_loopback());
        let host = match closed || !(cluster.is_unspecified() || cluster.is_loopback()) {
            true => cluster.to_string(),
            false => hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        };
        NodeName::parse(&format!("rumormq@{host}")).map_err(|_| ConfigError::HostName(host))
    }
}

/// Where others connect to a listener of the node: what the operator says, else the host of the node's name with the port
/// that was bound. A listener on loopback can be reached there only, whatever the name. None where neither could be
/// connected to.
pub fn advertised(explicit: Option<&HostPort>, name: &NodeName, bound: SocketAddr) -> Option<HostPort> {
    match explicit {
        Some(explicit) => Some(explicit.clone()),
        None if bound.ip().is_loopback() => Some(bound.into()),
        None if bound.ip().is_unspecified() && is_local(name.host()) => None,
        None => HostPort::new(name.host(), bound.port()).ok(),
    }
}

/// Whether a host means this machine wherever it is said.
fn is_local(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
        Err(_) => host == "localhost" || host.starts_with("localhost."),
    }
}
