//! What an operator decides: the settings of a node, and where their values come from.
//!
//! [`Config`] is plain data. [`setting::SETTINGS`] is the one list that gives each field its name in three spellings: the
//! flag `--max-packet-size`, the environment variable `RUMORMQ_MAX_PACKET_SIZE` and the TOML key `max_packet_size` in its
//! section; [`Sources`] takes the value of the first that has one, in this order. [`Config::validate`] refuses what
//! would be unsafe or could not work, and runs also where a program builds the configuration itself.
//! Nothing here opens a socket or knows how the values are used.

mod advertise;
mod change;
mod default_file;
mod error;
mod file;
mod host_port;
mod list;
mod log_filter;
mod setting;
mod sources;
#[cfg(test)]
mod tests;
mod token;
mod unit;
mod validate;
mod value;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tracing::level_filters::LevelFilter;

pub use advertise::advertised;
pub use change::{Change, Counts};
pub use default_file::default_file;
pub use error::{ConfigError, ConfigErrors, Origin, Place};
pub use host_port::{HostPort, InvalidHostPort};
pub use log_filter::{InvalidLogFilter, LogFilter, LogFormat};
pub use rumormq_gossip::NodeName;
pub use rumormq_gossip::seal::Cookie;
pub use setting::{SETTINGS, Section, Setting};
pub use sources::{Resolution, Sources};
pub use token::{AdminToken, TokenError};
pub(crate) use unit::duration;

use crate::access::acl::Acl;
use crate::access::password_file::PasswordFile;
use crate::bridge::BridgeConfig;
use crate::broker::{Extras, Limits};
pub use crate::cluster::forward::stream::ForwardOverflow;
use crate::cluster::link::tls::LinkTlsFiles;
use crate::net::PageOrigin;
pub use crate::net::tls::ClientCertificates;
use crate::net::tls::TlsFiles;

