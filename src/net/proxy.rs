//! What a proxy says in front of a connection: the PROXY protocol, versions 1 and 2, which tells whom the proxy speaks for.
//!
//! Who is believed is the operator's to say, for whoever is may claim any address. A trusted proxy has to send a header, and
//! nobody else may send one: otherwise a client could name itself what it likes, or a forgotten setting would go unnoticed.
//! Of the socket nothing is taken but the header, so that what follows it is read as if it had never been there.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::opening_error::OpeningError;
use super::transport::Tcp;

/// Bytes of the longest header that is read. The addresses take 52 of them at most; the rest is what else proxies say,
/// which is skipped.
const HEADER_MAX: usize = 4096;
/// How headers begin: a line of text in version 1, a signature in version 2. Neither is how MQTT, TLS or HTTP begins.
const BEGINNINGS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// The proxies whose word about clients' addresses counts.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Those in these networks.
    pub fn new(networks: Vec<IpNet>) -> TrustedProxies {
        TrustedProxies(networks)
    }

    /// Whether there are none, and nobody sends a header.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn trusts(&self, address: IpAddr) -> bool {
        // A listener of IPv6 sees clients of IPv4 as mapped addresses.
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Finds out on whose behalf `peer` has connected; that of a client itself. `None` where nothing was ever said, as when a
    /// load balancer only looks whether anybody listens.
    pub(super) async fn introduce(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<Option<Tcp>, OpeningError> {
        if !self.trusts(peer.ip()) {
            return match begins_as_header(&stream).await.map_err(OpeningError::Proxy)? {
                true => Err(OpeningError::UntrustedProxy(peer.ip())),
                false => Ok(Some(Tcp::new(stream, peer))),
            };
        }
        let mut header = [0; HEADER_MAX];
        let mut read = 0;
        loop {
            let more = stream.peek(&mut header[read..]).await.map_err(OpeningError::Proxy)?;
            if more == 0 {
                return if read == 0 {
                    Ok(None)
                } else {
                    Err(OpeningError::Proxy(io::ErrorKind::UnexpectedEof.into()))
                };
            }
            let (length, client) = match parse(&header[..read + more]) {
                Parsed::Header { length, client } => (length, Some(client)),
                // All that has come is of the header.
                Parsed::Incomplete if read + more < HEADER_MAX => (read + more, None),
                Parsed::Incomplete | Parsed::Other => return Err(OpeningError::NoProxyHeader(peer.ip())),
            };
            stream.read_exact(&mut header[read..length]).await.map_err(OpeningError::Proxy)?;
            read = length;
            if let Some(client) = client {
                return Ok(Some(Tcp::new(stream, client.unwrap_or(peer))));
            }
        }
    }
}

/// Whether the first bytes are those of a header. A client says something first in all protocols.
async fn begins_as_header(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 16];
    let count = stream.peek(&mut first).await?;
    let first = &first[..count];
    // Of what is shorter, one byte tells enough: neither is how anything else begins.
    Ok(BEGINNINGS.iter().any(|beginning| match first.len() < beginning.len() {
        true => !first.is_empty() && beginning.starts_with(first),
        false => first.starts_with(beginning),
    }))
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// A header of so many bytes, and the client it names. A proxy that speaks for itself names none: it looks whether the node
    /// lives.
    Header { length: usize, client: Option<SocketAddr> },
    /// It may become one.
    Incomplete,
    /// It is none.
    Other,
}

