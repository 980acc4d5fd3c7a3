//! `rumormq routes`, `match`, `clients`, `subscriptions`: lists that a node gives page by page.

use clap::Args;

use super::ask::print;
use super::client::{Client, Scope, parse, unparse};
use super::failure::Failure;
use super::table::{Table, terminal_width};
use crate::admin::view::{
    ClientView, ClientsPage, MatchView, Missing, RouteView, RoutesPage, SubscriptionView, SubscriptionsPage,
};

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
        let page = self.all()?;
        match self.client.json {
            true => print(&unparse(&page)?),
            false => print(&routes(page.routes).within(terminal_width()).to_string()),
        }
    }

    fn all(&self) -> Result<RoutesPage, Failure> {
        let parameters = [("filter", self.filter.as_deref()), ("node", self.node.as_deref())];
        self.client.all("/api/v1/routes", &parameters)
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
        print(&routes(parse::<MatchView>(&body)?.matches).within(terminal_width()).to_string())
    }
}

/// Arguments of `rumormq clients`.
#[derive(Debug, Args)]
pub(super) struct Clients {
    /// Only client identifiers that begin so
    #[arg(long)]
    prefix: Option<String>,
    /// Only clients of this user
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Only clients with a connection, or without
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    connected: Option<bool>,
    /// Whose clients
    #[arg(long, value_enum, default_value = "node")]
    scope: Scope,
    #[command(flatten)]
    client: Client,
}

impl Clients {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let connected = self.connected.map(|connected| connected.to_string());
        let parameters = [
            ("prefix", self.prefix.as_deref()),
            ("username", self.username.as_deref()),
            ("connected", connected.as_deref()),
            ("scope", Some(self.scope.name())),
        ];
        let page: ClientsPage = self.client.all("/api/v1/clients", &parameters)?;
        if self.client.json {
            return print(&unparse(&page)?);
        }
        print(&clients(&page.clients).within(terminal_width()).to_string())?;
        name_missing(&page.missing);
        Ok(())
    }
}

/// Arguments of `rumormq subscriptions`.
#[derive(Debug, Args)]
pub(super) struct Subscriptions {
    /// Only those of the client with this identifier
    #[arg(long = "client", value_name = "ID")]
    of: Option<String>,
    /// Only those to this filter, as it was subscribed to
    #[arg(long)]
    filter: Option<String>,
    /// Whose clients
    #[arg(long, value_enum, default_value = "node")]
    scope: Scope,
    #[command(flatten)]
    client: Client,
}

impl Subscriptions {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let parameters = [
            ("client", self.of.as_deref()),
            ("filter", self.filter.as_deref()),
            ("scope", Some(self.scope.name())),
        ];
        let page: SubscriptionsPage = self.client.all("/api/v1/subscriptions", &parameters)?;
        if self.client.json {
            return print(&unparse(&page)?);
        }
        print(&subscriptions(&page.subscriptions).within(terminal_width()).to_string())?;
        name_missing(&page.missing);
        Ok(())
    }
}

/// Says whose part is not there. Not among the results, which may be read by a program.
pub(super) fn name_missing(missing: &[Missing]) {
    for Missing { node, reason } in missing {
        eprintln!("rumormq: no answer from {node}: {reason}");
    }
}

