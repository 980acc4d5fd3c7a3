//! What the payload of every message begins with, so that its receiver can tell whose it is, which one, and how old.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Who sent a message when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// One run of the generator.
    pub run: u32,
    /// The publisher, counted from 0.
    pub publisher: u32,
    /// The message among those of its publisher, counted from 0.
    pub number: u64,
    /// When it was sent, or was to be sent, in nanoseconds since 1970.
    pub sent: u64,
}

impl Stamp {
    /// Bytes it takes. Payloads are no smaller.
    pub const LEN: usize = 24;

    /// As the payload has it.
    #[inline]
    pub fn to_bytes(self) -> [u8; Stamp::LEN] {
        let mut bytes = [0; Stamp::LEN];
        bytes[..4].copy_from_slice(&self.run.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.publisher.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        bytes[16..].copy_from_slice(&self.sent.to_be_bytes());
        bytes
    }

    /// What a payload begins with; `None` if it is too short. Whether it is a stamp at all, only [`Stamp::run`] tells.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let (run, rest) = payload.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        Some(Stamp {
            run: u32::from_be_bytes(*run),
            publisher: u32::from_be_bytes(*publisher),
            number: u64::from_be_bytes(*number),
            sent: u64::from_be_bytes(*sent),
        })
    }
}

/// A clock that goes evenly, and that two processes of one machine share: the wall clock as it was when the run began, and the
/// monotonic one from there on.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_unix: Duration,
}

impl Clock {
    /// From now on.
    pub fn start() -> Clock {
        let began_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { began: Instant::now(), began_unix }
    }

    /// A moment in nanoseconds since 1970.
    #[inline]
    pub fn unix_nanos(self, at: Instant) -> u64 {
        let time = self.began_unix + at.saturating_duration_since(self.began);
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp =
            Stamp { run: 7, publisher: 1 << 20, number: u64::MAX - 1, sent: 1_700_000_000_000_000_001 };
        let mut payload = stamp.to_bytes().to_vec();
        payload.extend_from_slice(b"more");
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&payload[..Stamp::LEN - 1]), None);
    }
}
