//! The list of settings: each field of [`Config`] with its name, its place in the file and its range.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::Config;
use super::unit::Unit::{self, Bytes, Count, Millis};
use super::value::{Number, Text};
use crate::session::SessionLimits;

/// A field of [`Config`] that an operator can set.
pub struct Setting {
    /// Its name, as the file spells it.
    pub name: &'static str,
    /// Where it stands in the file.
    pub section: Section,
    /// What stands for the value in help; empty for a switch, which needs none.
    pub value_name: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    field: Field,
}

/// A table of the TOML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Above all tables.
    Top,
    /// `[listen]`
    Listen,
    /// `[tls]`
    Tls,
    /// `[access]`
    Access,
    /// `[cluster]`
    Cluster,
    /// `[limits]`
    Limits,
    /// `[broker]`
    Broker,
}

enum Field {
    Text(fn(&mut Config) -> &mut dyn Text),
    Number(fn(&mut Config) -> &mut dyn Number, Unit, RangeInclusive<u64>),
}

impl Setting {
    /// The flag, with its dashes.
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("RUMORMQ_{}", self.name.to_uppercase())
    }

    /// The key with its section, as an operator would call it.
    pub fn key(&self) -> String {
        self.section.key(self.name)
    }

    /// Whether it has several values, separated by commas.
    pub fn is_list(&self) -> bool {
        matches!(self.name, "join" | "trusted_proxies" | "ws_origins")
    }

    /// Gives the field the value that `text` means; the error says what is wrong with it.
    pub fn set(&self, config: &mut Config, text: &str) -> Result<(), String> {
        match &self.field {
            Field::Text(field) => field(config).read(text),
            Field::Number(field, unit, range) => {
                let value = unit.parse(text).ok_or_else(|| format!("{text:?} is not {}", unit.hint()))?;
                in_range(value, *unit, range)?;
                field(config).set(value);
                Ok(())
            }
        }
    }

    /// The text that gives the field the value it has; empty where it has none.
    pub fn show(&self, config: &Config) -> String {
        let mut config = config.clone();
        match &self.field {
            Field::Text(field) => field(&mut config).show(),
            Field::Number(field, unit, _) => unit.show(field(&mut config).value()),
        }
    }

    /// Whether two configurations agree on it; for what is read from a file, on what that contains.
    pub(super) fn is_same(&self, one: &Config, other: &Config) -> bool {
        let (mut one, mut other) = (one.clone(), other.clone());
        match &self.field {
            Field::Text(field) => field(&mut one).is_same(field(&mut other)),
            Field::Number(field, ..) => field(&mut one).is_same(field(&mut other)),
        }
    }

    /// Gives one configuration what another has.
    pub(super) fn copy(&self, from: &Config, to: &mut Config) {
        let mut from = from.clone();
        match &self.field {
            Field::Text(field) => field(to).copy(field(&mut from)),
            Field::Number(field, ..) => field(to).copy(field(&mut from)),
        }
    }

    /// The least and the greatest that a number may be.
    pub(super) fn range(&self) -> Option<(String, String)> {
        match &self.field {
            Field::Text(_) => None,
            Field::Number(_, unit, range) => Some((unit.show(*range.start()), unit.show(*range.end()))),
        }
    }

    /// Whether the field's number is one it may have.
    pub(super) fn check(&self, config: &mut Config) -> Result<(), String> {
        match &self.field {
            Field::Text(_) => Ok(()),
            Field::Number(field, unit, range) => in_range(field(config).value(), *unit, range),
        }
    }
}

impl Section {
    /// All that are tables of their own.
    pub(super) const TABLES: [Section; 6] =
        [Section::Listen, Section::Tls, Section::Access, Section::Cluster, Section::Limits, Section::Broker];

    /// Finds the table of this name.
    pub(super) fn named(name: &str) -> Option<Section> {
        Section::TABLES.into_iter().find(|section| section.name() == name)
    }

