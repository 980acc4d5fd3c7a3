//! What is read from PEM files.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a file does not serve. All of these are for the operator to put right.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is missing, cannot be read, or is not PEM.
    #[error("cannot read {what} from {}: {error}; give the right file with {flag}", path.display())]
    Unreadable {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: PemError,
        /// The flag that names the file.
        flag: &'static str,
    },
    /// It has nothing of what it is there for.
    #[error("{} has no {what} in PEM form; give the right file with {flag}", path.display())]
    Nothing {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The flag that names the file.
        flag: &'static str,
    },
    /// The certificates of its authorities cannot be used.
    #[error("the authorities in {} cannot be used: {reason}; give the right file with {flag}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// The flag that names the file.
        flag: &'static str,
    },
}

/// At least one certificate, in the order of the file.
pub fn certificates(path: &Path, flag: &'static str) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(none) if none.is_empty() => Err(blame(PemError::NoItemsFound, "certificate", path, flag)),
        Ok(some) => Ok(some),
        Err(error) => Err(blame(error, "certificate", path, flag)),
    }
}

/// The first private key.
pub fn private_key(path: &Path, flag: &'static str) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| blame(error, "private key", path, flag))
}

/// At least one authority whose certificates are to be trusted.
pub fn authorities(path: &Path, flag: &'static str) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path, flag)? {
        roots.add(authority).map_err(|error| FileError::Authorities {
            path: path.to_owned(),
            reason: error.to_string(),
            flag,
        })?;
    }
    Ok(roots)
}

fn blame(error: PemError, what: &'static str, path: &Path, flag: &'static str) -> FileError {
    let path = path.to_owned();
    match error {
        PemError::NoItemsFound => FileError::Nothing { what, path, flag },
        error => FileError::Unreadable { what, path, error, flag },
    }
}
