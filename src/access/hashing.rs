//! Checks passwords on threads of their own, a few at a time: a hash takes some 20 ms, which the threads that serve all
//! clients must not spend on one.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use ring::hmac;
use zeroize::Zeroizing;

use super::password_file::PasswordFile;
use super::turns::Turns;
use super::{Denial, Identity};

/// The queue of passwords to check. It is bounded: who comes too late is turned away.
#[derive(Clone)]
pub struct Hashing {
    turns: Turns,
    waiting_max: usize,
}

/// A password that is being checked. Dropped, it gives up its place, unless its turn has come.
pub type Verification = Pin<Box<dyn Future<Output = Result<Identity, Denial>> + Send>>;

impl Hashing {
    /// Up to `waiting_max` passwords wait, and half of the cores hash.
    pub fn new(waiting_max: usize) -> Hashing {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Hashing { turns: Turns::new(cores.div_ceil(2)), waiting_max }
    }

    /// The same queue with other bounds.
    pub fn with_bounds(&self, waiting_max: usize) -> Hashing {
        Hashing { waiting_max, ..self.clone() }
    }

    /// Checks a password of the user of this name, whether there is one or not: both take as long. `digest` is remembered
    /// if it was right. Those that come from one address wait for each other before others wait for them. To be polled on a
    /// tokio runtime; none where too many wait.
    pub fn verify(
        &self,
        passwords: &Arc<PasswordFile>,
        name: &str,
        password: &[u8],
        digest: Option<hmac::Tag>,
        peer: Option<IpAddr>,
    ) -> Option<Verification> {
        let place = self.turns.enter(peer, self.waiting_max)?;
        let passwords = passwords.clone();
        let user = passwords.user(name).filter(|(_, user)| user.password.is_some());
        let name = user.map(|(name, _)| name.clone());
        let password = Zeroizing::new(password.to_vec());
        Some(Box::pin(async move {
            let Some(turn) = place.turn().await else { return Err(Denial::Busy) };
            let check = move || {
                let _held_until_done = (turn, place);
                is_password_of(&passwords, name.as_deref(), &password, digest).then_some(name).flatten()
            };
            match tokio::task::spawn_blocking(check).await {
                Ok(Some(name)) => Ok(Identity::user(name)),
                Ok(None) => Err(Denial::WrongPassword),
                Err(_) => Err(Denial::Busy), // The runtime ends.
            }
        }))
    }
}

fn is_password_of(
    passwords: &PasswordFile,
    name: Option<&str>,
    password: &[u8],
    digest: Option<hmac::Tag>,
) -> bool {
    match name.and_then(|name| passwords.user(name)?.1.password.as_ref()) {
        Some(verifier) => verifier.verify(password, digest),
        None => {
            // The time it takes must not tell that there is no such user.
            if let Some(verifier) = passwords.any_password() {
                verifier.matches(password);
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords() -> Arc<PasswordFile> {
        let content = "alice:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQxMjM$AAAAAAAAAAAAAAAAAAAAAA";
        Arc::new(PasswordFile::parse(content).expect("a password file"))
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_places_are_given_back() {
        let (hashing, passwords) = (Hashing::new(2), passwords());
        let verify = || hashing.verify(&passwords, "alice", b"x", None, None);
        let (first, second) = (verify().expect("a place"), verify().expect("a place"));
        assert!(verify().is_none());
        drop(first);
        let third = verify().expect("the place of the first");
        assert!(verify().is_none());
        assert_eq!(second.await, Err(Denial::WrongPassword));
        assert_eq!(third.await, Err(Denial::WrongPassword));
        assert!(verify().is_some());
    }
}
