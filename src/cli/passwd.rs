//! `rumormq passwd`: edits a password file.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::access::password::PasswordVerifier;
use crate::access::password_file::{PasswordFile, check_name, edit};
use crate::access::scram::{ITERATIONS, SALT_LEN, ScramVerifier};

/// Arguments of `rumormq passwd`. The password is never one of them: other users of the machine could read it.
#[derive(Debug, Args)]
pub(super) struct Passwd {
    /// The password file; it is made if there is none
    file: PathBuf,
    /// The user
    user: String,
    /// Write a SCRAM-SHA-256 verifier as well, for clients that do not show their password
    #[arg(long, conflicts_with = "delete")]
    scram: bool,
    /// Remove the user
    #[arg(long)]
    delete: bool,
}

impl Passwd {
    pub(super) fn execute(self) -> Result<(), Failure> {
        check_name(&self.user).map_err(|error| Failure::Usage(error.to_string()))?;
        let content = match fs::read_to_string(&self.file) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.delete => String::new(),
            Err(error) => return Err(self.failed(error)),
        };
        // Not a byte is written into what is not a password file.
        PasswordFile::parse(&content)
            .map_err(|error| Failure::Usage(format!("{}: {error}", self.file.display())))?;
        let verifiers = if self.delete { Vec::new() } else { self.verifiers()? };
        let edited =
            edit(&content, &self.user, &verifiers).map_err(|error| Failure::Usage(error.to_string()))?;
        let Some(edited) = edited else {
            return Err(Failure::Usage(format!("{}: there is no user {:?}", self.file.display(), self.user)));
        };
        replace(&self.file, &edited).map_err(|error| self.failed(error))
    }

    fn verifiers(&self) -> Result<Vec<String>, Failure> {
        let password = ask().map_err(|error| Failure::System("cannot read the password", error))?;
        if password.is_empty() {
            return Err(Failure::Usage("an empty password protects nothing".to_owned()));
        }
        let no_hash = |why: String| Failure::System("cannot hash the password", io::Error::other(why));
        let hash = PasswordVerifier::hash(password.as_bytes()).map_err(|error| no_hash(error.to_string()))?;
        let mut verifiers = vec![hash];
        if self.scram {
            let mut salt = [0; SALT_LEN];
            getrandom::fill(&mut salt).map_err(|error| no_hash(error.to_string()))?;
            verifiers.push(ScramVerifier::new(&password, &salt, ITERATIONS).to_string());
        }
        Ok(verifiers)
    }

    fn failed(&self, error: io::Error) -> Failure {
        Failure::File { path: self.file.clone(), error }
    }
}

/// Asks twice on a terminal; otherwise the first line of standard input is the password.
fn ask() -> io::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        let mut line = Zeroizing::new(String::new());
        io::stdin().read_line(&mut line)?;
        let password = line.trim_end_matches(['\r', '\n']).to_owned();
        return Ok(Zeroizing::new(password));
    }
    let password = Zeroizing::new(rpassword::prompt_password("Password: ")?);
    let again = Zeroizing::new(rpassword::prompt_password("Again: ")?);
    match password == again {
        true => Ok(password),
        false => Err(io::Error::other("the passwords differ")),
    }
}

/// Puts the new content in the place of the old in one step, so that a crash leaves one of them. A new file is for its
/// owner alone; one that is there keeps its mode and its owner.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let (new, file) = create_beside(path)?;
    let replaced = fill(file, path, content).and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&new);
    }
    replaced
}

/// A new file in the same directory. Nobody can have prepared it, be it as a link to somewhere else: its name is not known
/// before, and what is there already is not opened.
fn create_beside(path: &Path) -> io::Result<(PathBuf, fs::File)> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    name.push(format!(".{random:016x}.new"));
    let new = path.with_file_name(name);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    Ok((new, file))
}

fn fill(mut file: fs::File, path: &Path, content: &str) -> io::Result<()> {
    if let Ok(old) = fs::metadata(path) {
        // Whoever may not give files away owns this one himself.
        let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
        file.set_permissions(fs::Permissions::from_mode(old.permissions().mode() & 0o777))?;
    }
    file.write_all(content.as_bytes())?;
    file.sync_all()
}
