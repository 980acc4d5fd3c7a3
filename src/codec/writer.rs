//! The data types of section 1.5, appended to a byte vector, and frames around what is appended.

use super::error::EncodeError;
use super::fixed_header::PacketType;
use super::variable_byte_integer::{MAX_VARIABLE_BYTE_INTEGER, width_of};

#[inline]
pub(super) fn put_u16(value: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(super) fn put_binary(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let len = u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLarge)?;
    put_u16(len, out);
    out.extend_from_slice(bytes);
    Ok(())
}

#[inline]
pub(super) fn put_string(text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_binary(text.as_bytes(), out)
}

/// Appends the fixed header of a packet, and what `body` appends.
pub(super) fn frame(
    packet_type: PacketType,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    out.push(packet_type.first_byte());
    length_prefixed(out, body)
}

/// Appends what `body` appends, preceded by its length as a variable byte integer.
pub(super) fn length_prefixed(
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let at = out.len();
    out.push(0);
    body(out)?;
    let len = out.len() - at - 1;
    set_length(out, at, 1, len).map(drop)
}

/// Writes `len` as a variable byte integer at `at`, where `reserved` bytes wait for it; what follows moves if they are
/// not as many as needed. Returns the width of what it wrote.
#[inline]
pub(super) fn set_length(
    out: &mut Vec<u8>,
    at: usize,
    reserved: usize,
    len: usize,
) -> Result<usize, EncodeError> {
    if len > MAX_VARIABLE_BYTE_INTEGER {
        return Err(EncodeError::TooLarge);
    }
    let width = width_of(len);
    if width != reserved {
        out.splice(at..at + reserved, [0; 4].into_iter().take(width));
    }
    let mut rest = len;
    for byte in &mut out[at..at + width] {
        *byte = rest as u8 & 0x7F | 0x80;
        rest >>= 7;
    }
    out[at + width - 1] &= 0x7F;
    Ok(width)
}
