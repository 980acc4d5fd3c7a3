//! Lengths and identifiers of one to four bytes (1.5.5).

use super::error::DecodeError;

/// The greatest value of a variable byte integer (1.5.5).
pub(super) const MAX_VARIABLE_BYTE_INTEGER: usize = 268_435_455;

/// The value and width in bytes of the variable byte integer at the start; none if `bytes` end within it (1.5.5).
#[inline]
pub(super) fn variable_byte_integer(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 { Err(DecodeError::VariableByteIntegerTooLong) } else { Ok(None) }
}

/// How many bytes the shortest form of `value` has.
#[inline]
pub(super) const fn width_of(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}
