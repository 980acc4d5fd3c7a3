//! `rumormq leave`: a node goes, and will not come back.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use clap::Args;

use super::ask::print;
use super::client::{Client, parse};
use super::failure::Failure;
use crate::admin::view::LeavingView;
use crate::admin::{DrainStage, DrainView, LeaveRequest};

/// Arguments of `rumormq leave`.
#[derive(Debug, Args)]
pub(super) struct Leave {
    /// First move clients and sessions to other nodes; another `rumormq leave` cuts that short
    #[arg(long)]
    drain: bool,
    /// Clients that are sent away in a second, instead of the node's drain_rate
    #[arg(long, value_name = "N", requires = "drain")]
    rate: Option<NonZeroU32>,
    /// Seconds for load balancers to notice first, instead of the node's drain_grace
    #[arg(long, value_name = "SECONDS", requires = "drain")]
    grace: Option<f64>,
    #[command(flatten)]
    client: Client,
}

/// Longest a node may take to end: it waits for its clients and its peers.
const END_MAX: Duration = Duration::from_secs(30);
/// Between two looks at how far it has got.
const LOOK: Duration = Duration::from_millis(50);

impl Leave {
    /// Returns when the node has ended.
    pub(super) fn execute(self) -> Result<(), Failure> {
        let request = LeaveRequest { drain: self.drain, rate: self.rate, grace_seconds: self.grace };
        let request = serde_json::to_string(&request).map_err(|error| Failure::Answer(error.to_string()))?;
        let body = self.client.target.post("/api/v1/leave", &request)?;
        let LeavingView { node, drain } = parse(&body)?;
        if let Some(begun) = drain.filter(|_| self.drain) {
            self.await_drained(&node, begun)?;
        }
        let asked = Instant::now();
        while self.client.target.is_answered() {
            if asked.elapsed() > END_MAX {
                return Err(Failure::Answer(format!(
                    "{node} leaves, and has not ended after {} s",
                    END_MAX.as_secs()
                )));
            }
            std::thread::sleep(LOOK);
        }
        match self.client.json {
            true => print(&body),
            false => print(&format!("{node} has left its cluster")),
        }
    }

    /// Tells how far the node is, until it leaves or does not answer any more.
    fn await_drained(&self, node: &str, begun: DrainView) -> Result<(), Failure> {
        let mut last = begun;
        let mut told = String::new();
        loop {
            let line = progress(&last);
            if !self.client.json && line != told {
                eprintln!("{node}: {line}");
                told = line;
            }
            if last.stage == DrainStage::Leaving {
                return Ok(());
            }
            std::thread::sleep(4 * LOOK);
            last = match self.client.ask("/api/v1/leave", &[]) {
                Ok(body) => match parse::<LeavingView>(&body)?.drain {
                    Some(drain) => drain,
                    None => {
                        return Err(Failure::Answer(format!(
                            "{node} was started again while it was drained"
                        )));
                    }
                },
                Err(_) if last.clients + last.sessions == 0 => return Ok(()),
                Err(error) => {
                    return Err(Failure::Answer(format!(
                        "{node} has ended before it was drained, with {} clients and {} sessions more on it: {error}",
                        last.clients, last.sessions
                    )));
                }
            };
        }
    }
}

fn progress(drain: &DrainView) -> String {
    let moving = || {
        format!(
            "{} clients and {} sessions without one to go; {} clients sent away, {} sessions moved",
            drain.clients, drain.sessions, drain.clients_sent_away, drain.sessions_moved
        )
    };
    match drain.stage {
        DrainStage::Grace => "not ready any more; load balancers get time to notice".to_owned(),
        DrainStage::Moving => moving(),
        DrainStage::NoOtherNode => format!("no other live node takes them: {}", moving()),
        DrainStage::Flushing => "telling the others what is left".to_owned(),
        DrainStage::Leaving => {
            format!("drained in {:.1} s, {} sessions moved", drain.seconds, drain.sessions_moved)
        }
    }
}
