//! The tables of statements are complete, and the tests they name are there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A section, and the first and last of its statements.
type Section = (&'static str, u32, u32);

/// 251 statements.
const MQTT_5_0: &[Section] = &[
    ("1.5.4", 1, 3),
    ("1.5.5", 1, 1),
    ("1.5.7", 1, 1),
    ("2.1.3", 1, 1),
    ("2.2.1", 2, 6),
    ("2.2.2", 1, 1),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 30),
    ("3.1.3", 1, 12),
    ("3.1.4", 1, 6),
    ("3.2.0", 1, 2),
    ("3.2.2", 1, 22),
    ("3.3.1", 1, 13),
    ("3.3.2", 1, 20),
    ("3.3.4", 1, 10),
    ("3.4.2", 1, 3),
    ("3.5.2", 1, 3),
    ("3.6.1", 1, 1),
    ("3.6.2", 1, 3),
    ("3.7.2", 1, 3),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 5),
    ("3.8.4", 1, 8),
    ("3.9.2", 1, 2),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.11.2", 1, 2),
    ("3.11.3", 1, 2),
    ("3.12.4", 1, 1),
    ("3.14.0", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.2", 1, 4),
    ("3.14.4", 1, 3),
    ("3.15.1", 1, 1),
    ("3.15.2", 1, 3),
    ("4.1.0", 1, 2),
    ("4.2", 1, 1),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 5),
    ("4.3.3", 1, 13),
    ("4.4.0", 1, 2),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.0", 1, 1),
    ("4.7.1", 1, 2),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.2", 1, 6),
    ("4.9.0", 1, 3),
    ("4.12.0", 1, 7),
    ("4.12.1", 1, 2),
    ("4.13.1", 1, 1),
    ("4.13.2", 1, 1),
    ("6.0.0", 1, 4),
];

/// 141 statements: 132, and nine of the sections 3.3.2 to 3.8.3 that lists of them tend to leave out.
const MQTT_3_1_1: &[Section] = &[
    ("1.4.0", 1, 3),
    ("2.2.2", 1, 2),
    ("2.3.1", 1, 7),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 24),
    ("3.1.3", 1, 11),
    ("3.1.4", 1, 5),
    ("3.2.0", 1, 1),
    ("3.2.2", 1, 6),
    ("3.3.1", 1, 12),
    ("3.3.2", 1, 3),
    ("3.3.4", 1, 1),
    ("3.3.5", 1, 2),
    ("3.6.1", 1, 1),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 4),
    ("3.8.4", 1, 6),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.12.4", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.4", 1, 3),
    ("4.1.0", 1, 2),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 2),
    ("4.3.3", 1, 2),
    ("4.4.0", 1, 1),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.1", 1, 3),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.0", 1, 2),
    ("6.0.0", 1, 4),
    ("7.0.0", 1, 2),
    ("7.1.1", 1, 1),
    ("7.1.2", 1, 1),
];

#[test]
fn every_statement_of_5_0_has_its_test() {
    check(include_str!("mqtt_5_0.md"), MQTT_5_0, 251);
}

#[test]
fn every_statement_of_3_1_1_has_its_test() {
    check(include_str!("mqtt_3_1_1.md"), MQTT_3_1_1, 141);
}

fn check(table: &str, sections: &[Section], count: usize) {
    assert_eq!(numbers(sections).len(), count);
    let faults = faults(table, sections, &|test| Repository::here().lacks(test));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn numbers(sections: &[Section]) -> BTreeSet<String> {
    sections
        .iter()
        .flat_map(|&(section, first, last)| (first..=last).map(move |n| format!("{section}-{n}")))
        .collect()
}

/// One statement in a table: `| number | who is bound | what we do | tests |`.
struct Row<'a> {
    number: &'a str,
    bound: &'a str,
    what: &'a str,
    tests: Vec<&'a str>,
}

fn rows(table: &str) -> Vec<Row<'_>> {
    let cells = table.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let rows = cells.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let rows = rows.skip_while(|cells| !cells[0].starts_with("--")).skip(1);
    rows.map(|cells| {
        let &[number, bound, what, tests] = &cells[..] else { panic!("a row has four cells: {cells:?}") };
        let tests = tests.split_whitespace().filter(|&test| test != "-").collect();
        Row { number, bound, what, tests }
    })
    .collect()
}

/// What is wrong with a table. `lacks` says what is wrong with a `file::name` that should be a test.
fn faults(table: &str, sections: &[Section], lacks: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut missing = numbers(sections);
    let mut faults = Vec::new();
    for Row { number, bound, what, tests } in rows(table) {
        if !missing.remove(number) {
            faults.push(format!("{number}: unknown, or listed twice"));
        }
        match bound {
            "client" => {}
            "server" | "both" if tests.is_empty() => faults.push(format!("{number}: no test")),
            "server" | "both" => {}
            other => faults.push(format!("{number}: binds {other}?")),
        }
        if what.is_empty() {
            faults.push(format!("{number}: what do we do?"));
        }
        faults.extend(tests.iter().filter_map(|test| Some(format!("{number}: {test}: {}", lacks(test)?))));
    }
    faults.extend(missing.iter().map(|number| format!("{number}: not listed")));
    faults
}

/// Where tests are looked for.
struct Repository(PathBuf);

impl Repository {
    fn here() -> Repository {
        Repository(env!("CARGO_MANIFEST_DIR").into())
    }

