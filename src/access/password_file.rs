//! The password file: who may connect, and with which password.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::password::{InvalidVerifier, PasswordVerifier};
use super::scram::{ITERATIONS, KEY_LEN, SALT_LEN, ScramVerifier, hash, sign};

/// The users that may connect. One line a verifier, `NAME:VERIFIER`, where the verifier is an argon2 hash as a PHC string
/// (`$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`) or a SCRAM one (see [`ScramVerifier`]); a user may have one of each. Blank
/// lines and lines that begin with `#` are passed over.
#[derive(Default)]
pub struct PasswordFile {
    users: HashMap<Arc<str>, User>,
    /// Of the whole file: nobody outside can know it, and every node that has the file does.
    hash: [u8; KEY_LEN],
    /// The first SCRAM verifier, which decoys look like.
    model: Option<ScramVerifier>,
}

/// What proves that a client is a user. At least one is there.
#[derive(Debug, Default)]
pub struct User {
    /// For user name and password.
    pub password: Option<PasswordVerifier>,
    /// For the exchange that does not show the password.
    pub scram: Option<ScramVerifier>,
}

/// What is wrong with a password file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct PasswordFileError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The line is no entry.
    #[error("a line is NAME:VERIFIER, as `rumormq passwd FILE NAME` writes it")]
    NoEntry,
    /// The name cannot be a user's.
    #[error(transparent)]
    Name(#[from] InvalidUserName),
    /// The verifier is of no known kind, or broken.
    #[error("user {name:?}: {error}; write it again with `rumormq passwd FILE {name}`")]
    Verifier {
        /// Whose it is.
        name: String,
        /// What is wrong with it.
        error: InvalidVerifier,
    },
    /// A user has two verifiers of a kind.
    #[error("user {0:?} has a password on an earlier line already")]
    Repeated(String),
}

/// A text is no user name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no user name: one has 1 to 255 bytes, none of them a colon or a control character, and does not begin with #"
)]
pub struct InvalidUserName(String);

impl PasswordFile {
    /// Reads what a password file contains.
    pub fn parse(content: &str) -> Result<PasswordFile, PasswordFileError> {
        let mut file = PasswordFile { hash: hash(content.as_bytes()), ..PasswordFile::default() };
        for (index, line) in content.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                file.add(line).map_err(|fault| PasswordFileError { line: index + 1, fault })?;
            }
        }
        Ok(file)
    }

    /// What proves that a client is this user.
    pub fn user(&self, name: &str) -> Option<(&Arc<str>, &User)> {
        self.users.get_key_value(name)
    }

    /// Whether any user can prove itself by SCRAM.
    pub fn has_scram(&self) -> bool {
        self.model.is_some()
    }

    /// A password of some user, as expensive to check as any.
    pub fn any_password(&self) -> Option<&PasswordVerifier> {
        self.users.values().find_map(|user| user.password.as_ref())
    }

    /// A SCRAM verifier that no password fits, for a user that there is not: the same for a name each time, so that it does
    /// not tell which users there are.
    pub fn decoy(&self, name: &str) -> ScramVerifier {
        let (iterations, salt_len) =
            self.model.as_ref().map_or((ITERATIONS, SALT_LEN), |model| (model.iterations, model.salt.len()));
        let mut salt = sign(&self.hash, name.as_bytes()).to_vec();
        salt.resize(salt_len, 0);
        let key = sign(&self.hash, &salt);
        ScramVerifier { iterations, salt, stored_key: key, server_key: key }
    }

    /// Remembers the passwords that `former` has seen, of the users that have kept theirs.
    pub(super) fn remember(&self, former: &PasswordFile) {
        for (name, user) in &self.users {
            let former = former.users.get(name).and_then(|user| user.password.as_ref());
            if let (Some(password), Some(former)) = (&user.password, former) {
                password.remember(former);
            }
        }
    }

    fn add(&mut self, line: &str) -> Result<(), Fault> {
        let (name, verifier) = line.split_once(':').ok_or(Fault::NoEntry)?;
        check_name(name)?;
        let broken = |error| Fault::Verifier { name: name.to_owned(), error };
        let user = self.users.entry(name.into()).or_default();
        let taken = if ScramVerifier::is_meant(verifier) {
            let verifier: ScramVerifier = verifier.parse().map_err(broken)?;
            self.model.get_or_insert_with(|| verifier.clone());
            user.scram.replace(verifier).is_some()
        } else {
            user.password.replace(verifier.parse().map_err(broken)?).is_some()
        };
        if taken { Err(Fault::Repeated(name.to_owned())) } else { Ok(()) }
    }
}

