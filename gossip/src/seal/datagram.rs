//! One datagram: framed with the cluster's tag, and sealed where there is a cookie.
//!
//! ```text
//! plain   "RMQ" 1 | tag 8 | bytes
//! sealed  "RMQ" 2 | tag 8 | boot 16 | counter 8, little endian | XChaCha20-Poly1305(bytes) | authenticator 16
//! ```
//! Boot and counter together are the nonce, of 24 bytes: a sender draws its boot bytes at random at each start, so no
//! nonce comes twice under a key without anything kept on disk. The head is authenticated with the bytes.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};

use super::keys::{ClusterTag, DatagramKey};
use super::rejection::Rejection;
use super::replay::{Boot, ReplayGuard};

/// Longest datagram taken, in bytes: the most that UDP over IPv4 carries.
pub const MAX_DATAGRAM_LEN: usize = 65_507;

/// Bytes that sealing adds.
pub const SEALED_OVERHEAD: usize = HEAD_LEN + NONCE_LEN + AUTHENTICATOR_LEN;

const MAGIC: [u8; 3] = *b"RMQ";
const PLAIN: u8 = 1;
const SEALED: u8 = 2;
const HEAD_LEN: usize = MAGIC.len() + 1 + ClusterTag::LEN;
const BOOT_LEN: usize = 16;
const NONCE_LEN: usize = BOOT_LEN + 8;
const AUTHENTICATOR_LEN: usize = 16;

/// Turns bytes into datagrams of this cluster.
pub struct Sealer {
    tag: ClusterTag,
    cipher: Option<XChaCha20Poly1305>,
    boot: Boot,
    counter: u64,
}

/// Turns datagrams of this cluster back into bytes, and refuses all others.
pub struct Opener {
    tag: ClusterTag,
    ciphers: Vec<XChaCha20Poly1305>,
    replays: ReplayGuard,
}

impl Sealer {
    /// Seals with the given key, or only frames without one. `boot` must be random and new for each sealer: a boot
    /// used twice under one key gives the plain bytes away.
    pub fn new(tag: ClusterTag, key: Option<&DatagramKey>, boot: [u8; 16]) -> Sealer {
        Sealer { tag, cipher: key.map(cipher), boot, counter: 0 }
    }

    /// Seals with another key from now on. No nonce comes twice, should the key before return.
    pub fn replace_key(&mut self, key: &DatagramKey) {
        self.cipher = Some(cipher(key));
    }

    /// Replaces what is in `out` with the datagram that carries `plain`.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.push(if self.cipher.is_some() { SEALED } else { PLAIN });
        out.extend_from_slice(&self.tag.0);
        let Some(cipher) = &self.cipher else {
            out.extend_from_slice(plain);
            return;
        };
        out.extend_from_slice(&self.boot);
        out.extend_from_slice(&self.counter.to_le_bytes());
        // At a million datagrams a second the counter lasts for half a million years.
        self.counter += 1;
        out.extend_from_slice(plain);
        let (head, rest) = out.split_at_mut(HEAD_LEN);
        let (nonce, body) = rest.split_at_mut(NONCE_LEN);
        let authenticator = cipher
            .encrypt_inout_detached(&nonce_of(nonce), head, body.into())
            .expect("XChaCha20 takes up to 256 GiB, a datagram has less");
        out.extend_from_slice(&authenticator);
    }
}

impl Opener {
    /// Opens what was sealed with any of the keys. Without keys it takes framed datagrams, and only these.
    pub fn new(tag: ClusterTag, keys: &[DatagramKey]) -> Opener {
        Opener { tag, ciphers: keys.iter().map(cipher).collect(), replays: ReplayGuard::default() }
    }

    /// Accepts these keys from now on, and no others. What it knows of replays is kept.
    pub fn replace_keys(&mut self, keys: &[DatagramKey]) {
        self.ciphers = keys.iter().map(cipher).collect();
    }

    /// The bytes that the datagram carries, or why they are refused. A refused datagram leaves no trace.
    pub fn open(&mut self, datagram: &[u8]) -> Result<Vec<u8>, Rejection> {
        if datagram.len() > MAX_DATAGRAM_LEN {
            return Err(Rejection::TooLarge);
        }
        let (head, body) = datagram.split_at_checked(HEAD_LEN).ok_or(Rejection::Malformed)?;
        let mode = match head.strip_prefix(&MAGIC) {
            Some([mode @ (PLAIN | SEALED), tag @ ..]) if tag == self.tag.0 => *mode,
            Some([PLAIN | SEALED, ..]) => return Err(Rejection::OtherCluster),
            _ => return Err(Rejection::Malformed),
        };
        match (mode, self.ciphers.is_empty()) {
            (PLAIN, true) => Ok(body.to_vec()),
            (PLAIN, false) => Err(Rejection::Unsealed),
            (_, true) => Err(Rejection::WrongKey),
            (_, false) => self.open_sealed(head, body),
        }
    }

    fn open_sealed(&mut self, head: &[u8], body: &[u8]) -> Result<Vec<u8>, Rejection> {
        let (nonce, sealed) = body.split_at_checked(NONCE_LEN).ok_or(Rejection::Malformed)?;
        let (sealed, authenticator) =
            sealed.split_last_chunk::<AUTHENTICATOR_LEN>().ok_or(Rejection::Malformed)?;
        let (boot, counter) = nonce.split_first_chunk::<BOOT_LEN>().ok_or(Rejection::Malformed)?;
        let counter = u64::from_le_bytes(counter.try_into().map_err(|_| Rejection::Malformed)?);
        // Asked first, as it costs less than to open the datagram.
        if !self.replays.is_fresh(boot, counter) {
            return Err(Rejection::Replay);
        }
        let mut plain = vec![0; sealed.len()];
        let nonce = nonce_of(nonce);
        let opened = self.ciphers.iter().any(|cipher| {
            plain.copy_from_slice(sealed);
            cipher
                .decrypt_inout_detached(&nonce, head, plain.as_mut_slice().into(), authenticator.into())
                .is_ok()
        });
        if !opened {
            return Err(Rejection::WrongKey);
        }
        self.replays.mark(*boot, counter);
        Ok(plain)
    }

    #[cfg(test)]
    pub(super) fn senders(&self) -> usize {
        self.replays.senders()
    }
}

fn cipher(key: &DatagramKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&*key.0).into())
}

fn nonce_of(bytes: &[u8]) -> chacha20poly1305::XNonce {
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(bytes);
    nonce.into()
}
