//! `rumormq dev`: a cluster of node processes on this machine, with cables between them that can be cut.

mod cables;
mod console;
mod owner;
mod ports;

use std::io::{self, Write};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::cables::Cables;
use self::console::Order;
use self::ports::Ports;
use super::failure::Failure;
use super::run::{Stop, runtime};

/// Arguments of `rumormq dev`.
#[derive(Debug, Args)]
pub(super) struct Dev {
    /// How many nodes; each joins the one before it
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(Ports::MAX_NODES)))]
    nodes: u16,
    /// MQTT port of the first node; the others count up from it, cluster ports are 6000 above and HTTP ports 16200 above
    #[arg(long, value_name = "PORT", default_value_t = 1883, value_parser = clap::value_parser!(u16).range(1..=i64::from(Ports::MAX_BASE)))]
    base_port: u16,
}

/// Time a node has to start. It waits no longer than `join_grace` for its peers.
const START_MAX: Duration = Duration::from_secs(30);
/// Time the nodes have to stop.
const STOP_MAX: Duration = Duration::from_secs(15);

impl Dev {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let ports = Ports::new(self.base_port);
        if let Some((what, address, error)) = ports.taken(self.nodes) {
            return Err(Failure::Children(format!(
                "cannot use {address} for {what}: {error}; stop what uses it, or give another --base-port (MQTT ports count \
                 from it, cluster ports from 6000 above, HTTP ports from 16200 above)"
            )));
        }
        runtime()?.block_on(self.serve(ports))
    }

    async fn serve(&self, ports: Ports) -> Result<(), Failure> {
        let mut stop = Stop::new(false)?;
        let mut nodes = Nodes::default();
        let result = tokio::select! {
            result = self.start_and_watch(ports, &mut nodes) => result,
            () = stop.wait() => Ok(()),
        };
        nodes.stop().await;
        result
    }

    /// Returns when no node is left, or one does not start.
    async fn start_and_watch(&self, ports: Ports, nodes: &mut Nodes) -> Result<(), Failure> {
        let cables = Cables::lay((0..self.nodes).map(|index| ports.cluster(index))).await;
        let cables = cables.map_err(|error| Failure::System("cannot connect the nodes", error))?;
        for index in 0..self.nodes {
            nodes.start(index, ports, &cables).await?;
        }
        let mut lines = console::lines();
        self.print_how_to_use(ports, lines.is_some());
        loop {
            tokio::select! {
                exit = nodes.next_exit() => match exit {
                    Some((name, status)) => say(&name, &format!("the node's process ended: {status}")),
                    None => return Err(Failure::Children("no node is left".to_owned())),
                },
                Some(line) = next_line(&mut lines) => self.obey(&line, &cables),
            }
        }
    }

    fn obey(&self, line: &str, cables: &Cables) {
        let done = match Order::parse(line, self.nodes) {
            None => return,
            Some(Err(mistake)) => mistake,
            Some(Ok(Order::CutOff(node))) => {
                cables.cut_off(node);
                format!("node{} is cut off from all others; its clients still reach it", node + 1)
            }
            Some(Ok(Order::Cut(one, other))) => {
                cables.cut(one, other);
                format!("node{} and node{} do not reach each other any more", one + 1, other + 1)
            }
            Some(Ok(Order::Heal)) => {
                cables.mend();
                "all cables are whole".to_owned()
            }
        };
        print(&format!("dev   | {done}\n"));
    }

    fn print_how_to_use(&self, ports: Ports, listens: bool) {
        let last = self.nodes - 1;
        let mut text = String::from("\nThe cluster is up:\n");
        for index in 0..self.nodes {
            let (mqtt, http) = (ports.mqtt(index), ports.http(index));
            text += &format!("  {}  mqtt {mqtt}  status page http://{http}/\n", name(index));
        }
        text += &format!(
            "\nSubscribe on one node, publish on another:\n  \
             mosquitto_sub -h 127.0.0.1 -p {} -q 1 -t 'hello/#' -v\n  \
             mosquitto_pub -h 127.0.0.1 -p {} -q 1 -t hello/world -m hi\n\
             See how it is, beside the status page:\n  \
             {command} status --http {http}\n  \
             {command} top --http {http}\n",
            ports.mqtt(last).port(),
            ports.mqtt(0).port(),
            command = command(),
            http = ports.http(0),
        );
        if listens && self.nodes > 1 {
            text += &format!(
                "Type here to cut cables (each node goes on serving its clients), and see what the others say:\n  \
                 cut {}          node {0} off from all others\n  \
                 cut 1 2        those two from each other\n  \
                 heal           mends all\n",
                self.nodes
            );
        }
        text += "Ctrl-C ends it.\n\n";
        print(&text);
    }
}

