use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rumormq_gossip::{Incarnation, NodeName};

use super::{DataDir, Found, Identity, KnownPeer, StoreError};

/// A directory that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Place(std::env::temp_dir().join(format!("rumormq-store-{}-{number}", std::process::id())))
    }

    fn open(&self) -> DataDir {
        DataDir::open(&self.0.join("data")).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("data").join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn identity(incarnation: u64) -> Identity {
    let peer = |number: u64| KnownPeer {
        name: name(&format!("peer{number}@h")),
        address: format!("h:{number}"),
        last_seen_ms: number,
    };
    Identity { node: name("n@h"), incarnation: Incarnation(incarnation), peers: (1..4).map(peer).collect() }
}

#[test]
fn what_was_saved_last_is_found() {
    let place = Place::new();
    assert_eq!(place.open().load_identity().unwrap(), Found::Nothing);
    for incarnation in [7, 8] {
        place.open().save_identity(&identity(incarnation)).unwrap();
        assert_eq!(place.open().load_identity().unwrap(), Found::Identity(identity(incarnation)));
    }
    assert!(!place.file("identity.new").exists());
}

#[test]
fn nobody_else_may_look_into_it() {
    let place = Place::new();
    place.open().save_identity(&identity(1)).unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.file("")), 0o700);
    assert_eq!(mode(place.file("identity")), 0o600);
}

#[test]
fn it_belongs_to_one_at_a_time() {
    let place = Place::new();
    let first = place.open();
    let error = DataDir::open(first.path()).unwrap_err();
    let says = format!(
        "the data directory {} is in use by another process ({}); each node needs one of its own: \
         stop that process, or give another --data-dir",
        first.path().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), says);
    assert!(!error.is_usage(), "whoever has it may be about to end");
    drop(first);
    place.open();
}

/// Any single byte that changes, and any end that is missing, is noticed; the file is kept, and the node can start.
#[test]
fn a_damaged_file_is_set_aside() {
    let place = Place::new();
    let dir = place.open();
    let sound = identity(7).encode();
    let cut = (0..sound.len()).map(|length| sound[..length].to_vec());
    let changed = (0..sound.len()).map(|at| {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x01;
        bytes
    });
    let zeroed = std::iter::once(vec![0; sound.len()]);
    for bytes in cut.chain(changed).chain(zeroed) {
        fs::write(place.file("identity"), &bytes).unwrap();
        match dir.load_identity() {
            Ok(Found::Damaged { kept_as }) => {
                assert_eq!(fs::read(&kept_as).unwrap(), bytes);
                fs::remove_file(kept_as).unwrap();
            }
            // The digit of the format.
            Err(StoreError::TooNew { .. }) => {}
            other => panic!("{other:?}: {}", String::from_utf8_lossy(&bytes)),
        }
    }
    // One set aside before is not overwritten.
    for kept in ["identity.damaged", "identity.damaged.1"] {
        fs::write(place.file("identity"), "nonsense").unwrap();
        assert_eq!(dir.load_identity().unwrap(), Found::Damaged { kept_as: place.file(kept) });
    }
    assert_eq!(dir.load_identity().unwrap(), Found::Nothing);
}

#[test]
fn what_a_later_version_wrote_is_left_alone() {
    let place = Place::new();
    let dir = place.open();
    let text = String::from_utf8(identity(7).encode()).unwrap().replace("format 1", "format 2");
    fs::write(place.file("identity"), &text).unwrap();
    let error = dir.load_identity().unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 2, known: 1, .. }), "{error}");
    assert_eq!(fs::read_to_string(place.file("identity")).unwrap(), text);
}

/// As on a full disk: what was there before stays.
#[test]
fn a_write_that_fails_leaves_the_file_that_was_there() {
    let place = Place::new();
    let dir = place.open();
    dir.save_identity(&identity(7)).unwrap();
    fs::create_dir(place.file("identity.new")).unwrap();
    let error = dir.save_identity(&identity(8)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write {}: ", place.file("identity").display())), "{error}");
    assert_eq!(dir.load_identity().unwrap(), Found::Identity(identity(7)));
}

#[test]
fn a_place_that_cannot_be_a_directory_is_named() {
    let place = Place::new();
    fs::create_dir_all(&place.0).unwrap();
    fs::write(place.file(""), "").unwrap_or(());
    fs::write(place.0.join("file"), "").unwrap();
    let error = DataDir::open(&place.0.join("file")).unwrap_err();
    assert!(error.to_string().contains(&place.0.join("file").display().to_string()), "{error}");
}
