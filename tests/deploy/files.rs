//! The files, without anything running.

use std::path::{Path, PathBuf};
use std::process::Command;

use rumormq::config::SETTINGS;
use saphyr::{LoadableYamlNode, Yaml};

use crate::is_installed;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files, with their names.
fn all() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![folder()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    files.push((path.display().to_string(), std::fs::read_to_string(&path).expect("text")))
                }
            }
        }
    }
    assert!(files.len() >= 12, "not only some of them");
    files
}

/// Names as they are written with underscores.
fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == name)
}

/// The words of a text that begin so and go on with these characters.
fn words<'a>(text: &'a str, beginning: &'a str, of: fn(char) -> bool) -> impl Iterator<Item = &'a str> {
    text.match_indices(beginning).map(move |(at, _)| {
        let rest = &text[at + beginning.len()..];
        &rest[..rest.find(|character| !of(character)).unwrap_or(rest.len())]
    })
}

#[test]
fn every_variable_is_that_of_a_setting() {
    // Read beside the settings, as the README says.
    const OTHERS: [&str; 2] = ["CONFIG", "COOKIE"];
    let mut count = 0;
    for (file, text) in all() {
        for name in words(&text, "RUMORMQ_", |c| c.is_ascii_uppercase() || c == '_') {
            // Of "`RUMORMQ_` and the setting's name" there is no rest.
            let known = name.is_empty() || OTHERS.contains(&name) || is_setting(&name.to_lowercase());
            assert!(known, "{file}: RUMORMQ_{name}");
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}

#[test]
fn every_flag_of_a_node_is_that_of_a_setting() {
    let mut count = 0;
    for (file, text) in all() {
        let text = text.replace("\\\n", " ");
        // Lines that begin a node, its arguments in a pod, and flags in prose.
        let lines = text.lines().map(str::trim).filter(|line| {
            (line.contains("rumormq run") || line.starts_with("- --") || line.starts_with("- `--"))
                && !line.contains("leave")
        });
        for line in lines {
            for name in words(line, "--", |c| c.is_ascii_lowercase() || c == '-') {
                let other = ["config", "read-only", "cap-drop"].contains(&name);
                assert!(other || is_setting(&name.replace('-', "_")), "{file}: --{name} in {line:?}");
                count += usize::from(!other);
            }
        }
    }
    assert!(count > 10, "{count}");
}

/// In tables that have others' settings beside ours, ours are the second column.
#[test]
fn the_settings_beside_those_of_others_exist() {
    const TABLES: [&str; 3] = ["bridge", "rewrite", "auto_subscribe"];
    let text = read("coming-from/README.md");
    let mut count = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 2) {
        let ours = line.split(" | ").nth(1).expect("three columns");
        for name in ours.split('`').skip(1).step_by(2) {
            let table = name.strip_prefix("[[").and_then(|name| name.strip_suffix("]]"));
            let section = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            let known = match (table, section) {
                (Some(table), _) => TABLES.contains(&table),
                (None, Some(section)) => SETTINGS.iter().any(|setting| setting.section.name() == section),
                (None, None) => is_setting(name),
            };
            assert!(known, "{name} in {line:?}");
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}

/// Of limits and their like, that they go by the names in prose.
#[test]
fn settings_in_prose_exist() {
    for (file, text) in all() {
        for name in text.split('`').skip(1).step_by(2) {
            let looks_like_one =
                ["drain_", "forget_", "join_", "trusted_"].iter().any(|it| name.starts_with(it));
            assert!(!looks_like_one || is_setting(name), "{file}: {name}");
        }
    }
}

#[test]
fn the_configuration_for_systemd_resolves() {
    let text = read("systemd/rumormq.toml");
    let place = std::env::temp_dir().join(format!("rumormq-deploy-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("there is room");
    std::fs::write(place.join("cookie"), "0123456789abcdef\n").expect("there is room");
    std::fs::write(place.join("users"), "").expect("there is room");
    let here = text.replace("/etc/rumormq", place.to_str().expect("a readable path"));
    assert_ne!(here, text);
    std::fs::write(place.join("rumormq.toml"), here).expect("there is room");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rumormq"));
    let output =
        command.arg("check").arg("--config").arg(place.join("rumormq.toml")).output().expect("it runs");
    std::fs::remove_dir_all(&place).expect("it is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_manifest_for_kubernetes_fits_together() {
    let text = read("kubernetes/rumormq.yaml");
    let documents = Yaml::load_from_str(&text).expect("YAML");
    let of_kind = |kind: &str| {
        let found = documents.iter().filter(|document| document["kind"].as_str() == Some(kind));
        found.collect::<Vec<_>>()
    };
    let [headless, clients] = of_kind("Service")[..] else { panic!("two services") };
    let [set] = of_kind("StatefulSet")[..] else { panic!("a set") };
    let [budget] = of_kind("PodDisruptionBudget")[..] else { panic!("a budget") };
    let template = &set["spec"]["template"];
    let labels = &template["metadata"]["labels"];
    assert_eq!(set["spec"]["serviceName"], headless["metadata"]["name"]);
    assert_eq!(headless["spec"]["clusterIP"].as_str(), Some("None"));
    assert_eq!(headless["spec"]["publishNotReadyAddresses"].as_bool(), Some(true));
    for selector in [
        &headless["spec"]["selector"],
        &clients["spec"]["selector"],
        &budget["spec"]["selector"]["matchLabels"],
        &set["spec"]["selector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    let pod = &template["spec"];
    let container = &pod["containers"][0];
    let arguments: Vec<&str> =
        container["args"].as_vec().expect("a list").iter().filter_map(|it| it.as_str()).collect();
    let service = headless["metadata"]["name"].as_str().expect("a name");
    assert!(
        arguments.iter().any(|it| it.starts_with(&format!("--join={service}.")) && it.ends_with(":7883"))
    );
    assert!(arguments.iter().any(|it| it.starts_with("--node=") && it.contains(&format!(").{service}."))));
    let mounts = container["volumeMounts"].as_vec().expect("a list");
    let volumes = pod["volumes"].as_vec().expect("a list").iter();
    let claims = set["spec"]["volumeClaimTemplates"].as_vec().expect("a list").iter();
    let mut there: Vec<&str> = volumes.filter_map(|it| it["name"].as_str()).collect();
    there.extend(claims.filter_map(|it| it["metadata"]["name"].as_str()));
    for mount in mounts {
        assert!(there.contains(&mount["name"].as_str().expect("a name")), "{mount:?}");
    }
    for (flag, mounted) in [("--cookie-file=", "/run/secrets/rumormq"), ("--data-dir=", "/var/lib/rumormq")] {
        let path = arguments.iter().find_map(|it| it.strip_prefix(flag)).expect("the flag");
        assert!(path.starts_with(mounted));
        assert!(mounts.iter().any(|it| it["mountPath"].as_str() == Some(mounted)), "{mounted}");
    }
    let stop = container["lifecycle"]["preStop"]["exec"]["command"].as_vec().expect("a command");
    let stop: Vec<&str> = stop.iter().filter_map(|it| it.as_str()).collect();
    assert_eq!(stop[1..], ["leave", "--drain"]);
    for probe in ["livenessProbe", "startupProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str();
        assert_eq!(path, Some(if probe == "readinessProbe" { "/readyz" } else { "/healthz" }));
    }
    assert!(read("kubernetes/README.md").contains(&format!(
        "create secret generic {}",
        pod["volumes"][0]["secret"]["secretName"].as_str().expect("a name")
    )));
}

#[test]
fn the_image_has_what_it_runs() {
    let text = read("container/Dockerfile");
    let copied = text.lines().find(|line| line.contains("--from=build /rumormq")).expect("the command");
    let command = copied.split_whitespace().last().expect("a path");
    assert!(text.contains(&format!("ENTRYPOINT [\"{command}\"]")));
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(text.contains(&format!("FROM rust:{version}-")), "the toolchain is the one of Cargo.toml");
    let kept = read("container/Dockerfile.dockerignore");
    for part in ["Cargo.toml", "Cargo.lock", "src", "gossip", "README.md"] {
        assert!(kept.lines().any(|line| line == format!("!{part}")), "{part}");
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(part).exists(), "{part}");
    }
}

#[test]
fn systemd_takes_the_unit_and_finds_it_closed() {
    if !is_installed("systemd-analyze", false) {
        return;
    }
    // What it starts has to be there.
    let unit =
        read("systemd/rumormq.service").replace("/usr/local/bin/rumormq", env!("CARGO_BIN_EXE_rumormq"));
    let place = std::env::temp_dir().join(format!("rumormq-unit-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("there is room");
    let file = place.join("rumormq.service");
    std::fs::write(&file, unit).expect("there is room");
    let run = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).arg(&file).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let (valid, says) = run(&["verify", "--man=no"]);
    let closed = run(&["security", "--offline=true", "--threshold=20", "--no-pager"]);
    std::fs::remove_dir_all(&place).expect("it is there");
    // It also has words about other units of this machine.
    let about_it: Vec<&str> = says.lines().filter(|line| line.contains("rumormq.service")).collect();
    assert!(about_it.is_empty(), "{valid}: {says}");
    assert!(closed.0, "{}", closed.1);
}

#[test]
fn haproxy_takes_its_configuration() {
    if !is_installed("haproxy", true) {
        return;
    }
    let file = folder().join("haproxy/haproxy.cfg");
    let output =
        Command::new(super::haproxy::PROGRAM).arg("-c").arg("-f").arg(file).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .chars()
        .filter(|it| it.is_alphanumeric() || " -_".contains(*it))
        .collect::<String>();
    kept.trim().replace(' ', "-")
}

/// The lines of a text that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

#[test]
fn links_lead_somewhere() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> = vec![top.join("README.md"), top.join("dashboards/README.md")];
    pages.extend(
        all().into_iter().map(|(name, _)| PathBuf::from(name)).filter(|path| path.ends_with("README.md")),
    );
    let mut links = 0;
    for page in &pages {
        let text = std::fs::read_to_string(page).expect("a page");
        let anchors: Vec<String> = prose(&text)
            .filter_map(|line| Some(anchor(line.strip_prefix('#')?.trim_start_matches('#'))))
            .collect();
        for line in prose(&text) {
            for rest in line.split("](").skip(1) {
                let target = rest.split(')').next().expect("something before it");
                let leads = match target.strip_prefix('#') {
                    Some(heading) => anchors.iter().any(|anchor| anchor == heading),
                    None => target.contains("://") || page.parent().expect("a folder").join(target).exists(),
                };
                assert!(leads, "{}: {target}", page.display());
                links += 1;
            }
        }
    }
    assert!(links > 30, "only {links} links: is this the way to look for them?");
}
