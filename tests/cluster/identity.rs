//! Who a node is, over stops, crashes, lost memories and wrong clocks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rumormq::admin::view::MemberState;
use rumormq::store::{DataDir, Found, Identity};
use rumormq_gossip::Incarnation;

use crate::clients::{connect, message, subscriber, time_of_puback};
use crate::processes::{Launch, PATIENCE, Process, await_converged, awaits};
use crate::support::client::Q1;

/// Directories that go with the test.
pub struct Disk(PathBuf);

impl Disk {
    pub fn new(test: &str) -> Disk {
        let path = std::env::temp_dir().join(format!("rumormq-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Disk(path)
    }

    /// The directory of one node.
    pub fn of(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// `NAME@127.0.0.1` with a directory of its own.
    pub fn launch(&self, name: &str) -> Launch {
        Launch::new(name).flag("--data-dir", self.of(name).to_str().expect("a readable path"))
    }

    /// A chain of nodes `n1` to `nN`, converged, once each has written down all others.
    pub fn cluster(&self, size: usize) -> Vec<Process> {
        let mut nodes: Vec<Process> = Vec::new();
        for number in 1..=size {
            let launch = self.launch(&format!("n{number}"));
            nodes.push(match nodes.last() {
                Some(last) => launch.join(last.cluster_addr()).start(),
                None => launch.start(),
            });
        }
        await_converged(&nodes.iter().collect::<Vec<_>>());
        nodes
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a node that does not run has written down.
pub fn identity(dir: &Path) -> Identity {
    match DataDir::open(dir).expect("the node does not run").load_identity() {
        Ok(Found::Identity(identity)) => identity,
        other => panic!("{other:?}"),
    }
}

/// Moves a node's last incarnation, as if its clock had been ahead by so much.
fn set_ahead(dir: &Path, by: Duration) -> u64 {
    let mut identity = identity(dir);
    identity.incarnation = Incarnation(identity.incarnation.0 + by.as_millis() as u64);
    DataDir::open(dir).expect("the node does not run").save_identity(&identity).expect("there is room");
    identity.incarnation.0
}

fn stop(node: &mut Process) {
    node.terminate();
    assert_eq!(node.wait().code(), Some(0));
}

const HOUR: Duration = Duration::from_secs(3600);

/// All stop, none is told whom to join, and they are one cluster again.
#[test]
fn identity_a_whole_cluster_restarts_without_seeds() {
    let disk = Disk::new("whole");
    let mut nodes = disk.cluster(3);
    nodes.iter_mut().for_each(stop);
    for node in &nodes {
        let name = node.name().split('@').next().expect("a name");
        let known: Vec<String> =
            identity(&disk.of(name)).peers.iter().map(|peer| peer.name.to_string()).collect();
        let expected: Vec<&str> =
            nodes.iter().map(Process::name).filter(|other| *other != node.name()).collect();
        assert_eq!(known, expected, "of {name}");
    }
    let before: Vec<u64> =
        (1..4).map(|number| identity(&disk.of(&format!("n{number}"))).incarnation.0).collect();
    std::thread::scope(|scope| {
        for node in &mut nodes {
            scope.spawn(|| node.restart_with(Launch::without_seeds));
        }
    });
    await_converged(&nodes.iter().collect::<Vec<_>>());
    for (node, before) in nodes.iter().zip(before) {
        assert!(node.incarnation() > before);
    }
}

/// The same after a crash, and one of them is elsewhere now.
#[test]
fn identity_a_node_that_has_moved_finds_its_cluster() {
    let disk = Disk::new("moved");
    let mut nodes = disk.cluster(3);
    for number in 1..4 {
        awaits("peers are written down within seconds", PATIENCE, || {
            let text =
                fs::read_to_string(disk.of(&format!("n{number}")).join("identity")).unwrap_or_default();
            text.matches("\"address\"").count() == 2
        });
    }
    nodes.iter_mut().for_each(Process::kill);
    std::thread::scope(|scope| {
        for (number, node) in nodes.iter_mut().enumerate() {
            scope.spawn(move || {
                node.restart_with(|launch| {
                    let launch = launch.without_seeds();
                    if number == 0 {
                        launch.cluster_addr("127.0.0.1:0".parse().expect("any port"))
                    } else {
                        launch
                    }
                });
            });
        }
    });
    await_converged(&nodes.iter().collect::<Vec<_>>());
}

/// What it knew is all down: it serves, and goes on trying.
#[test]
fn identity_who_knows_only_the_dead_serves_and_keeps_trying() {
    let disk = Disk::new("alone");
    let mut nodes = disk.cluster(2);
    nodes.iter_mut().for_each(stop);
    let [one, two] = &mut nodes[..] else { panic!("two nodes") };
    let began = Instant::now();
    one.restart_with(|launch| launch.without_seeds().flag("--join-grace", "1s"));
    assert!(began.elapsed() >= Duration::from_secs(1), "it waits for whom it knew");
    let mut client = subscriber(one, "c", &["a"], Q1);
    time_of_puback(&mut connect(one, "p"), "a", "alone");
    assert_eq!(message(&mut client), "alone");
    two.restart_with(Launch::without_seeds);
    await_converged(&[one, two]);
    time_of_puback(&mut connect(two, "p"), "a", "together");
    assert_eq!(message(&mut client), "together");
}

/// However the clock is, and whether or not the directory is lost: the next start counts as a later one.
#[test]
fn identity_a_later_start_is_a_higher_incarnation() {
    let disk = Disk::new("clock");
    let mut nodes = disk.cluster(2);
    let [one, two] = &mut nodes[..] else { panic!("two nodes") };
    let seed = one.cluster_addr();

    // The clock was an hour ahead: known by the directory, with and without anybody who remembers.
    stop(two);
    let ahead = set_ahead(&disk.of("n2"), HOUR);
    two.restart_with(Launch::without_seeds);
    assert_eq!(two.incarnation(), ahead + 1);
    await_converged(&[one, two]);

    // The directory is lost as well: known by the others.
    two.kill();
    fs::remove_dir_all(disk.of("n2")).expect("it was there");
    two.restart_with(|launch| launch.join(seed));
    assert_eq!(two.incarnation(), ahead + 2);
    await_converged(&[one, two]);

    // And written down again.
    stop(two);
    assert_eq!(identity(&disk.of("n2")).incarnation, Incarnation(ahead + 2));
}

#[test]
fn identity_a_data_directory_is_one_nodes_alone() {
    let disk = Disk::new("lock");
    let mut one = disk.launch("n1").start();
    let dir = disk.of("n1");
    let flag = dir.to_str().expect("a readable path");
    let (code, says) = Launch::new("n1").flag("--data-dir", flag).fails();
    assert_eq!(code, Some(1), "{says}");
    assert!(says.contains(&format!("the data directory {flag} is in use by another process (")), "{says}");
    stop(&mut one);
    let (code, says) = Launch::new("n2").flag("--data-dir", flag).fails();
    assert_eq!(code, Some(2), "{says}");
    assert!(
        says.contains(&format!("{flag} belongs to n1@127.0.0.1, and this node is n2@127.0.0.1")),
        "{says}"
    );
    one.restart();
}

#[test]
fn identity_a_damaged_file_is_kept_and_the_node_starts() {
    let disk = Disk::new("damaged");
    let mut nodes = disk.cluster(2);
    let [one, two] = &mut nodes[..] else { panic!("two nodes") };
    two.kill();
    let before = set_ahead(&disk.of("n2"), HOUR);
    let file = disk.of("n2").join("identity");
    let half = fs::read(&file).expect("it was there").split_at(100).0.to_vec();
    fs::write(&file, &half).expect("there is room");
    two.restart();
    assert!(two.has_logged(&["identity was damaged", "identity.damaged"]));
    assert_eq!(fs::read(disk.of("n2").join("identity.damaged")).expect("it is kept"), half);
    await_converged(&[one, two]);
    assert!(two.incarnation() < before, "of that one nobody knew");
    stop(two);
    assert_eq!(identity(&disk.of("n2")).node.as_str(), two.name());
}

/// A node whose clock was set back, with nobody to ask, serves as an earlier start than the one that others remember. When it
/// meets them it goes on as a later one, and its clients notice nothing.
#[test]
fn identity_a_start_that_nobody_could_correct_is_corrected_later() {
    for remembered in ["dead", "forgotten"] {
        let disk = Disk::new(remembered);
        let forget = if remembered == "forgotten" { "1s" } else { "1h" };
        let one = disk.launch("n1").flag("--forget-after", forget).start();
        let mut two = disk.launch("n2").flag("--forget-after", forget).join(one.cluster_addr()).start();
        await_converged(&[&one, &two]);
        stop(&mut two);
        let ahead = set_ahead(&disk.of("n2"), HOUR);
        two.restart();
        await_converged(&[&one, &two]);
        two.kill();
        fs::remove_dir_all(disk.of("n2")).expect("it was there");
        let is_gone = || match one.state_of(two.name()) {
            Some(MemberState::Dead) => remembered == "dead",
            None => remembered == "forgotten",
            Some(_) => false,
        };
        awaits("its end is noticed", PATIENCE, is_gone);

        one.freeze();
        two.restart_with(Launch::without_seeds);
        assert!(two.incarnation() < ahead, "it cannot know");
        let mut client = subscriber(&two, "c", &["a"], Q1);
        one.thaw();
        awaits("it goes on as a later one", 3 * PATIENCE, || two.incarnation() > ahead + 1);
        println!("{remembered}: converged {:?} after that", await_converged(&[&one, &two]));
        awaits("there is one of it", PATIENCE, || one.cluster().members.len() == 2);
        for (number, node) in [&one, &two].into_iter().enumerate() {
            time_of_puback(&mut connect(node, "p"), "a", &number.to_string());
            assert_eq!(message(&mut client), number.to_string());
        }
        assert_eq!(one.metric("name_conflicts", &[]), 0.0);
        assert!(!one.has_logged(&["two nodes have one name"]), "{remembered}");
    }
}

#[test]
fn identity_a_directory_that_cannot_be_written_to_keeps_a_node_from_starting_and_none_from_serving() {
    let (code, says) = Launch::new("n1").flag("--data-dir", "/proc/rumormq").fails();
    assert_eq!(code, Some(1), "{says}");
    assert!(says.contains("cannot make the data directory /proc/rumormq: "), "{says}");

    let disk = Disk::new("unwritable");
    let one = disk.launch("n1").start();
    // What is written first has no place.
    let obstacle = disk.of("n1").join("identity.new");
    fs::create_dir(&obstacle).expect("there is room");
    let two = Launch::new("n2").join(one.cluster_addr()).start();
    awaits("it is counted", 2 * PATIENCE, || one.metric("data_dir_errors_total", &[]) >= 1.0);
    await_converged(&[&one, &two]);
    let mut client = subscriber(&one, "c", &["a"], Q1);
    time_of_puback(&mut connect(&two, "p"), "a", "x");
    assert_eq!(message(&mut client), "x");
    assert!(one.has_logged(&["ERROR", "cannot write", "serves meanwhile"]));
    fs::remove_dir(&obstacle).expect("it is empty");
    awaits("it is written in the end", 2 * PATIENCE, || {
        fs::read_to_string(disk.of("n1").join("identity")).is_ok_and(|text| text.contains("n2@127.0.0.1"))
    });
}
