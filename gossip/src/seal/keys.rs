//! From cookies to keys: argon2id once for each cookie, then one HKDF expansion for each purpose.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::cookie::Cookie;

/// The keys of one cluster, one set for each accepted cookie.
#[derive(Clone)]
pub struct ClusterKeys {
    tag: ClusterTag,
    secrets: Vec<Zeroizing<[u8; 32]>>,
}

/// Tells the datagrams of clusters apart without a secret: eight bytes of a hash of the cluster's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterTag(pub(super) [u8; ClusterTag::LEN]);

/// Seals and opens gossip datagrams.
#[derive(Clone)]
pub struct DatagramKey(pub(super) Zeroizing<[u8; 32]>);

/// The pre-shared key of the links' handshake.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkPsk(Zeroizing<[u8; 32]>);

/// What the derivation from a cookie costs, and so what a guess costs somebody who recorded a datagram. Part of the
/// protocol: nodes with different costs have different keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DerivationCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
}

/// No keys could be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The caller gave no cookie at all.
    #[error("no cookie was given")]
    NoCookie,
    /// The caller gave a cost that argon2 does not accept.
    #[error("a derivation cost of {0:?} is not possible")]
    Cost(DerivationCost),
    /// The machine lacks the memory that the derivation needs.
    #[error("the derivation of keys failed")]
    Derivation,
}

impl DerivationCost {
    /// What clusters use: 32 MiB and two passes, about 50 ms for each cookie at start.
    pub const STANDARD: DerivationCost = DerivationCost { memory_kib: 32 * 1024, passes: 2 };
    /// Next to nothing: for tests.
    pub const CHEAP: DerivationCost = DerivationCost { memory_kib: 8, passes: 1 };
}

impl ClusterKeys {
    /// Derives the keys at [`DerivationCost::STANDARD`]. The first cookie seals, all of them open. Takes about 50 ms of
    /// CPU for each cookie: call it once, at start.
    pub fn derive(cluster_name: &str, cookies: &[Cookie]) -> Result<ClusterKeys, KeyError> {
        ClusterKeys::derive_at_cost(cluster_name, cookies, DerivationCost::STANDARD)
    }

    /// Like [`ClusterKeys::derive`] at another cost.
    pub fn derive_at_cost(
        cluster_name: &str,
        cookies: &[Cookie],
        cost: DerivationCost,
    ) -> Result<ClusterKeys, KeyError> {
        if cookies.is_empty() {
            return Err(KeyError::NoCookie);
        }
        let params =
            Params::new(cost.memory_kib, cost.passes, 1, Some(32)).map_err(|_| KeyError::Cost(cost))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        // A name may be shorter than the least salt of argon2; its hash is not.
        let salt = hash("rumormq salt 1", cluster_name);
        let secrets = cookies.iter().map(|cookie| {
            let mut secret = Zeroizing::new([0; 32]);
            argon2
                .hash_password_into(cookie.secret(), &salt, secret.as_mut())
                .map_err(|_| KeyError::Derivation)?;
            Ok(secret)
        });
        Ok(ClusterKeys { tag: ClusterTag::new(cluster_name), secrets: secrets.collect::<Result<_, _>>()? })
    }

    /// The tag of the cluster whose keys these are.
    pub fn tag(&self) -> ClusterTag {
        self.tag
    }

    /// The keys of datagrams; the first one seals.
    pub fn datagram_keys(&self) -> Vec<DatagramKey> {
        self.expand("rumormq gossip datagrams 1").map(DatagramKey).collect()
    }

    /// The pre-shared keys of links; a dialling node uses the first one.
    pub fn link_psks(&self) -> Vec<LinkPsk> {
        self.expand("rumormq links 1").map(LinkPsk).collect()
    }

    fn expand(&self, purpose: &'static str) -> impl Iterator<Item = Zeroizing<[u8; 32]>> + '_ {
        self.secrets.iter().map(move |secret| {
            let mut key = Zeroizing::new([0; 32]);
            Hkdf::<Sha256>::new(None, secret.as_ref())
                .expand(purpose.as_bytes(), key.as_mut())
                .expect("HKDF-SHA256 yields up to 8,160 bytes, 32 are asked for");
            key
        })
    }
}

impl ClusterTag {
    /// Length in bytes.
    pub const LEN: usize = 8;

    /// The tag of the cluster of that name.
    pub fn new(cluster_name: &str) -> ClusterTag {
        let mut tag = [0; ClusterTag::LEN];
        tag.copy_from_slice(&hash("rumormq tag 1", cluster_name)[..ClusterTag::LEN]);
        ClusterTag(tag)
    }
}

impl LinkPsk {
    /// The key itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for LinkPsk {
    fn from(key: [u8; 32]) -> LinkPsk {
        LinkPsk(Zeroizing::new(key))
    }
}

impl fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKeys({} ..)", self.secrets.len())
    }
}

impl fmt::Debug for DatagramKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatagramKey(..)")
    }
}

impl fmt::Debug for LinkPsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkPsk(..)")
    }
}

fn hash(purpose: &str, text: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(purpose.as_bytes());
    hasher.update([0]);
    hasher.update(text.as_bytes());
    hasher.finalize().into()
}
