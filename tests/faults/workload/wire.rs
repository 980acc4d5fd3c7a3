//! A connection that is read for as long as there is time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rumormq::codec;
use rumormq::codec::packet::{Packet, ProtocolVersion};

use super::Site;

/// Longest a node may take to accept a connection, and the kernel to take what is written.
const SOCKET_PATIENCE: Duration = Duration::from_secs(3);

pub struct Wire {
    stream: TcpStream,
    version: ProtocolVersion,
    input: Vec<u8>,
    taken: usize,
}

impl Wire {
    /// Opens a connection from where the node is.
    pub fn open(site: &Site, version: ProtocolVersion) -> io::Result<Wire> {
        let open = || TcpStream::connect_timeout(&site.mqtt, SOCKET_PATIENCE);
        let stream = match &site.host {
            Some(host) => host.enter(open),
            None => open(),
        }?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(SOCKET_PATIENCE))?;
        Ok(Wire { stream, version, input: Vec::new(), taken: 0 })
    }

    pub fn send(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        codec::encode(packet, self.version, u32::MAX, &mut bytes).expect("a packet of this version");
        self.stream.write_all(&bytes)
    }

    /// The bytes of the next packet; none if the time is over before it is there.
    ///
    /// # Errors
    /// If the connection has ended.
    pub fn next(&mut self, until: Instant) -> io::Result<Option<Vec<u8>>> {
        loop {
            let rest = &self.input[self.taken..];
            let length = codec::frame_len(rest, u32::MAX).map_err(|_| ErrorKind::InvalidData)?;
            if let Some(length) = length.filter(|&length| rest.len() >= length) {
                let frame = rest[..length].to_vec();
                self.taken += length;
                return Ok(Some(frame));
            }
            self.input.drain(..std::mem::take(&mut self.taken));
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_micros(100));
            self.stream.set_read_timeout(Some(left))?;
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= until {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a packet that [`Wire::next`] gave.
    pub fn read<'a>(&self, frame: &'a [u8]) -> io::Result<Packet<'a>> {
        codec::decode(frame, self.version).map_err(|_| ErrorKind::InvalidData.into())
    }
}