fn routes(routes: Vec<RouteView>) -> Table {
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

fn clients(clients: &[ClientView]) -> Table {
    let mut table =
        Table::new(&["CLIENT", "NODE", "USER", "STATE", "ADDRESS", "MQTT", "SUBS", "INFLIGHT", "QUEUED"]);
    for client in clients {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.push(vec![
            client.client.clone(),
            client.node.clone(),
            or_dash(&client.username),
            if client.connected { "connected" } else { "away" }.to_owned(),
            or_dash(&client.address),
            or_dash(&client.protocol),
            client.subscriptions.to_string(),
            client.inflight.to_string(),
            client.queued.to_string(),
        ]);
    }
    table
}

fn subscriptions(subscriptions: &[SubscriptionView]) -> Table {
    let mut table = Table::new(&["CLIENT", "FILTER", "NODE", "QOS", "OPTIONS"]);
    for it in subscriptions {
        let options = [
            it.no_local.then(|| "no-local".to_owned()),
            it.retain_as_published.then(|| "retain-as-published".to_owned()),
            it.identifier.map(|identifier| format!("id={identifier}")),
        ];
        let options: Vec<String> = options.into_iter().flatten().collect();
        let options = if options.is_empty() { "-".to_owned() } else { options.join(" ") };
        table.push(vec![it.client.clone(), it.filter.clone(), it.node.clone(), it.qos.to_string(), options]);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::super::client::Target;
    use super::*;
    use crate::admin::fake::FakeNode;
    use crate::admin::{Guard, HttpServer};

    fn serve(node: Arc<FakeNode>) -> (tokio::runtime::Runtime, Client) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(HttpServer::bind((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
        let http = server.local_addr().unwrap().to_string();
        runtime.spawn(server.run(node, Guard::default()));
        (runtime, Client { target: Target { http, http_token_file: None }, json: false })
    }

    #[test]
    fn all_pages_are_fetched_and_joined() {
        let node = Arc::new(FakeNode::new(&[]));
        let filters: Vec<String> = (0..2500).map(|i| format!("t/{i:04}/ä #")).collect();
        node.routes.lock().extend(filters.iter().map(|filter| (filter.clone(), ["a@b".to_owned()].into())));
        let (_runtime, client) = serve(node);
        let mut routes = Routes { filter: None, node: None, client };
        let got: Vec<String> = routes.all().unwrap().routes.into_iter().map(|route| route.filter).collect();
        assert_eq!(got, filters);
        routes.filter = Some(filters[7].clone());
        assert_eq!(routes.all().unwrap().routes.len(), 1);
        routes.node = Some("c@d".to_owned());
        assert_eq!(routes.all().unwrap(), RoutesPage::default());
        let refused = routes.client.ask("/api/v1/match", &[("topic", "#")]).unwrap_err().to_string();
        assert!(
            refused.ends_with("answers 400 Bad Request: topic: a topic name contains no wildcard"),
            "{refused}"
        );
    }

    #[test]
    fn clients_of_all_nodes_are_a_table_and_the_missing_are_known() {
        let (node, other) = (FakeNode::new(&[]), FakeNode { name: "node2@h", ..FakeNode::new(&[]) });
        *node.clients.lock() = (0..1500).map(|i| format!("c{i:04}")).collect();
        *other.clients.lock() = ["a-away".to_owned(), "d".to_owned()].into();
        node.others.lock().push(Arc::new(other));
        let (_runtime, client) = serve(Arc::new(node));
        let page: ClientsPage = client.all("/api/v1/clients", &[("scope", Some("cluster"))]).unwrap();
        assert_eq!(page.clients.len(), 1502);
        assert_eq!(page.missing.len(), 1, "it is missing on each page, and named once");
        assert_eq!(
            clients(&page.clients[..2]).to_string(),
            "CLIENT  NODE     USER   STATE      ADDRESS          MQTT  SUBS  INFLIGHT  QUEUED\n\
             a-away  node2@h  alice  away       127.0.0.1:50000  5.0   1     0         0\n\
             c0000   node1@h  -      connected  127.0.0.1:50000  5.0   1     0         0\n"
        );
        let page: SubscriptionsPage = client
            .all("/api/v1/subscriptions", &[("client", Some("c0003")), ("scope", Some("node"))])
            .unwrap();
        assert_eq!(
            subscriptions(&page.subscriptions).to_string(),
            "CLIENT  FILTER      NODE     QOS  OPTIONS\n\
             c0003   #           node1@h  1    id=7\n\
             c0003   $share/g/a  node1@h  1    id=7\n"
        );
    }
}