/// Everything that can be set about a node. Start from [`Config::default`] and change what you need.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name, `NAME@HOST`, unique in the cluster; peers know it by this name for good. HOST is also what others
    /// are told to connect to, unless an `advertise_*` says otherwise. None: `rumormq@` and the address of `cluster`, or the
    /// machine's name where that is unspecified.
    pub node: Option<NodeName>,
    /// Members to introduce the node to; one that lives is enough, and gossip finds the rest. Empty: a cluster of one, which
    /// others may join.
    pub join: Vec<HostPort>,

    /// Where the node keeps what it has to know when it starts again: its last incarnation, and the members that it has met,
    /// which then need not be named again in `join`. Made if it is not there; one node's alone. None: nothing is kept, and the
    /// node relies on the machine's clock and on what the others remember.
    pub data_dir: Option<PathBuf>,

    /// Where other nodes reach this one: UDP for gossip and TCP for links, on one port. An address other than loopback
    /// needs a cookie. Port 0 is any free one.
    pub cluster: SocketAddr,
    /// Where MQTT clients connect. An address other than loopback needs authentication, or `allow_anonymous`. Port 0 is any free one.
    pub mqtt: SocketAddr,
    /// Where MQTT clients connect by TLS; needs a certificate and a key. None: nowhere. The same holds of the address as for
    /// `mqtt`, unless clients have to show certificates.
    pub mqtts: Option<SocketAddr>,
    /// Where MQTT clients connect by WebSocket, with any path. None: nowhere. The same holds of the address as for `mqtt`.
    pub ws: Option<SocketAddr>,
    /// Where MQTT clients connect by WebSocket over TLS. None: nowhere. The same holds as for `mqtts`.
    pub wss: Option<SocketAddr>,
    /// Pages that may connect by WebSocket, by where they come from, such as `https://app.example.org`. A browser connects for
    /// any page that it shows, with what its network lets it reach; what is no browser says no origin and is let in. Empty:
    /// all pages.
    pub ws_origins: Vec<PageOrigin>,
    /// Where the HTTP API and the metrics are. Reads are answered to whoever reaches it. Port 0 is any free one.
    pub http: SocketAddr,
    /// What requests that change something have to show. None: only programs on this machine may change anything.
    pub http_token: Option<AdminToken>,
    /// The secret that HTTP requests have to show to read anything. Without one whoever reaches the address may read.
    pub http_read_token: Option<AdminToken>,
    /// What other nodes are told to connect to, where that is not the name's host with the bound port: behind address
    /// translation, or where the name's host is not an address. A wrong one leaves the node without links.
    pub advertise_cluster: Option<HostPort>,
    /// The same for MQTT clients that are told of this node.
    pub advertise_mqtt: Option<HostPort>,
    /// The same for whoever collects metrics.
    pub advertise_http: Option<HostPort>,
    /// Proxies that say on whose behalf they connect, by the PROXY protocol (version 1 or 2) on any of the listeners for clients:
    /// their networks. Those have to say it, and nobody else may: a header from elsewhere ends the connection. Too wide a
    /// network lets clients make up addresses. Empty: nobody says such things.
    pub trusted_proxies: Vec<IpNet>,
    /// Accept clients without a user name and password: on an address other than loopback, where whoever reaches the port can
    /// then read and publish everything, and beside those that have one, where there is a password file.
    pub allow_anonymous: bool,

    /// What `mqtts` and `wss` show clients: a file with the node's certificate, followed by those that lead to an authority
    /// which clients know. PEM, as the others.
    pub tls_certificate_file: Option<PathBuf>,
    /// The private key of that certificate.
    pub tls_key_file: Option<PathBuf>,
    /// The authorities whose clients are known by their certificates. None: clients are not asked for any.
    pub tls_client_ca_file: Option<PathBuf>,
    /// Whether a client that is asked for a certificate may go without. Optional suits a fleet that gets certificates one by
    /// one; it lets everybody in who has none.
    pub tls_client_certificates: ClientCertificates,
    /// The users that may connect; see [`PasswordFile`]. Read at the start and on SIGHUP. None: nobody is asked for a password, and
    /// nobody has a user name.
    pub password_file: Option<Arc<PasswordFile>>,
    /// What clients may publish and subscribe to; see [`Acl`]. Read at the start and on SIGHUP. None: everything.
    pub acl_file: Option<Arc<Acl>>,
    /// Take the name in a client's certificate, where its listener asks for one, as its user name: it needs no password then.
    pub certificate_as_username: bool,

    /// Nodes of differently named clusters refuse each other, so that test and production do not merge by an address
    /// mistyped. The same on all nodes.
    pub cluster_name: String,
    /// Secrets that the cluster's traffic is sealed with; the first seals, all are accepted. Empty: not sealed, for loopback
    /// only.
    pub cookies: Vec<Cookie>,
    /// What this node shows others where links run within TLS: a file with its certificate, which names the node or its host,
    /// followed by those that lead to an authority which the others trust. PEM, as the others. All three of these, or none.
    pub cluster_tls_certificate_file: Option<PathBuf>,
    /// The private key of that certificate.
    pub cluster_tls_key_file: Option<PathBuf>,
    /// The authorities whose nodes are let in.
    pub cluster_tls_ca_file: Option<PathBuf>,
    /// Time between two rounds of gossip. 150 ms notices a crash within 3 s. Lower costs packets and processor time on every
    /// node, higher notices crashes later. The same on all nodes.
    pub gossip_interval: Duration,
    /// How sure the failure detector has to be, as a logarithm of the odds (phi accrual). 12 stays silent at 30 % packet
    /// loss. Lower notices crashes sooner and takes a slow node for a dead one, higher does neither.
    pub phi: f64,
    /// Nodes up to which everybody has a link to everybody. In a larger cluster a node has links to some of the others, two
    /// links from everybody, and to those that it sends publishes to. Lower saves pings and digests and sends more through others;
    /// higher costs every node a link more for every node. The same on all nodes.
    pub full_mesh_up_to: usize,
    /// Longest wait for the first synchronisation with a peer before clients are let in. Too short lets clients in to a node
    /// that knows no routes yet; too long delays the first node of a cluster, whose seeds do not answer.
    pub join_grace: Duration,
    /// Longest a SUBACK waits for every live peer to have the route. Shorter answers sooner and sometimes before the route
    /// is everywhere, which is counted; longer holds up subscribers when a peer is stuck.
    pub suback_timeout: Duration,
    /// Longest a publisher's acknowledgement waits for a silent peer before the message counts as safe in that peer's
    /// forward buffer. Longer holds up publishers while a peer dies; shorter fills the buffer for one that is only slow.
    pub puback_timeout: Duration,
    /// Longest a connect that resumes a session waits for a node that may have it and says nothing. Longer holds up clients
    /// when a node dies; shorter gives up sessions that a loaded node was about to hand over.
    pub takeover_timeout: Duration,
    /// How long a dead or stopped node's routes and forward buffer are kept for its return. Shorter loses messages of a long
    /// outage; longer keeps memory for machines that never return.
    pub forget_after: Duration,
    /// How long a cleared retained message is remembered, so that no older one comes back with a node that was cut off. Must
    /// exceed `forget_after`. Longer costs memory for every message that is cleared; a cut that lasts longer can bring back
    /// what was cleared during it.
    pub tombstone_ttl: Duration,
    /// QoS 1 and 2 messages kept for one peer until it has confirmed them. Full, the oldest goes if the peer is dead, and
    /// publishers wait if it lives. Lower loses messages in short outages.
    pub forward_buffer_messages: usize,
    /// Bytes of those messages, for one peer.
    pub forward_buffer_bytes: usize,
    /// How long such a message waits for a peer that cannot be reached; then it is dropped. Shorter loses messages of a long
    /// outage, longer brings clients what they may not want any more; with a peer that is forgotten they go anyway. A
    /// message's own expiry may end it sooner.
    pub forward_buffer_age: Duration,
    /// Bytes of all peers' forward buffers together; a message that waits for several counts for each. Beyond it the fullest
    /// buffer of a peer that cannot be reached drops its oldest, and publishes to live ones wait. Lower loses messages when
    /// several nodes are away, higher may need more memory than the machine has.
    pub forward_total_bytes: usize,
    /// What becomes of QoS 1 and 2 messages for a peer that cannot be reached and whose buffer is full. Refused ones reach
    /// nobody, subscribers on other nodes neither: 5.0 clients are told so, others are disconnected.
    pub forward_overflow: ForwardOverflow,
    /// Bytes of messages of shared subscriptions that other nodes have, of which copies are kept until a member has them.
    /// Beyond it the oldest copies are let go: their messages are lost if the node that has them is.
    pub shared_buffer_bytes: usize,

    /// Clients that a node which is drained sends away in a second. Lower spares the other nodes a rush of connects, higher is
    /// over sooner.
    pub drain_rate: u32,
    /// How long a node that is drained says that it is not ready before it sends clients away. Shorter than load balancers take to
    /// notice has them send clients that are refused; longer only takes longer.
    pub drain_grace: Duration,

    /// What clients are granted.
    pub limits: Limits,
    /// What the broker does beyond the specification.
    pub extras: Extras,
    /// Bridges that this node runs. Another node with the same bridge runs another one beside it, and what both pass on
    /// comes twice.
    pub bridge: Vec<BridgeConfig>,

    /// Least severe events that are logged. `info` adds starts, stops and changes of membership; `debug` a line a
    /// connection, `trace` more. Modules may have levels of their own, as in `info,rumormq::cluster=debug`. Heeded by the command only: a program that embeds a node installs its own subscriber.
    pub log_level: LogFilter,
    /// How events are written: `text`, a line each for people, or `json`, an object each for programs. Heeded by the command only.
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Config {
            node: None,
            join: Vec::new(),
            data_dir: None,
            cluster: loopback(7883),
            mqtt: loopback(1883),
            mqtts: None,
            ws: None,
            wss: None,
            http: loopback(18083),
            http_token: None,
            http_read_token: None,
            advertise_cluster: None,
            advertise_mqtt: None,
            advertise_http: None,
            ws_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            allow_anonymous: false,
            tls_certificate_file: None,
            tls_key_file: None,
            tls_client_ca_file: None,
            tls_client_certificates: ClientCertificates::Required,
            password_file: None,
            acl_file: None,
            certificate_as_username: false,
            cluster_name: "rumormq".to_owned(),
            cookies: Vec::new(),
            cluster_tls_certificate_file: None,
            cluster_tls_key_file: None,
            cluster_tls_ca_file: None,
            gossip_interval: Duration::from_millis(150),
            phi: 12.0,
            full_mesh_up_to: 64,
            join_grace: Duration::from_secs(10),
            suback_timeout: Duration::from_secs(5),
            puback_timeout: Duration::from_secs(1),
            takeover_timeout: Duration::from_secs(2),
            forget_after: Duration::from_secs(3600),
            tombstone_ttl: Duration::from_secs(24 * 3600),
            forward_buffer_messages: 100_000,
            forward_buffer_bytes: 256 << 20,
            forward_buffer_age: Duration::from_secs(3600),
            forward_total_bytes: 512 << 20,
            forward_overflow: ForwardOverflow::DropOldest,
            shared_buffer_bytes: 256 << 20,
            drain_rate: 200,
            drain_grace: Duration::from_secs(10),
            limits: Limits::default(),
            extras: Extras::default(),
            bridge: Vec::new(),
            log_level: LevelFilter::INFO.into(),
            log_format: LogFormat::Text,
        }
    }
}

