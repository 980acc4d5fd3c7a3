//! A client's connection: bytes in, packets out, and back.

use std::io;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_rustls::rustls::pki_types::ServerName;

use super::plan::Plan;
use crate::codec::packet::{
    Connect, Disconnect, Packet, PacketId, Properties, PropertySet, ProtocolVersion, QoS, ReasonCode,
    RetainHandling, Subscribe, SubscriptionOptions,
};
use crate::codec::{self, DecodeError, EncodeError};

/// Room for what is read at once.
const READ: usize = 64 * 1024;
/// The same where nothing is expected.
const READ_IDLE: usize = 512;
/// Longest packet that a broker may send.
const PACKET_MAX: u32 = 268_435_460;
/// Time a broker has for a connection, and for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Why a client's run came to an end before its time.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no connection to the broker.
    #[error("cannot connect to {0}: {1}; is a broker listening there?")]
    Connect(String, io::Error),
    /// The broker does not want this client.
    #[error("{0} refuses the connection: {1:?}")]
    Refused(String, ReasonCode),
    /// The broker does not want this subscription.
    #[error("the subscription to {0:?} is refused: {1:?}")]
    NotSubscribed(String, ReasonCode),
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    /// The broker ended it and said why.
    #[error("the broker ended the connection: {0:?}")]
    Disconnected(ReasonCode),
    /// The broker sent nonsense.
    #[error("the broker broke the protocol: {0}")]
    Malformed(#[from] DecodeError),
    /// The broker sent what it must not send.
    #[error("the broker broke the protocol: {0}")]
    Protocol(&'static str),
    /// What is to be sent cannot be.
    #[error("cannot be sent: {0}")]
    Unsendable(#[from] EncodeError),
    /// The broker does not answer.
    #[error("no answer from {0} within 30 s")]
    Silent(String),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that the broker has accepted.
pub struct Connection {
    read: ReadHalf<Box<dyn Stream>>,
    write: WriteHalf<Box<dyn Stream>>,
    input: BytesMut,
    /// To be written.
    pub output: Vec<u8>,
    /// So much of it is.
    written: usize,
    /// The transport may hold back what was written.
    unflushed: bool,
    read_size: usize,
    pings: Option<Interval>,
    version: ProtocolVersion,
    address: String,
    /// Unacknowledged messages that the broker takes.
    pub receive_maximum: u16,
}

impl Connection {
    /// Connects a client to the broker at this address.
    ///
    /// # Errors
    /// There is none, it refuses, or it does not answer.
    pub async fn open(
        plan: &Plan,
        address: &str,
        client_id: &str,
        idle: bool,
    ) -> Result<Connection, ClientError> {
        let failed = |error| ClientError::Connect(address.to_owned(), error);
        let opening = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match &plan.tls {
                None => Box::new(stream),
                Some(connector) => Box::new(connector.connect(server_name(address)?, stream).await?),
            };
            Ok(stream)
        };
        let stream =
            timeout(ANSWER_MAX, opening).await.map_err(|_| ClientError::Silent(address.to_owned()))?;
        let (read, write) = split(stream.map_err(failed)?);
        let mut connection = Connection {
            read,
            write,
            input: BytesMut::new(),
            output: Vec::new(),
            written: 0,
            unflushed: false,
            read_size: if idle { READ_IDLE } else { READ },
            pings: None,
            version: plan.version,
            address: address.to_owned(),
            receive_maximum: u16::MAX,
        };
        connection.greet(plan, client_id).await?;
        Ok(connection)
    }

    async fn greet(&mut self, plan: &Plan, client_id: &str) -> Result<(), ClientError> {
        let connect = Connect {
            version: plan.version,
            clean_start: true,
            keep_alive_secs: 0,
            client_id,
            will: None,
            username: plan.username.as_deref(),
            password: plan.password.as_deref(),
            properties: PropertySet { receive_maximum: NonZeroU16::new(u16::MAX), ..PropertySet::EMPTY }
                .into(),
        };
        self.append(&Packet::Connect(Box::new(connect)))?;
        let mut accepted = None;
        let address = self.address.clone();
        self.answer(|packet| {
            let Packet::ConnAck(connack) = packet else {
                return Err(ClientError::Protocol("CONNACK comes first"));
            };
            if connack.reason.is_error() {
                return Err(ClientError::Refused(address.clone(), connack.reason));
            }
            let properties = &connack.properties;
            accepted = Some((properties.receive_maximum, properties.server_keep_alive_secs));
            Ok(true)
        })
        .await?;
        if let Some((receive_maximum, keep_alive)) = accepted {
            self.receive_maximum = receive_maximum.map_or(u16::MAX, NonZeroU16::get);
            self.pings = keep_alive.filter(|secs| *secs > 0).map(|secs| {
                let mut pings = interval(Duration::from_secs(u64::from(secs)) / 2);
                pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
                pings
            });
        }
        Ok(())
    }

    /// Subscribes, and waits until that is acknowledged.
    ///
    /// # Errors
    /// It is refused, or not answered.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<(), ClientError> {
        let options = SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::DoNotSend,
        };
        let subscribe = Subscribe {
            packet_id: PacketId::MIN,
            filters: vec![(filter, options)],
            properties: Properties::NONE,
        };
        self.append(&Packet::Subscribe(subscribe))?;
        self.answer(|packet| match packet {
            Packet::SubAck(suback) => match suback.reasons.iter().find(|reason| reason.is_error()) {
                Some(reason) => Err(ClientError::NotSubscribed(filter.to_owned(), *reason)),
                None => Ok(true),
            },
            // What others publish may come already, and nobody has asked for it to be counted.
            _ => Ok(false),
        })
        .await
    }

    /// Waits for the packet that this takes for an answer.
    async fn answer(
        &mut self,
        mut is_answer: impl FnMut(&Packet<'_>) -> Result<bool, ClientError>,
    ) -> Result<(), ClientError> {
        let waiting = async {
            let mut answered = false;
            while !answered {
                self.progress().await?;
                self.handle_input(|packet, _| {
                    answered |= is_answer(packet)?;
                    Ok(())
                })?;
            }
            Ok(())
        };
        let answered = timeout(ANSWER_MAX, waiting).await;
        answered.unwrap_or_else(|_| Err(ClientError::Silent(self.address.clone())))
    }

    /// Reads or writes, whatever can be done first. True if it has read. Called off, nothing is lost.
    ///
    /// # Errors
    /// The connection is at its end.
    pub async fn progress(&mut self) -> Result<bool, ClientError> {
        let Connection { read, write, input, output, written, unflushed, pings, .. } = self;
        let (writes, flushes) = (!output.is_empty(), *unflushed);
        let writing = async {
            match writes {
                true => write.write(&output[*written..]).await,
                false => write.flush().await.map(|()| 0),
            }
        };
        let ping = async {
            match pings {
                Some(pings) => pings.tick().await,
                None => std::future::pending().await,
            }
        };
        input.reserve(self.read_size);
        tokio::select! {
            count = read.read_buf(input) => match count? {
                0 => Err(ClientError::Lost(io::ErrorKind::UnexpectedEof.into())),
                _ => Ok(true),
            },
            count = writing, if writes || flushes => {
                *unflushed = writes;
                *written += count?;
                if *written >= output.len() {
                    output.clear();
                    *written = 0;
                }
                Ok(false)
            }
            _ = ping => {
                codec::encode(&Packet::PingReq, self.version, PACKET_MAX, output)?;
                Ok(false)
            }
        }
    }

    /// Whether nothing waits to be written.
    pub fn is_written(&self) -> bool {
        self.output.is_empty() && !self.unflushed
    }

    /// Gives all whole packets that have come to this, together with where answers go.
    ///
    /// # Errors
    /// The first one's, the broker's word that it ends the connection included.
    pub fn handle_input(
        &mut self,
        mut handle: impl FnMut(&Packet<'_>, &mut Vec<u8>) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut at = 0;
        while let Some(length) = codec::frame_len(&self.input[at..], PACKET_MAX)? {
            let Some(frame) = self.input.get(at..at + length) else { break };
            match codec::decode(frame, self.version)? {
                Packet::PingResp => {}
                Packet::Disconnect(disconnect) => return Err(ClientError::Disconnected(disconnect.reason)),
                packet => handle(&packet, &mut self.output)?,
            }
            at += length;
        }
        self.input.advance(at);
        Ok(())
    }

    /// Appends a packet to what is to be written.
    ///
    /// # Errors
    /// It is none that can be sent.
    pub fn append(&mut self, packet: &Packet<'_>) -> Result<(), ClientError> {
        Ok(codec::encode(packet, self.version, PACKET_MAX, &mut self.output)?)
    }

    /// Says goodbye, if the broker listens.
    pub async fn close(mut self) {
        let goodbye = Disconnect { reason: ReasonCode::Success, properties: Properties::NONE };
        if self.append(&Packet::Disconnect(goodbye)).is_err() {
            return;
        }
        let writing = async {
            while !self.is_written() && self.progress().await.is_ok() {
                self.input.clear();
            }
        };
        let _ = timeout(Duration::from_secs(1), writing).await;
    }
}

fn server_name(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
