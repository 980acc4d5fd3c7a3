//! What a configuration must not be: unsafe by accident, or unable to work.

use super::{Config, ConfigError, Origin, SETTINGS, advertised};

impl Config {
    /// Checks every field and how they fit together; the first thing that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.mistakes().into_iter().next().map_or(Ok(()), Err)
    }

    /// All that is wrong with the fields and with how they fit together.
    pub(super) fn mistakes(&self) -> Vec<ConfigError> {
        let mut found = Vec::new();
        let mut copy = self.clone();
        for setting in SETTINGS {
            if let Err(reason) = setting.check(&mut copy) {
                found.push(field(setting.name, reason));
            }
        }
        if !(1.0..=100.0).contains(&self.phi) {
            found.push(field("phi", format!("{} is not between 1 and 100", self.phi)));
        }
        let name_fits = (1..=255).contains(&self.cluster_name.len())
            && self.cluster_name.bytes().all(|byte| byte.is_ascii_graphic());
        if !name_fits {
            let reason =
                format!("{:?} is not 1 to 255 printable characters without spaces", self.cluster_name);
            found.push(field("cluster_name", reason));
        }
        if self.tombstone_ttl <= self.forget_after {
            let reason = "tombstone_ttl must be longer than forget_after: a node that is away for so long must not bring back \
                          what was cleared meanwhile";
            found.push(field("tombstone_ttl", reason.to_owned()));
        }
        let has_passwords = self.password_file.is_some();
        for (listener, address) in self.client_listeners() {
            let anybody = !self.allow_anonymous && !has_passwords && !self.asks_for_certificates(listener);
            if !address.ip().is_loopback() && anybody {
                found.push(ConfigError::AnonymousClients { listener, address });
            }
        }
        found.extend(self.tls_files().err());
        let may_show_one = (self.mqtts.is_some() || self.wss.is_some()) && self.tls_client_ca_file.is_some();
        if self.certificate_as_username && !may_show_one {
            let reason = "no client can show a certificate: this needs --mqtts or --wss, and --tls-client-ca-file FILE";
            found.push(field("certificate_as_username", reason.to_owned()));
        }
        found.extend(self.cluster_tls_files().err());
        if !self.cluster.ip().is_loopback() && self.cookies.is_empty() {
            found.push(ConfigError::OpenCluster(self.cluster));
        }
        for (index, bridge) in self.bridge.iter().enumerate() {
            if self.bridge[..index].iter().any(|other| other.name == bridge.name) {
                found.push(field("bridge", format!("two bridges are called {:?}", bridge.name)));
            }
        }
        let name = match self.node_name() {
            Ok(name) => name,
            Err(error) => {
                found.push(error);
                return found;
            }
        };
        for (listener, bound, explicit) in [
            ("cluster", self.cluster, &self.advertise_cluster),
            ("mqtt", self.mqtt, &self.advertise_mqtt),
            ("http", self.http, &self.advertise_http),
        ] {
            if advertised(explicit.as_ref(), &name, bound).is_none() {
                let host = name.host().to_owned();
                found.push(ConfigError::NothingToAdvertise { listener, bound, host });
            }
        }
        found
    }
}

fn field(name: &'static str, reason: String) -> ConfigError {
    ConfigError::Value { origin: Origin::Field(name), reason }
}
