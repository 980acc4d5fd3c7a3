//! `rumormq trace`: what happens to one client or topic, line by line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::client::{Client, Scope, parse};
use super::failure::Failure;
use super::lists::name_missing;
use super::table::printable;
use crate::admin::view::{Happening, Missing, MissingView, TraceRequest, TraceView, TracedView};
use crate::config::duration;

/// Arguments of `rumormq trace`.
#[derive(Debug, Args)]
pub(super) struct Trace {
    /// Trace the client with this identifier; * stands for any characters
    #[arg(long = "client", value_name = "ID", required_unless_present = "topic", conflicts_with = "topic")]
    of: Option<String>,
    /// Trace publishes to topics that this filter matches
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,
    /// Write to this file, which is made or emptied
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// End after this, such as 30s or 2h; Ctrl-C ends it sooner
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = some_time)]
    time: Duration,
    /// Show so many bytes of each payload, and the values of user properties
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_value = "0", default_missing_value = "256")]
    payload: usize,
    /// Where the client or topic may be
    #[arg(long, value_enum, default_value = "cluster")]
    scope: Scope,
    #[command(flatten)]
    client: Client,
}

/// A node that does not answer when its stream is to go on is asked again for so long: less than it keeps what has happened.
const RETURN_MAX: Duration = Duration::from_secs(10);
/// Between two attempts.
const RETURN_AGAIN: Duration = Duration::from_millis(500);

impl Trace {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let out: Box<dyn Write> = match &self.output {
            None => Box::new(io::stdout().lock()),
            Some(path) => {
                let file = File::create(path);
                Box::new(file.map_err(|error| Failure::File { path: path.clone(), error })?)
            }
        };
        let mut reader = Reader {
            out,
            json: self.client.json,
            shows_node: self.scope == Scope::Cluster,
            last: HashMap::new(),
            missing: Vec::new(),
            trace: None,
        };
        match self.follow(&mut reader) {
            // The reader has seen enough: `rumormq trace | head`.
            Err(Failure::System(_, error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done,
        }
    }

    /// Reads streams, each where the one before has ended, until the trace is over.
    fn follow(&self, reader: &mut Reader) -> Result<(), Failure> {
        let ends = Instant::now() + self.time;
        let mut answered = Instant::now();
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            let request = TraceRequest {
                client: self.of.clone(),
                topic: self.topic.clone(),
                payload: self.payload,
                seconds: Some(left.as_secs_f64().ceil().max(1.0) as u64),
                trace: reader.trace.clone(),
            };
            let request =
                serde_json::to_string(&request).map_err(|error| Failure::Answer(error.to_string()))?;
            let path = format!("/api/v1/trace?scope={}", self.scope.name());
            match self.client.target.stream(&path, &request) {
                Ok(stream) => {
                    let told = reader.read(BufReader::new(stream))?;
                    answered = Instant::now();
                    if told == End::Over || answered >= ends {
                        return Ok(());
                    }
                }
                // The first answer counts; later ones may come again.
                Err(error) if reader.trace.is_none() || answered.elapsed() > RETURN_MAX => return Err(error),
                Err(_) => std::thread::sleep(RETURN_AGAIN),
            }
        }
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration(text).filter(|time| (1..=86_400).contains(&time.as_secs()));
    time.ok_or_else(|| "write a time from 1s to 1d, such as 30s or 2h".to_owned())
}

/// How a stream has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The trace is over.
    Over,
    /// It goes on in the next one.
    Cut,
}

/// Reads streams and writes lines.
struct Reader {
    out: Box<dyn Write>,
    json: bool,
    shows_node: bool,
    /// The number of the last event of each node: where a stream goes on, some come again.
    last: HashMap<String, u64>,
    missing: Vec<Missing>,
    trace: Option<String>,
}

