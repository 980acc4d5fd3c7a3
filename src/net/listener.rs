//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::door::Door;
use super::opening;
use super::protocol::Protocol;

/// A bound address that clients connect to.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    protocol: Protocol,
}

/// Connections the kernel may hold ready for us.
const BACKLOG: i32 = 4096;
/// Rest after an accept failed for want of memory or file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Listener {
    /// Binds `address` for clients that speak `protocol`, IPv4 or IPv6; port 0 is any free one.
    pub fn bind(address: SocketAddr, protocol: Protocol) -> io::Result<Listener> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        Ok(Listener { address: listener.local_addr()?, listener, protocol })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its clients speak.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// Accepts connections until the task is dropped; each runs on a task of its own.
    pub async fn run(self, door: Arc<Door>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let Some(place) = door.enter(self.protocol.name()) else { continue };
                    // Without it small packets wait for acknowledgements; a socket that refuses is gone already.
                    let _ = stream.set_nodelay(true);
                    opening::serve(&door, &self.protocol, stream, peer, place);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection: raise the limit of open files (ulimit -n, LimitNOFILE=), or lower max_connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
