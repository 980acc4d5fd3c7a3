//! What is wrong with a configuration, whose doing it is, and what to do about it.

use std::fmt;
use std::path::PathBuf;

/// An operator's mistake, or a machine that cannot tell what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting has a value that it cannot have.
    #[error("{origin}: {reason}")]
    Value {
        /// Where the value comes from.
        origin: Origin,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The configuration file is not TOML.
    #[error("{place}: this is not valid TOML: {reason}")]
    NotToml {
        /// Where.
        place: Place,
        /// What the parser says.
        reason: String,
    },
    /// The configuration file has a table that is no section.
    #[error("{place}: [{name}] is not a section; did you mean {nearest}?")]
    UnknownSection {
        /// Where it begins.
        place: Place,
        /// The table's name.
        name: String,
        /// The most similar section or list, in its brackets.
        nearest: String,
    },
    /// The configuration file has a key that is no setting.
    #[error("{place}: {key} is not a setting; did you mean {nearest}?")]
    UnknownKey {
        /// Where it stands.
        place: Place,
        /// The key with its section.
        key: String,
        /// The most similar setting, with its section.
        nearest: String,
    },
    /// The configuration file has a setting in a wrong place.
    #[error("{place}: {key} belongs {home}")]
    WrongSection {
        /// Where it stands.
        place: Place,
        /// The key with the section it is in.
        key: String,
        /// Where it belongs.
        home: String,
    },
    /// What is wrong concerns a setting that stands in the configuration file.
    #[error("{place}: {error}")]
    InFile {
        /// Where it stands.
        place: Place,
        /// What is wrong.
        error: Box<ConfigError>,
    },
    /// There are two sources of cookies.
    #[error("RUMORMQ_COOKIE and a cookie file are both given; give one of them")]
    TwoCookies,
    /// Clients from other machines could connect without authentication.
    #[error(
        "{listener} {address} can be reached from other machines and clients need no password: use a loopback address, say who \
         may connect with --password-file, or say --allow-anonymous if everybody who reaches it may read and publish everything"
    )]
    AnonymousClients {
        /// The listener's setting.
        listener: &'static str,
        /// The address to listen on.
        address: std::net::SocketAddr,
    },
    /// A listener with TLS lacks what TLS needs.
    #[error("{listener} needs a certificate and its key: give {flag} FILE")]
    NoTlsFile {
        /// The listener's setting.
        listener: &'static str,
        /// The flag that is missing.
        flag: &'static str,
    },
    /// Links within TLS lack what that needs.
    #[error(
        "TLS between nodes needs a certificate, its key and the authorities of the others: give {flag} FILE, too"
    )]
    NoClusterTlsFile {
        /// The flag that is missing.
        flag: &'static str,
    },
    /// Nodes from other machines could join without a cookie, or read the gossip, which TLS between nodes does not protect.
    #[error(
        "cluster {0} can be reached from other machines and there is no cookie: use a loopback address, or give all nodes \
         the same secret with --cookie-file or RUMORMQ_COOKIE, which the datagrams of the membership need also beside TLS"
    )]
    OpenCluster(std::net::SocketAddr),
    /// Others cannot be told where to connect.
    #[error(
        "others cannot be told how to reach {listener} {bound}: {host:?}, the host in the node's name, is no address of this \
         machine for them; give --advertise-{listener} HOST:PORT, or a --node NAME@HOST with such a host"
    )]
    NothingToAdvertise {
        /// `cluster`, `mqtt` or `http`.
        listener: &'static str,
        /// The address to listen on.
        bound: std::net::SocketAddr,
        /// The host of the node's name.
        host: String,
    },
    /// The machine's own name, needed for the node's, cannot be used.
    #[error("the machine's name {0:?} does not do for a node name: give --node NAME@HOST")]
    HostName(String),
}

impl ConfigError {
    /// The settings that this is about; the first is the one to look at. If another of them cannot be read, this error may
    /// only follow from that.
    pub(super) fn settings(&self) -> Vec<&str> {
        match self {
            ConfigError::Value { origin: Origin::Field("tombstone_ttl"), .. } => {
                vec!["tombstone_ttl", "forget_after"]
            }
            ConfigError::Value { origin: Origin::Field("certificate_as_username"), .. } => {
                vec!["certificate_as_username", "mqtts", "wss", "tls_client_ca_file"]
            }
            ConfigError::Value { origin: Origin::Field(name), .. } => vec![name],
            ConfigError::AnonymousClients { listener, .. } => {
                vec![
                    listener,
                    "password_file",
                    "allow_anonymous",
                    "tls_client_ca_file",
                    "tls_client_certificates",
                ]
            }
            ConfigError::NoTlsFile { listener, .. } => vec![listener],
            ConfigError::OpenCluster(_) => vec!["cluster", "cookie_file"],
            ConfigError::NothingToAdvertise { listener, .. } => vec![listener, "node"],
            ConfigError::HostName(_) => vec!["node"],
            _ => Vec::new(),
        }
    }
}

/// Everything that is wrong with a configuration, at least one thing; shown one a line.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ConfigError::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// A place in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line; the first is 1.
    pub line: usize,
    /// The character in the line; the first is 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// Where a value comes from, as its writer would call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag.
    Flag(String),
    /// An environment variable.
    Environment(String),
    /// A key of a file.
    File {
        /// Where its value stands.
        place: Place,
        /// The key with its section.
        key: String,
    },
    /// Nobody: it has its default.
    Default {
        /// The key with its section.
        key: String,
    },
    /// A field that a program has set.
    Field(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) | Origin::Environment(name) => f.write_str(name),
            Origin::File { place, key } => write!(f, "{place}: {key}"),
            Origin::Default { key } => write!(f, "{key} (which has its default)"),
            Origin::Field(name) => write!(f, "the field {name}"),
        }
    }
}
