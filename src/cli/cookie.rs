//! `rumormq cookie`: makes the secret that the nodes of a cluster share.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use zeroize::Zeroizing;

use super::ask::print;
use super::failure::Failure;

/// Bytes of chance in a cookie: as many as the keys that are made of it have.
const LEN: usize = 32;

/// Arguments of `rumormq cookie`.
#[derive(Debug, Args)]
pub(super) struct Cookie {
    /// Write it into this new file, which is its owner's alone; without it, the cookie goes to standard output
    file: Option<PathBuf>,
}

impl Cookie {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let line = new_line().map_err(|error| Failure::System("cannot make a cookie", error))?;
        match self.file {
            None => print(&line),
            Some(path) => match write(&path, &line) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::Usage(format!(
                    "{} is there already, and a cluster may rely on it: to change a cookie, add a line to the file",
                    path.display()
                ))),
                written => written.map_err(|error| Failure::File { path, error }),
            },
        }
    }
}

fn new_line() -> io::Result<Zeroizing<String>> {
    let mut random = Zeroizing::new([0; LEN]);
    getrandom::fill(&mut random[..]).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Zeroizing::new(BASE64_STANDARD.encode(&random[..]) + "\n"))
}

fn write(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()
}