    /// The table's name; empty for the top.
    pub fn name(self) -> &'static str {
        match self {
            Section::Top => "",
            Section::Listen => "listen",
            Section::Tls => "tls",
            Section::Access => "access",
            Section::Cluster => "cluster",
            Section::Limits => "limits",
            Section::Broker => "broker",
        }
    }

    pub(super) fn key(self, name: &str) -> String {
        match self {
            Section::Top => name.to_owned(),
            _ => format!("[{}] {name}", self.name()),
        }
    }
}

fn in_range(value: u64, unit: Unit, range: &RangeInclusive<u64>) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(format!(
            "{} is not between {} and {}",
            unit.show(value),
            unit.show(*range.start()),
            unit.show(*range.end())
        )),
    }
}

const fn text(
    section: Section,
    name: &'static str,
    value_name: &'static str,
    help: &'static str,
    field: fn(&mut Config) -> &mut dyn Text,
) -> Setting {
    Setting { name, section, value_name, help, field: Field::Text(field) }
}

const fn number(
    section: Section,
    name: &'static str,
    unit: Unit,
    range: RangeInclusive<u64>,
    help: &'static str,
    field: fn(&mut Config) -> &mut dyn Number,
) -> Setting {
    let value_name = match unit {
        Count => "N",
        Bytes => "SIZE",
        Millis => "TIME",
    };
    Setting { name, section, value_name, help, field: Field::Number(field, unit, range) }
}

fn session(config: &mut Config) -> &mut SessionLimits {
    Arc::make_mut(&mut config.limits.session)
}

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const YEAR: u64 = 365 * 24 * HOUR;
/// More of anything than a machine has room for.
const MANY: u64 = 1 << 40;
/// Largest packet that also fits a frame between nodes.
const LARGEST_PACKET: u64 = (crate::cluster::link::frame::MAX_BODY_LEN - (1 << 20)) as u64;

use Section::{Access, Broker, Cluster, Limits, Listen, Tls, Top};

