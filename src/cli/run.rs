//! `rumormq run`: one node, until a signal.

use std::io::{self, Write};

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::failure::Failure;
use super::given::Given;
use super::logging::{self, Log};
use super::notify::ServiceManager;
use super::open_files;
use crate::config::{Config, ConfigErrors, Counts};
use crate::node::Node;

pub(super) const AFTER_HELP: &str = "\
Every setting has one name in three spellings: the flag --max-packet-size, the environment variable \
RUMORMQ_MAX_PACKET_SIZE, and the key max_packet_size in its section of the TOML file. A flag beats the environment, which \
beats the file. The sections are [listen], [tls], [access], [cluster], [limits] and [broker]; node, data_dir, \
log_level and log_format stand above them. The cluster's \
secret is never a flag's value: it is in RUMORMQ_COOKIE, or in the file that --cookie-file names.";

/// Arguments of `rumormq run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Stop when standard input ends, so that a process which starts nodes takes them along however it dies
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    #[command(flatten)]
    given: Given,
}

impl Run {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let config = self.resolve()?;
        let log = logging::init(&config.log_level, config.log_format);
        self.given.warn_of_misspelled();
        runtime()?.block_on(async {
            tokio::select! {
                served = self.serve(config, &log) => served,
                never = log.tell_suppressed() => match never {},
            }
        })
    }

    fn resolve(&self) -> Result<Config, ConfigErrors> {
        self.given.explain().into_result()
    }

    /// Reads everything again that was read at the start, and has the node take over what it can.
    async fn reload(&self, node: &Node, log: &Log) {
        let config = match self.resolve() {
            Ok(config) => config,
            Err(errors) => {
                for error in errors.0 {
                    tracing::error!(%error, "cannot reload; everything is as it was: put it right, and send SIGHUP again");
                }
                return;
            }
        };
        let changes = match node.reload(&config).await {
            Ok(changes) => changes,
            Err(error) => {
                return tracing::error!(%error, "cannot reload; everything is as it was: put it right, and send SIGHUP again");
            }
        };
        log.set_filter(&config.log_level);
        tracing::info!(
            changes = changes.len(),
            "the configuration and the files that it names are read again"
        );
        for change in changes {
            match change.counts {
                Counts::Now => tracing::info!("{change}: counts now"),
                Counts::NewConnections => {
                    tracing::info!("{change}: counts for connections that open from now on")
                }
                Counts::Restart => tracing::warn!("{change}: restart the node for this to count"),
            }
        }
    }

    async fn serve(&self, config: Config, log: &Log) -> Result<(), Failure> {
        open_files::raise(config.limits.max_connections);
        let mut stop = Stop::new(self.until_stdin_ends)?;
        let mut hang_up = listen(SignalKind::hangup())?;
        let mut manager = ServiceManager::of_this_process();
        let node = tokio::select! {
            node = Node::start(config) => node?,
            // A node that waits for its peers has no clients to say goodbye to.
            () = stop.wait() => return Ok(()),
        };
        let mut ready = format!(
            "ready node={} mqtt={} cluster={} http={}",
            node.name(),
            node.mqtt_addr(),
            node.cluster_addr(),
            node.http_addr()
        );
        for (listener, address) in &node.client_listeners()[1..] {
            ready += &format!(" {listener}={address}");
        }
        ready.push('\n');
        // Whoever started the node may have closed its end: that is no reason not to serve.
        let _ = io::stdout().write_all(ready.as_bytes()).and_then(|()| io::stdout().flush());
        let status = format!("serving clients as {}", node.name());
        manager.ready(&status);
        let leaves = loop {
            tokio::select! {
                () = stop.wait() => break false,
                () = node.asked_to_leave() => break true,
                _ = hang_up.recv() => {
                    manager.reloading();
                    self.reload(&node, log).await;
                    manager.ready(&status);
                }
                () = manager.keep_alive() => {}
            }
        };
        manager.stopping(if leaves { "leaving the cluster" } else { "stopping" });
        if leaves {
            node.leave().await
        } else {
            node.stop().await
        }
        Ok(())
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::System("cannot wait for signals", error))
}

/// One core gets a runtime without threads to hand work between: that costs less.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = match cores {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build().map_err(|error| Failure::System("cannot start the runtime", error))
}

/// What ends a node from outside.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    stdin_ended: Option<oneshot::Receiver<()>>,
}

impl Stop {
    /// Signals count from here on, and the end of standard input where that is asked for.
    pub(super) fn new(with_stdin: bool) -> Result<Stop, Failure> {
        Ok(Stop {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            stdin_ended: with_stdin.then(end_of_stdin),
        })
    }

    /// Returns when one of them comes.
    pub(super) async fn wait(&mut self) {
        let stdin_ended = async {
            match &mut self.stdin_ended {
                Some(ended) => drop(ended.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = stdin_ended => {}
        }
    }
}

/// A thread of its own waits, for reading standard input blocks and must not hold up the runtime's end.
fn end_of_stdin() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    });
    end
}
