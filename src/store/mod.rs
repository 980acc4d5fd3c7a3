//! What a node keeps on disk: who it is, and whom it knew.
//!
//! A [`DataDir`] belongs to one process at a time. Its files are replaced as a whole and reach the disk before the old ones
//! go, so that a node finds the old or the new one after any crash. What cannot be read is set aside, never thrown away.
//! Calls block: they belong on threads that may. Nothing here knows what a cluster is.

mod data_dir;
mod identity;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub use data_dir::{DataDir, Found};
pub use identity::{Identity, KnownPeer};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process uses it.
    #[error("the data directory {} is in use by another process{}; each node needs one of its own: stop that process, or give another --data-dir", path.display(), suffix(*pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, if it says so.
        pid: Option<u32>,
    },
    /// It is another node's.
    #[error(
        "the data directory {} belongs to {owner}, and this node is {node}: give it a --data-dir of its own, or the name {owner}",
        path.display()
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who wants it.
        node: String,
    },
    /// A later version of the program has written it.
    #[error("{} has format {found}, and this version of RumorMQ reads up to {known}: start the version that wrote it", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The highest that is known.
        known: u32,
    },
    /// The system refuses: read-only, full, or not ours.
    #[error("cannot {action} {}: {error}; {}", path.display(), advice(error))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl StoreError {
    /// Whether the operator has to name another directory, node or program.
    pub fn is_usage(&self) -> bool {
        matches!(self, StoreError::OtherNode { .. } | StoreError::TooNew { .. })
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on the disk, or give another --data-dir"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "remount the file system for writing, or give another --data-dir"
        }
        io::ErrorKind::PermissionDenied => {
            "give the directory to the node's user (chown), or give another --data-dir"
        }
        _ => "check the disk, or give another --data-dir",
    }
}

fn suffix(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" ({pid})")).unwrap_or_default()
}
