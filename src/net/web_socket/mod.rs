//! MQTT in a WebSocket: a stream of bytes, in and out of the payloads of binary frames.
//!
//! The library opens the WebSocket and knows the form of a frame's head. The payloads pass through without being kept, so that
//! an idle connection holds no buffer and a message no memory of its own, however large: packets may share frames and span
//! them [MQTT-6.0.0-2], and their size is bounded where packets are read. What is read is unmasked in place, what is
//! written goes out behind its head in one vectored write.

mod deframer;
mod opening;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use self::deframer::Deframer;
use super::opening_error::OpeningError;
use super::origins::PageOrigins;
use super::transport::Transport;
use crate::session::outbox::MAX_SLICES;

/// Largest payload of a frame that is sent. Receivers may keep a whole frame before they look at it.
const FRAME_MAX: usize = 1 << 20;

/// A WebSocket over a stream, from the server's side.
pub struct WebSocket<S> {
    stream: S,
    deframer: Deframer,
    /// Heads of frames and whole control frames that come before the next byte of payload.
    own: SmallVec<[u8; 16]>,
    own_written: usize,
    /// Payload that the head of the present frame has promised.
    promised: usize,
    close_queued: bool,
    /// The reader knows that the client sends no more payload.
    end_told: bool,
}

impl<S: Transport> WebSocket<S> {
    /// Answers the client's request for a WebSocket.
    pub(super) async fn accept(stream: S, origins: PageOrigins) -> Result<WebSocket<S>, OpeningError> {
        let stream = opening::accept(stream, &origins)
            .await
            .map_err(|error| OpeningError::WebSocket(Box::new(error)))?;
        Ok(WebSocket {
            stream,
            deframer: Deframer::default(),
            own: SmallVec::new(),
            own_written: 0,
            promised: 0,
            close_queued: false,
            end_told: false,
        })
    }

    fn queue(&mut self, opcode: OpCode, payload: &[u8]) {
        self.queue_head(opcode, payload.len());
        self.own.extend_from_slice(payload);
    }

    fn queue_head(&mut self, opcode: OpCode, payload_len: usize) {
        let head = FrameHeader { opcode, ..FrameHeader::default() };
        // Writing to memory does not fail.
        let _ = head.format(payload_len as u64, &mut self.own);
    }

    /// Between two frames is where an answer to a ping may go; one at a time, so that pings of a client that does not read
    /// take no memory.
    fn queue_pong(&mut self) {
        if self.promised == 0
            && self.own.is_empty()
            && let Some(payload) = self.deframer.take_ping()
        {
            self.queue(OpCode::Control(Control::Pong), &payload);
        }
    }

    /// Notes that so many bytes of our own were written.
    fn advance_own(&mut self, count: usize) {
        self.own_written += count;
        if self.own_written == self.own.len() {
            self.own = SmallVec::new();
            self.own_written = 0;
        }
    }

    fn poll_write_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.own_written < self.own.len() {
            let own = &self.own[self.own_written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, own))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.advance_own(count),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Transport> Transport for WebSocket<S> {
    fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer()
    }

    fn certificate_name(&self) -> Option<&str> {
        self.stream.certificate_name()
    }
}

impl<S: Transport> AsyncRead for WebSocket<S> {
    /// The end of the WebSocket is told once, as an end of the stream, also where it came with the last payload. Afterwards what
    /// the peer still sends is thrown away until it closes.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buffer.filled().len();
        loop {
            if self.deframer.has_ping() {
                // Its errors show when the stream is read.
                let _ = self.as_mut().poll_flush(cx);
            }
            buffer.set_filled(start);
            let had_ended = self.deframer.has_ended();
            if had_ended && !self.close_queued && !std::mem::replace(&mut self.end_told, true) {
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            let read = &mut buffer.filled_mut()[start..];
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if had_ended {
                continue;
            }
            let payload = self.deframer.handle_bytes(read);
            buffer.set_filled(start + payload);
            if payload > 0 {
                return Poll::Ready(Ok(()));
            }
            if self.deframer.has_ended() {
                self.end_told = true;
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: Transport> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// A frame has the length of what could be written when it began; who was refused in the middle of it has to go on with
    /// the same bytes, as with any stream.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.promised == 0 {
            let length = slices.iter().map(|slice| slice.len()).sum::<usize>().min(FRAME_MAX);
            if length == 0 {
                return Poll::Ready(Ok(0));
            }
            this.queue_pong();
            this.queue_head(OpCode::Data(Data::Binary), length);
            this.promised = length;
        }
        loop {
            let mut all: SmallVec<[IoSlice<'_>; MAX_SLICES + 1]> = SmallVec::new();
            let own = &this.own[this.own_written..];
            if !own.is_empty() {
                all.push(IoSlice::new(own));
            }
            let mut left = this.promised;
            for slice in slices {
                let part = &slice[..slice.len().min(left)];
                left -= part.len();
                if !part.is_empty() {
                    all.push(IoSlice::new(part));
                }
            }
            let own = own.len();
            let count = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, &all))?;
            drop(all);
            this.advance_own(count.min(own));
            if count == 0 || count > own {
                let payload = count.saturating_sub(own);
                this.promised -= payload;
                return Poll::Ready(Ok(payload));
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.queue_pong();
        ready!(self.poll_write_own(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says goodbye, unless in the middle of a frame.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.promised == 0 {
            if !std::mem::replace(&mut self.close_queued, true) {
                let code = self.deframer.close_code().to_be_bytes();
                self.queue(OpCode::Control(Control::Close), &code);
            }
            ready!(self.poll_write_own(cx))?;
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
