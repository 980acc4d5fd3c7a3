use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::StoreError;
use super::identity::{FORMAT, Identity, Unreadable};

const IDENTITY: &str = "identity";
const LOCK: &str = "lock";

/// A directory that is this process's alone, until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock; the system releases it however the process ends.
    _lock: File,
    /// Held while a file is replaced, for all use one temporary name.
    writing: Mutex<()>,
}

/// What was found of an earlier start.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: the directory is new.
    Nothing,
    /// Who the node was.
    Identity(Identity),
    /// The file was damaged, and is kept under this name.
    Damaged {
        /// Its new name.
        kept_as: PathBuf,
    },
}

impl DataDir {
    /// Takes the directory, and makes it, for its owner only, if it is not there.
    pub fn open(path: &Path) -> Result<DataDir, StoreError> {
        let failed =
            |action| move |path: &Path, error| StoreError::Io { action, path: path.to_owned(), error };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| failed("make the data directory")(path, error))?;
        if let Ok(metadata) = fs::metadata(path)
            && metadata.permissions().mode() & 0o077 != 0
        {
            tracing::warn!(path = %path.display(), "others than its owner may read the data directory: close it with chmod 700");
        }
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| failed("write to the data directory, its file")(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = lock.read_to_string(&mut pid);
                return Err(StoreError::InUse { path: path.to_owned(), pid: pid.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock")(&lock_path, error)),
        }
        // For whoever is refused; without it, too, the directory is ours.
        let _ = note_pid(&mut lock);
        Ok(DataDir { path: path.to_owned(), _lock: lock, writing: Mutex::new(()) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads who the node was. A damaged file is set aside, so that the node can start without.
    pub fn load_identity(&self) -> Result<Found, StoreError> {
        let path = self.path.join(IDENTITY);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(StoreError::Io { action: "read", path, error }),
        };
        match Identity::decode(&bytes) {
            Ok(identity) => Ok(Found::Identity(identity)),
            Err(Unreadable::TooNew(found)) => Err(StoreError::TooNew { path, found, known: FORMAT }),
            Err(Unreadable::Damaged) => {
                let kept_as = self.free_name(&format!("{IDENTITY}.damaged"));
                match fs::rename(&path, &kept_as) {
                    Ok(()) => Ok(Found::Damaged { kept_as }),
                    Err(error) => Err(StoreError::Io { action: "set aside the damaged file", path, error }),
                }
            }
        }
    }

    /// Writes who the node is. When this returns, it is on the disk.
    pub fn save_identity(&self, identity: &Identity) -> Result<(), StoreError> {
        self.replace(IDENTITY, &identity.encode())
    }

    /// Replaces a file as a whole.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let _writing = self.writing.lock();
        let new = self.path.join(format!("{name}.new"));
        let failed = |error| StoreError::Io { action: "write", path: self.path.join(name), error };
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
        written.map_err(failed)?;
        fs::rename(&new, self.path.join(name)).map_err(failed)?;
        // A name is on the disk when its directory is.
        File::open(&self.path).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    fn free_name(&self, name: &str) -> PathBuf {
        let numbered = (1..).map(|number| self.path.join(format!("{name}.{number}")));
        let mut names = std::iter::once(self.path.join(name)).chain(numbered);
        names.find(|path| !path.exists()).unwrap_or_else(|| self.path.join(name))
    }
}

fn note_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}
