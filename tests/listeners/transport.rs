//! The ways to a broker, from the client's side.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rumormq::broker::Limits;
use rumormq::codec::packet::Connect;
use rumormq::net::tls::{ClientCertificates, Tls, TlsFiles};
use rumormq::net::{PageOrigins, Protocol};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version,
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::support::certificates::{Authority, Identity};
use crate::support::client::{Client, Stream, tcp};
use crate::support::node::Node;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Tls,
    Ws,
    Wss,
}

pub const TRANSPORTS: [Transport; 4] = [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
pub const TLS_1_2: &SupportedProtocolVersion = &version::TLS12;
pub const TLS_1_3: &SupportedProtocolVersion = &version::TLS13;

/// A client's way in, whichever it is.
pub type AnyClient = Client<Box<dyn Stream>>;

/// A broker with all listeners, and the authority that it and its clients trust.
pub struct Listening {
    pub node: Node,
    pub authority: Authority,
    pub tls: Arc<Tls>,
    addresses: [SocketAddr; 4],
}

impl Listening {
    pub fn start() -> Listening {
        Listening::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Listening {
        Listening::over(Node::with(limits), None, ClientCertificates::Required)
    }

    /// Clients are asked for certificates of this authority, if it is given.
    pub fn with_clients_of(known: Option<&Authority>, mode: ClientCertificates, limits: Limits) -> Listening {
        Listening::over(Node::with(limits), known, mode)
    }

    /// WebSockets are for these pages alone.
    pub fn for_pages_of(origins: &[&str]) -> Listening {
        let origins = origins.iter().map(|origin| origin.parse().expect("an origin"));
        Listening::open_all(
            Node::start(),
            None,
            ClientCertificates::Required,
            PageOrigins::new(origins.collect()),
        )
    }

    /// Opens the other listeners of this broker.
    pub fn over(node: Node, known: Option<&Authority>, mode: ClientCertificates) -> Listening {
        Listening::open_all(node, known, mode, PageOrigins::default())
    }

    fn open_all(
        node: Node,
        known: Option<&Authority>,
        mode: ClientCertificates,
        origins: PageOrigins,
    ) -> Listening {
        let authority = Authority::new();
        let Identity { certificate, key } = authority.server();
        let client_ca = known.map(Authority::certificate);
        let files = TlsFiles { certificate, key, client_ca, client_certificates: mode };
        let tls = Arc::new(Tls::load(files).expect("files as they should be"));
        let protocols = [
            Protocol::Mqtts(tls.clone()),
            Protocol::Ws(origins.clone()),
            Protocol::Wss(tls.clone(), origins),
        ];
        let [mqtts, ws, wss] = protocols.map(|protocol| node.listens(protocol));
        let addresses = [node.address, mqtts, ws, wss];
        Listening { node, authority, tls, addresses }
    }

    pub fn address(&self, transport: Transport) -> SocketAddr {
        self.addresses[transport as usize]
    }

    pub fn tcp(&self, transport: Transport) -> TcpStream {
        tcp(self.address(transport))
    }

    /// A stream without a word of MQTT on it.
    pub fn open(&self, transport: Transport) -> Box<dyn Stream> {
        self.open_over(transport, self.tcp(transport))
    }

    /// The same on a connection of TCP where something may have been said before.
    pub fn open_over(&self, transport: Transport, tcp: TcpStream) -> Box<dyn Stream> {
        match transport {
            Transport::Tcp => Box::new(tcp),
            Transport::Tls => Box::new(self.secure(tcp)),
            Transport::Ws => Box::new(WsStream::open(tcp).expect("a WebSocket")),
            Transport::Wss => Box::new(WsStream::open(self.secure(tcp)).expect("a WebSocket")),
        }
    }

    /// A client, accepted.
    #[track_caller]
    pub fn connect(&self, transport: Transport, connect: Connect<'_>) -> AnyClient {
        Client::connect_over(self.open(transport), connect)
    }

    fn secure(&self, tcp: TcpStream) -> TlsStream {
        tls_stream(tcp, tls_client(&self.authority, None, &[TLS_1_2, TLS_1_3]))
    }

    /// Handshakes that have failed on a listener for a reason.
    pub fn failures(&self, listener: &str, reason: &str) -> u64 {
        self.node.broker.metrics.handshake_failures.with_label_values(&[listener, reason]).get()
    }
}

pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// What a client knows that trusts this authority, with a certificate if it has one.
pub fn tls_client(
    trusted: &Authority,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(trusted.certificate()).expect("PEM");
    roots.add(authority).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("versions that there are")
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from_pem_file(&identity.certificate).expect("PEM")];
            let key = PrivateKeyDer::from_pem_file(&identity.key).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    }
}

/// The handshake happens with the first bytes.
pub fn tls_stream(tcp: TcpStream, config: ClientConfig) -> TlsStream {
    let name = ServerName::try_from("localhost").expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("a configuration"), tcp)
}

impl Stream for TlsStream {
    fn ends(&mut self) {
        self.conn.send_close_notify();
        self.flush().expect("still connected");
        self.sock.shutdown(Shutdown::Write).expect("still connected");
    }
}

/// The library's client, as a stream of bytes: each write is a binary message.
pub struct WsStream<S> {
    pub socket: WebSocket<S>,
    input: tungstenite::Bytes,
    /// What the broker's close frame said.
    pub close_code: Option<u16>,
}

impl<S: Read + Write> WsStream<S> {
    pub fn open(stream: S) -> Result<WsStream<S>, String> {
        WsStream::open_with(stream, Some("mqtt"))
    }

    /// Asks for this sub-protocol, if any.
    pub fn open_with(stream: S, protocol: Option<&'static str>) -> Result<WsStream<S>, String> {
        let mut request = "ws://localhost/mqtt".into_client_request().expect("an address");
        if let Some(protocol) = protocol {
            request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
        }
        let (socket, response) = tungstenite::client(request, stream).map_err(|error| error.to_string())?;
        let answer = response.headers().get("Sec-WebSocket-Protocol").map(|it| it.as_bytes());
        assert_eq!(answer, protocol.map(str::as_bytes), "the broker names what was offered");
        Ok(WsStream { socket, input: tungstenite::Bytes::new(), close_code: None })
    }
}

impl<S: Read + Write> Read for WsStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.input.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.input = bytes,
                Ok(Message::Close(frame)) => self.close_code = frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(error) => return as_io(error).map(|()| 0),
            }
        }
        let count = self.input.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.input.split_to(count));
        Ok(count)
    }
}

impl<S: Read + Write> Write for WsStream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.send(Message::binary(bytes.to_vec())) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => as_io(error).map(|()| 0),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush().or_else(as_io)
    }
}

impl<S: Read + Write> Stream for WsStream<S> {
    fn ends(&mut self) {
        self.socket.close(None).expect("still connected");
    }
}

/// The end of a WebSocket is the end of a stream.
fn as_io(error: tungstenite::Error) -> io::Result<()> {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => Ok(()),
        tungstenite::Error::Io(error) => Err(error),
        error => Err(io::Error::new(io::ErrorKind::ConnectionReset, error)),
    }
}