fn parse(bytes: &[u8]) -> Parsed {
    let begins_well = BEGINNINGS.iter().any(|beginning| {
        let known = beginning.len().min(bytes.len());
        bytes[..known] == beginning[..known]
    });
    if !begins_well {
        return Parsed::Other;
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(bytes, config) {
        Ok((header, length)) => {
            Parsed::Header { length, client: header.proxied_address().map(|address| address.source) }
        }
        Err(proxy_header::Error::BufferTooShort) if !is_over(bytes) => Parsed::Incomplete,
        Err(_) => Parsed::Other,
    }
}

/// Whether all of a header is there, so that what is missing in it will not come.
fn is_over(bytes: &[u8]) -> bool {
    match bytes {
        [b'P', ..] => bytes.contains(&b'\n'),
        [_, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, body @ ..] => {
            body.len() >= usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxy_header::ProxiedAddress;

    use super::*;

    fn v1(text: &str) -> Parsed {
        parse(text.as_bytes())
    }

    /// A header of version 2 as it is on the wire.
    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [BEGINNINGS[1], &[command, family], &length, body].concat()
    }

    #[test]
    fn headers_of_both_versions_name_the_client() {
        let client = "192.0.2.7:5000".parse().unwrap();
        let text = "PROXY TCP4 192.0.2.7 192.0.2.1 5000 1883\r\n";
        assert_eq!(v1(&format!("{text}rest")), Parsed::Header { length: text.len(), client: Some(client) });
        let body = [192, 0, 2, 7, 192, 0, 2, 1, 0x13, 0x88, 0x07, 0x5b];
        let bytes = v2(0x21, 0x11, &body);
        assert_eq!(parse(&bytes), Parsed::Header { length: bytes.len(), client: Some(client) });
        let six = "[2001:db8::1]:5000".parse().unwrap();
        let text = "PROXY TCP6 2001:db8::1 ::1 5000 1883\r\n";
        assert_eq!(v1(text), Parsed::Header { length: text.len(), client: Some(six) });
    }

    #[test]
    fn what_else_a_proxy_says_is_skipped() {
        let client = "192.0.2.7:5000".parse().unwrap();
        let extra = [0xE0, 0, 3, b'a', b'b', b'c', 0x04, 0, 1, 0];
        let body = [&[192, 0, 2, 7, 192, 0, 2, 1, 0x13, 0x88, 0x07, 0x5b][..], &extra].concat();
        let bytes = v2(0x21, 0x11, &body);
        assert_eq!(parse(&bytes), Parsed::Header { length: bytes.len(), client: Some(client) });
    }

    #[test]
    fn a_proxy_may_speak_for_itself() {
        let local = v2(0x20, 0, &[]);
        assert_eq!(parse(&local), Parsed::Header { length: 16, client: None });
        let with_addresses = v2(0x20, 0x11, &[9; 12]);
        assert_eq!(parse(&with_addresses), Parsed::Header { length: 28, client: None });
        assert_eq!(v1("PROXY UNKNOWN\r\n"), Parsed::Header { length: 15, client: None });
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
        for other in
            ["\x10", "\x16\x03\x01", "GET / HTTP/1.1", "PROXIES", "\r\n\r\nx", "PROXY TCP9 a b c d\r\n"]
        {
            assert_eq!(v1(other), Parsed::Other, "{other:?}");
        }
        assert_eq!(parse(&v2(0x21, 0x11, &[1; 11])), Parsed::Other, "too short for its addresses");
        assert_eq!(parse(&v2(0x31, 0x11, &[1; 12])), Parsed::Other, "a version that does not exist");
        assert_eq!(v1(&format!("PROXY TCP4 {}", "1".repeat(120))), Parsed::Other, "a line without end");
    }

    #[test]
    fn networks_are_matched_whatever_the_listener_calls_the_address() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (address, trusted) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(proxies.trusts(address.parse().unwrap()), trusted, "{address}");
        }
    }

    proptest! {
        /// Any header, cut anywhere, is incomplete until it is whole, and then has its length whatever follows.
        #[test]
        fn a_header_may_come_in_pieces(
            client: (u32, u16), server: (u32, u16), text: bool, cut in 0_usize..100, rest in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let [client, server] = [client, server].map(|(ip, port)| SocketAddr::from((ip.to_be_bytes(), port)));
            let header = ProxyHeader::with_address(ProxiedAddress::stream(client, server));
            let mut bytes = Vec::new();
            if text { header.encode_v1(&mut bytes) } else { header.encode_v2(&mut bytes) }.unwrap();
            let length = bytes.len();
            prop_assert_eq!(parse(&bytes[..cut % length]), Parsed::Incomplete);
            bytes.extend(rest);
            prop_assert_eq!(parse(&bytes), Parsed::Header { length, client: Some(client) });
        }

        /// No bytes, whatever they are, do harm or are read past their end.
        #[test]
        fn any_bytes_are_taken(beginning in 0_usize..3, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [BEGINNINGS.get(beginning).copied().unwrap_or_default(), &bytes].concat();
            if let Parsed::Header { length, .. } = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
