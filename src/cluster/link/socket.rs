//! What a link asks of its TCP connection.

use std::io;

use tokio::net::TcpStream;

/// Sets up a connection that is to carry a link.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    // Small frames must not wait for the acknowledgement of others.
    stream.set_nodelay(true)?;
    // On a network that loses packets, what little is under way is repeated at even intervals at first, not after twice
    // the time at each loss. Where the system cannot, it goes as it always did.
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_thin_linear_timeouts(true) {
        tracing::debug!(%error, "no linear timeouts for links");
    }
    Ok(())
}
