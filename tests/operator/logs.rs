//! What nodes log, and what they must not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rumormq::codec::packet::{Connect, Packet, Properties, Publish, Will};
use rumormq::topic::Topic;

use crate::directory::Directory;
use crate::processes::{Launch, PATIENCE, await_converged, awaits};
use crate::support::client::{Client, Q1, connect, lasting, options, publish};

/// Runs two nodes that log all they can, with secrets everywhere, and has clients do right and wrong things.
#[test]
fn no_secret_is_ever_logged() {
    let files = Directory::new("log-secrets");
    let (cookie, token) = ("cookie-2fe1c9d8a4b7", "token-77ab03e1d5c9f2");
    let (right, wrong) = ("password-right-51d0", "password-wrong-9c4e");
    let payloads =
        ["payload-in-flight-6b", "payload-retained-a7", "payload-of-a-will-d3", "payload-refused-f1"];
    let users = files.users(&[("alice", right)]);
    let cookies = files.write("cookie", cookie);
    let tokens = files.write("token", token);
    let rules = files.write("rules", "user alice\ntopic a/#\n");
    let bridge = files.write("bridge-password", "password-of-bridge-3a");
    let config = files.write(
        "rumormq.toml",
        &format!(
            "[[bridge]]\nname = \"b\"\naddress = \"127.0.0.1:1\"\nusername = \"u\"\npassword_file = \"{bridge}\"\n\
             topics = [{{ filter = \"a/#\", direction = \"both\" }}]\n"
        ),
    );
    let launch = |name: &str| {
        Launch::new(name)
            .without_log_level()
            .flag("--log-level", "trace")
            .flag("--password-file", &users)
            .flag("--acl-file", &rules)
            .flag("--cookie-file", &cookies)
            .flag("--http-token-file", &tokens)
            .flag("--config", &config)
    };
    let one = launch("n1").start();
    let two = launch("n2").join(one.cluster_addr()).start();
    // One that has another cookie is turned away.
    let other = "cookie-of-another-cluster-e0";
    let stranger =
        Launch::new("n3").cookie(other).flag("--join-grace", "200ms").join(one.cluster_addr()).start();
    await_converged(&[&one, &two]);

    let alice = |id| Connect { username: Some("alice"), password: Some(right.as_bytes()), ..lasting(id, 60) };
    let mut reader = Client::connect(two.mqtt_addr(), alice("reader"));
    reader.subscribes(&[("a/#", options(Q1))], "0x01");
    let topic = Topic::new("a/will").expect("a topic");
    let properties = Properties::NONE;
    let will = Will { topic, payload: payloads[2].as_bytes(), qos: Q1, retain: false, properties };
    let mut writer = Client::connect(one.mqtt_addr(), Connect { will: Some(will), ..alice("writer") });
    writer.publishes(publish(1, Q1, "a/1", payloads[0]));
    writer.sends(Packet::Publish(Publish { retain: true, ..publish(2, Q1, "a/2", payloads[1]) }));
    writer.gets("PUBACK 2");
    writer.sends(Packet::Publish(publish(3, Q1, "b", payloads[3])));
    writer.gets("PUBACK 3 0x87");
    writer.vanishes();
    let mut guesser =
        Client::start(one.mqtt_addr(), Connect { password: Some(wrong.as_bytes()), ..alice("guesser") });
    guesser.gets("CONNACK 0x86");
    // A session that moves takes what it holds along.
    reader.disconnects();
    let moved = Client::connect(one.mqtt_addr(), alice("reader"));
    assert_eq!(one.delete("/api/v1/retained?topic=a/2"), 401, "it has no token");
    awaits("the guess is logged", PATIENCE, || one.has_logged(&["WARN", "client not let in"]));
    awaits("the stranger is logged", PATIENCE, || one.has_logged(&["WARN", "peer turned away"]));
    drop(moved);
    one.hang_up();
    awaits("the files are read again", PATIENCE, || one.has_logged(&["are read again"]));

    let hash = std::fs::read_to_string(&users).expect("the password file");
    let hash = hash.trim().rsplit('$').next().expect("a hash");
    let secrets =
        [&[cookie, token, right, wrong, other, "password-of-bridge-3a", hash][..], &payloads].concat();
    for node in [&one, &two, &stranger] {
        let log = node.log();
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "it says what it can");
        for secret in &secrets {
            assert!(!log.contains(secret), "{} has logged {secret}", node.name());
        }
    }
}

#[test]
fn programs_get_an_object_a_line() {
    let node = Launch::new("n1").flag("--log-format", "json").start();
    Client::connect(node.mqtt_addr(), connect("c")).disconnects();
    awaits("something is logged", PATIENCE, || node.has_logged(&["connection ends"]));
    let log = node.log();
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect(line);
        for key in ["timestamp", "level", "target", "message"] {
            assert!(event[key].is_string(), "{key}: {line}");
        }
    }
    let end = log.lines().find(|line| line.contains("connection ends")).expect("a line");
    let end: serde_json::Value = serde_json::from_str(end).expect("an object");
    assert_eq!((&end["level"], &end["client"]), (&"DEBUG".into(), &"c".into()));
}

#[test]
fn what_repeats_itself_is_counted_instead() {
    let node = Launch::new("n1").start();
    awaits("lines are left out, and counted", Duration::from_secs(40), || {
        node.hang_up();
        std::thread::sleep(Duration::from_millis(50));
        node.has_logged(&["INFO", "more like this suppressed", "are read again"])
    });
}

/// Whoever reads a warning at three in the morning has to do something about it.
#[test]
fn every_warning_says_what_to_do() {
    let advice = [
        "allow ",
        "bring ",
        "check",
        "close ",
        "give ",
        "look ",
        "make room",
        "nothing else needs",
        "put it right",
        "raise ",
        "remove ",
        "replace ",
        "restart ",
        "start it",
        "stop one",
        "take the bridge",
        "upgrade ",
        "needs ",
        "advice",
    ];
    let mut warnings = 0;
    for source in ["src", "gossip/src"] {
        for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(source)) {
            let content = std::fs::read_to_string(&path).expect("a source file");
            let content = content.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for macro_name in ["tracing::warn!(", "tracing::error!("] {
                for call in content.split(macro_name).skip(1) {
                    let call = &call[..call.find(");").unwrap_or(call.len())];
                    let (_, message) = call.split_once('"').expect("a message");
                    warnings += 1;
                    assert!(advice.iter().any(|words| message.contains(words)), "{}: {call}", path.display());
                }
            }
        }
    }
    assert!(warnings > 30, "they were found: {warnings}");
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => Vec::from_iter(path.extension().is_some_and(|it| it == "rs").then_some(path)),
        })
        .collect()
}
