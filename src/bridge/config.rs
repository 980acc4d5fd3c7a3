//! A bridge as the operator describes it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::codec::packet::{ProtocolVersion, QoS};
use crate::topic::TopicFilter;

/// One bridge.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Fields")]
pub struct BridgeConfig {
    /// Its name, unique on the node: part of client identifiers, and the label of its metrics.
    pub name: String,
    /// Where the other broker listens, `HOST:PORT`.
    pub address: String,
    /// What is spoken there.
    pub version: ProtocolVersion,
    /// The identifier there; none for one made of the names of node and bridge. Its session keeps what the other broker has
    /// for this side, so it has to stay the same.
    pub client_id: Option<String>,
    /// User name there.
    pub username: Option<String>,
    /// A file whose first line is the password there.
    pub password_file: Option<PathBuf>,
    /// TLS, if it is spoken there.
    pub tls: Option<BridgeTls>,
    /// Time between signs of life; a connection that shows none for half as long again is opened anew.
    pub keep_alive: Duration,
    /// What goes which way.
    pub topics: Vec<BridgeTopic>,
}

/// How the other broker proves who it is, and this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeTls {
    /// Certificates of the authorities that the other broker's is checked with, PEM.
    pub ca_file: PathBuf,
    /// The certificate and the key that are shown to it, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Topics that are one on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeTopic {
    /// Which, without the prefixes.
    pub filter: TopicFilter,
    /// Messages of this side go to the other.
    pub out: bool,
    /// Messages of the other side come to this.
    pub into: bool,
    /// Highest QoS.
    pub qos: QoS,
    /// In front of the topic on this side.
    pub local_prefix: String,
    /// In front of it on the other.
    pub remote_prefix: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: String,
    address: String,
    #[serde(default = "newest")]
    version: u8,
    client_id: Option<String>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    tls_ca_file: Option<PathBuf>,
    tls_certificate_file: Option<PathBuf>,
    tls_key_file: Option<PathBuf>,
    #[serde(default = "minute")]
    keep_alive_secs: u16,
    topics: Vec<TopicFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicFields {
    filter: String,
    direction: Direction,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    local_prefix: String,
    #[serde(default)]
    remote_prefix: String,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Direction {
    In,
    Out,
    Both,
}

fn newest() -> u8 {
    5
}

fn minute() -> u16 {
    60
}

impl TryFrom<Fields> for BridgeConfig {
    type Error = String;

    fn try_from(fields: Fields) -> Result<BridgeConfig, String> {
        let name_fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if fields.name.is_empty() || fields.name.len() > 64 || !fields.name.bytes().all(name_fits) {
            return Err(format!("name {:?} is not 1 to 64 letters, digits, -, _ and .", fields.name));
        }
        let is_address = fields
            .address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
        if !is_address {
            return Err(format!("address {:?} is not of the form HOST:PORT", fields.address));
        }
        let version = match fields.version {
            4 => ProtocolVersion::V311,
            5 => ProtocolVersion::V500,
            _ => return Err("version is 5, or 4 for MQTT 3.1.1".to_owned()),
        };
        if fields.password_file.is_some() && fields.username.is_none() {
            return Err("password_file needs a username".to_owned());
        }
        let identity = match (fields.tls_certificate_file, fields.tls_key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("tls_certificate_file and tls_key_file go together".to_owned()),
        };
        let tls = match (fields.tls_ca_file, identity) {
            (Some(ca_file), identity) => Some(BridgeTls { ca_file, identity }),
            (None, None) => None,
            (None, Some(_)) => return Err("tls_certificate_file needs tls_ca_file".to_owned()),
        };
        if fields.keep_alive_secs == 0 {
            return Err("keep_alive_secs is at least 1".to_owned());
        }
        if fields.topics.is_empty() {
            return Err("topics is empty: nothing would be bridged".to_owned());
        }
        Ok(BridgeConfig {
            name: fields.name,
            address: fields.address,
            version,
            client_id: fields.client_id,
            username: fields.username,
            password_file: fields.password_file,
            tls,
            keep_alive: Duration::from_secs(fields.keep_alive_secs.into()),
            topics: fields.topics.into_iter().map(BridgeTopic::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<TopicFields> for BridgeTopic {
    type Error = String;

    fn try_from(fields: TopicFields) -> Result<BridgeTopic, String> {
        let filter = TopicFilter::parse(&fields.filter)
            .map_err(|error| format!("filter {:?}: {error}", fields.filter))?;
        let topic = BridgeTopic {
            filter,
            out: fields.direction != Direction::In,
            into: fields.direction != Direction::Out,
            qos: QoS::from_bits(fields.qos).ok_or("qos is 0, 1 or 2")?,
            local_prefix: fields.local_prefix,
            remote_prefix: fields.remote_prefix,
        };
        for prefix in [&topic.local_prefix, &topic.remote_prefix] {
            if prefix.contains(['+', '#', '\0']) || prefix.starts_with("$share/") {
                return Err(format!("prefix {prefix:?} is not the beginning of a topic name"));
            }
        }
        for text in [topic.local(), topic.remote()] {
            TopicFilter::parse(&text).map_err(|error| format!("filter {text:?}: {error}"))?;
        }
        Ok(topic)
    }
}

impl BridgeTopic {
    /// The filter on this side.
    pub fn local(&self) -> String {
        format!("{}{}", self.local_prefix, self.filter)
    }

    /// The filter on the other side.
    pub fn remote(&self) -> String {
        format!("{}{}", self.remote_prefix, self.filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BridgeConfig, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    const TOPICS: &str =
        "topics = [{ filter = \"a/#\", direction = \"both\", qos = 1, remote_prefix = \"r/\" }]\n";

    #[test]
    fn what_is_not_said_has_a_default() {
        let bridge = read(&format!("name = \"b\"\naddress = \"h:1\"\n{TOPICS}")).unwrap();
        assert_eq!((bridge.version, bridge.keep_alive), (ProtocolVersion::V500, Duration::from_secs(60)));
        let topic = &bridge.topics[0];
        assert!(topic.out && topic.into);
        assert_eq!((topic.local(), topic.remote()), ("a/#".to_owned(), "r/a/#".to_owned()));
    }

    #[test]
    fn what_makes_no_sense_is_blamed() {
        for (text, why) in [
            ("name = \"b/c\"\naddress = \"h:1\"", "name \"b/c\" is not 1 to 64 letters, digits, -, _ and ."),
            ("name = \"b\"\naddress = \"h\"", "address \"h\" is not of the form HOST:PORT"),
            ("name = \"b\"\naddress = \"h:1\"\nversion = 3", "version is 5, or 4 for MQTT 3.1.1"),
            ("name = \"b\"\naddress = \"h:1\"\npassword_file = \"p\"", "password_file needs a username"),
            (
                "name = \"b\"\naddress = \"h:1\"\ntls_key_file = \"p\"",
                "tls_certificate_file and tls_key_file go together",
            ),
        ] {
            assert_eq!(read(&format!("{text}\n{TOPICS}")).unwrap_err(), why);
        }
        let with = |topic: &str| {
            read(&format!("name = \"b\"\naddress = \"h:1\"\ntopics = [{{ {topic} }}]")).unwrap_err()
        };
        assert_eq!(with("filter = \"a\", direction = \"in\", qos = 3"), "qos is 0, 1 or 2");
        assert!(with("filter = \"a\", direction = \"up\"").starts_with("unknown variant `up`"));
        assert!(
            with("filter = \"a\", direction = \"in\", local_prefix = \"+/\"").starts_with("prefix \"+/\"")
        );
        assert!(
            with("filtre = \"a\", direction = \"in\"")
                .starts_with("unknown field `filtre`, expected one of `filter`")
        );
    }
}
