//! Cookies that are replaced, and certificates: without a restart, and with.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clients::{connect, message, numbers, publish_numbers, subscriber, time_of_puback};
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits};
use crate::support::certificates::{Authority, Identity};
use crate::support::client::Q1;

const OLD: &str = "the old secret of tests";
const NEW: &str = "the new secret of tests";

/// A place for the files of one test.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let name = format!("{test}-{}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).expect("a writable target directory");
        Directory(directory)
    }

    /// Writes a node's cookies, one a line.
    fn write(&self, node: &str, cookies: &[&str]) -> String {
        let path = self.0.join(node);
        fs::write(&path, cookies.join("\n")).expect("a writable directory");
        path.display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Has a node read its files again, and waits until it has.
fn reload(node: &Process) {
    let count = || node.log().matches("are read again").count();
    let before = count();
    node.hang_up();
    awaits("the files are read again", PATIENCE, || count() > before);
}

/// The three rounds of a change: the new cookie accepted, then used, then the old one dropped. After every single step a node
/// is started anew, so that links have to come up between nodes that are in different rounds.
#[test]
fn cookies_rotate_without_downtime() {
    let directory = Directory::new("rotation");
    let names = ["n1", "n2", "n3"];
    let launch = |name: &str| Launch::new(name).flag("--cookie-file", &directory.write(name, &[OLD]));
    let one = launch("n1").start();
    let [mut two, three] = ["n2", "n3"].map(|name| launch(name).join(one.cluster_addr()).start());
    await_converged(&[&one, &two, &three]);

    let mut receiver = subscriber(&three, "c", &["t"], Q1);
    let mut publisher = connect(&one, "p");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut next = 0;
            while !done.load(Ordering::Relaxed) {
                publish_numbers(&mut publisher, "t", Q1, next..next + 20, 20);
                next += 20;
                std::thread::sleep(Duration::from_millis(1));
            }
            time_of_puback(&mut publisher, "t", "the end");
            next
        });
        let receiving = scope.spawn(|| crate::clients::messages_until(&mut receiver, "the end"));
        for cookies in [&[OLD, NEW][..], &[NEW, OLD], &[NEW]] {
            for name in names {
                directory.write(name, cookies);
                match name {
                    "n1" => reload(&one),
                    "n2" => reload(&two),
                    _ => reload(&three),
                }
                two.kill();
                two.restart();
                await_converged(&[&one, &two, &three]);
            }
        }
        done.store(true, Ordering::Relaxed);
        let published = publishing.join().expect("every message is acknowledged");
        assert_eq!(receiving.join().expect("every message arrives"), numbers(0..published));
        assert!(published > 200, "{published} messages");
    });
    assert!(!one.has_logged(&["link down", "peer=n3@"]) && one.has_logged(&["link down", "peer=n2@"]));
    for node in [&one, &two, &three] {
        assert_eq!(node.metric("gossip_rejected_total", &[]), 0.0, "on {}", node.name());
    }
    // Who still has the old one alone stays outside, and both ends say so once.
    let file = directory.write("n4", &[OLD]);
    let outside = Launch::new("n4").flag("--cookie-file", &file).flag("--join-grace", "300ms");
    let outside = outside.join(one.cluster_addr()).start();
    awaits("it tries again", PATIENCE, || outside.rejected("link_wrong_key") >= 3.0);
    let warnings = |node: &Process, text: &str| node.log().matches(text).count();
    assert!(one.rejected("link_wrong_key") >= 2.0 && one.rejected("wrong_key") > 0.0);
    let told =
        |node, what: &str| warnings(node, &format!("WARN rumormq::cluster::links: peer turned away:{what}"));
    for (node, words) in [
        (&outside, "the peer does not accept this node's cookie"),
        (&one, "the peer has no accepted cookie of this cluster"),
    ] {
        awaits("it is told", PATIENCE, || node.has_logged(&["WARN", words]));
        assert_eq!(told(node, ""), 1);
    }
}

/// What cannot be taken over changes nothing.
#[test]
fn what_cannot_be_reloaded_leaves_everything_as_it_was() {
    let directory = Directory::new("bad-reload");
    let launch = |name: &str| Launch::new(name).flag("--cookie-file", &directory.write(name, &[OLD]));
    let one = launch("n1").start();
    for content in [&["short"][..], &[], &[OLD; 9]] {
        let before = one.log().matches("cannot reload").count();
        directory.write("n1", content);
        one.hang_up();
        awaits("it complains", PATIENCE, || one.log().matches("cannot reload").count() > before);
    }
    let two = launch("n2").join(one.cluster_addr()).start();
    await_converged(&[&one, &two]);
}

/// Another authority for all nodes, one node after the other: its certificates are trusted, then used, then alone.
#[test]
fn certificates_are_replaced_without_downtime() {
    let (old, new) = (Authority::new(), Authority::new());
    let directory = Directory::new("certificates");
    let path = |file: &str| directory.0.join(file);
    let copy = |identity: &Identity, node: &str| {
        fs::copy(&identity.certificate, path(&format!("{node}.pem"))).expect("copied");
        fs::copy(&identity.key, path(&format!("{node}.key"))).expect("copied");
    };
    let trust = |node: &str, authorities: &[&Authority]| {
        let pem = authorities.iter().map(|it| fs::read_to_string(it.certificate()).expect("written"));
        fs::write(path(&format!("{node}.ca")), pem.collect::<String>()).expect("written");
    };
    let identity = |authority: &Authority| authority.node("n", &["127.0.0.1"], None);
    let launch = |node: &str| {
        copy(&identity(&old), node);
        trust(node, &[&old]);
        let flag = |launch: Launch, flag: &str, kind: &str| {
            launch.flag(flag, &path(&format!("{node}.{kind}")).display().to_string())
        };
        let launch = flag(Launch::new(node).cookie(OLD), "--cluster-tls-certificate-file", "pem");
        flag(flag(launch, "--cluster-tls-key-file", "key"), "--cluster-tls-ca-file", "ca")
    };
    let one = launch("n1").start();
    let mut two = launch("n2").join(one.cluster_addr()).start();
    await_converged(&[&one, &two]);
    let mut client = subscriber(&one, "c", &["t"], Q1);
    let rounds: [&dyn Fn(&str); 3] =
        [&|node| trust(node, &[&old, &new]), &|node| copy(&identity(&new), node), &|node| {
            trust(node, &[&new])
        }];
    for round in rounds {
        for node in ["n1", "n2"] {
            round(node);
            let links = one.log().matches("link down").count();
            reload(if node == "n1" { &one } else { &two });
            time_of_puback(&mut connect(&two, "p"), "t", "x");
            assert_eq!(message(&mut client), "x");
            assert_eq!(one.log().matches("link down").count(), links, "links stay up");
            two.kill();
            two.restart();
            await_converged(&[&one, &two]);
        }
    }
    assert_eq!(one.rejected("link_tls") + two.rejected("link_tls"), 0.0);
    // A certificate for somebody else is not taken over.
    copy(&new.node("other", &["10.0.0.1"], None), "n2");
    two.hang_up();
    awaits("it complains", PATIENCE, || {
        two.has_logged(&["cannot reload", "is for 10.0.0.1, not for n2@127.0.0.1"])
    });
    await_converged(&[&one, &two]);
}