impl Config {
    /// The listeners for clients that are on, with the names of their settings.
    pub fn client_listeners(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let all = [("mqtt", Some(self.mqtt)), ("mqtts", self.mqtts), ("ws", self.ws), ("wss", self.wss)];
        all.into_iter().filter_map(|(name, address)| Some((name, address?)))
    }

    /// The files for TLS, if a listener uses it.
    pub fn tls_files(&self) -> Result<Option<TlsFiles>, ConfigError> {
        let Some(listener) = self.mqtts.map(|_| "mqtts").or(self.wss.map(|_| "wss")) else { return Ok(None) };
        let needed =
            |file: &Option<PathBuf>, flag| file.clone().ok_or(ConfigError::NoTlsFile { listener, flag });
        Ok(Some(TlsFiles {
            certificate: needed(&self.tls_certificate_file, "--tls-certificate-file")?,
            key: needed(&self.tls_key_file, "--tls-key-file")?,
            client_ca: self.tls_client_ca_file.clone(),
            client_certificates: self.tls_client_certificates,
        }))
    }

    /// The files for links within TLS, if they are.
    pub fn cluster_tls_files(&self) -> Result<Option<LinkTlsFiles>, ConfigError> {
        let files =
            [&self.cluster_tls_certificate_file, &self.cluster_tls_key_file, &self.cluster_tls_ca_file];
        if files.iter().all(|file| file.is_none()) {
            return Ok(None);
        }
        let needed =
            |file: &Option<PathBuf>, flag| file.clone().ok_or(ConfigError::NoClusterTlsFile { flag });
        let [certificate, key, ca] = files;
        Ok(Some(LinkTlsFiles {
            certificate: needed(certificate, "--cluster-tls-certificate-file")?,
            key: needed(key, "--cluster-tls-key-file")?,
            ca: needed(ca, "--cluster-tls-ca-file")?,
        }))
    }

    /// Whether a client has to show a certificate on the listener of this name.
    fn asks_for_certificates(&self, listener: &str) -> bool {
        let has_tls = listener == "mqtts" || listener == "wss";
        has_tls
            && self.tls_client_ca_file.is_some()
            && self.tls_client_certificates == ClientCertificates::Required
    }
}
