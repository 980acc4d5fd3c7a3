//! SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677): what a server keeps to check a password that it never sees.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use super::password::InvalidVerifier;

/// A user's verifier. As text it is `SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY`, salt and keys in base64, the way
/// PostgreSQL writes it. Who steals it can pass for the server and may guess at the password, but cannot log in with it.
#[derive(Clone)]
pub struct ScramVerifier {
    /// How often the password was hashed.
    pub iterations: NonZeroU32,
    /// Makes equal passwords differ.
    pub salt: Vec<u8>,
    /// The hash of the key that the client proves to have.
    pub stored_key: [u8; KEY_LEN],
    /// Proves to the client that the server knows the verifier.
    pub server_key: [u8; KEY_LEN],
}

/// Bytes of a key.
pub const KEY_LEN: usize = digest::SHA256_OUTPUT_LEN;
/// Iterations of a new verifier.
pub const ITERATIONS: NonZeroU32 = NonZeroU32::new(16_384).expect("not zero");
/// Bytes of a new salt.
pub const SALT_LEN: usize = 16;
const PREFIX: &str = "SCRAM-SHA-256$";

impl ScramVerifier {
    /// The verifier of a password, with a salt that has to be random. The password is normalised as clients do it.
    pub fn new(password: &str, salt: &[u8], iterations: NonZeroU32) -> ScramVerifier {
        // What cannot be normalised is used as it is, which is what clients do.
        let password = stringprep::saslprep(password).unwrap_or(password.into());
        let mut salted = [0; KEY_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut salted);
        let client_key = sign(&salted, b"Client Key");
        ScramVerifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: hash(&client_key),
            server_key: sign(&salted, b"Server Key"),
        }
    }

    /// Whether a line of a password file means a verifier of this kind.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}

/// HMAC of SHA-256.
pub fn sign(key: &[u8], message: &[u8]) -> [u8; KEY_LEN] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut bytes = [0; KEY_LEN];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// SHA-256.
pub fn hash(message: &[u8]) -> [u8; KEY_LEN] {
    let mut bytes = [0; KEY_LEN];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, message).as_ref());
    bytes
}

impl FromStr for ScramVerifier {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<ScramVerifier, InvalidVerifier> {
        parse(text).ok_or(InvalidVerifier::Scram)
    }
}

fn parse(text: &str) -> Option<ScramVerifier> {
    let (head, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
    let (iterations, salt) = head.split_once(':')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
    Some(ScramVerifier {
        iterations: iterations.parse().ok()?,
        salt: STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?,
        stored_key: key(stored_key)?,
        server_key: key(server_key)?,
    })
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored_key, server_key] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        write!(f, "{PREFIX}{}:{salt}${stored_key}:{server_key}", self.iterations)
    }
}

/// Nothing of the keys.
impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramVerifier({} iterations)", self.iterations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    #[test]
    fn a_verifier_is_what_the_rfc_says() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let verifier = ScramVerifier::new("pencil", &salt, NonZeroU32::new(4096).expect("not zero"));
        assert_eq!(
            verifier.to_string(),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        let read: ScramVerifier = verifier.to_string().parse().expect("a verifier");
        assert_eq!(read.to_string(), verifier.to_string());
    }
}
