//! The first bytes of a link: they tell a peer of this kind from any other program, and how the link is protected, so that
//! a missing cookie or certificate shows as what it is. Both ends must be protected alike: there is nothing to negotiate, and
//! so nothing that somebody in between could talk them out of.

/// How the link goes on behind the preamble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preamble {
    /// With frames, as they are.
    Plain,
    /// With a Noise handshake; frames travel in sealed records.
    Sealed,
    /// With TLS; frames travel in it.
    Tls,
    /// With TLS and in it a Noise handshake, which proves the cookie; frames travel in TLS.
    TlsAndCookie,
}

/// The peer began with something that this node does not go along with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreambleError {
    /// Some other program, or another format of the link.
    #[error("the peer does not speak the link protocol")]
    Unknown,
    /// The peer has a cookie and this node has none.
    #[error("the peer has a cookie, this node has none")]
    PeerSeals,
    /// This node has a cookie and the peer has none.
    #[error("the peer has no cookie, this node has one")]
    PeerDoesNotSeal,
    /// The peer wants TLS and this node has no certificate.
    #[error("the peer wants TLS between nodes, this node has no --cluster-tls-certificate-file")]
    PeerWantsTls,
    /// This node wants TLS and the peer has no certificate.
    #[error("the peer has no TLS between nodes, this node wants it")]
    PeerHasNoTls,
}

impl Preamble {
    /// Length in bytes.
    pub const LEN: usize = 6;

    const ALL: [Preamble; 4] = [Preamble::Plain, Preamble::Sealed, Preamble::Tls, Preamble::TlsAndCookie];

    /// What a node begins with.
    pub fn new(has_tls: bool, has_cookie: bool) -> Preamble {
        match (has_tls, has_cookie) {
            (false, false) => Preamble::Plain,
            (false, true) => Preamble::Sealed,
            (true, false) => Preamble::Tls,
            (true, true) => Preamble::TlsAndCookie,
        }
    }

    /// The bytes to begin with.
    pub const fn bytes(self) -> [u8; Preamble::LEN] {
        match self {
            Preamble::Plain => *b"RMQL\x01\x01",
            Preamble::Sealed => *b"RMQL\x01\x02",
            Preamble::Tls => *b"RMQL\x01\x03",
            Preamble::TlsAndCookie => *b"RMQL\x01\x04",
        }
    }

    /// Checks that the peer began as this node does.
    pub fn expect(self, theirs: &[u8; Preamble::LEN]) -> Result<(), PreambleError> {
        let theirs = Preamble::ALL.into_iter().find(|preamble| preamble.bytes() == *theirs);
        let theirs = theirs.ok_or(PreambleError::Unknown)?;
        match (self.has_tls(), theirs.has_tls()) {
            (false, true) => Err(PreambleError::PeerWantsTls),
            (true, false) => Err(PreambleError::PeerHasNoTls),
            _ if self == theirs => Ok(()),
            _ if self.has_cookie() => Err(PreambleError::PeerDoesNotSeal),
            _ => Err(PreambleError::PeerSeals),
        }
    }

    fn has_tls(self) -> bool {
        matches!(self, Preamble::Tls | Preamble::TlsAndCookie)
    }

    fn has_cookie(self) -> bool {
        matches!(self, Preamble::Sealed | Preamble::TlsAndCookie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_says_who_lacks_what() {
        for (mine, theirs) in
            Preamble::ALL.into_iter().flat_map(|mine| Preamble::ALL.map(|theirs| (mine, theirs)))
        {
            let expected = match (mine.has_tls(), theirs.has_tls(), mine.has_cookie(), theirs.has_cookie()) {
                (false, true, ..) => Err(PreambleError::PeerWantsTls),
                (true, false, ..) => Err(PreambleError::PeerHasNoTls),
                (_, _, false, true) => Err(PreambleError::PeerSeals),
                (_, _, true, false) => Err(PreambleError::PeerDoesNotSeal),
                _ => Ok(()),
            };
            assert_eq!(mine.expect(&theirs.bytes()), expected, "{mine:?} meets {theirs:?}");
            assert_eq!(Preamble::new(mine.has_tls(), mine.has_cookie()), mine);
        }
        assert_eq!(Preamble::Plain.expect(b"GET / "), Err(PreambleError::Unknown));
    }
}
