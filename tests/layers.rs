//! The map in `src/lib.rs`, held against the code: dependencies point one way.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules, lowest first. Each may use those before it.
const LAYERS: [&str; 18] = [
    "pki",
    "topic",
    "access",
    "codec",
    "message",
    "observation",
    "session",
    "store",
    "router",
    "cluster",
    "broker",
    "net",
    "bridge",
    "bench",
    "config",
    "admin",
    "node",
    "cli",
];

#[test]
fn modules_use_only_modules_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = 0;
    for (height, module) in LAYERS.iter().enumerate() {
        for file in files(&source.join(module)).into_iter().chain(file(source.join(format!("{module}.rs")))) {
            let text = fs::read_to_string(&file).unwrap();
            for (place, _) in text.match_indices("crate::") {
                let name = &text[place + "crate::".len()..];
                let name =
                    &name[..name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len())];
                let used = LAYERS.iter().position(|layer| *layer == name);
                assert!(used.is_some_and(|used| used <= height), "{} uses {name}", file.display());
                found += 1;
            }
        }
    }
    assert!(found > 100, "{found} uses were found: is this the way to look for them?");
}

#[test]
fn every_module_has_its_layer() {
    let library = include_str!("../src/lib.rs");
    let mut modules: Vec<&str> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let mut layers = LAYERS.to_vec();
    modules.sort_unstable();
    layers.sort_unstable();
    assert_eq!(modules, layers);
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn file(path: PathBuf) -> Option<PathBuf> {
    path.is_file().then_some(path)
}