/// Replaces the lines of a user in a password file by these verifiers; none removes the user. Everything else stays as it
/// is. None where there was no such user to remove.
pub fn edit(content: &str, name: &str, verifiers: &[String]) -> Result<Option<String>, InvalidUserName> {
    check_name(name)?;
    let is_of_user = |line: &&str| line.trim().split_once(':').is_some_and(|(other, _)| other == name);
    if verifiers.is_empty() && !content.lines().any(|line| is_of_user(&line)) {
        return Ok(None);
    }
    let mut edited = String::with_capacity(content.len() + 256);
    for line in content.lines().filter(|line| !is_of_user(line)) {
        edited.push_str(line);
        edited.push('\n');
    }
    for verifier in verifiers {
        edited.push_str(&format!("{name}:{verifier}\n"));
    }
    Ok(Some(edited))
}

/// What [`PasswordFile`] takes for a name, so that no name can look like something else in it.
pub fn check_name(name: &str) -> Result<(), InvalidUserName> {
    let fits = (1..=255).contains(&name.len())
        && !name.starts_with('#')
        && name.trim() == name
        && !name.chars().any(|c| c == ':' || c.is_control());
    if fits { Ok(()) } else { Err(InvalidUserName(name.to_owned())) }
}

/// How many users, and nothing of their secrets.
/// What was read counts, not what was remembered since.
impl PartialEq for PasswordFile {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordFile({} users)", self.users.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQxMjM$FHbg11hZxV5vd6C5JDpfFg";
    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn lines_become_users() {
        let content = format!("# people\n\n  alice:{HASH}  \nbob:{SCRAM}\nalice:{SCRAM}\r\n");
        let file = PasswordFile::parse(&content).expect("a password file");
        let (_, alice) = file.user("alice").expect("alice");
        assert!(alice.password.is_some() && alice.scram.is_some());
        let (_, bob) = file.user("bob").expect("bob");
        assert!(bob.password.is_none() && bob.scram.is_some());
        assert!(file.user("Alice").is_none());
        assert_eq!(format!("{file:?}"), "PasswordFile(2 users)");
    }

    #[test]
    fn faults_are_told_with_their_line() {
        let repeated = format!("a:{HASH}\na:{HASH}");
        for (content, expected) in [
            ("alice", "line 1: a line is NAME:VERIFIER, as `rumormq passwd FILE NAME` writes it"),
            ("#x\n:$argon2id$", "line 2: \"\" is no user name: one has 1 to 255 bytes"),
            (&repeated, "line 2: user \"a\" has a password on an earlier line already"),
            ("\n\na:secret", "line 3: user \"a\": what follows the name is no hash; write it again with"),
            ("a:$6$salt$hash", "line 1: user \"a\": the hash is not argon2"),
            ("a:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQxMjM", "line 1: user \"a\": the hash is broken"),
            ("a:SCRAM-SHA-256$4096:x", "line 1: user \"a\": the SCRAM verifier is broken"),
        ] {
            let error = PasswordFile::parse(content).expect_err(content).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn an_edit_touches_one_user_only() {
        let content = format!("# people\nalice:{SCRAM}\nbob:{HASH}\nalice:{HASH}\nalice2:{HASH}");
        let edited = edit(&content, "alice", &["new".to_owned()]).expect("a name");
        assert_eq!(edited, Some(format!("# people\nbob:{HASH}\nalice2:{HASH}\nalice:new\n")));
        let removed = edit(&content, "bob", &[]).expect("a name").expect("bob");
        assert_eq!(removed, format!("# people\nalice:{SCRAM}\nalice:{HASH}\nalice2:{HASH}\n"));
        assert_eq!(edit(&content, "carol", &[]), Ok(None));
        assert!(edit(&content, "a:b", &[]).is_err());
        assert!(edit(&content, "#a", &["x".to_owned()]).is_err());
    }
}
