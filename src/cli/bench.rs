//! `rumormq bench`: puts load on a broker, and says what came of it.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ask::print;
use super::failure::Failure;
use super::run::Stop;
use super::table::Table;
use crate::bench::report::Times;
use crate::bench::{self, Plan, Progress, Report, Shape};
use crate::codec::packet::{ProtocolVersion, QoS};
use crate::config::duration;
use crate::pki;

/// Arguments of `rumormq bench`.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Who sends to whom
    #[arg(value_enum, default_value = "pairs")]
    shape: ShapeName,
    /// Brokers to connect to, in turn; subscribers, too, unless --subscribe-at says otherwise
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "127.0.0.1:1883")]
    at: Vec<String>,
    /// Brokers that subscribers connect to, in turn
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    subscribe_at: Vec<String>,
    /// Pairs; publishers, subscribers or connections where only these are asked for
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    clients: u32,
    /// Publishers of fan-out
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    publishers: u32,
    /// Subscribers of fan-out [default: --clients]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    subscribers: Option<u32>,
    /// Quality of service of messages and subscriptions
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Bytes of a payload, 24 or more
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=200_000_000))]
    size: u32,
    /// Messages a second, all publishers together [default: as many as --window lets through]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Messages of a publisher that are on their way at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    window: u32,
    /// Publish so many messages, all publishers together, if the time suffices
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Publish, receive or hold connections for so long
    #[arg(long, value_name = "TIME", default_value = "10s")]
    duration: String,
    /// What has not come after so long a silence counts as lost
    #[arg(long, value_name = "TIME", default_value = "5s")]
    patience: String,
    /// What is spoken
    #[arg(long, value_enum, default_value = "5.0")]
    protocol: Protocol,
    /// Publish below this topic; what `subscribe` subscribes to [default: one that no other run has]
    #[arg(long)]
    topic: Option<String>,
    /// User name
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// File with the password in its first line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Use TLS, and trust the authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    tls_ca_file: Option<PathBuf>,
    /// Connections that are opened at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connecting: u32,
    /// Threads that do all of it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// Print the result in JSON, and nothing while it runs
    #[arg(long)]
    json: bool,
}

pub(super) const AFTER_HELP: &str = "\
Every message says who sent it, which one it is and when, so what comes is checked as it comes. Without --rate, messages go as
fast as earlier ones arrive; with it, they go when they are due, and latency counts from then, whatever has held them up.

The exit code is 1 if the broker broke a promise: a message of QoS 1 or 2 was acknowledged and did not come, one of QoS 2 came
twice, one came behind a later one of its publisher, or a connection was lost. QoS 0 may be lost, which is said and no more.";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShapeName {
    /// Each publisher to a subscriber of its own
    Pairs,
    /// Each publisher to all subscribers
    FanOut,
    /// Publishers alone
    Publish,
    /// Subscribers alone; publishers are another run
    Subscribe,
    /// Connections that say nothing
    Idle,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5.0")]
    V500,
}

impl Bench {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let plan = self.plan()?;
        let mut builder = match self.threads {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder
            .worker_threads(self.threads as usize)
            .enable_all()
            .build()
            .map_err(|error| Failure::System("cannot start the runtime", error))?;
        let report = runtime.block_on(async {
            let mut stop = Stop::new(false)?;
            let tell = |progress: &Progress| {
                if !self.json {
                    eprintln!("{}", line(progress));
                }
            };
            bench::run(plan.clone(), stop.wait(), tell)
                .await
                .map_err(|error| Failure::Bench(error.to_string()))
        })?;
        print(&match self.json {
            true => serde_json::to_string_pretty(&report).unwrap_or_default(),
            false => table(&plan, &report),
        })?;
        match report.broken.is_empty() {
            true => Ok(()),
            false => Err(Failure::Bench(report.broken.join("\n"))),
        }
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let shape = match self.shape {
            ShapeName::Pairs => Shape::Pairs,
            ShapeName::FanOut => Shape::FanOut,
            ShapeName::Publish => Shape::Publish,
            ShapeName::Subscribe => Shape::Subscribe,
            ShapeName::Idle => Shape::Idle,
        };
        let run = getrandom::u32()
            .map_err(|error| Failure::System("the system gives no random numbers", error.into()))?;
        let topic = match (&self.topic, shape) {
            (None, Shape::Subscribe) => {
                return Err(Failure::Usage("say with --topic which filter to subscribe to".to_owned()));
            }
            (None, _) => format!("bench/{run:08x}"),
            (Some(topic), _) => topic.clone(),
        };
        let time = |flag, text: &str| {
            let unfit = || Failure::Usage(format!("{flag} {text}: give a time such as 500ms, 10s, 5m or 2h"));
            duration(text).filter(|time| !time.is_zero()).ok_or_else(unfit)
        };
        let password = self.password_file.as_ref().map(|path| {
            let content = fs::read_to_string(path);
            let content = content.map_err(|error| Failure::File { path: path.clone(), error })?;
            Ok::<_, Failure>(content.lines().next().unwrap_or_default().as_bytes().to_vec())
        });
        let tls = self.tls_ca_file.as_ref().map(|path| {
            let authorities = pki::files::authorities(path, "--tls-ca-file");
            let authorities = authorities.map_err(|error| Failure::Usage(error.to_string()))?;
            bench::plan::tls(authorities).map_err(|error| Failure::Usage(error.to_string()))
        });
        let plan = Plan {
            shape,
            publish_at: self.at.clone(),
            subscribe_at: if self.subscribe_at.is_empty() {
                self.at.clone()
            } else {
                self.subscribe_at.clone()
            },
            publishers: if shape == Shape::FanOut { self.publishers } else { self.clients } as usize,
            subscribers: self.subscribers.filter(|_| shape == Shape::FanOut).unwrap_or(self.clients) as usize,
            qos: QoS::from_bits(self.qos).unwrap_or(QoS::AtMostOnce),
            size: self.size as usize,
            rate: self.rate,
            window: self.window as usize,
            count: self.count,
            duration: time("--duration", &self.duration)?,
            patience: time("--patience", &self.patience)?,
            version: match self.protocol {
                Protocol::V311 => ProtocolVersion::V311,
                Protocol::V500 => ProtocolVersion::V500,
            },
            topic,
            run,
            username: self.username.clone(),
            password: password.transpose()?,
            tls: tls.transpose()?,
            connecting: self.connecting as usize,
        };
        plan.check().map_err(Failure::Usage)?;
        Ok(plan)
    }
}

