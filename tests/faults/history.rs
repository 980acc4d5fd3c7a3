//! What clients did and saw, and what was done to the nodes: plain data, on one monotonic clock.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Microseconds since the recorder was made.
pub type Moment = u64;

/// A node, by its place in [`History::nodes`]. It is the same node after a restart.
pub type Node = usize;

/// A client, whatever its connections and sessions, by its place in [`History::clients`].
pub type ClientNumber = usize;

/// A connection; no two of a history are the same.
pub type Connection = u64;

/// What a message is known by: each has its own, written in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId {
    /// Who published it.
    pub publisher: ClientNumber,
    /// Counts what this client publishes, over all of its connections.
    pub counter: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Connected(Connected),
    NotConnected(NotConnected),
    Disconnected(Disconnected),
    Subscribed(Subscribed),
    Unsubscribed(Unsubscribed),
    Published(Published),
    Delivered(Delivered),
    RoutesShown(RoutesShown),
    Known(Known),
    Fault(Fault),
}

/// A CONNACK that accepts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connected {
    pub client: ClientNumber,
    pub connection: Connection,
    pub node: Node,
    /// Whether the client wants nothing of a session before.
    pub clean_start: bool,
    /// Whether the session outlives the connection.
    pub lasting: bool,
    pub session_present: bool,
    /// When CONNECT was sent.
    pub asked_at: Moment,
    /// When CONNACK came.
    pub at: Moment,
}

/// A CONNECT that was sent, and no CONNACK that accepts. A session may have moved to the node all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotConnected {
    pub client: ClientNumber,
    pub node: Node,
    /// When CONNECT was sent.
    pub asked_at: Moment,
    /// When the client gave up.
    pub at: Moment,
    /// Of the CONNACK, if there was one.
    pub reason: Option<u8>,
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disconnected {
    pub client: ClientNumber,
    pub connection: Connection,
    pub node: Node,
    pub why: Ending,
    pub at: Moment,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The client, with DISCONNECT or without a word.
    Client,
    /// The node, with a DISCONNECT of this reason.
    Told(u8),
    /// The node or its machine, without a word.
    Closed,
}

/// A SUBACK, for one filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscribed {
    pub client: ClientNumber,
    pub connection: Connection,
    pub node: Node,
    /// With `$share/NAME/` where it is shared.
    pub filter: String,
    /// Granted.
    pub qos: u8,
    /// When SUBSCRIBE was sent.
    pub asked_at: Moment,
    /// When SUBACK came; none if the connection went first, and nobody knows.
    pub at: Option<Moment>,
    /// Whether the SUBACK said that a node may not know of it.
    pub unconfirmed: bool,
}

/// An UNSUBACK, for one filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unsubscribed {
    pub client: ClientNumber,
    pub connection: Connection,
    pub filter: String,
    /// When UNSUBSCRIBE was sent.
    pub asked_at: Moment,
    /// When UNSUBACK came; none if the connection went first, and nobody knows.
    pub at: Option<Moment>,
}

/// A publish, with all that became of it on the publisher's side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    pub id: MessageId,
    pub topic: String,
    pub qos: u8,
    pub retain: bool,
    /// The first time, and each time that it was sent again with DUP.
    pub sent: Vec<Sent>,
    /// None for QoS 0, and where nobody knows.
    pub acked: Option<Acked>,
}

/// A PUBLISH on its way to a node.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    pub connection: Connection,
    pub node: Node,
    pub at: Moment,
}

/// A PUBACK or PUBREC.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acked {
    pub connection: Connection,
    pub node: Node,
    pub at: Moment,
    pub reason: u8,
}

/// A message that came. For QoS 2, what the protocol tells the client to take for a repetition is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivered {
    pub client: ClientNumber,
    pub connection: Connection,
    pub node: Node,
    /// None if the payload is not one of the workload's.
    pub id: Option<MessageId>,
    pub topic: String,
    pub qos: u8,
    pub dup: bool,
    /// Whether it comes because it was retained.
    pub retained: bool,
    pub at: Moment,
}

/// A node was asked for all its routes: what is new since it was asked last. A start of the node begins with none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoutesShown {
    /// Who was asked.
    pub node: Node,
    /// Filters and where they are wanted.
    pub added: Vec<(String, Node)>,
    pub removed: Vec<(String, Node)>,
    /// When it was asked.
    pub asked_at: Moment,
    /// When the answer came.
    pub at: Moment,
}

/// A subscription was watched until all nodes that answer knew its route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    pub filter: String,
    /// Where the subscriber is.
    pub node: Node,
    /// When SUBSCRIBE was sent.
    pub asked_at: Moment,
    /// When the last of the nodes showed the route.
    pub at: Moment,
}

/// Something done to nodes or to the network between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    pub kind: FaultKind,
    /// Before it was done.
    pub from: Moment,
    /// After it was undone; none if it never was.
    pub until: Option<Moment>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// Nothing passes from the first to the second node of each pair. A symmetric cut has both directions.
    Cut { pairs: Vec<(Node, Node)> },
    /// This share of the packets that arrive at the node from others is lost.
    Loss { node: Node, share: f64 },
    /// SIGSTOP, until SIGCONT.
    Pause { node: Node },
    /// `kill -9`, until it is ready again.
    Kill { node: Node, data_dir: bool },
    /// A clean stop, until it is ready again.
    Stop { node: Node, data_dir: bool },
    /// Its wall clock moved by this much, at once; and back at the end, if there is one.
    ClockStep { node: Node, by_ms: i64 },
}

