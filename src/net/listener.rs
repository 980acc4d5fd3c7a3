//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::connection::Connection;
use super::transport::Tcp;
use crate::broker::Broker;

/// A bound address that clients connect to.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
}

/// Connections the kernel may hold ready for us.
const BACKLOG: i32 = 4096;
/// Rest after an accept failed for want of memory or file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Listener {
    /// Binds `address`, IPv4 or IPv6; port 0 is any free one.
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Listener { listener: TcpListener::from_std(socket.into())? })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts connections until the task is dropped; each runs on a task of its own.
    pub async fn run(self, broker: Arc<Broker>) {
        let places = Arc::new(Semaphore::new(broker.limits().max_connections));
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let Ok(place) = places.clone().try_acquire_owned() else {
                        broker.metrics.connects.with_label_values(&["full"]).inc();
                        continue;
                    };
                    // Without it small packets wait for acknowledgements; a socket that refuses is gone already.
                    let _ = stream.set_nodelay(true);
                    let connection = Connection::new(broker.clone(), Tcp::new(stream), place);
                    tokio::spawn(connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
