//! Why a client is not let in, and how often that is logged.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// There is no such user, or it has another password: which of both is not said.
    WrongPassword,
    /// It gives no user name, and needs one.
    Anonymous,
    /// Its Authentication Method is not known here.
    Method,
    /// Its exchange did not prove anything.
    Proof,
    /// Too many others wait to be checked.
    Busy,
}

impl Denial {
    /// Every reason.
    pub const ALL: [Denial; 5] =
        [Denial::WrongPassword, Denial::Anonymous, Denial::Method, Denial::Proof, Denial::Busy];

    /// The value of the metrics' `result` label.
    pub fn label(self) -> &'static str {
        match self {
            Denial::WrongPassword => "wrong_password",
            Denial::Anonymous => "anonymous",
            Denial::Method => "unknown_method",
            Denial::Proof => "not_proved",
            Denial::Busy => "busy",
        }
    }

    /// What would help, if the client is a friend.
    pub fn advice(self) -> &'static str {
        match self {
            Denial::WrongPassword => "give it the right one, or write a new one with `rumormq passwd`",
            Denial::Anonymous => "give it a user name and password, or set allow_anonymous",
            Denial::Method => "give it a password, or a SCRAM-SHA-256 verifier with `rumormq passwd --scram`",
            Denial::Proof => {
                "give it the right password, or write a new verifier with `rumormq passwd --scram`"
            }
            Denial::Busy => "raise max_pending_authentications if so many clients connect at a time",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denial::WrongPassword => "unknown user or wrong password",
            Denial::Anonymous => "it gives no user name",
            Denial::Method => "its authentication method is not known here",
            Denial::Proof => "its authentication exchange proves nothing",
            Denial::Busy => "too many passwords wait to be checked",
        })
    }
}

/// Lets one line a second and cause through to the log: who guesses passwords must not fill disks.
#[derive(Debug, Default)]
pub struct DenialLog {
    /// By cause: when the last line was written, and how many were not since.
    causes: Mutex<[(Option<Instant>, u64); 5]>,
}

const INTERVAL: Duration = Duration::from_secs(1);

impl DenialLog {
    /// Whether to log this one now; if so, how many of its cause were not logged since the last one.
    pub fn may_log(&self, denial: Denial, now: Instant) -> Option<u64> {
        let (last, suppressed) = &mut self.causes.lock()[denial as usize];
        if last.is_some_and(|last| now < last + INTERVAL) {
            *suppressed += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_a_line_a_second() {
        let (log, begin) = (DenialLog::default(), Instant::now());
        assert_eq!(log.may_log(Denial::Busy, begin), Some(0));
        assert_eq!(log.may_log(Denial::Proof, begin), Some(0), "causes do not hide each other");
        for _ in 0..5 {
            assert_eq!(log.may_log(Denial::Busy, begin + INTERVAL / 2), None);
        }
        assert_eq!(log.may_log(Denial::Busy, begin + INTERVAL), Some(5));
    }
}
