//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding: MQTT has no way to name one.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::Identity;
use super::method::{Exchange, Method, Step};
use super::password_file::PasswordFile;
use super::scram::{KEY_LEN, ScramVerifier, hash, sign};

/// The method, over the users of a password file.
pub struct Scram(Arc<PasswordFile>);

impl Scram {
    /// What clients call it.
    pub const NAME: &str = "SCRAM-SHA-256";

    /// The users of this file can log in.
    pub fn new(passwords: Arc<PasswordFile>) -> Scram {
        Scram(passwords)
    }
}

impl Method for Scram {
    fn name(&self) -> &str {
        Scram::NAME
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(ScramExchange { passwords: self.0.clone(), awaits: Awaits::ClientFirst })
    }
}

struct ScramExchange {
    passwords: Arc<PasswordFile>,
    awaits: Awaits,
}

enum Awaits {
    ClientFirst,
    ClientFinal(Box<Challenge>),
    Nothing,
}

/// What was said so far, and what is needed to check the answer.
struct Challenge {
    /// None for a user that there is not: the challenge looks the same, and no answer is right.
    user: Option<Arc<str>>,
    verifier: ScramVerifier,
    /// The channel binding header, which the client has to repeat.
    header: String,
    nonce: String,
    client_first_bare: String,
    server_first: String,
}

/// Random bytes of a nonce.
const NONCE_LEN: usize = 18;
/// Longest message of a client, in bytes; names and nonces are short.
const MAX_MESSAGE_LEN: usize = 4096;

impl Exchange for ScramExchange {
    fn step(&mut self, data: Option<&[u8]>) -> Step {
        let Some(data) = data else { return Step::Continue(Vec::new()) }; // The client has the first word.
        if data.len() > MAX_MESSAGE_LEN {
            return Step::Refused;
        }
        let Ok(message) = std::str::from_utf8(data) else { return Step::Refused };
        match std::mem::replace(&mut self.awaits, Awaits::Nothing) {
            Awaits::ClientFirst => match challenge(&self.passwords, message) {
                Some(challenge) => {
                    let answer = challenge.server_first.clone().into_bytes();
                    self.awaits = Awaits::ClientFinal(Box::new(challenge));
                    Step::Continue(answer)
                }
                None => Step::Refused,
            },
            Awaits::ClientFinal(challenge) => challenge.check(message).unwrap_or(Step::Refused),
            Awaits::Nothing => Step::Refused,
        }
    }
}

/// Answers `n,,n=NAME,r=NONCE`; none where the message is not of this form.
fn challenge(passwords: &PasswordFile, message: &str) -> Option<Challenge> {
    let (binding, rest) = message.split_once(',')?;
    let (authorization, bare) = rest.split_once(',')?;
    // `y` is a client that could bind if the server could; `p=` one that insists.
    if !matches!(binding, "n" | "y") {
        return None;
    }
    let mut attributes = bare.split(',');
    let name = unescape(attributes.next()?.strip_prefix("n=")?)?;
    let client_nonce = attributes.next()?.strip_prefix("r=")?;
    if client_nonce.is_empty() || !client_nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    // Nobody acts for anybody else here.
    if !authorization.is_empty() && unescape(authorization.strip_prefix("a=")?)? != name {
        return None;
    }
    let (user, verifier) = match passwords.user(&name) {
        Some((name, user)) if user.scram.is_some() => (Some(name.clone()), user.scram.clone()?),
        _ => (None, passwords.decoy(&name)),
    };
    let mut random = [0; NONCE_LEN];
    getrandom::fill(&mut random).ok()?;
    let nonce = format!("{client_nonce}{}", STANDARD.encode(random));
    let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
    let (header, client_first_bare) = (format!("{binding},{authorization},"), bare.to_owned());
    Some(Challenge { user, verifier, header, nonce, client_first_bare, server_first })
}

impl Challenge {
    /// Checks `c=HEADER,r=NONCE,p=PROOF`; none where it is not of this form, or proves nothing.
    fn check(self, message: &str) -> Option<Step> {
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let header = STANDARD.decode(attributes.next()?.strip_prefix("c=")?).ok()?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        if header != self.header.as_bytes() || nonce != self.nonce {
            return None;
        }
        let said = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let signature = sign(&self.verifier.stored_key, said.as_bytes());
        let proof: [u8; KEY_LEN] = STANDARD.decode(proof).ok()?.try_into().ok()?;
        let client_key: [u8; KEY_LEN] = std::array::from_fn(|index| proof[index] ^ signature[index]);
        if !bool::from(hash(&client_key).ct_eq(&self.verifier.stored_key)) {
            return None;
        }
        let answer = format!("v={}", STANDARD.encode(sign(&self.verifier.server_key, said.as_bytes())));
        Some(Step::Done(Identity::user(self.user?), answer.into_bytes()))
    }
}

