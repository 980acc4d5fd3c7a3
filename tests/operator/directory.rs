//! Files of one test.

use std::fs;
use std::path::{Path, PathBuf};

use rumormq::access::password::PasswordVerifier;

/// A place for the files of one test, which goes with it.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(test: &str) -> Directory {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a writable target directory");
        Directory(path)
    }

    /// The path of a file or directory in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }

    /// Writes a file; gives its path.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("a writable directory");
        path
    }

    /// Writes a password file.
    pub fn users(&self, users: &[(&str, &str)]) -> String {
        let line = |(name, password): &(&str, &str)| {
            format!("{name}:{}\n", PasswordVerifier::hash(password.as_bytes()).expect("hashed"))
        };
        self.write("users", &users.iter().map(line).collect::<String>())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
