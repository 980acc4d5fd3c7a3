//! Who may connect, and what they may do. What it takes is plain values, and what it gives is a verdict: it knows no
//! sockets, packets or sessions. Only [`hashing`] uses threads, because passwords are slow to check on purpose.

pub mod acl;
pub mod hashing;
pub mod method;
pub mod password;
pub mod password_file;
pub mod pattern;
pub mod scram;
pub mod scram_exchange;

mod denial;
mod identity;
mod turns;

use std::net::IpAddr;
use std::sync::Arc;

use ring::hmac;
use ring::rand::SystemRandom;

use acl::Acl;
pub use denial::{Denial, DenialLog};
use hashing::Hashing;
pub use identity::Identity;
use method::Method;
use password_file::PasswordFile;
use scram_exchange::Scram;

/// What decides about clients.
pub struct Access {
    /// None: nobody is asked for a password.
    passwords: Option<Arc<PasswordFile>>,
    /// None: everybody may do everything.
    acl: Option<Arc<Acl>>,
    methods: Vec<Box<dyn Method>>,
    allow_anonymous: bool,
    certificate_as_username: bool,
    hashing: Hashing,
    /// Of the digests of passwords that were right; none where the machine has no random numbers.
    key: Option<hmac::Key>,
}

/// What an operator says about access.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// The users that may connect. None: all may, and nobody has a name.
    pub passwords: Option<Arc<PasswordFile>>,
    /// What they may do. None: everything.
    pub acl: Option<Arc<Acl>>,
    /// Whether a client that gives no user name is let in where others have to prove who they are.
    pub allow_anonymous: bool,
    /// Whether the name in a client's certificate, which its transport has checked, is its user name.
    pub certificate_as_username: bool,
    /// Passwords that may wait to be checked. More make a flood of clients wait longer for its answers.
    pub max_pending_authentications: usize,
}

impl Default for AccessConfig {
    fn default() -> Self {
        AccessConfig {
            passwords: None,
            acl: None,
            allow_anonymous: false,
            certificate_as_username: false,
            max_pending_authentications: 1000,
        }
    }
}

/// What a client brings along to prove who it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// User Name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// The name in its certificate.
    pub certificate: Option<&'a str>,
    /// The address that it comes from, where it comes from outside.
    pub peer: Option<IpAddr>,
}

/// What is known about a client at once.
pub enum Verdict {
    /// Who it is.
    Known(Identity),
    /// It is not let in.
    Denied(Denial),
    /// Its password has to be hashed first.
    Hashing(hashing::Verification),
}

impl Access {
    /// Access as configured.
    pub fn new(config: AccessConfig) -> Access {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        let hashing = Hashing::new(config.max_pending_authentications);
        Access::with(config, key, hashing)
    }

    /// Access as it is configured now; it remembers the passwords that this one has seen and that still hold.
    pub fn successor(&self, config: AccessConfig) -> Access {
        if let (Some(passwords), Some(former)) = (&config.passwords, &self.passwords) {
            passwords.remember(former);
        }
        let hashing = self.hashing.with_bounds(config.max_pending_authentications);
        Access::with(config, self.key.clone(), hashing)
    }

    fn with(config: AccessConfig, key: Option<hmac::Key>, hashing: Hashing) -> Access {
        let AccessConfig { passwords, acl, allow_anonymous, certificate_as_username, .. } = config;
        let mut methods: Vec<Box<dyn Method>> = Vec::new();
        if let Some(passwords) = passwords.as_ref().filter(|passwords| passwords.has_scram()) {
            methods.push(Box::new(Scram::new(passwords.clone())));
        }
        Access { passwords, acl, methods, allow_anonymous, certificate_as_username, hashing, key }
    }

    /// The rules about what clients may do, if there are any.
    pub fn acl(&self) -> Option<&Arc<Acl>> {
        self.acl.as_ref()
    }

    /// Adds a method of enhanced authentication.
    pub fn add_method(&mut self, method: Box<dyn Method>) {
        self.methods.push(method);
    }

    /// The method of this name.
    pub fn method(&self, name: &str) -> Option<&dyn Method> {
        self.methods.iter().map(Box::as_ref).find(|method| method.name() == name)
    }

    /// Whether clients have to prove anything; if not, all are anonymous.
    pub fn is_configured(&self) -> bool {
        self.passwords.is_some() || self.certificate_as_username || !self.methods.is_empty()
    }

    /// Who has these credentials?
    pub fn check(&self, credentials: Credentials<'_>) -> Verdict {
        if self.certificate_as_username
            && let Some(name) = credentials.certificate
        {
            return Verdict::Known(Identity::user(name.into()));
        }
        if !self.is_configured() {
            return Verdict::Known(Identity::ANONYMOUS);
        }
        let Some(name) = credentials.username else {
            return match (credentials.password, self.allow_anonymous) {
                (None, true) => Verdict::Known(Identity::ANONYMOUS),
                (None, false) => Verdict::Denied(Denial::Anonymous),
                (Some(_), _) => Verdict::Denied(Denial::WrongPassword),
            };
        };
        let Some(passwords) = &self.passwords else { return Verdict::Denied(Denial::WrongPassword) };
        let password = credentials.password.unwrap_or_default();
        if let (Some((name, user)), Some(key)) = (passwords.user(name), &self.key)
            && user.password.as_ref().is_some_and(|verifier| verifier.has_verified(key, password))
        {
            return Verdict::Known(Identity::user(name.clone()));
        }
        let digest = self.key.as_ref().map(|key| hmac::sign(key, password));
        match self.hashing.verify(passwords, name, password, digest, credentials.peer) {
            Some(verification) => Verdict::Hashing(verification),
            None => Verdict::Denied(Denial::Busy),
        }
    }
}