impl FaultKind {
    /// No node of `left` reaches one of `right`, nor the other way round.
    pub fn cut(left: &[Node], right: &[Node]) -> FaultKind {
        let pairs = left.iter().flat_map(|&l| right.iter().flat_map(move |&r| [(l, r), (r, l)]));
        FaultKind::Cut { pairs: pairs.collect() }
    }
}

/// All that happened, in the order in which it was recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    pub seed: u64,
    /// Their names.
    pub nodes: Vec<String>,
    /// Their client identifiers.
    pub clients: Vec<String>,
    pub events: Vec<Event>,
}

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct Header {
    seed: u64,
    nodes: Vec<String>,
    clients: Vec<String>,
}

impl History {
    /// How many messages came.
    pub fn deliveries(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Delivered(_))).count()
    }

    /// Writes a line of JSON for each event to a new file; gives its path.
    pub fn save(&self) -> io::Result<PathBuf> {
        static SAVED: AtomicUsize = AtomicUsize::new(0);
        let number = SAVED.fetch_add(1, Ordering::Relaxed);
        let name = format!("history-{}-{}-{number}.jsonl", self.seed, std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut file = BufWriter::new(File::create(&path)?);
        let header = Header { seed: self.seed, nodes: self.nodes.clone(), clients: self.clients.clone() };
        writeln!(file, "{}", serde_json::to_string(&header)?)?;
        for event in &self.events {
            writeln!(file, "{}", serde_json::to_string(event)?)?;
        }
        file.flush()?;
        Ok(path)
    }

    /// Reads what [`History::save`] has written.
    pub fn load(path: &Path) -> io::Result<History> {
        let mut lines = BufReader::new(File::open(path)?).lines();
        let first = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
        let Header { seed, nodes, clients } = serde_json::from_str(&first)?;
        let events = lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect::<io::Result<_>>()?;
        Ok(History { seed, nodes, clients, events })
    }
}

/// Takes down what happens. Shared by all who have something to say.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    history: Mutex<History>,
}

/// A fault that has begun, by its place in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultNumber(usize);

impl Recorder {
    /// A history in which nothing has happened. Each node is known by its place in `nodes`.
    pub fn new(seed: u64, nodes: &[&str]) -> Arc<Recorder> {
        let nodes = nodes.iter().map(|name| (*name).to_owned()).collect();
        let history = History { seed, nodes, ..History::default() };
        Arc::new(Recorder { began: Instant::now(), history: Mutex::new(history) })
    }

    /// The time on the history's clock.
    pub fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    /// The same for another time.
    pub fn moment(&self, time: Instant) -> Moment {
        let passed = time.saturating_duration_since(self.began);
        u64::try_from(passed.as_micros()).unwrap_or(Moment::MAX)
    }

    pub fn seed(&self) -> u64 {
        self.history().seed
    }

    /// The names of the nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.history().nodes.clone()
    }

    /// Gives a number to a client.
    pub fn client(&self, name: &str) -> ClientNumber {
        let mut history = self.history();
        history.clients.push(name.to_owned());
        history.clients.len() - 1
    }

    pub fn record(&self, event: Event) {
        self.history().events.push(event);
    }

    /// A fault is about to be made.
    pub fn begins(&self, kind: FaultKind) -> FaultNumber {
        let from = self.now();
        let mut history = self.history();
        history.events.push(Event::Fault(Fault { kind, from, until: None }));
        FaultNumber(history.events.len() - 1)
    }

    /// It has been undone.
    pub fn ends(&self, fault: FaultNumber) {
        let now = self.now();
        match &mut self.history().events[fault.0] {
            Event::Fault(fault) => fault.until = Some(now),
            other => panic!("not a fault: {other:?}"),
        }
    }

    /// What has happened so far.
    pub fn snapshot(&self) -> History {
        self.history().clone()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That many microseconds.
pub fn micros(time: Duration) -> Moment {
    u64::try_from(time.as_micros()).unwrap_or(Moment::MAX)
}

#[test]
fn a_history_is_read_as_it_was_written() {
    let recorder = Recorder::new(7, &["n1@a", "n2@b"]);
    let client = recorder.client("c");
    let cut = recorder.begins(FaultKind::cut(&[0], &[1]));
    recorder.record(Event::Disconnected(Disconnected {
        client,
        connection: 1,
        node: 1,
        why: Ending::Told(0x8E),
        at: recorder.now(),
    }));
    recorder.record(Event::Published(Published {
        id: MessageId { publisher: client, counter: 3 },
        topic: "a/b".to_owned(),
        qos: 1,
        retain: false,
        sent: vec![Sent { connection: 1, node: 0, at: 5 }],
        acked: None,
    }));
    recorder.ends(cut);
    let history = recorder.snapshot();
    let path = history.save().expect("a writable target directory");
    assert_eq!(History::load(&path).expect("it was written"), history);
    std::fs::remove_file(path).expect("it was written");
}