/// What is said every second.
fn line(progress: &Progress) -> String {
    let Progress { elapsed, connections, published, received, latency, outstanding } = progress;
    let mut line = format!("{:4} s  {connections} connections", elapsed.as_secs());
    if elapsed.is_zero() {
        return format!("connecting: {connections} so far");
    }
    if *published > 0 {
        line += &format!("  published {}/s", short(*published as f64));
    }
    if *received > 0 {
        line += &format!("  received {}/s", short(*received as f64));
        line += &format!("  p50 {}  p99 {}", time(latency.p50), time(latency.p99));
    }
    if *outstanding > 0 {
        line += &format!("  on their way {}", short(*outstanding as f64));
    }
    line
}

fn table(plan: &Plan, report: &Report) -> String {
    let mut table = Table::new(&["", "COUNT", "A SECOND", "P50", "P99", "P99.9", "LONGEST"]);
    let mut row = |what: &str, count: u64, rate: f64, times: Option<&Times>| {
        let rate = if rate > 0.0 { short(rate) } else { String::new() };
        let times = times.cloned().unwrap_or_default();
        let times = [times.p50, times.p99, times.p999, times.max].map(time);
        table.push([vec![what.to_owned(), count.to_string(), rate], times.to_vec()].concat());
    };
    row("connected", report.connections, report.connections_per_second, Some(&report.connect_us));
    let publishes = !matches!(plan.shape, Shape::Subscribe | Shape::Idle);
    if publishes {
        row("published", report.published, report.published_per_second, None);
    }
    if publishes && plan.qos != QoS::AtMostOnce {
        let rate =
            report.acknowledged as f64 * report.published_per_second / (report.published as f64).max(1.0);
        row("acknowledged", report.acknowledged, rate, Some(&report.acknowledged_us));
    }
    let receives = plan.receivers() > 0 || plan.shape == Shape::Subscribe;
    if receives {
        row("received", report.received, report.received_per_second, Some(&report.latency_us));
    }
    let mut text = format!("\n{table}");
    if receives {
        text += &format!(
            "\nlost {}, duplicates {}, out of order {}, unexpected {}; {}B/s of payload received\n",
            report.lost,
            report.duplicates,
            report.out_of_order,
            report.unexpected,
            short(report.bytes_per_second)
        );
    }
    text
}

/// A number in four digits.
fn short(number: f64) -> String {
    match number {
        n if n < 10_000.0 => format!("{n:.0} "),
        n if n < 10_000_000.0 => format!("{:.1} k", n / 1e3),
        n if n < 1e10 => format!("{:.1} M", n / 1e6),
        n => format!("{:.1} G", n / 1e9),
    }
    .trim_end()
    .to_owned()
}

/// A time in three digits or four.
fn time(micros: Option<u64>) -> String {
    match micros {
        None => String::new(),
        Some(micros @ 0..10_000) => format!("{micros} us"),
        Some(micros @ 10_000..10_000_000) => format!("{:.1} ms", micros as f64 / 1e3),
        Some(micros) => format!("{:.1} s", micros as f64 / 1e6),
    }
}
