//! The secret that the nodes of a cluster share.

use std::fmt;

use zeroize::Zeroizing;

/// A shared secret, at least [`Cookie::MIN_LEN`] bytes long. Wiped from memory when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie(Zeroizing<Vec<u8>>);

/// The operator gave no usable cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// Too easy to guess.
    #[error(
        "cookie {number} has {len} bytes, at least {} are needed: make one with `head -c 32 /dev/urandom | base64`",
        Cookie::MIN_LEN
    )]
    TooShort {
        /// Which of the given cookies, counted from 1.
        number: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// Longer than a secret has reason to be: probably another file.
    #[error("cookie {number} has {len} bytes, at most {} are allowed", Cookie::MAX_LEN)]
    TooLong {
        /// Which of the given cookies, counted from 1.
        number: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// The file holds nothing but blank lines.
    #[error("there is no cookie in the file")]
    Missing,
    /// Each accepted cookie costs an attempt for each foreign datagram.
    #[error("at most {} cookies are accepted at a time", Cookie::MAX_COUNT)]
    TooMany,
}

impl Cookie {
    /// Fewest bytes of a cookie.
    pub const MIN_LEN: usize = 16;
    /// Most bytes of a cookie.
    pub const MAX_LEN: usize = 1024;
    /// Most cookies accepted at a time.
    pub const MAX_COUNT: usize = 4;

    /// Takes one secret.
    pub fn new(secret: &[u8]) -> Result<Cookie, CookieError> {
        Cookie::numbered(1, secret)
    }

    /// Reads a cookie file: one cookie a line, blank lines and white space at the ends of lines left out. The first
    /// one seals, all are accepted, so that a cookie is changed in two rounds of restarts and without an outage.
    pub fn parse_file(content: &[u8]) -> Result<Vec<Cookie>, CookieError> {
        let lines =
            content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let cookies: Vec<Cookie> = lines
            .take(Cookie::MAX_COUNT + 1)
            .enumerate()
            .map(|(index, line)| Cookie::numbered(index + 1, line))
            .collect::<Result<_, _>>()?;
        match cookies.len() {
            0 => Err(CookieError::Missing),
            n if n > Cookie::MAX_COUNT => Err(CookieError::TooMany),
            _ => Ok(cookies),
        }
    }

    fn numbered(number: usize, secret: &[u8]) -> Result<Cookie, CookieError> {
        match secret.len() {
            len if len < Cookie::MIN_LEN => Err(CookieError::TooShort { number, len }),
            len if len > Cookie::MAX_LEN => Err(CookieError::TooLong { number, len }),
            _ => Ok(Cookie(Zeroizing::new(secret.to_vec()))),
        }
    }

    pub(super) fn secret(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(..)")
    }
}
