//! What the connection driver asks of a transport, and plain TCP, the one that other tasks can write to directly.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::broker::client::DirectWrite;

/// A stream that MQTT runs over.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The way for other tasks to write, where the transport has one. Without, the connection's own task writes.
    fn direct(&self) -> Option<Arc<dyn DirectWrite>> {
        None
    }

    /// The client's address, if it has one: where a proxy is in between, that of whom the proxy speaks for.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    /// Whether the client is a part of this node.
    fn is_internal(&self) -> bool {
        false
    }

    /// The name in the certificate that the client has proved to own, if it has shown one.
    fn certificate_name(&self) -> Option<&str> {
        None
    }
}

/// Plain TCP.
pub struct Tcp {
    read: OwnedReadHalf,
    write: Arc<TcpWriter>,
    peer: SocketAddr,
}

struct TcpWriter(OwnedWriteHalf);

impl Tcp {
    /// Takes over a connected stream, at whose other end `peer` is.
    pub fn new(stream: TcpStream, peer: SocketAddr) -> Tcp {
        let (read, write) = stream.into_split();
        Tcp { read, write: Arc::new(TcpWriter(write)), peer }
    }

    fn stream(&self) -> &TcpStream {
        self.write.0.as_ref()
    }
}

impl Transport for Tcp {
    fn direct(&self) -> Option<Arc<dyn DirectWrite>> {
        Some(self.write.clone())
    }

    fn peer(&self) -> Option<SocketAddr> {
        Some(self.peer)
    }
}

impl DirectWrite for TcpWriter {
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => self.0.try_write(one),
            many => self.0.try_write_vectored(many),
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream().poll_write_ready(cx))?;
            match self.write.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(self.stream()).shutdown(std::net::Shutdown::Write))
    }
}