    /// Why `file::name` is no test that runs; none if it is one.
    fn lacks(&self, test: &str) -> Option<String> {
        let Some((file, name)) = test.split_once("::") else { return Some("not file::name".into()) };
        let Ok(text) = std::fs::read_to_string(self.0.join(file)) else { return Some("no such file".into()) };
        if !self.is_compiled(Path::new(file)) {
            return Some("a file that no module names".into());
        }
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let head = format!("fn {name}(");
        let Some(at) = lines.iter().position(|line| line.trim_start_matches("async ").starts_with(&head))
        else {
            return Some("no such function".into());
        };
        let above = lines[..at].iter().rev();
        let attributes: Vec<_> =
            above.take_while(|line| line.starts_with("#[") || line.starts_with("//")).collect();
        if attributes.iter().any(|line| line.starts_with("#[ignore")) {
            return Some("ignored".into());
        }
        let is_test = |line: &&&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        attributes.iter().all(|line| !is_test(line)).then(|| "not a test".into())
    }

    /// Whether a root of a crate leads to the file by `mod` lines.
    fn is_compiled(&self, file: &Path) -> bool {
        let (Some(folder), Some(stem)) = (file.parent(), file.file_stem()) else { return false };
        let is_root = |file: &Path| {
            ["src/lib.rs", "gossip/src/lib.rs"].contains(&file.to_str().unwrap_or_default())
                || file.parent() == Some(Path::new("tests"))
                || (file.file_name() == Some("main.rs".as_ref()) && file.starts_with("tests"))
        };
        if is_root(file) {
            return true;
        }
        // The folder whose module this file is in, and the module's name in it.
        let (folder, module) = match stem == "mod" {
            true => (folder.parent().unwrap_or(Path::new("")), folder.file_name().unwrap_or_default()),
            false => (folder, stem),
        };
        let line = format!("mod {};", module.to_string_lossy());
        let parents = ["mod.rs", "main.rs", "lib.rs"].map(|name| folder.join(name));
        let parents = parents.into_iter().chain([folder.with_extension("rs")]);
        parents.filter(|parent| parent != file).any(|parent| {
            let names = std::fs::read_to_string(self.0.join(&parent))
                .is_ok_and(|text| text.lines().any(|l| l.trim_end().ends_with(&line)));
            names && self.is_compiled(&parent)
        })
    }
}

/// The checks can fail.
#[test]
fn faults_are_found() {
    let sections: &[Section] = &[("1.1", 1, 2), ("1.2", 1, 1)];
    let table = |rows: &str| format!("# A table\n\n| a | b | c | d |\n|---|---|---|---|\n{rows}");
    let lacks = |test: &str| (test != "f::t").then(|| "no".to_owned());
    let found = |rows: &str| faults(&table(rows), sections, &lacks);
    let good =
        "| 1.1-1 | server | x | f::t |\n| 1.1-2 | client | x | - |\n| 1.2-1 | both | x | f::t f::t |\n";
    assert_eq!(found(good), [""; 0]);
    for (from, to, fault) in [
        ("| 1.1-2 | client | x | - |\n", "", "1.1-2: not listed"),
        ("1.1-2 |", "1.1-3 |", "1.1-3: unknown, or listed twice"),
        ("1.1-2 |", "1.1-1 |", "1.1-1: unknown, or listed twice"),
        ("f::t |\n| 1.1-2", "- |\n| 1.1-2", "1.1-1: no test"),
        ("f::t f::t", "f::t f::u", "1.2-1: f::u: no"),
        ("server", "broker", "1.1-1: binds broker?"),
        ("server | x", "server | ", "1.1-1: what do we do?"),
    ] {
        let found = found(&good.replacen(from, to, 1));
        assert!(found.iter().any(|line| line == fault), "{fault}: {found:?}");
    }
}

#[test]
fn what_is_no_test_is_told_from_a_test() {
    let repository = Repository::here();
    let own = "tests/conformance/table.rs";
    assert_eq!(repository.lacks(&format!("{own}::what_is_no_test_is_told_from_a_test")), None);
    assert_eq!(repository.lacks("src/session/tests/resume.rs::nobody").as_deref(), Some("no such function"));
    assert_eq!(repository.lacks(&format!("{own}::numbers")).as_deref(), Some("not a test"));
    assert_eq!(repository.lacks("tests/nobody.rs::a").as_deref(), Some("no such file"));
    assert_eq!(repository.lacks("nobody").as_deref(), Some("not file::name"));
    let folder = std::env::temp_dir().join(format!("rumormq-table-{}", std::process::id()));
    let write = |file: &str, text: &str| {
        let file = folder.join(file);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file");
    };
    let test = "#[test]\nfn a() {}\n\n/// Of b.\n#[test]\n#[ignore = \"slow\"]\nfn b() {}\n\n#[tokio::test]\nasync fn c() {}\n";
    write("tests/t/main.rs", "mod here;\n");
    write("tests/t/here.rs", test);
    write("tests/t/stray.rs", test);
    write("src/lib.rs", "pub mod m;\n");
    write("src/m/mod.rs", "mod tests;\n");
    write("src/m/tests/mod.rs", "mod deep;\n");
    write("src/m/tests/deep.rs", test);
    let repository = Repository(folder.clone());
    let lacks = |test: &str| repository.lacks(test);
    assert_eq!(lacks("tests/t/here.rs::a"), None);
    assert_eq!(lacks("tests/t/here.rs::b").as_deref(), Some("ignored"));
    assert_eq!(lacks("tests/t/here.rs::c"), None);
    assert_eq!(lacks("tests/t/stray.rs::a").as_deref(), Some("a file that no module names"));
    assert_eq!(lacks("src/m/tests/deep.rs::a"), None);
    std::fs::remove_dir_all(folder).expect("the test's own folder");
}
