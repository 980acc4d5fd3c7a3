//! `rumormq status`, `nodes`, `routes` and `match`: what a node says, as tables.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Args;

use super::client::{Client, parse};
use super::failure::Failure;
use super::table::Table;
use crate::admin::MAX_LIMIT;
use crate::admin::view::{
    ClusterView, HeadView, LinkKind, MatchView, MemberState, MemberView, RouteView, RoutesPage,
};

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
        print(&summary(&parse(&body)?))
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
        print(&members(&parse::<ClusterView>(&body)?.members).to_string())
    }
}

/// Arguments of `rumormq routes`.
#[derive(Debug, Args)]
pub(super) struct Routes {
    /// Only this filter
    #[arg(long)]
    filter: Option<String>,
    /// Only filters that this node wants
    #[arg(long, value_name = "NAME@HOST")]
    node: Option<String>,
    #[command(flatten)]
    client: Client,
}

impl Routes {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let routes = self.all()?;
        if self.client.json {
            let joined = RoutesPage { routes, next: None };
            let body = serde_json::to_string(&joined).map_err(|error| Failure::Answer(error.to_string()))?;
            return print(&body);
        }
        print(&filters(routes).to_string())
    }

    /// The pages, joined.
    fn all(&self) -> Result<Vec<RouteView>, Failure> {
        let limit = MAX_LIMIT.to_string();
        let mut routes = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut parameters = vec![("limit", limit.as_str())];
            let given = [("filter", &self.filter), ("node", &self.node), ("cursor", &cursor)];
            parameters.extend(given.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
            let page: RoutesPage = parse(&self.client.ask("/api/v1/routes", &parameters)?)?;
            routes.extend(page.routes);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(routes);
            }
        }
    }
}

/// Arguments of `rumormq match`.
#[derive(Debug, Args)]
pub(super) struct Match {
    /// The topic of a publish
    topic: String,
    #[command(flatten)]
    client: Client,
}

impl Match {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let body = self.client.ask("/api/v1/match", &[("topic", &self.topic)])?;
        if self.client.json {
            return print(&body);
        }
        print(&filters(parse::<MatchView>(&body)?.matches).to_string())
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

fn summary(cluster: &ClusterView) -> String {
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
    let converged = match (cluster.converged, behind.is_empty()) {
        (true, _) => "yes".to_owned(),
        (false, true) => "no".to_owned(),
        (false, false) => format!("no, behind {}", behind.join(", ")),
    };
    let mut table = Table::new(&["node", &cluster.node]);
    table.push(vec!["members".to_owned(), states.join(", ")]);
    table.push(vec!["converged".to_owned(), converged]);
    format!("{table}\n{}", members(&cluster.members))
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

fn state_name(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Dead => "dead",
        MemberState::Stopped => "stopped",
        MemberState::Left => "left",
    }
}

fn filters(routes: Vec<RouteView>) -> Table {
    let mut table = Table::new(&["FILTER", "NODES"]);
    for route in routes {
        let node = |name: String| match route.members.get(&name) {
            None => name,
            Some(members) => format!("{name} ({members})"),
        };
        let nodes: Vec<String> = route.nodes.into_iter().map(node).collect();
        table.push(vec![route.filter, nodes.join(", ")]);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::admin::fake::{FakeNode, cluster};
    use crate::admin::{Guard, HttpServer};

    #[test]
    fn a_cluster_is_summed_up() {
        assert_eq!(
            summary(&cluster()),
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

    #[test]
    fn all_pages_are_fetched_and_joined() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(HttpServer::bind((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
        let http = server.local_addr().unwrap().to_string();
        let node = FakeNode::new(&[]);
        let filters: Vec<String> = (0..2500).map(|i| format!("t/{i:04}/ä #")).collect();
        node.routes.lock().extend(filters.iter().map(|filter| (filter.clone(), ["a@b".to_owned()].into())));
        runtime.spawn(server.run(Arc::new(node), Guard::default()));
        let client = Client { http, json: false };
        let mut routes = Routes { filter: None, node: None, client };
        let got: Vec<String> = routes.all().unwrap().into_iter().map(|route| route.filter).collect();
        assert_eq!(got, filters);
        routes.filter = Some(filters[7].clone());
        assert_eq!(routes.all().unwrap().len(), 1);
        routes.node = Some("c@d".to_owned());
        assert_eq!(routes.all().unwrap(), []);
        let refused = routes.client.ask("/api/v1/match", &[("topic", "#")]).unwrap_err().to_string();
        assert!(
            refused.ends_with("answers 400 Bad Request: topic: a topic name contains no wildcard"),
            "{refused}"
        );
    }
}