/// All settings, in the order of help, README and `examples/rumormq.toml`, which is made of them:
/// `cargo run -- check --print-default > examples/rumormq.toml`.
pub const SETTINGS: &[Setting] = &[
    text(Top, "node", "NAME@HOST", "The node's name, unique in the cluster", |c| &mut c.node),
    text(Top, "data_dir", "DIR", "Where the node keeps its incarnation and its peers", |c| &mut c.data_dir),
    text(Top, "log_level", "LEVEL", "off, error, warn, info, debug or trace, also for single modules", |c| {
        &mut c.log_level
    }),
    text(Top, "log_format", "FORMAT", "text or json", |c| &mut c.log_format),
    text(Listen, "mqtt", "ADDR", "Where MQTT clients connect", |c| &mut c.mqtt),
    text(Listen, "mqtts", "ADDR", "Where MQTT clients connect by TLS, usually port 8883", |c| &mut c.mqtts),
    text(Listen, "ws", "ADDR", "Where MQTT clients connect by WebSocket, usually port 8083", |c| &mut c.ws),
    text(Listen, "wss", "ADDR", "Where MQTT clients connect by WebSocket over TLS, usually port 8084", |c| {
        &mut c.wss
    }),
    text(
        Listen,
        "ws_origins",
        "ORIGIN",
        "Pages that may connect by WebSocket, such as https://app.example.org; may be repeated",
        |c| &mut c.ws_origins,
    ),
    text(Listen, "cluster", "ADDR", "Where other nodes connect, by UDP and TCP", |c| &mut c.cluster),
    text(Listen, "http", "ADDR", "Where the HTTP API and the metrics are", |c| &mut c.http),
    text(
        Listen,
        "http_token_file",
        "FILE",
        "The secret that HTTP requests have to show to change anything",
        |c| &mut c.http_token,
    ),
    text(
        Listen,
        "http_read_token_file",
        "FILE",
        "The secret that HTTP requests have to show to read anything",
        |c| &mut c.http_read_token,
    ),
    text(Listen, "advertise_mqtt", "HOST:PORT", "What clients are told to connect to", |c| {
        &mut c.advertise_mqtt
    }),
    text(Listen, "advertise_cluster", "HOST:PORT", "What other nodes are told to connect to", |c| {
        &mut c.advertise_cluster
    }),
    text(Listen, "advertise_http", "HOST:PORT", "What collectors of metrics are told to connect to", |c| {
        &mut c.advertise_http
    }),
    text(
        Listen,
        "trusted_proxies",
        "NETWORK",
        "Proxies that have to say for whom they connect, by the PROXY protocol; may be repeated",
        |c| &mut c.trusted_proxies,
    ),
    text(Listen, "allow_anonymous", "", "Let clients in without a password, from anywhere", |c| {
        &mut c.allow_anonymous
    }),
    text(
        Tls,
        "tls_certificate_file",
        "FILE",
        "The node's certificate for clients, and the chain behind it; PEM",
        |c| &mut c.tls_certificate_file,
    ),
    text(Tls, "tls_key_file", "FILE", "The private key of that certificate; PEM", |c| &mut c.tls_key_file),
    text(
        Tls,
        "tls_client_ca_file",
        "FILE",
        "Ask clients for certificates, and trust those of these authorities; PEM",
        |c| &mut c.tls_client_ca_file,
    ),
    text(
        Tls,
        "tls_client_certificates",
        "MODE",
        "required, or optional: a client may go without, where it is asked",
        |c| &mut c.tls_client_certificates,
    ),
    text(Access, "password_file", "FILE", "Who may connect; `rumormq passwd` writes it", |c| {
        &mut c.password_file
    }),
    text(Access, "acl_file", "FILE", "What clients may publish and subscribe to", |c| &mut c.acl_file),
    text(
        Access,
        "certificate_as_username",
        "",
        "Take the name in a client's certificate as its user name",
        |c| &mut c.certificate_as_username,
    ),
    text(Cluster, "join", "HOST:PORT", "A member of the cluster to join; may be repeated", |c| &mut c.join),
    text(Cluster, "cluster_name", "NAME", "Nodes of other clusters are refused", |c| &mut c.cluster_name),
    text(
        Cluster,
        "cookie_file",
        "FILE",
        "The cluster's secret, one a line; the first is used, all are accepted",
        |c| &mut c.cookies,
    ),
    text(
        Cluster,
        "cluster_tls_certificate_file",
        "FILE",
        "The node's certificate for other nodes, and the chain behind it; PEM",
        |c| &mut c.cluster_tls_certificate_file,
    ),
    text(Cluster, "cluster_tls_key_file", "FILE", "The private key of that certificate; PEM", |c| {
        &mut c.cluster_tls_key_file
    }),
    text(
        Cluster,
        "cluster_tls_ca_file",
        "FILE",
        "Run links within TLS, with nodes whose certificates are of these authorities; PEM",
        |c| &mut c.cluster_tls_ca_file,
    ),
    number(Cluster, "gossip_interval", Millis, 20..=10 * SECOND, "Time between rounds of gossip", |c| {
        &mut c.gossip_interval
    }),
    text(Cluster, "phi", "N", "How sure the failure detector has to be that a node is dead", |c| &mut c.phi),
    number(
        Cluster,
        "full_mesh_up_to",
        Count,
        2..=500,
        "Nodes up to which everybody has a link to everybody",
        |c| &mut c.full_mesh_up_to,
    ),
    number(
        Cluster,
        "join_grace",
        Millis,
        0..=HOUR,
        "Longest wait for a first peer before clients are let in",
        |c| &mut c.join_grace,
    ),
    number(
        Cluster,
        "suback_timeout",
        Millis,
        1..=HOUR,
        "Longest a SUBACK waits for peers to have the route",
        |c| &mut c.suback_timeout,
    ),
    number(Cluster, "puback_timeout", Millis, 1..=HOUR, "Longest a publish waits for a silent peer", |c| {
        &mut c.puback_timeout
    }),
    number(
        Cluster,
        "takeover_timeout",
        Millis,
        100..=HOUR,
        "Longest a connect waits for a node that may have its session",
        |c| &mut c.takeover_timeout,
    ),
    number(
        Cluster,
        "forget_after",
        Millis,
        SECOND..=YEAR,
        "How long a dead or stopped node is remembered",
        |c| &mut c.forget_after,
    ),
    number(
        Cluster,
        "tombstone_ttl",
        Millis,
        SECOND..=YEAR,
        "How long a cleared retained message is remembered",
        |c| &mut c.tombstone_ttl,
    ),
    number(
        Cluster,
        "forward_buffer_messages",
        Count,
        1..=MANY,
        "Unconfirmed messages kept for a peer",
        |c| &mut c.forward_buffer_messages,
    ),
    number(Cluster, "forward_buffer_bytes", Bytes, 1..=MANY, "Bytes of those messages", |c| {
        &mut c.forward_buffer_bytes
    }),
    number(
        Cluster,
        "forward_buffer_age",
        Millis,
        SECOND..=YEAR,
        "How long a message waits for a peer that cannot be reached",
        |c| &mut c.forward_buffer_age,
    ),
    number(
        Cluster,
        "forward_total_bytes",
        Bytes,
        1..=MANY,
        "Bytes of the messages kept for all peers together",
        |c| &mut c.forward_total_bytes,
    ),
    text(
        Cluster,
        "forward_overflow",
        "POLICY",
        "A full buffer for a peer that cannot be reached: drop_oldest or refuse",
        |c| &mut c.forward_overflow,
    ),
    number(
        Cluster,
        "shared_buffer_bytes",
        Bytes,
        1..=MANY,
        "Bytes of shared subscriptions' messages that other nodes have not delivered yet",
        |c| &mut c.shared_buffer_bytes,
    ),
    text(
        Cluster,
        "shared_strategy",
        "RULE",
        "Who gets a shared message: random, round_robin, local_first, hash_client, hash_topic or sticky",
        |c| &mut c.limits.shared_strategy,
    ),
    number(
        Limits,
        "max_packet_size",
        Bytes,
        1024..=LARGEST_PACKET,
        "Largest packet a client may send",
        |c| &mut c.limits.max_packet_size,
    ),
    number(Limits, "max_client_id_len", Bytes, 23..=65_535, "Longest client identifier", |c| {
        &mut c.limits.max_client_id_len
    }),
    number(Limits, "max_connections", Count, 1..=MANY, "Open client connections", |c| {
        &mut c.limits.max_connections
    }),
    number(Limits, "max_sessions", Count, 1..=MANY, "Sessions, with and without a connection", |c| {
        &mut c.limits.max_sessions
    }),
    number(Limits, "max_subscriptions", Count, 1..=MANY, "Subscriptions of a client", |c| {
        &mut c.limits.max_subscriptions
    }),
    number(Limits, "max_filter_levels", Count, 1..=65_535, "Levels of a topic filter", |c| {
        &mut c.limits.max_filter_levels
    }),
    number(Limits, "max_filter_len", Bytes, 1..=65_535, "Longest topic filter", |c| {
        &mut c.limits.max_filter_len
    }),
    number(
        Limits,
        "max_filters_per_subscribe",
        Count,
        1..=MANY,
        "Topic filters of a SUBSCRIBE or UNSUBSCRIBE",
        |c| &mut c.limits.max_filters_per_subscribe,
    ),
    number(
        Limits,
        "max_pending_subscribes",
        Count,
        1..=MANY,
        "SUBSCRIBEs of a client that may wait for other nodes",
        |c| &mut c.limits.max_pending_subscribes,
    ),
    number(Limits, "topic_alias_maximum", Count, 0..=65_535, "Topic aliases a client may set", |c| {
        &mut c.limits.topic_alias_maximum
    }),
    number(
        Limits,
        "max_session_expiry",
        Millis,
        0..=100 * YEAR,
        "Longest a session outlives its connection",
        |c| &mut c.limits.max_session_expiry,
    ),
    number(Limits, "connect_timeout", Millis, 100..=HOUR, "Time a new connection has for its CONNECT", |c| {
        &mut c.limits.connect_timeout
    }),
    number(Limits, "max_connect_size", Bytes, 1024..=LARGEST_PACKET, "Largest CONNECT", |c| {
        &mut c.limits.max_connect_size
    }),
    number(
        Limits,
        "max_connecting_bytes",
        Bytes,
        1024..=MANY,
        "Memory for CONNECTs that are not answered yet",
        |c| &mut c.limits.max_connecting_bytes,
    ),
    number(
        Limits,
        "max_pending_authentications",
        Count,
        1..=MANY,
        "Clients whose password waits to be checked",
        |c| &mut c.limits.max_pending_authentications,
    ),
    number(Limits, "max_retained_messages", Count, 0..=MANY, "Retained messages", |c| {
        &mut c.limits.max_retained_messages
    }),
    number(Limits, "max_retained_bytes", Bytes, 0..=MANY, "Bytes of retained messages", |c| {
        &mut c.limits.max_retained_bytes
    }),
    number(
        Limits,
        "max_delayed_messages",
        Count,
        0..=MANY,
        "Publishes to $delayed/SECONDS/TOPIC that may wait; 0: none",
        |c| &mut c.extras.max_delayed_messages,
    ),
    number(Limits, "max_delayed_bytes", Bytes, 0..=MANY, "Bytes of those publishes", |c| {
        &mut c.extras.max_delayed_bytes
    }),
    number(Limits, "max_inflight", Count, 1..=65_535, "Unacknowledged messages to a client", |c| {
        &mut session(c).max_inflight
    }),
    number(Limits, "receive_maximum", Count, 1..=65_535, "Unacknowledged publishes of a client", |c| {
        &mut session(c).receive_maximum
    }),
    number(
        Limits,
        "max_queued_messages",
        Count,
        0..=MANY,
        "Messages that wait for a client away or slow",
        |c| &mut session(c).max_queued_messages,
    ),
    number(Limits, "max_queued_bytes", Bytes, 0..=MANY, "Bytes of those messages", |c| {
        &mut session(c).max_queued_bytes
    }),
    number(Limits, "max_outbox_bytes", Bytes, 1024..=MANY, "Bytes that wait for a client's socket", |c| {
        &mut session(c).max_outbox_bytes
    }),
    number(Broker, "max_qos", Count, 0..=2, "Highest QoS of a publish", |c| {
        &mut c.limits.capabilities.max_qos
    }),
    text(Broker, "retain_available", "", "Whether messages may be retained", |c| {
        &mut c.limits.capabilities.retain_available
    }),
    text(Broker, "wildcard_subscriptions", "", "Whether topic filters may have wildcards", |c| {
        &mut c.limits.capabilities.wildcard_subscriptions
    }),
    text(Broker, "subscription_identifiers", "", "Whether subscriptions may have identifiers", |c| {
        &mut c.limits.capabilities.subscription_identifiers
    }),
    number(
        Broker,
        "max_keep_alive",
        Millis,
        0..=65_535 * SECOND,
        "Longest Keep Alive of 5.0 clients; 0ms: any",
        |c| &mut c.limits.capabilities.max_keep_alive,
    ),
    text(
        Broker,
        "response_topic",
        "TOPIC",
        "Response Information for clients that ask, such as reply/%c",
        |c| &mut c.limits.capabilities.response_topic,
    ),
    text(
        Broker,
        "server_reference",
        "HOST:PORT",
        "Where clients are sent for which there is no place here",
        |c| &mut c.limits.capabilities.server_reference,
    ),
    number(
        Broker,
        "drain_rate",
        Count,
        1..=1_000_000,
        "Clients that a node which is drained sends away in a second",
        |c| &mut c.drain_rate,
    ),
    number(
        Broker,
        "drain_grace",
        Millis,
        0..=HOUR,
        "How long a node that is drained is not ready before clients are sent away",
        |c| &mut c.drain_grace,
    ),
    number(
        Broker,
        "slow_subscriber_threshold",
        Millis,
        0..=HOUR,
        "A client that takes so long to acknowledge a message is noted as slow; 0ms: none is",
        |c| &mut c.limits.slow_subscriber_threshold,
    ),
    number(Broker, "sys_interval", Millis, 0..=HOUR, "Time between values of $SYS topics; 0ms: none", |c| {
        &mut c.extras.sys_interval
    }),
    text(Broker, "exclusive_subscriptions", "", "$exclusive/FILTER is for one client at a time", |c| {
        &mut c.extras.exclusive_subscriptions
    }),
];
