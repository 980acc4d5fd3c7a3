//! The sockets a node meets its peers on.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};

use super::Cluster;
use super::link::driver;

/// The sockets a node meets its peers on: both of one port.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) tcp: TcpListener,
    pub(super) udp: UdpSocket,
}

impl Endpoint {
    /// Binds TCP and UDP; port 0 is one that both have free.
    pub fn bind(address: SocketAddr) -> io::Result<Endpoint> {
        const ATTEMPTS: u32 = 16;
        let mut attempt = 1;
        loop {
            let tcp = StdTcpListener::bind(address)?;
            match StdUdpSocket::bind(tcp.local_addr()?) {
                Err(_) if address.port() == 0 && attempt < ATTEMPTS => attempt += 1,
                udp => {
                    let udp = udp?;
                    tcp.set_nonblocking(true)?;
                    udp.set_nonblocking(true)?;
                    return Ok(Endpoint { tcp: TcpListener::from_std(tcp)?, udp: UdpSocket::from_std(udp)? });
                }
            }
        }
    }

    /// The address of both.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// Accepts links.
pub(super) async fn accept(cluster: Arc<Cluster>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let cluster = cluster.clone();
                tokio::spawn(async move {
                    let result = driver::run(cluster.clone(), stream, false).await;
                    cluster.handle_link_end(address, false, result);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a link: raise the limit of open files (ulimit -n, LimitNOFILE=)");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
