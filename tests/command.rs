//! The command as its users meet it: real processes, their output, their signals and their exit codes.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

const RUMORMQ: &str = env!("CARGO_BIN_EXE_rumormq");
/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command that runs until the test ends it.
struct Running {
    process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let mut command = command(arguments);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Running { process, lines }
    }

    /// The next line that contains `words`.
    fn line_with(&mut self, words: &str) -> String {
        self.lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains(words))
            .expect("a line with these words")
    }

    fn types(&mut self, line: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn signal(&self, name: &str) {
        signal(name, self.process.id());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the command did not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(RUMORMQ);
    command.args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RUMORMQ_")) {
        command.env_remove(name);
    }
    command
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn signal(name: &str, process: u32) {
    assert!(Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap().success());
}

/// A node on any free ports, and what it says when it is ready.
fn node() -> (Running, String) {
    let any = ["--mqtt=127.0.0.1:0", "--cluster=127.0.0.1:0", "--http=127.0.0.1:0", "--node=n1@127.0.0.1"];
    let mut node = Running::start(&[&["run"], &any[..]].concat());
    let ready = node.line_with("ready ");
    (node, ready)
}

/// The address after `name=` in a line.
fn address(line: &str, name: &str) -> SocketAddr {
    let word = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    word.expect("an address").parse().unwrap()
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A base whose ports are free for a few nodes. Each test looks in a range of its own.
fn free_base(range: u16) -> u16 {
    let first = 10_000 + range * 1000 + (std::process::id() % 100) as u16 * 8;
    let free = |base: &u16| (0..5).flat_map(|i| [base + i, base + 6000 + i, base + 16_200 + i]).all(is_free);
    (first..first + 200).step_by(8).find(free).expect("free ports")
}

#[test]
fn run_says_when_it_is_ready_and_stops_at_a_signal() {
    for name in ["TERM", "INT"] {
        let (mut node, ready) = node();
        let [mqtt, cluster, http] = ["mqtt", "cluster", "http"].map(|listener| address(&ready, listener));
        assert_eq!(ready, format!("ready node=n1@127.0.0.1 mqtt={mqtt} cluster={cluster} http={http}"));
        TcpStream::connect(mqtt).unwrap();
        node.signal(name);
        assert_eq!(node.exit_code(), Some(0), "SIG{name}");
    }
}

#[test]
fn a_node_that_waits_for_its_peers_stops_at_once() {
    let nobody = ["--join=127.0.0.1:1", "--join-grace=1h"];
    let any = ["run", "--mqtt=127.0.0.1:0", "--cluster=127.0.0.1:0"];
    let http = format!("--http=127.0.0.1:{}", free_base(2));
    let mut asked = Running::start(&[&any[..], &[&http], &nobody].concat());
    wait_until("the HTTP API answers", || output(&["status", &http]).0 == Some(0));
    asked.signal("TERM");
    assert_eq!(asked.exit_code(), Some(0));
}

#[test]
fn run_ends_with_its_standard_input_where_it_is_told_to() {
    let mut node = Running::start(&[
        "run",
        "--until-stdin-ends",
        "--mqtt=127.0.0.1:0",
        "--cluster=127.0.0.1:0",
        "--http=127.0.0.1:0",
    ]);
    node.line_with("ready ");
    drop(node.process.stdin.take());
    assert_eq!(node.exit_code(), Some(0));
}

#[test]
fn exit_codes_tell_usage_from_trouble() {
    for (arguments, code, words) in [
        (&["run", "--no-such-flag"][..], 2, "unexpected argument '--no-such-flag'"),
        (&["walk"], 2, "unrecognized subcommand 'walk'"),
        (&["run", "--phi=high"], 2, "--phi: \"high\" is not a number"),
        (&["run", "--config=/does/not/exist"], 2, "cannot read the configuration file /does/not/exist"),
        (&["run", "--mqtt=0.0.0.0:0"], 2, "--allow-anonymous"),
        (&["run", "--cluster=0.0.0.0:0"], 2, "there is no cookie"),
        (&["status", "--http=127.0.0.1:1"], 1, "no answer from http://127.0.0.1:1"),
        (&["--version"], 0, ""),
    ] {
        let (got, _, error) = output(arguments);
        assert_eq!(got, Some(code), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let (code, _, error) =
        output(&["run", &format!("--mqtt={address}"), "--cluster=127.0.0.1:0", "--http=127.0.0.1:0"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
}

#[test]
fn questions_are_answered_as_tables_and_as_the_node_gave_it() {
    let (_node, ready) = node();
    let http = address(&ready, "http").to_string();
    let ask = |arguments: &[&str]| {
        let (code, answer, error) = output(&[arguments, &["--http", &http]].concat());
        assert_eq!(code, Some(0), "{error}");
        answer
    };
    assert!(ask(&["status"]).starts_with("node       n1@127.0.0.1\nmembers    1 alive\nconverged  yes\n"));
    assert!(ask(&["nodes"]).contains("\nn1@127.0.0.1  alive  self"));
    assert_eq!(ask(&["routes"]), "FILTER  NODES\n");
    assert_eq!(ask(&["match", "a/b"]), "FILTER  NODES\n");
    assert_eq!(ask(&["routes", "--json"]), "{\"routes\":[],\"next\":null}\n");
    assert_eq!(ask(&["match", "a/b", "--json"]), "{\"topic\":\"a/b\",\"matches\":[]}\n");
    let cluster: serde_json::Value = serde_json::from_str(&ask(&["nodes", "--json"])).unwrap();
    assert_eq!(cluster["members"][0]["name"], "n1@127.0.0.1");
    let (code, _, error) = output(&["match", "a/+", "--http", &http]);
    assert_eq!((code, error.contains("a topic name contains no wildcard")), (Some(1), true), "{error}");
}

#[test]
fn clients_are_listed_and_kicked() {
    let (_node, ready) = node();
    let http = address(&ready, "http").to_string();
    let ask = |arguments: &[&str]| output(&[arguments, &["--http", &http]].concat());
    // A CONNECT of 3.1.1 with a session that stays, and a SUBSCRIBE to `a/#` with QoS 1.
    let mut client = TcpStream::connect(address(&ready, "mqtt")).unwrap();
    client.write_all(b"\x10\x0f\0\x04MQTT\x04\0\0\0\0\x03x/1\x82\x08\0\x01\0\x03a/#\x01").unwrap();
    wait_until("it is subscribed", || ask(&["subscriptions"]).1.contains("a/#"));
    let (code, table, _) = ask(&["clients"]);
    assert_eq!(code, Some(0));
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        (row[0], row[1], row[2], row[3], row[5], row[6]),
        ("x/1", "n1@127.0.0.1", "-", "connected", "3.1.1", "1")
    );
    let subscriptions = ask(&["subscriptions", "--client=x/1", "--scope=cluster"]).1;
    assert_eq!(
        subscriptions,
        "CLIENT  FILTER  NODE          QOS  OPTIONS\nx/1     a/#     n1@127.0.0.1  1    -\n"
    );
    assert_eq!(ask(&["clients", "--connected=false"]).1.lines().count(), 1);
    assert_eq!(
        ask(&["clients", "--prefix=y", "--json"]).1,
        "{\"clients\":[],\"next\":null,\"missing\":[]}\n"
    );

    let (code, words, _) = ask(&["kick", "x/1", "--keep-session"]);
    assert_eq!((code, words.as_str()), (Some(0), "x/1 is disconnected from n1@127.0.0.1\n"));
    wait_until("it is away", || ask(&["clients"]).1.contains("away"));
    let (code, json, _) = ask(&["kick", "x/1", "--json"]);
    assert_eq!(
        (code, json.as_str()),
        (Some(0), "{\"client\":\"x/1\",\"nodes\":[\"n1@127.0.0.1\"],\"missing\":[]}\n")
    );
    let (code, _, error) = ask(&["kick", "x/1"]);
    assert_eq!((code, error.contains("client \"x/1\" has no session")), (Some(1), true), "{error}");
    let (code, _, error) = ask(&["clients", "--scope=world"]);
    assert_eq!((code, error.contains("invalid value 'world'")), (Some(2), true), "{error}");
    let (code, _, error) = ask(&["top"]);
    assert_eq!((code, error.contains("top is for a terminal")), (Some(2), true), "{error}");
}

#[test]
fn who_has_read_enough_is_no_trouble() {
    for arguments in [&["check"][..], &["check", "--json"], &["check", "--print-default"], &["cookie"]] {
        let mut process = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(process.stdout.take());
        let said = process.wait_with_output().unwrap();
        assert_eq!((said.status.code(), said.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
    }
}

#[test]
fn shells_complete_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, _) = output(&["completions", shell]);
        assert_eq!(code, Some(0), "{shell}");
        assert!(script.contains("subscriptions") && script.contains("keep-session"), "{shell}");
    }
    assert_eq!(output(&["completions", "none"]).0, Some(2));
    // A shell takes it, where there is one.
    let mut bash = Command::new("bash");
    bash.args(["-c", "source /dev/stdin && complete -p rumormq"]);
    let Ok(mut bash) = bash.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else { return };
    bash.stdin.take().unwrap().write_all(output(&["completions", "bash"]).1.as_bytes()).unwrap();
    let said = bash.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("-F _rumormq"), "{said:?}");
}

#[test]
fn dev_runs_a_cluster_and_takes_it_along() {
    let base = free_base(0);
    let mut dev = Running::start(&["dev", "--nodes=3", &format!("--base-port={base}")]);
    dev.line_with("The cluster is up:");
    let publish = dev.line_with("mosquitto_pub");
    assert!(publish.contains(&format!("-p {base} ")), "{publish}");
    let http = format!("127.0.0.1:{}", base + 16_200);
    wait_until("all nodes know each other", || output(&["status", "--http", &http]).1.contains("3 alive"));

    // A second one finds the ports taken, and starts nothing.
    let (code, _, error) = output(&["dev", &format!("--base-port={}", base + 2)]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains(&format!("cannot use 127.0.0.1:{} for MQTT", base + 2)), "{error}");

    // A cable that is cut is seen on both ends, and so is that it is mended.
    let of_last = format!("127.0.0.1:{}", base + 16_202);
    let sees = |http: &str, words: &str| output(&["status", "--http", http]).1.contains(words);
    dev.types("cut 9");
    dev.line_with("there is no node 9");
    dev.types("cut 3");
    dev.line_with("node3 is cut off");
    wait_until("its side sees the others go", || sees(&of_last, "1 alive, 2 dead"));
    wait_until("the others see it go", || sees(&http, "2 alive, 1 dead\nconverged  yes, members missing"));
    assert!(sees(&http, "node3@127.0.0.1  dead   none"), "nobody is linked to the dead");
    dev.types("heal");
    wait_until("all are back", || sees(&http, "3 alive") && sees(&of_last, "3 alive"));
    dev.types("cut 1 2");
    let nodes = || output(&["nodes", "--http", &http]).1;
    wait_until("the third passes on between two", || nodes().contains("via node3@127.0.0.1"));

    // A node that dies is mentioned.
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", dev.process.id()));
    let last = |children: String| children.split_whitespace().last().and_then(|id| id.parse().ok());
    if let Some(node) = children.ok().and_then(last) {
        signal("KILL", node);
        assert!(dev.line_with("the node's process ended").contains("signal: 9"));
    }

    dev.signal("INT");
    assert_eq!(dev.exit_code(), Some(0));
    assert!((0..3).all(|index| is_free(base + index)));
}

#[test]
fn nodes_do_not_outlive_a_dev_that_is_killed() {
    let base = free_base(1);
    let mut dev = Running::start(&["dev", "--nodes=1", &format!("--base-port={base}")]);
    dev.line_with("The cluster is up:");
    assert!(!is_free(base));
    dev.signal("KILL");
    assert_eq!(dev.exit_code(), None);
    wait_until("the node is gone", || is_free(base));
}

/// A directory that is there until the test ends.
struct TempDir(std::path::PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let path = std::env::temp_dir().join(format!("rumormq-command-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    /// Writes a file; gives its path.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn check_prints_every_setting_and_where_it_comes_from_and_no_secret() {
    let dir = TempDir::new("check");
    let cookie = dir.file("cookie", "a-secret-of-the-cluster\n");
    let file = dir.file(
        "rumormq.toml",
        &format!(
            "[listen]\nmqtt = \"127.0.0.1:1884\"\n[cluster]\ncookie_file = \"{cookie}\"\n\
             [[auto_subscribe]]\ntopic = \"a\"\n"
        ),
    );
    let arguments = ["check", "--config", &file, "--max-qos=1"];
    let (code, table, error) = output(&arguments);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{table}");
    let row = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name)).expect("a row");
        line[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("node "), "rumormq@127.0.0.1 default");
    assert_eq!(row("[listen] mqtt "), format!("127.0.0.1:1884 {file}:2:8"));
    assert_eq!(row("[listen] ws "), "- default");
    assert_eq!(row("[cluster] cookie_file "), format!("{cookie} {file}:4:15"));
    assert_eq!(row("[broker] max_qos "), "1 flag --max-qos");
    assert_eq!(row("[[auto_subscribe]] "), format!("as the file says {file}:5:1"));
    assert!(!table.contains("a-secret"), "{table}");

    let (_, json, _) = output(&[&arguments[..], &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["valid"], true);
    let settings = report["settings"].as_array().unwrap();
    let mqtt = settings.iter().find(|row| row["setting"] == "[listen] mqtt").unwrap();
    assert_eq!(mqtt["from"], format!("{file}:2:8"));

    let mut with_secret = command(&["check"]);
    let shown = with_secret.env("RUMORMQ_COOKIE", "another-secret-of-the-cluster").output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("environment RUMORMQ_COOKIE") && !shown.contains("another-secret"), "{shown}");
}

#[test]
fn the_default_configuration_is_printed_and_accepted() {
    let (code, file, _) = output(&["check", "--print-default"]);
    assert_eq!((code, file.as_str()), (Some(0), include_str!("../examples/rumormq.toml")));
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/rumormq.toml");
    let (code, table, error) = output(&["check", "--config", example]);
    assert_eq!(code, Some(0), "{error}");
    assert!(table.lines().skip(1).all(|row| row.ends_with(" default")), "{table}");
}

#[test]
fn check_tells_all_mistakes_at_once() {
    let dir = TempDir::new("check-mistakes");
    let file = dir.file("rumormq.toml", "[limits]\nmax_paket_size = 1\nmax_qos = 1\nmax_inflight = 0\n");
    let (code, table, errors) = output(&["check", "--config", &file, "--mqtts=127.0.0.1:0"]);
    assert_eq!((code, table.as_str()), (Some(2), ""), "{errors}");
    let expected = [
        format!(
            "rumormq: {file}:2:1: [limits] max_paket_size is not a setting; did you mean [limits] max_packet_size?"
        ),
        format!("rumormq: {file}:3:1: [limits] max_qos belongs in section [broker]"),
        format!("rumormq: {file}:4:16: [limits] max_inflight: 0 is not between 1 and 65535"),
        "rumormq: mqtts needs a certificate and its key: give --tls-certificate-file FILE".to_owned(),
    ];
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
    // Those of files that it names as well.
    let key = dir.file("key.pem", "nothing");
    let tls = [format!("--tls-certificate-file={key}"), format!("--tls-key-file={key}")];
    let (code, json, _) = output(&["check", "--json", "--mqtts=127.0.0.1:0", &tls[0], &tls[1]]);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &report["valid"]), (Some(2), &serde_json::Value::Bool(false)));
    let error = report["errors"][0].as_str().unwrap();
    assert!(
        error.contains("no certificate in PEM form; give the right file with --tls-certificate-file"),
        "{error}"
    );
}

/// Runs `rumormq passwd` with this on its standard input.
fn passwd(arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = command(&[&["passwd"], arguments].concat());
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_cookie_is_made_once_and_for_its_owner_alone() {
    let made = || {
        let (code, cookie, _) = output(&["cookie"]);
        assert_eq!((code, cookie.lines().count()), (Some(0), 1));
        cookie
    };
    assert_ne!(made(), made());
    let directory = TempDir::new("cookie");
    let path = directory.0.join("cookie");
    let file = path.to_str().unwrap();
    assert_eq!(output(&["cookie", file]).0, Some(0));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let cookie = std::fs::read_to_string(&path).unwrap();
    let (code, _, error) = output(&["cookie", file]);
    assert_eq!((code, error.contains("is there already")), (Some(2), true), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), cookie, "it is as it was");
    // A node takes it.
    let (code, checked, error) = output(&["check", "--cookie-file", file]);
    assert_eq!(code, Some(0), "{error}");
    assert!(!checked.contains(cookie.trim()), "a secret is shown");
}

#[test]
fn passwd_edits_a_password_file() {
    let file = std::env::temp_dir().join(format!("rumormq-passwd-{}", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let path = file.to_str().unwrap();
    let content = || std::fs::read_to_string(&file).unwrap();
    assert_eq!(passwd(&[path, "alice"], "secret\n").0, Some(0));
    assert!(content().starts_with("alice:$argon2id$v=19$m=19456,t=2,p=1$") && content().lines().count() == 1);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(passwd(&[path, "bob", "--scram"], "secret").0, Some(0));
    let alice = content().lines().next().unwrap().to_owned();
    assert_eq!(content().lines().filter(|line| line.starts_with("bob:")).count(), 2);
    assert!(content().contains("\nbob:SCRAM-SHA-256$16384:"));
    assert_eq!(passwd(&[path, "bob"], "another\n").0, Some(0));
    assert_eq!(content().lines().filter(|line| line.starts_with("bob:$argon2id$")).count(), 1);
    assert!(content().starts_with(&alice), "alice is as she was");
    assert_eq!(passwd(&[path, "bob", "--delete"], "").0, Some(0));
    assert_eq!(content(), format!("{alice}\n"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    for (arguments, input, words) in [
        (&[path, "bob", "--delete"][..], "", "there is no user \"bob\""),
        (&[path, "b:b"], "secret\n", "is no user name"),
        (&[path, "bob"], "\n", "an empty password protects nothing"),
    ] {
        let (code, error) = passwd(arguments, input);
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    assert_eq!(content(), format!("{alice}\n"));
    std::fs::write(&file, "something else\n").unwrap();
    let (code, error) = passwd(&[path, "bob"], "secret\n");
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("line 1: a line is NAME:VERIFIER"), "{error}");
    assert_eq!(content(), "something else\n");
    std::fs::remove_file(&file).unwrap();
}

/// Somebody else who may write there must not choose which file is written.
#[test]
fn passwd_follows_no_link_that_was_prepared() {
    let dir = TempDir::new("passwd-link");
    let victim = dir.file("victim", "precious\n");
    let users = dir.0.join("users");
    std::os::unix::fs::symlink(&victim, dir.0.join("users.new")).unwrap();
    assert_eq!(passwd(&[users.to_str().unwrap(), "alice"], "secret\n").0, Some(0));
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious\n");
    assert!(std::fs::symlink_metadata(&users).unwrap().is_file());
    let mut left: Vec<_> =
        std::fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["users", "users.new", "victim"]);
}

/// Runs `rumormq bench` with these words against a broker; exit code, result, and what it says of it.
fn bench(at: SocketAddr, words: &str) -> (Option<i32>, serde_json::Value, String) {
    let at = format!("--at={at}");
    let arguments = [&["bench", &at, "--json"], &words.split(' ').collect::<Vec<_>>()[..]].concat();
    let (code, json, error) = output(&arguments);
    (code, serde_json::from_str(&json).unwrap_or_default(), error)
}

#[test]
fn bench_loses_nothing_on_a_node_and_says_how_long_it_took() {
    let (_node, ready) = node();
    let mqtt = address(&ready, "mqtt");
    for (words, deliveries) in [
        ("pairs --clients=3 --count=3000", 3000),
        ("pairs --clients=3 --count=3001 --qos=1", 3001),
        ("pairs --clients=2 --count=1000 --qos=2 --protocol=3.1.1 --size=24", 1000),
        ("fan-out --publishers=2 --subscribers=5 --count=1000 --qos=1", 5000),
        ("fan-out --subscribers=4 --count=100 --rate=1000 --size=5000 --threads=2", 400),
    ] {
        let (code, report, error) = bench(mqtt, &format!("{words} --duration=30s"));
        assert_eq!((code, error.as_str()), (Some(0), ""), "{words}: {report}");
        for (what, count) in
            [("received", deliveries), ("expected", deliveries), ("lost", 0), ("duplicates", 0)]
        {
            assert_eq!(report[what], count, "{words}: {what}");
        }
        let latency = &report["latency_us"];
        assert!(latency["p50"].as_u64() <= latency["p99"].as_u64(), "{words}: {latency}");
        assert!(latency["p999"].as_u64() <= latency["max"].as_u64(), "{words}: {latency}");
        assert!(report["received_per_second"].as_f64().unwrap() > 1.0 && latency["p50"].is_u64());
    }
    let (code, report, _) = bench(mqtt, "idle --clients=20 --duration=100ms");
    assert_eq!((code, &report["connections"], &report["published"]), (Some(0), &20.into(), &0.into()));
    let (code, report, _) = bench(mqtt, "publish --clients=2 --count=500 --qos=1 --duration=30s");
    assert_eq!((code, &report["acknowledged"]), (Some(0), &500.into()));
    assert!(report["acknowledged_us"]["p99"].is_u64());
}

#[test]
fn bench_hears_another_run_that_publishes() {
    let (_node, ready) = node();
    let mqtt = address(&ready, "mqtt");
    let at = format!("--at={mqtt}");
    let subscribe = ["bench", "subscribe", &at, "--clients=2", "--topic=there/#", "--duration=2m", "--json"];
    let mut listening = Running::start(&subscribe);
    let http = format!("--http={}", address(&ready, "http"));
    wait_until("both have subscribed", || {
        let (_, nodes, _) = output(&["match", "there/0", &http, "--json"]);
        nodes.contains("there/#")
    });
    let (code, report, _) =
        bench(mqtt, "publish --clients=3 --topic=there --count=3000 --qos=1 --duration=30s");
    assert_eq!((code, &report["acknowledged"]), (Some(0), &3000.into()));
    listening.signal("INT");
    let report: String = listening.lines.by_ref().map(Result::unwrap).collect();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    // The second one may have come a moment after the first.
    let received = report["received"].as_u64().unwrap();
    assert!((3000..=6000).contains(&received), "{report}");
    assert_eq!((&report["out_of_order"], &report["lost"]), (&0.into(), &0.into()));
    assert_eq!(listening.exit_code(), Some(0));
}

#[test]
fn bench_tells_losses_duplicates_and_disorder_apart() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let broker = std::thread::spawn(move || crooked_broker(&listener));
    let words =
        "pairs --clients=1 --count=100 --window=100 --qos=1 --protocol=3.1.1 --duration=30s --patience=1s";
    let (code, report, error) = bench(at, words);
    assert_eq!(code, Some(1));
    for (what, count) in [
        ("published", 100),
        ("acknowledged", 100),
        ("received", 90),
        ("lost", 10),
        ("lost_unacknowledged", 0),
        ("duplicates", 10),
        ("out_of_order", 10),
    ] {
        assert_eq!(report[what], count, "{what}: {report}");
    }
    assert!(error.contains("10 messages were acknowledged and did not come"), "{error}");
    assert!(error.contains("10 messages came after a later one"), "{error}");
    broker.join().unwrap();
}

/// A broker for one subscriber and one publisher, of 3.1.1. Of ten messages it acknowledges all, and passes on one never, one
/// twice, and one behind the next.
fn crooked_broker(listener: &TcpListener) {
    let accept = |answers: &[&[u8]]| {
        let mut stream = listener.accept().unwrap().0;
        for answer in answers {
            packet(&mut stream).expect("a request");
            stream.write_all(answer).unwrap();
        }
        stream
    };
    let connack = &[0x20, 2, 0, 0][..];
    let mut subscriber = accept(&[connack, &[0x90, 3, 0, 1, 1]]);
    let mut publisher = accept(&[connack]);
    let mut held = Vec::new();
    let mut number = 0;
    while let Some(packet) = packet(&mut publisher) {
        if packet[0] >> 4 != 3 {
            break;
        }
        let topic_len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        publisher.write_all(&[0x40, 2, packet[4 + topic_len], packet[5 + topic_len]]).unwrap();
        match number % 10 {
            3 => {}
            5 => subscriber.write_all(&[&packet[..], &packet].concat()).unwrap(),
            7 => held = packet,
            8 => subscriber.write_all(&[packet, std::mem::take(&mut held)].concat()).unwrap(),
            _ => subscriber.write_all(&packet).unwrap(),
        }
        number += 1;
    }
    // Until it has heard enough.
    while packet(&mut subscriber).is_some_and(|packet| packet[0] >> 4 != 14) {}
}

/// The next packet, which is a short one.
fn packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    let mut packet = [&head[..], &vec![0; usize::from(head[1])]].concat();
    assert!(head[1] < 128, "a longer one has more bytes of length");
    stream.read_exact(&mut packet[2..]).ok()?;
    Some(packet)
}

#[test]
fn bench_says_what_it_cannot_do() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let (code, _, error) = bench(nobody, "pairs --clients=1");
    assert!(code == Some(1) && error.contains("is a broker listening there?"), "{error}");
    for (words, hint) in [
        ("pairs --size=10", "at least 24 bytes"),
        ("pairs --duration=10", "give a time such as"),
        ("pairs --rate=0", "above 0"),
        ("subscribe", "--topic"),
        ("pairs --tls-ca-file=/nonexistent", "--tls-ca-file"),
    ] {
        let (code, _, error) = bench(nobody, words);
        assert!(code == Some(2) && error.contains(hint), "{words}: {error}");
    }
}
