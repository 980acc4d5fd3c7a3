//! Opens connections on networks that lose packets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Time for a connection to open.
pub const CONNECT_MAX: Duration = Duration::from_millis(1500);
/// A lost SYN is repeated by the system after a second, and then after two more. So another connection is begun beside the
/// one that does not open, so often, and the first one that opens is taken.
const ANOTHER_AFTER: Duration = Duration::from_millis(250);

/// Connects to `address`.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let deadline = Instant::now() + CONNECT_MAX;
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::TimedOut);
    loop {
        attempts.spawn(TcpStream::connect(address));
        let another = Instant::now() + ANOTHER_AFTER;
        loop {
            tokio::select! {
                opened = attempts.join_next() => match opened {
                    Some(Ok(Ok(stream))) => return Ok(stream),
                    // Where somebody says no, to ask again at once is no use.
                    Some(Ok(Err(error))) => failure = error,
                    Some(Err(_)) => {}
                    None => return Err(failure),
                },
                () = sleep_until(another.min(deadline)) => break,
            }
        }
        if Instant::now() >= deadline {
            return Err(failure);
        }
    }
}
