use std::num::NonZeroU16;

use super::error::DecodeError;
use super::packet::PacketId;
use super::variable_byte_integer::{variable_byte_integer, width_of};
use crate::topic::{Topic, TopicError};

/// A cursor over the bytes of a packet that reads the data types of section 1.5.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Gives `value` if nothing is left to read.
    #[inline]
    pub(super) fn finish<T>(&self, value: T) -> Result<T, DecodeError> {
        if self.is_empty() { Ok(value) } else { Err(DecodeError::TrailingBytes) }
    }

    /// Everything that is left.
    #[inline]
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Only 5.0 has these after the fixed header, so they are the shortest [MQTT-1.5.5-1].
    #[inline]
    pub(super) fn variable_byte_integer(&mut self) -> Result<u32, DecodeError> {
        let (value, width) = variable_byte_integer(self.rest)?.ok_or(DecodeError::Truncated)?;
        if width != width_of(value as usize) {
            return Err(DecodeError::VariableByteIntegerNotMinimal);
        }
        self.rest = &self.rest[width..];
        Ok(value)
    }

    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.bytes(len.into())
    }

    /// Text that may still contain U+0000.
    #[inline]
    fn utf8(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.binary()?).map_err(|_| DecodeError::StringNotUtf8)
    }

    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str, DecodeError> {
        let text = self.utf8()?;
        if text.as_bytes().contains(&0) {
            return Err(DecodeError::StringHasNull);
        }
        Ok(text)
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        NonZeroU16::new(self.u16()?).ok_or(DecodeError::PacketIdZero)
    }

    /// A topic name; `offence` says whose, where it is none.
    #[inline]
    pub(super) fn topic(&mut self, offence: fn(TopicError) -> DecodeError) -> Result<Topic<'a>, DecodeError> {
        topic(self.utf8()?, offence)
    }

    /// A topic name, or an empty string that an alias stands for.
    #[inline]
    pub(super) fn topic_or_empty(
        &mut self,
        offence: fn(TopicError) -> DecodeError,
    ) -> Result<Option<Topic<'a>>, DecodeError> {
        let text = self.utf8()?;
        if text.is_empty() { Ok(None) } else { topic(text, offence).map(Some) }
    }
}

#[inline]
fn topic(text: &str, offence: fn(TopicError) -> DecodeError) -> Result<Topic<'_>, DecodeError> {
    Topic::new(text).map_err(|error| match error {
        TopicError::Null => DecodeError::StringHasNull,
        error => offence(error),
    })
}
