//! What can be known of a configuration without starting a node.

use super::StartError;
use crate::bridge;
use crate::cluster::link::tls::LinkTls;
use crate::config::Config;
use crate::net::tls::Tls;

/// Reads the certificates, keys and passwords that a valid configuration names, and says which of them would keep a node
/// from starting.
pub fn unusable_files(config: &Config) -> Vec<StartError> {
    let clients = || Ok(config.tls_files()?.map(Tls::load).transpose().map(drop)?);
    let links = || {
        let (files, name) = (config.cluster_tls_files()?, config.node_name()?);
        Ok(files.map(|files| LinkTls::load(&files, &name)).transpose().map(drop)?)
    };
    let checks: [&dyn Fn() -> Result<(), StartError>; 2] = [&clients, &links];
    let mut unusable: Vec<StartError> = checks.iter().filter_map(|check| check().err()).collect();
    unusable
        .extend(config.bridge.iter().filter_map(|config| bridge::check(config).err()).map(StartError::from));
    unusable
}
