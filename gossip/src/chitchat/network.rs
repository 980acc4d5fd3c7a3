use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use tokio::net::UdpSocket;

/// A bound datagram socket. UDP in life, a simulated network in tests.
#[async_trait]
pub trait Datagrams: Send + Sync + 'static {
    /// Waits until the first datagram can be sent.
    async fn ready(&self) -> io::Result<()>;

    /// Hands a datagram to the network, or fails at once where it cannot.
    fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()>;

    /// Waits for a datagram. Loses none when the future is dropped.
    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
}

#[async_trait]
impl Datagrams for UdpSocket {
    async fn ready(&self) -> io::Result<()> {
        self.writable().await
    }

    fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        // A socket bound to [::] speaks to both families, but wants addresses of its own.
        let to = match (self.local_addr()?, to.ip()) {
            (SocketAddr::V6(_), IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        };
        UdpSocket::try_send_to(self, datagram, to).map(|_| ())
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = UdpSocket::recv_from(self, buffer).await?;
        Ok((len, SocketAddr::new(from.ip().to_canonical(), from.port())))
    }
}
