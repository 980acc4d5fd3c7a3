//! Whom a node's certificate names.

use std::fmt;
use std::net::IpAddr;

use rumormq_gossip::NodeName;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::pki::certificate::{AlternativeName, alternative_names};

/// What a URI begins with that names one node, followed by its name: `rumormq:node1@10.0.0.1`.
const NODE_SCHEME: &str = "rumormq:";

/// The nodes that a certificate speaks for.
///
/// Where it has URIs of nodes among its alternative names, those nodes and no others. Else every node on the hosts that it
/// has as DNS names or addresses; a DNS name may have `*` for its first label. A common name counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity(Vec<AlternativeName>);

impl NodeIdentity {
    /// Reads the certificate's names.
    pub fn of(certificate: &CertificateDer<'_>) -> NodeIdentity {
        NodeIdentity(alternative_names(certificate))
    }

    /// Whether it speaks for this node.
    pub fn names(&self, node: &NodeName) -> bool {
        let mut exact = self.0.iter().filter_map(uri_of_node).peekable();
        if exact.peek().is_some() {
            return exact.any(|name| name == node.as_str());
        }
        self.0.iter().any(|name| match name {
            AlternativeName::Dns(pattern) => is_host(pattern, node.host()),
            AlternativeName::Ip(address) => node.host().parse::<IpAddr>().is_ok_and(|host| host == *address),
            AlternativeName::Uri(_) => false,
        })
    }
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// So that a peer cannot fill the log.
        const SHOWN: usize = 8;
        match self.0.len() {
            0 => f.write_str("nobody")?,
            _ => {
                for (index, name) in self.0.iter().take(SHOWN).enumerate() {
                    let separator = if index > 0 { ", " } else { "" };
                    write!(f, "{separator}{:.100}", name.to_string())?;
                }
            }
        }
        if self.0.len() > SHOWN { f.write_str(", ...") } else { Ok(()) }
    }
}

fn uri_of_node(name: &AlternativeName) -> Option<&str> {
    match name {
        AlternativeName::Uri(uri) => uri.strip_prefix(NODE_SCHEME),
        _ => None,
    }
}

/// As of RFC 6125: no difference in case, and `*` for exactly one label, the first.
fn is_host(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(host),
        Some(parent) => {
            host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && parent.eq_ignore_ascii_case(rest))
            // The labels of an address are none.
            && host.parse::<IpAddr>().is_err()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(name: &str) -> AlternativeName {
        AlternativeName::Dns(name.to_owned())
    }

    fn uri(uri: &str) -> AlternativeName {
        AlternativeName::Uri(uri.to_owned())
    }

    fn names(names: &[AlternativeName], node: &str) -> bool {
        NodeIdentity(names.to_vec()).names(&NodeName::parse(node).unwrap())
    }

    #[test]
    fn a_host_names_all_nodes_on_it() {
        let of_host = [dns("db1.example.org"), AlternativeName::Ip([10, 0, 0, 1].into())];
        assert!(names(&of_host, "a@db1.example.org") && names(&of_host, "b@DB1.Example.org"));
        assert!(names(&of_host, "a@10.0.0.1"));
        assert!(!names(&of_host, "a@10.0.0.2") && !names(&of_host, "a@db2.example.org"));
        assert!(!names(&of_host, "a@x.db1.example.org"));
        let v6 = [AlternativeName::Ip("2001:db8::1".parse().unwrap())];
        assert!(names(&v6, "a@2001:db8:0:0::1") && !names(&v6, "a@2001:db8::2"));
        assert!(!names(&[], "a@h") && !names(&[uri("https://h/")], "a@h"));
        assert!(!names(&[dns("a@h")], "a@h"), "a DNS name is a host's");
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let all = [dns("*.mq.example.org")];
        assert!(names(&all, "a@n1.mq.example.org"));
        assert!(!names(&all, "a@mq.example.org") && !names(&all, "a@x.n1.mq.example.org"));
        assert!(!names(&all, "a@.mq.example.org"));
        assert!(!names(&[dns("*.0.0.1")], "a@10.0.0.1") && !names(&[dns("*")], "a@h"));
    }

    #[test]
    fn a_uri_names_one_node_and_the_hosts_count_no_more() {
        let one = [dns("h"), uri("rumormq:a@h"), uri("https://h/")];
        assert!(names(&one, "a@h") && !names(&one, "b@h"));
        assert!(names(&[uri("rumormq:a@h"), uri("rumormq:b@h")], "b@h"));
    }

    #[test]
    fn long_lists_are_cut() {
        let many = NodeIdentity((0..20).map(|number| dns(&format!("h{number}"))).collect());
        assert_eq!(many.to_string(), "h0, h1, h2, h3, h4, h5, h6, h7, ...");
        assert_eq!(NodeIdentity(vec![dns(&"x".repeat(500))]).to_string().len(), 100);
        assert_eq!(NodeIdentity(Vec::new()).to_string(), "nobody");
    }
}
