//! `rumormq leave`: a node goes, and will not come back.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::ask::print;
use super::client::{Client, parse};
use super::failure::Failure;
use crate::admin::view::LeavingView;

/// Arguments of `rumormq leave`.
#[derive(Debug, Args)]
pub(super) struct Leave {
    /// The secret of those who may change something, where the node has one [environment: RUMORMQ_HTTP_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    http_token_file: Option<PathBuf>,
    #[command(flatten)]
    client: Client,
}

/// Longest a node may take to end: it waits for its clients and its peers.
const END_MAX: Duration = Duration::from_secs(30);

impl Leave {
    /// Returns when the node has ended.
    pub(super) fn execute(self) -> Result<(), Failure> {
        let from_environment = || std::env::var_os("RUMORMQ_HTTP_TOKEN_FILE").map(PathBuf::from);
        let file = self.http_token_file.clone().or_else(from_environment);
        let token = file.as_deref().map(read_token).transpose()?;
        let body = self.client.post("/api/v1/leave", token.as_deref())?;
        let LeavingView { node } = parse(&body)?;
        let asked = Instant::now();
        while self.client.is_answered() {
            if asked.elapsed() > END_MAX {
                return Err(Failure::Answer(format!(
                    "{node} leaves, and has not ended after {} s",
                    END_MAX.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        match self.client.json {
            true => print(&body),
            false => print(&format!("{node} has left its cluster")),
        }
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let token = std::fs::read_to_string(path);
    let token = token.map_err(|error| Failure::File { path: path.to_owned(), error })?;
    Ok(token.trim().to_owned())
}
