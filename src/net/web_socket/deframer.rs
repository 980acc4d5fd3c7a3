//! Takes the payload out of a client's frames (RFC 6455, section 5), without a socket and without keeping it.

use std::io::Cursor;

use smallvec::SmallVec;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Longest head of a frame.
const HEAD_MAX: usize = 14;
/// Longest payload of a control frame.
const CONTROL_MAX: u64 = 125;

type ControlPayload = SmallVec<[u8; 16]>;

/// The state between two reads.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    /// The beginning of a head.
    head: SmallVec<[u8; HEAD_MAX]>,
    frame: Option<Frame>,
    /// A message has begun whose last frame has not.
    in_message: bool,
    /// Payload of the last ping that is not answered. An earlier one needs no answer of its own (section 5.5.3).
    ping: Option<ControlPayload>,
    /// Why no more frames count.
    end: Option<CloseCode>,
}

/// A frame whose payload comes.
#[derive(Debug)]
struct Frame {
    /// For a control frame, what has come of its payload.
    control: Option<(Control, ControlPayload)>,
    left: u64,
    /// Rotated so that it begins with the next byte's.
    mask: [u8; 4],
}

impl Deframer {
    /// Takes what was read; puts the payload of binary frames, unmasked, at the front of it and gives its length.
    pub(super) fn handle_bytes(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut payload_len) = (0, 0);
        while at < bytes.len() && self.end.is_none() {
            let Some(frame) = &mut self.frame else {
                match self.handle_head(&bytes[at..]) {
                    Ok(taken) => at += taken,
                    Err(code) => self.end = Some(code),
                }
                continue;
            };
            let taken = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len() - at);
            let part = &mut bytes[at..at + taken];
            unmask(part, frame.mask);
            frame.mask.rotate_left(taken % 4);
            frame.left -= taken as u64;
            match &mut frame.control {
                Some((_, payload)) => payload.extend_from_slice(part),
                None => {
                    bytes.copy_within(at..at + taken, payload_len);
                    payload_len += taken;
                }
            }
            at += taken;
            self.finish_frame();
        }
        payload_len
    }

    /// Whether a ping wants an answer.
    pub(super) fn has_ping(&self) -> bool {
        self.ping.is_some()
    }

    /// The payload of a ping that wants an answer.
    pub(super) fn take_ping(&mut self) -> Option<ControlPayload> {
        self.ping.take()
    }

    /// Whether the client has closed the WebSocket, or has broken its rules.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// What our close frame says.
    pub(super) fn close_code(&self) -> u16 {
        self.end.unwrap_or(CloseCode::Normal).into()
    }

    /// Takes bytes of a head; gives their number.
    fn handle_head(&mut self, bytes: &[u8]) -> Result<usize, CloseCode> {
        let begun = self.head.len();
        let fresh = bytes.len().min(HEAD_MAX - begun);
        self.head.extend_from_slice(&bytes[..fresh]);
        let mut cursor = Cursor::new(&self.head[..]);
        let Some((head, length)) = FrameHeader::parse(&mut cursor).map_err(|_| CloseCode::Protocol)? else {
            return Ok(fresh);
        };
        let taken = cursor.position() as usize - begun;
        self.head.clear();
        self.frame = Some(self.begin_frame(&head, length)?);
        self.finish_frame();
        Ok(taken)
    }

    fn begin_frame(&mut self, head: &FrameHeader, length: u64) -> Result<Frame, CloseCode> {
        let mask = head.mask.ok_or(CloseCode::Protocol)?;
        if head.rsv1 || head.rsv2 || head.rsv3 {
            return Err(CloseCode::Protocol);
        }
        let control = match head.opcode {
            OpCode::Control(control) if head.is_final && length <= CONTROL_MAX => {
                Some((control, ControlPayload::new()))
            }
            OpCode::Data(Data::Binary) if !self.in_message => None,
            OpCode::Data(Data::Continue) if self.in_message => None,
            OpCode::Data(Data::Text) => return Err(CloseCode::Unsupported), // [MQTT-6.0.0-1]
            _ => return Err(CloseCode::Protocol),
        };
        if control.is_none() {
            self.in_message = !head.is_final;
        }
        Ok(Frame { control, left: length, mask })
    }

    /// Does what the frame asks for, if it is complete.
    fn finish_frame(&mut self) {
        let Some(frame) = self.frame.take_if(|frame| frame.left == 0) else { return };
        match frame.control {
            Some((Control::Ping, payload)) => self.ping = Some(payload),
            Some((Control::Close, payload)) => self.end = Some(answer_to_close(&payload)),
            Some(_) | None => {}
        }
    }
}

/// A close frame is answered with its own code, where that is one that may be sent.
fn answer_to_close(payload: &[u8]) -> CloseCode {
    match payload {
        [] => CloseCode::Normal,
        [high, low, ..] => match CloseCode::from(u16::from_be_bytes([*high, *low])) {
            code if code.is_allowed() => code,
            _ => CloseCode::Protocol,
        },
        [_] => CloseCode::Protocol,
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let wide = u128::from_ne_bytes(std::array::from_fn(|at| mask[at % 4]));
    let (chunks, rest) = bytes.as_chunks_mut::<16>();
    for chunk in chunks {
        *chunk = (u128::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests;
