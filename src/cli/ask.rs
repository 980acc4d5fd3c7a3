//! `rumormq status` and `nodes`: what a node says of its cluster, as tables.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Args;

use super::client::{Client, parse};
use super::failure::Failure;
use super::table::{Table, terminal_width};
use crate::admin::view::{ClusterView, HeadView, LinkKind, MemberState, MemberView};

const CLUSTER: &str = "/api/v1/cluster";

/// Arguments of `rumormq status`.
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    client: Client,
}

impl Status {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let body = self.client.ask(CLUSTER, &[])?;
        if self.client.json {
            return print(&body);
        }
        print(&summary(&parse(&body)?, terminal_width()))
    }
}

/// Arguments of `rumormq nodes`.
#[derive(Debug, Args)]
pub(super) struct Nodes {
    #[command(flatten)]
    client: Client,
}

impl Nodes {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let body = self.client.ask(CLUSTER, &[])?;
        if self.client.json {
            return print(&body);
        }
        print(&members(&parse::<ClusterView>(&body)?.members).within(terminal_width()).to_string())
    }
}

pub(super) fn print(text: &str) -> Result<(), Failure> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    match writeln!(io::stdout().lock(), "{text}") {
        // The reader has seen enough: `rumormq routes | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| Failure::System("cannot print", error)),
    }
}

fn summary(cluster: &ClusterView, width: Option<usize>) -> String {
    let mut states: BTreeMap<MemberState, usize> = BTreeMap::new();
    for member in &cluster.members {
        *states.entry(member.state).or_default() += 1;
    }
    let states: Vec<String> =
        states.iter().map(|(state, count)| format!("{count} {}", state_name(*state))).collect();
    let behind: Vec<&str> = cluster
        .members
        .iter()
        .filter(|member| member.sets.values().any(|set| set.lag_ops > 0))
        .map(|member| member.name.as_str())
        .collect();
    let is_away = |state: &MemberState| matches!(state, MemberState::Dead | MemberState::Stopped);
    let away = cluster.members.iter().any(|member| is_away(&member.state));
    let converged = match (cluster.converged, behind.is_empty()) {
        (true, _) if away => "yes, members missing".to_owned(),
        (true, _) => "yes".to_owned(),
        (false, true) => "no".to_owned(),
        (false, false) => format!("no, behind {}", behind.join(", ")),
    };
    let mut table = Table::new(&["node", &cluster.node]);
    table.push(vec!["members".to_owned(), states.join(", ")]);
    table.push(vec!["converged".to_owned(), converged]);
    format!("{}\n{}", table.within(width), members(&cluster.members).within(width))
}

fn members(members: &[MemberView]) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "LINK", "RTT MS", "ROUTES", "APPLIED", "HEAD", "LAG"]);
    for member in members {
        let link = match (&member.via, member.link) {
            (Some(via), _) => format!("via {via}"),
            (None, LinkKind::Own) => "self".to_owned(),
            (None, LinkKind::Direct) => "direct".to_owned(),
            (None, LinkKind::Relayed) => "relayed".to_owned(),
            (None, LinkKind::None) => "none".to_owned(),
        };
        let unknown = || "-".to_owned();
        let set = &member.routes_set;
        let seq = |head: &Option<HeadView>| head.as_ref().map_or_else(unknown, |head| head.seq.to_string());
        let lag = match set.lag_ops {
            0 => unknown(),
            ops => format!("{ops} ops, {:.1} s", set.lag_seconds),
        };
        table.push(vec![
            member.name.clone(),
            state_name(member.state).to_owned(),
            link,
            member.rtt_ms.map_or_else(unknown, |rtt| format!("{rtt:.1}")),
            member.routes.to_string(),
            seq(&set.applied),
            seq(&set.head),
            lag,
        ]);
    }
    table
}

pub(super) fn state_name(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Dead => "dead",
        MemberState::Stopped => "stopped",
        MemberState::Left => "left",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fake::cluster;

    #[test]
    fn a_cluster_is_summed_up() {
        assert_eq!(
            summary(&cluster(), Some(80)),
            "node       node1@h\n\
             members    1 alive, 1 suspect, 1 dead\n\
             converged  no, behind node2@h\n\
             \n\
             NAME     STATE    LINK         RTT MS  ROUTES  APPLIED  HEAD  LAG\n\
             node1@h  alive    self         -       3       3        3     -\n\
             node2@h  suspect  via node3@h  0.8     1200    4        9     5 ops, 1.2 s\n\
             node4@h  dead     none         -       0       -        -     -\n"
        );
    }
}