/// A name as it is, from one with `=2C` for a comma and `=3D` for an equals sign.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return None,
        };
        name.push(sign);
        name.push_str(rest);
    }
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use rsasl::mechname::Mechname;
    use rsasl::prelude::{SASLClient, SASLConfig};

    use super::*;

    fn scram() -> Scram {
        let iterations = NonZeroU32::new(4096).expect("not zero");
        let lines = [("alice", "pencil"), ("a,b=c", "\u{2168}")].map(|(name, password)| {
            format!("{name}:{}\n", ScramVerifier::new(password, b"0123456789abcdef", iterations))
        });
        Scram::new(Arc::new(PasswordFile::parse(&lines.concat()).expect("a password file")))
    }

    /// Runs the exchange with somebody else's client; whether it believed the server is in the second place.
    fn log_in(name: &str, password: &str) -> (Step, bool) {
        let config = SASLConfig::with_credentials(None, name.to_owned(), password.to_owned()).expect("valid");
        let mechanism = Mechname::parse(Scram::NAME.as_bytes()).expect("a name");
        let mut client = SASLClient::new(config).start_suggested(&[mechanism]).expect("known");
        let mut server = scram().begin();
        let mut said = Vec::new();
        client.step(None, &mut said).expect("the first message");
        loop {
            match server.step(Some(&said)) {
                Step::Continue(answer) => {
                    said.clear();
                    client.step(Some(&answer), &mut said).expect("an answer");
                }
                Step::Done(identity, answer) => {
                    let believed = client.step(Some(&answer), &mut Vec::new()).is_ok();
                    return (Step::Done(identity, Vec::new()), believed);
                }
                Step::Refused => return (Step::Refused, false),
            }
        }
    }

    #[test]
    fn who_knows_the_password_is_let_in() {
        let done = |name: &str| (Step::Done(Identity::user(name.into()), Vec::new()), true);
        assert_eq!(log_in("alice", "pencil"), done("alice"));
        assert_eq!(log_in("a,b=c", "IX"), done("a,b=c"), "escaped, and normalised");
        assert_eq!(log_in("alice", "Pencil"), (Step::Refused, false));
        assert_eq!(log_in("bob", "pencil"), (Step::Refused, false));
    }

    #[test]
    fn an_unknown_user_looks_like_a_known_one() {
        let salt_and_iterations = |name: &str| {
            let Step::Continue(answer) = scram().begin().step(Some(format!("n,,n={name},r=x").as_bytes()))
            else {
                panic!("no challenge for {name}");
            };
            let answer = String::from_utf8(answer).expect("text");
            answer.split_once(",s=").expect("a salt").1.to_owned()
        };
        let (known, unknown) = (salt_and_iterations("alice"), salt_and_iterations("bob"));
        assert_eq!(unknown, salt_and_iterations("bob"), "the same each time");
        assert_ne!(unknown, salt_and_iterations("carol"));
        assert_eq!((unknown.len(), unknown.rsplit_once(',')), (known.len(), unknown.rsplit_once(',')));
        assert!(unknown.ends_with(",i=4096"), "{unknown}");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for first in [
            "",
            ",",
            "n",
            "n,",
            "n,,",
            "n,,n",
            "n,,n=",
            "n,,n=alice",
            "n,,n=alice,",
            "n,,n=alice,r",
            "n,,n=alice,r=",
            "x,,n=alice,r=x",
            "p=tls-unique,,n=alice,r=x",
            "n,a,n=alice,r=x",
            "n,a=bob,n=alice,r=x",
            "n,,m=x,n=alice,r=x",
            "n,,n=al=ice,r=x",
            "n,,n=alice,r=\u{e4}",
        ] {
            assert_eq!(scram().begin().step(Some(first.as_bytes())), Step::Refused, "{first:?}");
        }
        assert_eq!(scram().begin().step(Some(&[0xFF])), Step::Refused);
        assert_eq!(scram().begin().step(Some(&[b'n'; 5000])), Step::Refused);
        for last in
            ["", "c=biws", "c=biws,r=x", "c=biws,r=x,p=", "c=!,r=x,p=eA==", "p=eA==", ",p=", "c=,r=,p=eA=="]
        {
            let mut exchange = scram().begin();
            assert_eq!(exchange.step(None), Step::Continue(Vec::new()), "who lets the server begin is asked");
            assert!(matches!(exchange.step(Some(b"n,,n=alice,r=x")), Step::Continue(_)));
            assert_eq!(exchange.step(Some(last.as_bytes())), Step::Refused, "{last:?}");
            assert_eq!(exchange.step(Some(last.as_bytes())), Step::Refused, "over is over");
        }
    }
}