impl Reader {
    fn read(&mut self, stream: impl BufRead) -> Result<End, Failure> {
        let mut event = String::new();
        for line in stream.lines() {
            let Ok(line) = line else { return Ok(End::Cut) };
            if let Some(name) = line.strip_prefix("event: ") {
                event = name.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                match event.as_str() {
                    "trace" => self.begin(parse(data)?),
                    "event" => self.tell(parse(data)?, data)?,
                    "missing" => self.miss(parse::<MissingView>(data)?.missing),
                    "end" => return Ok(End::Over),
                    _ => {}
                }
            }
        }
        Ok(End::Cut)
    }

    fn begin(&mut self, view: TraceView) {
        if self.trace.is_none() {
            eprintln!("rumormq: tracing for {} s, from {} on; Ctrl-C ends it", view.seconds, view.node);
        }
        self.trace = Some(view.trace);
    }

    fn tell(&mut self, view: TracedView, data: &str) -> Result<(), Failure> {
        let last = self.last.entry(view.node.clone()).or_default();
        if view.event.number <= *last {
            return Ok(());
        }
        *last = view.event.number;
        let line = if self.json { data.to_owned() } else { line(&view, self.shows_node) };
        let written = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        written.map_err(|error| Failure::System("cannot write", error))
    }

    /// Names those of whom nothing is known, once each time that happens.
    fn miss(&mut self, missing: Vec<Missing>) {
        let news: Vec<Missing> = missing.iter().filter(|it| !self.missing.contains(it)).cloned().collect();
        name_missing(&news);
        for Missing { node, .. } in &self.missing {
            if !missing.iter().any(|other| other.node == *node) {
                eprintln!("rumormq: {node} answers again");
            }
        }
        self.missing = missing;
    }
}

/// An event as people read it: when, where, who, what, and the rest as `name=value`.
fn line(view: &TracedView, shows_node: bool) -> String {
    let event = &view.event;
    let mut words = vec![time(event.at_ms)];
    if shows_node {
        words.push(view.node.clone());
    }
    words.extend(event.client.clone());
    words.push(what(event.event, event.packet.as_deref()));
    words.extend(event.topic.clone());
    let mut value = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{name}={}", quoted(&value))));
    };
    value("id", event.packet_id.map(|id| id.to_string()));
    value("qos", event.qos.map(|qos| qos.to_string()));
    value("retain", event.retain.filter(|set| *set).map(|set| set.to_string()));
    value("dup", event.dup.filter(|set| *set).map(|set| set.to_string()));
    value("size", event.payload_size.map(|size| size.to_string()));
    value("payload", event.payload.clone());
    event.reasons.iter().for_each(|reason| value("reason", Some(reason.clone())));
    event.filters.iter().for_each(|filter| value("filter", Some(filter.clone())));
    event.details.iter().for_each(|(name, text)| value(name, Some(text.clone())));
    printable(&words.join(" "))
}

fn what(event: Happening, packet: Option<&str>) -> String {
    let packet = packet.unwrap_or("packet");
    match event {
        Happening::Received => return format!("-> {packet}"),
        Happening::Sent => return format!("<- {packet}"),
        Happening::Found => "found",
        Happening::Denied => "denied",
        Happening::Refused => "refused",
        Happening::Connected => "connected",
        Happening::Disconnected => "disconnected",
        Happening::Queued => "queued",
        Happening::Dropped => "dropped",
        Happening::Expired => "expired",
        Happening::WillPublished => "will published",
        Happening::SessionLeaves => "session leaves",
        Happening::SessionArrives => "session arrives",
        Happening::SessionExpired => "session expired",
        Happening::SessionEnded => "session ended",
        Happening::Published => "published",
        Happening::Forwarded => "forwarded",
        Happening::Routed => "routed",
        Happening::Lost => "LOST",
        Happening::Other => "something",
    }
    .to_owned()
}

/// The time of day in UTC.
fn time(at_ms: u64) -> String {
    let (secs, ms) = (at_ms / 1000 % 86_400, at_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}Z", secs / 3600, secs / 60 % 60, secs % 60)
}

/// A value that can be told from what comes behind it.
fn quoted(value: &str) -> String {
    match value.is_empty() || value.contains([' ', '"', '=']) {
        true => format!("{value:?}"),
        false => value.to_owned(),
    }
}
