use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;

/// A configuration file that is there until the test ends.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, content: &str) -> TempFile {
        let path = std::env::temp_dir().join(format!("rumormq-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        TempFile(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Resolves what is given, with everything else at its default.
fn resolve(
    flags: &[(&'static str, &str)],
    environment: &[(&str, &str)],
    file: Option<&Path>,
) -> Result<Config, ConfigErrors> {
    let flags: BTreeMap<_, _> = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let environment = |name: &str| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Sources { flags: &flags, environment: &environment, file }.resolve()
}

fn setting(name: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.name == name).expect("a setting")
}

fn file_with(setting: &Setting, value: &str, test: &str) -> TempFile {
    let section = match setting.section {
        Section::Top => String::new(),
        section => format!("[{}]\n", section.name()),
    };
    TempFile::new(&format!("{test}-{}.toml", setting.name), &format!("{section}{} = {value}\n", setting.name))
}

/// Settings whose value is what a file contains, which has no text of its own.
const READ_FROM_FILES: [&str; 5] =
    ["acl_file", "cookie_file", "http_read_token_file", "http_token_file", "password_file"];

/// Three values of a setting, none of them its default.
fn three_values(setting: &Setting) -> [String; 3] {
    let [a, b, c] = match setting.name {
        "node" => ["a@h", "b@h", "c@h"],
        "log_level" => ["warn", "info,rumormq::cluster=debug", "off,a=trace,b=warn"],
        "mqtt" | "mqtts" | "ws" | "wss" | "cluster" | "http" => ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"],
        "advertise_mqtt" | "advertise_cluster" | "advertise_http" => ["a:1", "b.example.org:2", "[::1]:3"],
        "join" => ["a:1,b:2", "c:3", "[::1]:4"],
        "trusted_proxies" => ["10.0.0.0/8,192.0.2.1/32", "fd00::/8", "192.0.2.0/24"],
        "ws_origins" => ["https://a.org,http://b:3000", "http://localhost:3000", "https://c.org"],
        "cluster_name" => ["a", "b", "c"],
        "allow_anonymous" | "certificate_as_username" | "exclusive_subscriptions" => ["true", "true", "true"],
        "tls_client_certificates" => ["optional", "optional", "optional"],
        "shared_strategy" => ["random", "local_first", "sticky"],
        "forward_overflow" => ["refuse", "refuse", "refuse"],
        "retain_available" | "wildcard_subscriptions" | "subscription_identifiers" => {
            ["false", "false", "false"]
        }
        "max_qos" => ["0", "1", "0"],
        "response_topic" => ["a", "reply/%c", "%u/%c"],
        "server_reference" => ["a", "b:1", "c d"],
        "phi" => ["2", "3.5", "4"],
        "log_format" => ["json", "json", "json"],
        // It must exceed `forget_after`.
        "tombstone_ttl" => ["2h", "3h", "5h"],
        // Within every range, and the shortest text for itself.
        _ => match setting.value_name {
            "FILE" | "DIR" => ["a.pem", "b.pem", "c.pem"],
            "N" => ["31", "33", "37"],
            "SIZE" => ["3KiB", "4001", "5KiB"],
            "TIME" => ["3s", "7s", "2500ms"],
            other => panic!("give three values for {} ({other})", setting.name),
        },
    };
    [a.to_owned(), b.to_owned(), c.to_owned()]
}

#[test]
fn every_setting_is_reached_by_flag_environment_and_file() {
    for setting in SETTINGS.iter().filter(|setting| !READ_FROM_FILES.contains(&setting.name)) {
        let [flag, variable, key] = three_values(setting);
        let default = setting.show(&Config::default());
        assert!(![&flag, &variable, &key].contains(&&default), "{}: {default} is the default", setting.name);
        let file = file_with(setting, &format!("{key:?}"), "every");
        let shown = |flags: &[(&'static str, &str)], environment: &[(&str, &str)], file: Option<&Path>| {
            // Without these some settings would be refused.
            let tls = [
                ("RUMORMQ_TLS_CERTIFICATE_FILE", "x.pem"),
                ("RUMORMQ_TLS_KEY_FILE", "x.pem"),
                ("RUMORMQ_TLS_CLIENT_CA_FILE", "x.pem"),
                ("RUMORMQ_MQTTS", "127.0.0.1:4"),
            ];
            let links = [
                ("RUMORMQ_CLUSTER_TLS_CERTIFICATE_FILE", "x.pem"),
                ("RUMORMQ_CLUSTER_TLS_KEY_FILE", "x.pem"),
                ("RUMORMQ_CLUSTER_TLS_CA_FILE", "x.pem"),
            ];
            let links: Vec<_> = links.into_iter().filter(|(name, _)| *name != setting.variable()).collect();
            let needed = match setting.name {
                "mqtts" | "wss" => &tls[..2],
                name if name.starts_with("cluster_tls_")
                    && !(flags.is_empty() && environment.is_empty() && file.is_none()) =>
                {
                    &links[..]
                }
                "certificate_as_username" => &tls[..],
                _ => &[],
            };
            let environment = [environment, needed].concat();
            let config = resolve(flags, &environment, file).unwrap_or_else(|error| panic!("{error}"));
            setting.show(&config)
        };
        let given_flag = [(setting.name, flag.as_str())];
        let name = setting.variable();
        let given_variable = [(name.as_str(), variable.as_str())];
        assert_eq!(shown(&[], &[], None), default);
        assert_eq!(shown(&[], &[], Some(&file.0)), key);
        assert_eq!(shown(&[], &given_variable, Some(&file.0)), variable);
        assert_eq!(shown(&given_flag, &given_variable, Some(&file.0)), flag);
        assert_eq!(shown(&given_flag, &[], Some(&file.0)), flag);
    }
}

#[test]
fn every_setting_has_a_field_of_its_own() {
    let default = Config::default();
    let shown =
        |config: &Config| -> Vec<String> { SETTINGS.iter().map(|other| other.show(config)).collect() };
    for (index, setting) in SETTINGS.iter().enumerate() {
        if READ_FROM_FILES.contains(&setting.name) {
            continue;
        }
        let mut config = default.clone();
        setting.set(&mut config, &three_values(setting)[0]).unwrap();
        let changed: Vec<usize> = std::iter::zip(shown(&config), shown(&default))
            .enumerate()
            .filter(|(_, (now, before))| now != before)
            .map(|(index, _)| index)
            .collect();
        assert_eq!(changed, [index], "{}", setting.name);
    }
    let names: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert_eq!(names.len(), SETTINGS.len());
}

#[test]
fn every_field_has_a_setting() {
    // Debug output, one field a line, is the list of fields that cannot be forgotten.
    let debug = format!("{:#?}", Config { cookies: Vec::new(), ..Config::default() });
    let fields = debug.lines().filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name);
    let nested = ["limits", "session", "extras", "capabilities"];
    let names: BTreeSet<&str> = fields
        .filter(|name| !nested.contains(name) && !list::LISTS.iter().any(|list| list.name == *name))
        .map(|name| match name {
            "cookies" => "cookie_file",
            "http_token" => "http_token_file",
            "http_read_token" => "http_read_token_file",
            name => name,
        })
        .collect();
    assert_eq!(names, SETTINGS.iter().map(|setting| setting.name).collect());
}

#[test]
fn defaults_are_valid_and_in_their_ranges() {
    Config::default().validate().unwrap();
    for setting in SETTINGS {
        let text = setting.show(&Config::default());
        if !text.is_empty() {
            setting
                .set(&mut Config::default(), &text)
                .unwrap_or_else(|why| panic!("{}: {why}", setting.name));
        }
    }
}

#[test]
fn the_file_takes_toml_numbers_truths_and_lists() {
    let file = TempFile::new(
        "types.toml",
        "node = \"a@127.0.0.1\"\n[listen]\nallow_anonymous = true\n[cluster]\njoin = [\"a:1\", \"b:2\"]\nphi = 9.5\n\
         [limits]\nmax_inflight = 7\nmax_packet_size = 2048\nmax_session_expiry = \"2h\"\n",
    );
    let config = resolve(&[], &[], Some(&file.0)).unwrap();
    assert_eq!(config.node_name().unwrap().as_str(), "a@127.0.0.1");
    assert!(config.allow_anonymous);
    assert_eq!(config.join.iter().map(HostPort::to_string).collect::<Vec<_>>(), ["a:1", "b:2"]);
    assert_eq!(config.phi, 9.5);
    assert_eq!(config.limits.session.max_inflight.get(), 7);
    assert_eq!(config.limits.max_packet_size, 2048);
    assert_eq!(config.limits.max_session_expiry, Duration::from_secs(7200));
}

#[test]
fn the_environment_names_the_file_and_a_flag_another() {
    let one = TempFile::new("one.toml", "node = \"one@h\"\n");
    let two = TempFile::new("two.toml", "node = \"two@h\"\n");
    let variable = [("RUMORMQ_CONFIG", one.0.to_str().unwrap())];
    assert_eq!(resolve(&[], &variable, None).unwrap().node_name().unwrap().as_str(), "one@h");
    assert_eq!(resolve(&[], &variable, Some(&two.0)).unwrap().node_name().unwrap().as_str(), "two@h");
}

#[test]
fn errors_name_where_the_value_stands_and_what_it_should_be() {
    let table = [
        (
            "mqtt",
            "1883",
            "\"1883\" is not an address with a port, such as 127.0.0.1:1883, 0.0.0.0:1883 or [::]:1883",
        ),
        (
            "node",
            "node1",
            "node name \"node1\" is not of the form name@host, of at most 255 printable characters without spaces",
        ),
        (
            "join",
            "a:1,b",
            "\"b\" is not of the form HOST:PORT, such as node1.example.org:7883 or [2001:db8::1]:7883",
        ),
        (
            "advertise_http",
            "a:0",
            "\"a:0\" is not of the form HOST:PORT, such as node1.example.org:7883 or [2001:db8::1]:7883",
        ),
        ("allow_anonymous", "yes", "\"yes\" is not true or false"),
        (
            "shared_strategy",
            "fair",
            "\"fair\" is not one of random, round_robin, local_first, hash_client, hash_topic, sticky",
        ),
        (
            "log_level",
            "loud",
            "\"loud\" is not one of off, error, warn, info, debug and trace, or a list such as info,rumormq::cluster=debug",
        ),
        ("phi", "high", "\"high\" is not a number, such as 12"),
        ("join_grace", "10", "\"10\" is not a duration, such as 500ms, 10s, 5m, 2h or 7d"),
        ("gossip_interval", "1ms", "1ms is not between 20ms and 10s"),
        ("max_packet_size", "1MB", "\"1MB\" is not a size, such as 65536, 64KiB or 1MiB"),
        ("max_packet_size", "1GiB", "1GiB is not between 1KiB and 15MiB"),
        ("max_inflight", "0", "0 is not between 1 and 65535"),
        ("max_inflight", "many", "\"many\" is not a whole number, such as 1000"),
    ];
    for (name, value, reason) in table {
        let setting = setting(name);
        let flag = resolve(&[(name, value)], &[], None).unwrap_err();
        assert_eq!(flag.to_string(), format!("{}: {reason}", setting.flag()));
        let variable = setting.variable();
        let environment = resolve(&[], &[(&variable, value)], None).unwrap_err();
        assert_eq!(environment.to_string(), format!("{variable}: {reason}"));
        let file = file_with(setting, &format!("{value:?}"), "errors");
        let from_file = resolve(&[], &[], Some(&file.0)).unwrap_err();
        let (line, column) = (if setting.section == Section::Top { 1 } else { 2 }, name.len() + 4);
        let place = format!("{}:{line}:{column}", file.0.display());
        assert_eq!(from_file.to_string(), format!("{place}: {}: {reason}", setting.key()));
    }
}

#[test]
fn keys_that_are_no_settings_are_told_of_the_nearest() {
    let table = [
        (
            "[limits]\nmax_paket_size = 1\n",
            "2:1: [limits] max_paket_size is not a setting; did you mean [limits] max_packet_size?",
        ),
        ("nod = \"a@h\"\n", "1:1: nod is not a setting; did you mean node?"),
        (
            "[cluster]\njoins = \"a:1\"\n",
            "2:1: [cluster] joins is not a setting; did you mean [cluster] join?",
        ),
        ("[limit]\nmax_inflight = 1\n", "1:2: [limit] is not a section; did you mean [limits]?"),
        ("max_inflight = 1\n", "1:1: max_inflight belongs in section [limits]"),
        ("[cluster]\nmax_inflight = 1\n", "2:1: [cluster] max_inflight belongs in section [limits]"),
        (
            "[limits]\nnode = \"a@h\"\n",
            "2:1: [limits] node belongs at the top of the file, above all sections",
        ),
        ("[[rewrites]]\naction = \"all\"\n", "1:3: [rewrites] is not a section; did you mean [[rewrite]]?"),
        ("[rewrite]\naction = \"all\"\n", "1:2: [rewrite] is not a section; did you mean [[rewrite]]?"),
        (
            "[[rewrite]]\nsourc = \"a\"\n",
            "2:1: [[rewrite]] sourc is not a setting; did you mean [[rewrite]] source?",
        ),
        (
            "[limits]\nmax_inflight = {}\n",
            "2:16: [limits] max_inflight: a text, a number, true or false is expected, or a list of texts",
        ),
    ];
    for (content, message) in table {
        let file = TempFile::new("keys.toml", content);
        let error = resolve(&[], &[], Some(&file.0)).unwrap_err();
        assert_eq!(error.to_string(), format!("{}:{message}", file.0.display()), "{content}");
    }
}

#[test]
fn lists_are_read_in_order() {
    let file = TempFile::new(
        "lists.toml",
        "[[rewrite]]\naction = \"all\"\nsource = \"a/#\"\nregex = \"^a/(.+)$\"\ndestination = \"b/$1\"\n\
         [[auto_subscribe]]\ntopic = \"c/%c\"\n[[auto_subscribe]]\ntopic = \"u/%u\"\nqos = 2\nno_local = true\n",
    );
    let extras = resolve(&[], &[], Some(&file.0)).unwrap().extras;
    assert_eq!(extras.rewrite.len(), 1);
    let qos: Vec<u8> = extras.auto_subscribe.iter().map(|each| each.options.qos as u8).collect();
    assert_eq!(qos, [0, 2]);
}

#[test]
fn tables_of_lists_are_blamed_by_number() {
    let table = [
        ("[[auto_subscribe]]\nqos = 1\n", "1:1: [[auto_subscribe]] number 1: missing field `topic`"),
        (
            "[[auto_subscribe]]\ntopic = \"a\"\n[[auto_subscribe]]\ntopic = \"a/#/b\"\n",
            "3:1: [[auto_subscribe]] number 2: topic \"a/#/b\" is not a topic filter",
        ),
        (
            "[[auto_subscribe]]\ntopic = \"a\"\nqos = 3\n",
            "1:1: [[auto_subscribe]] number 1: qos is 0, 1 or 2",
        ),
    ];
    for (content, message) in table {
        let file = TempFile::new("blamed.toml", content);
        let error = resolve(&[], &[], Some(&file.0)).unwrap_err();
        assert_eq!(error.to_string(), format!("{}:{message}", file.0.display()), "{content}");
    }
}

#[test]
fn unreadable_files_are_blamed() {
    let missing = resolve(&[], &[], Some(Path::new("/does/not/exist.toml"))).unwrap_err().to_string();
    assert!(
        missing.starts_with("cannot read the configuration file /does/not/exist.toml: No such file"),
        "{missing}"
    );
    let file = TempFile::new("syntax.toml", "node = \n");
    let syntax = resolve(&[], &[], Some(&file.0)).unwrap_err().to_string();
    assert!(syntax.starts_with(&format!("{}:1:8: this is not valid TOML: ", file.0.display())), "{syntax}");
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_what_follows_from_it_is_not() {
    let file = TempFile::new(
        "many.toml",
        "nod = \"a@h\"\n[listen]\nmqtt = \"0.0.0.0:1883\"\ncluster = \"0.0.0.0:7883\"\n\
         [cluster]\ncookie_file = \"/nowhere\"\njoin_grace = 5\n[[bridge]]\nnam = \"b\"\n",
    );
    let errors = resolve(&[("phi", "high")], &[], Some(&file.0)).unwrap_err().to_string();
    let path = file.0.display().to_string();
    let lines: Vec<String> = errors.lines().map(|line| line.replace(&path, "FILE")).collect();
    let expected = [
        "FILE:1:1: nod is not a setting; did you mean node?",
        "FILE:9:1: [[bridge]] nam is not a setting; did you mean [[bridge]] name?",
        "FILE:6:15: [cluster] cookie_file: cannot read /nowhere: No such file or directory",
        "--phi: \"high\" is not a number, such as 12",
        "FILE:7:14: [cluster] join_grace: \"5\" is not a duration, such as 500ms, 10s, 5m, 2h or 7d",
        "FILE:3:8: mqtt 0.0.0.0:1883 can be reached from other machines",
    ];
    assert_eq!(lines.len(), expected.len(), "{errors}");
    for (line, beginning) in lines.iter().zip(expected) {
        assert!(line.starts_with(beginning), "{line}");
    }
    let file = TempFile::new("syntax.toml", "node = a\n[limits\nmax_qos == 1\n");
    let errors = resolve(&[], &[], Some(&file.0)).unwrap_err();
    assert!(errors.0.len() >= 3, "{errors}");
}

#[test]
fn what_does_not_fit_together_is_told_with_its_place() {
    let file = TempFile::new("together.toml", "[cluster]\ntombstone_ttl = \"2h\"\nforget_after = \"3h\"\n");
    let error = resolve(&[], &[], Some(&file.0)).unwrap_err().to_string();
    let place = format!("{}:2:17: [cluster] tombstone_ttl: ", file.0.display());
    assert!(error.starts_with(&place), "{error}");
    let error = resolve(&[("forget_after", "25h")], &[], None).unwrap_err().to_string();
    assert!(error.starts_with("[cluster] tombstone_ttl (which has its default): "), "{error}");
}

#[test]
fn every_value_is_known_with_where_it_comes_from() {
    let file = TempFile::new("origins.toml", "node = \"a@h\"\n[listen]\nmqtt = \"127.0.0.1:1\"\n");
    let flags = BTreeMap::from([("phi", "9".to_owned())]);
    let environment = |name: &str| (name == "RUMORMQ_JOIN").then(|| "b:1".to_owned());
    let sources = Sources { flags: &flags, environment: &environment, file: Some(&file.0) };
    let resolution = sources.explain();
    assert!(resolution.errors.is_empty());
    let origin = |name| resolution.origin(setting(name));
    assert_eq!(origin("phi"), Origin::Flag("--phi".to_owned()));
    assert_eq!(origin("join"), Origin::Environment("RUMORMQ_JOIN".to_owned()));
    let place = Place { path: file.0.clone(), line: 3, column: 8 };
    assert_eq!(origin("mqtt"), Origin::File { place, key: "[listen] mqtt".to_owned() });
    assert_eq!(origin("http"), Origin::Default { key: "[listen] http".to_owned() });
}

#[test]
fn the_token_comes_from_a_file() {
    let file = TempFile::new("token", "0123456789abcdef\n");
    let config = resolve(&[("http_token_file", file.0.to_str().unwrap())], &[], None).unwrap();
    assert!(config.http_token.is_some_and(|token| token.is(b"0123456789abcdef")));
    let refused = |content: &str| {
        let file = TempFile::new("bad-token", content);
        resolve(&[("http_token_file", file.0.to_str().unwrap())], &[], None).unwrap_err().to_string()
    };
    assert!(refused("short").ends_with("a token has 16 to 1024 bytes, this one has 5"));
    assert!(refused("0123456789 abcdef").ends_with("without spaces"));
}

#[test]
fn cookies_come_from_a_file_or_the_environment() {
    let file = TempFile::new("cookies", "0123456789abcdef\n\nfedcba9876543210\n");
    let path = file.0.to_str().unwrap();
    assert_eq!(resolve(&[("cookie_file", path)], &[], None).unwrap().cookies.len(), 2);
    let secret = ("RUMORMQ_COOKIE", "0123456789abcdef");
    assert_eq!(resolve(&[], &[secret], None).unwrap().cookies.len(), 1);
    let both = resolve(&[], &[secret, ("RUMORMQ_COOKIE_FILE", path)], None).unwrap_err();
    assert_eq!(both.to_string(), "RUMORMQ_COOKIE and a cookie file are both given; give one of them");
    let short = resolve(&[], &[("RUMORMQ_COOKIE", "short")], None).unwrap_err();
    assert_eq!(
        short.to_string(),
        "RUMORMQ_COOKIE: cookie 1 has 5 bytes, at least 16 are needed: make one with `head -c 32 /dev/urandom | base64`"
    );
    let missing = resolve(&[("cookie_file", "/does/not/exist")], &[], None).unwrap_err().to_string();
    assert!(missing.starts_with("--cookie-file: cannot read /does/not/exist: No such file"), "{missing}");
}

#[test]
fn a_secret_is_never_shown() {
    let config = resolve(&[], &[("RUMORMQ_COOKIE", "0123456789abcdef")], None).unwrap();
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    assert_eq!(setting("cookie_file").show(&config), "");
}

#[test]
fn nothing_is_open_to_other_machines_by_accident() {
    let cookie = ("RUMORMQ_COOKIE", "0123456789abcdef");
    let ok = |flags: &[(&'static str, &str)], environment: &[(&str, &str)]| {
        resolve(flags, environment, None).map(drop).map_err(|error| error.to_string())
    };
    assert!(ok(&[("mqtt", "10.0.0.5:1883")], &[]).unwrap_err().contains("say --allow-anonymous if"));
    assert_eq!(ok(&[("mqtt", "10.0.0.5:1883"), ("allow_anonymous", "true")], &[]), Ok(()));
    assert!(
        ok(&[("cluster", "10.0.0.5:7883")], &[]).unwrap_err().contains("--cookie-file or RUMORMQ_COOKIE")
    );
    assert_eq!(ok(&[("cluster", "10.0.0.5:7883")], &[cookie]), Ok(()));
    assert_eq!(ok(&[("http", "10.0.0.5:18083")], &[]), Ok(()));
    assert!(ok(&[("ws", "10.0.0.5:8083")], &[]).unwrap_err().starts_with("ws 10.0.0.5:8083 can be reached"));
    let tls = [("mqtts", "10.0.0.5:8883"), ("tls_certificate_file", "c"), ("tls_key_file", "k")];
    assert!(ok(&tls, &[]).unwrap_err().starts_with("mqtts 10.0.0.5:8883 can be reached"));
    let known = [&tls[..], &[("tls_client_ca_file", "ca")]].concat();
    assert_eq!(ok(&known, &[]), Ok(()), "every client shows a certificate");
    let optional = [&known[..], &[("tls_client_certificates", "optional")]].concat();
    assert!(ok(&optional, &[]).unwrap_err().starts_with("mqtts 10.0.0.5:8883 can be reached"));
    let plain_as_well = [&known[..], &[("wss", "10.0.0.5:8084"), ("ws", "10.0.0.5:8083")]].concat();
    assert!(ok(&plain_as_well, &[]).unwrap_err().starts_with("ws 10.0.0.5:8083 can be reached"));
    assert_eq!(ok(&[("mqtt", "[::1]:1883"), ("cluster", "127.8.9.1:7883")], &[]), Ok(()));
}

#[test]
fn what_is_cleared_is_remembered_for_longer_than_a_node() {
    let ttl = |forget_after, tombstone_ttl| {
        let flags = [("forget_after", forget_after), ("tombstone_ttl", tombstone_ttl)];
        resolve(&flags, &[], None).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(ttl("1h", "61m"), Ok(()));
    assert!(ttl("1h", "1h").unwrap_err().contains("tombstone_ttl must be longer than forget_after"));
    assert!(ttl("25h", "24h").unwrap_err().contains("tombstone_ttl must be longer than forget_after"));
}

#[test]
fn tls_needs_a_certificate_and_a_key() {
    let error = |flags: &[(&'static str, &str)]| resolve(flags, &[], None).unwrap_err().to_string();
    assert_eq!(
        error(&[("mqtts", "127.0.0.1:8883"), ("tls_key_file", "k")]),
        "mqtts needs a certificate and its key: give --tls-certificate-file FILE"
    );
    assert_eq!(
        error(&[("wss", "127.0.0.1:8084"), ("tls_certificate_file", "c")]),
        "wss needs a certificate and its key: give --tls-key-file FILE"
    );
}

#[test]
fn tls_between_nodes_needs_three_files_and_a_cookie() {
    let all =
        [("cluster_tls_certificate_file", "c"), ("cluster_tls_key_file", "k"), ("cluster_tls_ca_file", "a")];
    assert!(resolve(&all, &[], None).is_ok(), "on loopback");
    for (index, (missing, _)) in all.iter().enumerate() {
        let rest: Vec<_> = all.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, it)| *it).collect();
        let error = resolve(&rest, &[], None).unwrap_err().to_string();
        assert!(error.contains(&format!("--{} FILE", missing.replace('_', "-"))), "{error}");
    }
    let elsewhere = [&all[..], &[("cluster", "10.0.0.5:7883"), ("node", "n@10.0.0.5")]].concat();
    let error = resolve(&elsewhere, &[], None).unwrap_err().to_string();
    assert!(error.contains("need also beside TLS"), "{error}");
    assert!(resolve(&elsewhere, &[("RUMORMQ_COOKIE", "0123456789abcdef")], None).is_ok());
}

#[test]
fn names_from_certificates_need_clients_that_show_some() {
    let (as_name, ca) = (("certificate_as_username", "true"), ("tls_client_ca_file", "ca"));
    let tls = [("mqtts", "127.0.0.1:8883"), ("tls_certificate_file", "c"), ("tls_key_file", "k")];
    let with = |more: &[_]| resolve(&[&tls[..], more].concat(), &[], None).map(drop);
    assert!(with(&[as_name, ca]).is_ok());
    for error in [with(&[as_name]), resolve(&[as_name, ca], &[], None).map(drop)] {
        let text = error.unwrap_err().to_string();
        assert!(text.contains("certificate-as-username") && text.contains("--tls-client-ca-file"), "{text}");
    }
}

#[test]
fn others_are_told_something_they_can_connect_to() {
    let cookie = ("RUMORMQ_COOKIE", "0123456789abcdef");
    let validate = |flags: &[(&'static str, &str)]| {
        resolve(flags, &[cookie], None).map(drop).map_err(|error| error.to_string())
    };
    let everywhere = ("cluster", "0.0.0.0:7883");
    for local in ["n@127.0.0.1", "n@localhost", "n@::1", "n@0.0.0.0"] {
        let error = validate(&[everywhere, ("node", local)]).unwrap_err();
        assert!(error.contains("give --advertise-cluster HOST:PORT, or a --node NAME@HOST"), "{error}");
    }
    assert_eq!(validate(&[everywhere, ("node", "n@10.0.0.5")]), Ok(()));
    assert_eq!(
        validate(&[everywhere, ("node", "n@127.0.0.1"), ("advertise_cluster", "10.0.0.5:7883")]),
        Ok(())
    );
    assert!(
        validate(&[("http", "[::]:0"), ("node", "n@localhost")]).unwrap_err().contains("--advertise-http")
    );
    assert!(validate(&[("cluster", "10.0.0.5:7883"), ("node", "n@a/b")]).unwrap_err().contains("\"a/b\""));

    let name = NodeName::parse("n@broker.example.org").unwrap();
    let told = |explicit: Option<&str>, bound: &str| {
        let explicit = explicit.map(|text| text.parse().unwrap());
        advertised(explicit.as_ref(), &name, bound.parse().unwrap()).unwrap().to_string()
    };
    assert_eq!(told(None, "0.0.0.0:7883"), "broker.example.org:7883");
    assert_eq!(told(None, "10.0.0.5:7884"), "broker.example.org:7884");
    assert_eq!(told(None, "127.0.0.1:7883"), "127.0.0.1:7883");
    assert_eq!(told(Some("nat:1"), "127.0.0.1:7883"), "nat:1");
}

#[test]
fn the_default_name_fits_the_addresses() {
    let name = |flags: &[(&'static str, &str)]| {
        let config = resolve(flags, &[("RUMORMQ_COOKIE", "0123456789abcdef")], None).unwrap();
        config.node_name().unwrap().to_string()
    };
    assert_eq!(name(&[]), "rumormq@127.0.0.1");
    assert_eq!(name(&[("cluster", "[::1]:7883")]), "rumormq@::1");
    assert_eq!(name(&[("cluster", "10.0.0.5:7883")]), "rumormq@10.0.0.5");
    let machine = format!("rumormq@{}", hostname::get().unwrap().to_str().unwrap());
    assert_eq!(name(&[("mqtt", "0.0.0.0:1883"), ("allow_anonymous", "true")]), machine);
}

#[test]
fn a_program_that_sets_fields_is_held_to_the_same_rules() {
    let mut config = Config { phi: 0.5, ..Config::default() };
    assert_eq!(config.validate().unwrap_err().to_string(), "the field phi: 0.5 is not between 1 and 100");
    config.phi = f64::NAN;
    assert!(config.validate().is_err());
    config.phi = 8.0;
    Arc::make_mut(&mut config.limits.session).max_outbox_bytes = 1;
    assert_eq!(
        config.validate().unwrap_err().to_string(),
        "the field max_outbox_bytes: 1 is not between 1KiB and 1024GiB"
    );
    config.limits = Limits::default();
    config.cluster_name = "two words".to_owned();
    assert!(config.validate().unwrap_err().to_string().contains("cluster_name"));
}

/// The README's table has every limit with its default.
#[test]
fn the_readme_tells_every_limit() {
    let readme = include_str!("../../README.md");
    let is_buffer = |name: &str| name.starts_with("forward_") || name == "forget_after";
    for setting in SETTINGS.iter().filter(|it| it.section == Section::Limits || is_buffer(it.name)) {
        let row = format!("| `{}` | {} | ", setting.name, setting.show(&Config::default()));
        assert!(readme.contains(&row), "{row}");
    }
}

/// The README's examples, one below the other, are a configuration file that works, but for the cookie.
#[test]
fn the_readmes_file_is_valid() {
    let readme = include_str!("../../README.md");
    let examples = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let example: String = examples.collect();
    let cookie = TempFile::new("readme-cookie", "0123456789abcdef");
    let file =
        TempFile::new("readme.toml", &example.replace("/etc/rumormq/cookie", cookie.0.to_str().unwrap()));
    let config = resolve(&[], &[], Some(&file.0)).unwrap();
    assert_eq!(config.join.len(), 2);
    assert_eq!(config.extras.rewrite.len(), 1);
    assert_eq!(config.bridge[0].topics.len(), 2);
}

#[test]
fn faults_in_files_are_told_with_file_and_line() {
    for (name, content, fault) in [
        (
            "password_file",
            "alice:$argon2id$\nbob",
            "line 1: user \"alice\": the hash is broken; write it again",
        ),
        ("acl_file", "\ntopic read a#", "line 2: \"a#\": a wildcard fills its level of the topic filter"),
    ] {
        let file = TempFile::new(name, content);
        let path = file.0.to_str().unwrap();
        let error = resolve(&[(name, path)], &[], None).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: {path}: {fault}", setting(name).flag())), "{error}");
        let missing = resolve(&[(name, "/nowhere/file")], &[], None).unwrap_err().to_string();
        assert!(missing.contains("cannot read /nowhere/file: "), "{missing}");
    }
}

#[test]
fn the_example_is_what_the_code_generates() {
    let example = include_str!("../../examples/rumormq.toml");
    assert!(
        example == default_file(),
        "write it again: cargo run -- check --print-default > examples/rumormq.toml"
    );
}

#[test]
fn the_default_file_explains_every_setting_and_has_its_default() {
    let undocumented: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    let undocumented = undocumented.iter().filter(|name| default_file::documentation(name).is_empty());
    assert_eq!(undocumented.collect::<Vec<_>>(), [&""; 0]);
    let commented = TempFile::new("commented.toml", &default_file());
    let uncommented: String = default_file()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let table: toml::Table = uncommented.parse().unwrap();
    let uncommented = TempFile::new("uncommented.toml", &uncommented);
    for file in [commented, uncommented] {
        let config = resolve(&[], &[], Some(&file.0)).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }
    for setting in SETTINGS {
        let section = match setting.section {
            Section::Top => Some(&table),
            section => table[section.name()].as_table(),
        };
        assert!(section.unwrap().contains_key(setting.name), "{}", setting.name);
    }
}

#[test]
fn only_a_file_may_leave_a_setting_empty() {
    let file = file_with(setting("acl_file"), "\"\"", "empty");
    assert!(resolve(&[], &[], Some(&file.0)).unwrap().acl_file.is_none());
    assert!(resolve(&[("acl_file", "")], &[], None).is_err());
    assert!(resolve(&[], &[("RUMORMQ_ACL_FILE", "")], None).is_err());
    let file = file_with(setting("mqtt"), "\"\"", "empty");
    assert!(resolve(&[], &[], Some(&file.0)).is_err(), "it has a default, which is not empty");
}

#[test]
fn what_differs_is_found_and_taken_over_unless_it_needs_a_restart() {
    let default = Config::default();
    assert_eq!(default.changes(&default.clone()), []);
    for setting in SETTINGS.iter().filter(|setting| !READ_FROM_FILES.contains(&setting.name)) {
        let mut other = default.clone();
        setting.set(&mut other, &three_values(setting)[0]).unwrap();
        let changes = default.changes(&other);
        assert_eq!(changes.iter().map(|change| &change.key).collect::<Vec<_>>(), [&setting.key()]);
        let adopting = setting.show(&default.adopting(&other));
        let expected = match setting.counts() {
            Counts::Restart => setting.show(&default),
            Counts::Now | Counts::NewConnections => setting.show(&other),
        };
        assert_eq!(adopting, expected, "{}", setting.name);
    }
    // Of a file it is what it contains that counts.
    let file = TempFile::new("adopted-rules", "topic a");
    let with = || resolve(&[("acl_file", file.0.to_str().unwrap())], &[], None).unwrap();
    let before = with();
    assert_eq!(before.changes(&with()), []);
    std::fs::write(&file.0, "topic b").unwrap();
    let changes = before.changes(&with());
    assert_eq!(changes, [Change { key: "[access] acl_file".to_owned(), values: None, counts: Counts::Now }]);
    let mut other = default.clone();
    other.bridge = vec![];
    other.extras.auto_subscribe = vec![toml::from_str("topic = 'a'").unwrap()];
    let changes = default.changes(&other);
    assert_eq!((changes.len(), changes[0].counts), (1, Counts::Restart));
}

#[test]
fn variables_that_nobody_reads_are_told_of() {
    let told = |name: &str| {
        let told = Sources::misspelled(std::iter::once(name.to_owned()));
        told.first().map(|(_, meant)| meant.clone())
    };
    assert_eq!(told("RUMORMQ_MAX_PAKET_SIZE").as_deref(), Some("RUMORMQ_MAX_PACKET_SIZE"));
    assert_eq!(told("RUMORMQ_COKIE").as_deref(), Some("RUMORMQ_COOKIE"));
    assert_eq!(told("RUMORMQ_MQTT"), None);
    // What Kubernetes gives to the pods beside a service of this name, and what is somebody else's.
    for name in [
        "RUMORMQ_PORT",
        "RUMORMQ_SERVICE_HOST",
        "RUMORMQ_SERVICE_PORT",
        "RUMORMQ_PORT_1883_TCP_ADDR",
        "PATH",
        "RUMORMQ_REQUIRE_CLIENTS",
    ] {
        assert_eq!(told(name), None, "{name}");
    }
}
