//! Passwords, as argon2 hashes.

use std::str::FromStr;
use std::sync::OnceLock;

use argon2::password_hash::{PasswordHasher, PasswordVerifier as _};
use argon2::{Argon2, Params, PasswordHash};
use ring::hmac;

/// Tells the right password from all others.
#[derive(Debug)]
pub struct PasswordVerifier {
    hash: PasswordHash,
    /// The keyed digest of the password once it was given, which spares the next connect the hash's cost. The key lives as
    /// long as the process.
    verified: OnceLock<hmac::Tag>,
}

/// What is wrong with a verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVerifier {
    /// It is the password itself, or something else that hides nothing.
    #[error("what follows the name is no hash")]
    NoHash,
    /// Another algorithm's.
    #[error("the hash is not argon2")]
    Algorithm,
    /// Not in the form it has to have.
    #[error("the hash is broken")]
    Hash,
    /// Not in the form it has to have.
    #[error("the SCRAM verifier is broken")]
    Scram,
}

impl PasswordVerifier {
    /// Hashes a password with a fresh salt. This takes some 20 ms and 19 MiB, on purpose.
    ///
    /// # Errors
    /// The machine has no random numbers or no memory left.
    pub fn hash(password: &[u8]) -> Result<String, argon2::password_hash::Error> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|_| argon2::password_hash::Error::Crypto)?;
        let hash: PasswordHash = Argon2::default().hash_password_with_salt(password, &salt)?;
        Ok(hash.to_string())
    }

    /// Whether this password, whose digest is made with `key`, was right before.
    pub fn has_verified(&self, key: &hmac::Key, password: &[u8]) -> bool {
        self.verified.get().is_some_and(|verified| hmac::verify(key, password, verified.as_ref()).is_ok())
    }

    /// Whether this is the password: as expensive as the hash says. If so, its keyed digest is remembered.
    pub fn verify(&self, password: &[u8], digest: Option<hmac::Tag>) -> bool {
        let right = self.matches(password);
        if let (true, Some(digest)) = (right, digest) {
            let _ = self.verified.set(digest);
        }
        right
    }

    /// Remembers what `former` has, if it is a verifier of the same password.
    pub(super) fn remember(&self, former: &PasswordVerifier) {
        if let Some(verified) = former.verified.get()
            && self.hash == former.hash
        {
            let _ = self.verified.set(*verified);
        }
    }

    /// Whether this is the password, without remembering it.
    pub fn matches(&self, password: &[u8]) -> bool {
        Argon2::default().verify_password(password, &self.hash).is_ok()
    }
}

impl FromStr for PasswordVerifier {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<PasswordVerifier, InvalidVerifier> {
        if !text.starts_with('$') {
            return Err(InvalidVerifier::NoHash);
        }
        if !text.starts_with("$argon2") {
            return Err(InvalidVerifier::Algorithm);
        }
        let hash = PasswordHash::new(text).map_err(|_| InvalidVerifier::Hash)?;
        // What could not be verified later is refused now.
        argon2::Algorithm::try_from(hash.algorithm.as_str()).map_err(|_| InvalidVerifier::Algorithm)?;
        Params::try_from(&hash).map_err(|_| InvalidVerifier::Hash)?;
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err(InvalidVerifier::Hash);
        }
        Ok(PasswordVerifier { hash, verified: OnceLock::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_password_is_told_from_others() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let text = PasswordVerifier::hash(b"secret").expect("hashed");
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        assert_ne!(text, PasswordVerifier::hash(b"secret").expect("hashed"), "salted");
        let verifier: PasswordVerifier = text.parse().expect("a hash");
        let verify = |password| verifier.verify(password, Some(hmac::sign(&key, password)));
        assert!(!verify(b"Secret"));
        assert!(!verifier.has_verified(&key, b"Secret") && !verifier.has_verified(&key, b"secret"));
        assert!(verify(b"secret"));
        assert!(verifier.has_verified(&key, b"secret"));
        assert!(!verifier.has_verified(&key, b"Secret"));
    }
}
