//! A connection without a socket, for clients that are part of the node.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::connection::Connection;
use super::door::Place;
use super::transport::Transport;
use crate::broker::Broker;

/// Bytes on their way in each direction.
const CAPACITY: usize = 64 << 10;

/// Connects to the broker as a part of the node: nobody asks who it is, and nothing is forbidden to it. The connection
/// counts against no limit.
pub fn connect(broker: &Arc<Broker>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(CAPACITY);
    tokio::spawn(Connection::new(broker.clone(), Pipe(theirs), Place::APART));
    ours
}

/// The broker's end.
struct Pipe(DuplexStream);

impl Transport for Pipe {
    fn is_internal(&self) -> bool {
        true
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
