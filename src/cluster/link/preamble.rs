//! The first bytes of a link: they tell a peer of this kind from any other program, and a sealed link from a plain one,
//! so that a missing cookie shows as what it is.

/// How the link goes on behind the preamble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preamble {
    /// With frames, as they are.
    Plain,
    /// With a Noise handshake; frames travel in sealed records.
    Sealed,
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
}

impl Preamble {
    /// Length in bytes.
    pub const LEN: usize = 6;

    /// The bytes to begin with.
    pub const fn bytes(self) -> [u8; Preamble::LEN] {
        match self {
            Preamble::Plain => *b"RMQL\x01\x01",
            Preamble::Sealed => *b"RMQL\x01\x02",
        }
    }

    /// Checks that the peer began as this node does.
    pub fn expect(self, theirs: &[u8; Preamble::LEN]) -> Result<(), PreambleError> {
        if *theirs == self.bytes() {
            Ok(())
        } else if *theirs == Preamble::Sealed.bytes() {
            Err(PreambleError::PeerSeals)
        } else if *theirs == Preamble::Plain.bytes() {
            Err(PreambleError::PeerDoesNotSeal)
        } else {
            Err(PreambleError::Unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_says_who_lacks_the_cookie() {
        let (plain, sealed) = (Preamble::Plain, Preamble::Sealed);
        assert_eq!(plain.expect(&plain.bytes()), Ok(()));
        assert_eq!(sealed.expect(&sealed.bytes()), Ok(()));
        assert_eq!(plain.expect(&sealed.bytes()), Err(PreambleError::PeerSeals));
        assert_eq!(sealed.expect(&plain.bytes()), Err(PreambleError::PeerDoesNotSeal));
        assert_eq!(plain.expect(b"GET / "), Err(PreambleError::Unknown));
    }
}