/// The running node processes.
#[derive(Default)]
struct Nodes {
    /// Each waits for one process, which it takes along when it is dropped.
    processes: JoinSet<(String, io::Result<ExitStatus>)>,
    /// A node stops when its standard input ends, also where this process is killed.
    inputs: Vec<tokio::process::ChildStdin>,
}

impl Nodes {
    /// Starts a node and waits until it listens.
    async fn start(&mut self, index: u16, ports: Ports, cables: &Cables) -> Result<(), Failure> {
        let name = name(index);
        let mut child = spawn(&name, index, ports, cables)
            .map_err(|error| Failure::System("cannot start a process for a node", error))?;
        cables.runs_as(index, child.id());
        self.inputs.extend(child.stdin.take());
        let ready = prefix_lines(&name, &mut child);
        let exit = self.processes.spawn({
            let name = name.clone();
            async move { (name, child.wait().await) }
        });
        match tokio::time::timeout(START_MAX, ready).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Failure::Children(format!("{name} did not start; its own words are above"))),
            Err(_) => {
                exit.abort();
                Err(Failure::Children(format!("{name} was not ready within {} s", START_MAX.as_secs())))
            }
        }
    }

    /// The next node whose process ends; none when none is left.
    async fn next_exit(&mut self) -> Option<(String, String)> {
        let (name, status) = self.processes.join_next().await?.ok()?;
        Some((name, status.map_or_else(|error| error.to_string(), |status| status.to_string())))
    }

    /// Asks all nodes to stop, and kills those that do not.
    async fn stop(mut self) {
        self.inputs.clear();
        let all = async { while self.processes.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, all).await.is_err() {
            print("some nodes did not stop in time and are killed\n");
        }
    }
}

/// This program, as its user called it.
fn command() -> String {
    std::env::args().next().unwrap_or_else(|| "rumormq".to_owned())
}

fn name(index: u16) -> String {
    format!("node{}@127.0.0.1", index + 1)
}

fn spawn(name: &str, index: u16, ports: Ports, cables: &Cables) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--until-stdin-ends", "--node", name]);
    command.arg(format!("--mqtt={}", ports.mqtt(index)));
    command.arg(format!("--cluster={}", ports.cluster(index)));
    command.arg(format!("--http={}", ports.http(index)));
    command.arg(format!("--advertise-cluster={}", cables.plug(index)));
    if index > 0 {
        command.arg(format!("--join={}", cables.plug(index - 1)));
    }
    // Ctrl-C is for this process, which then stops the nodes in its own way.
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()
}

/// The next line that is typed. Never, where nobody types any more.
async fn next_line(lines: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    let line = match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    };
    if line.is_none() {
        *lines = None;
    }
    line
}

/// Passes on what a node prints, each line with the node's name before it. The answer comes when the node says that it is
/// ready, and is an error when its output ends before.
fn prefix_lines(name: &str, child: &mut Child) -> oneshot::Receiver<()> {
    let (ready, is_ready) = oneshot::channel();
    if let Some(output) = child.stderr.take() {
        tokio::spawn(pass_on(name.to_owned(), output, None));
    }
    if let Some(output) = child.stdout.take() {
        tokio::spawn(pass_on(name.to_owned(), output, Some(ready)));
    }
    is_ready
}

async fn pass_on(name: String, output: impl AsyncRead + Unpin, mut ready: Option<oneshot::Sender<()>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        say(&name, &line);
        if line.starts_with("ready ")
            && let Some(ready) = ready.take()
        {
            let _ = ready.send(());
        }
    }
}

fn say(name: &str, line: &str) {
    print(&format!("{} | {line}\n", name.split('@').next().unwrap_or(name)));
}

/// One write a line, so that nodes do not write into each other's; whether anyone reads does not matter to the nodes.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}
