//! The secret of those who may change something over HTTP.

use std::fmt;

use zeroize::Zeroizing;

/// A bearer token. Wiped from memory when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(Zeroizing<String>);

/// The operator gave no usable token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is too easy to guess, or longer than a secret has reason to be.
    #[error("a token has {} to {} bytes, this one has {len}", AdminToken::MIN_LEN, AdminToken::MAX_LEN)]
    Length {
        /// Its length in bytes.
        len: usize,
    },
    /// It does not fit a header.
    #[error("a token is made of printable ASCII characters without spaces")]
    Characters,
}

impl AdminToken {
    /// Fewest bytes of a token.
    pub const MIN_LEN: usize = 16;
    /// Most bytes of a token.
    pub const MAX_LEN: usize = 1024;

    /// Reads a token file: the token, with or without white space around it.
    pub fn parse_file(content: &[u8]) -> Result<AdminToken, TokenError> {
        let token = content.trim_ascii();
        if !(AdminToken::MIN_LEN..=AdminToken::MAX_LEN).contains(&token.len()) {
            return Err(TokenError::Length { len: token.len() });
        }
        match std::str::from_utf8(token) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(AdminToken(Zeroizing::new(text.to_owned())))
            }
            _ => Err(TokenError::Characters),
        }
    }

    /// Whether `given` is it. Takes as long wherever the first difference is.
    pub fn is(&self, given: &[u8]) -> bool {
        let mine = self.0.as_bytes();
        let difference = mine.iter().zip(given).fold(0, |difference, (a, b)| difference | (a ^ b));
        mine.len() == given.len() && difference == 0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}
