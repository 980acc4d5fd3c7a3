//! One of a bridge's two connections: bytes in, frames out, and back.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

use super::remote::Stream;
use crate::codec;

/// A connection to one of the two brokers.
pub struct Connection {
    read: ReadHalf<Box<dyn Stream>>,
    write: WriteHalf<Box<dyn Stream>>,
    input: BytesMut,
    /// Bytes to be written.
    pub output: BytesMut,
    /// Bytes were written that the transport may still hold.
    unflushed: bool,
    /// Largest packet that may come.
    max_packet_size: u32,
}

/// Something a connection can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bytes came.
    Read,
    /// Bytes were written.
    Written,
}

impl Connection {
    /// A stream on which nothing was said yet.
    pub fn new(stream: Box<dyn Stream>, max_packet_size: u32) -> Connection {
        let (read, write) = split(stream);
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Connection { read, write, input, output, unflushed: false, max_packet_size }
    }

    /// Reads or writes, whatever is possible first; with `may_read` false it only writes. Called off, nothing is lost.
    pub async fn progress(&mut self, may_read: bool) -> io::Result<Progress> {
        let Connection { read, write, input, output, unflushed, .. } = self;
        let writes = !output.is_empty();
        let flushes = *unflushed;
        let writing = async {
            match writes {
                true => write.write_buf(output).await,
                false => write.flush().await.map(|()| 0),
            }
        };
        tokio::select! {
            count = read.read_buf(input), if may_read => match count? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(Progress::Read),
            },
            count = writing, if writes || flushes => {
                let count = count?;
                *unflushed = writes;
                if writes && count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(Progress::Written) }
            }
            else => std::future::pending().await,
        }
    }

    /// The next whole packet of what was read.
    pub fn next_frame(&mut self) -> io::Result<Option<Bytes>> {
        let length = codec::frame_len(&self.input, self.max_packet_size)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let whole = length.filter(|length| *length <= self.input.len());
        Ok(whole.map(|length| self.input.split_to(length).freeze()))
    }

    /// Sends these bytes and waits for a packet.
    pub async fn ask(&mut self, question: &[u8]) -> io::Result<Bytes> {
        self.output.extend_from_slice(question);
        loop {
            if let Some(frame) = self.next_frame()? {
                return Ok(frame);
            }
            self.progress(true).await?;
        }
    }
}
