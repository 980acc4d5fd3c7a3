//! Three nodes in one program, with a client on each: who subscribed to what is known everywhere, and a publish goes from
//! the node it arrives at straight to the nodes that have subscribers.
//!
//! ```text
//! client1 on node1: t/+/x, t/+/y      client2 on node2: t/#      client3 on node3: t/+/x, t/a
//! ```
//!
//! Run it with `cargo run --example three_nodes`.

use std::error::Error;
use std::time::Duration;

use rumormq::admin::RoutesQuery;
use rumormq::admin::view::RouteView;
use rumormq::config::{Config, NodeName};
use rumormq::node::Node;
use rumormq::topic::Topic;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Each joins the one before it; gossip finds the rest.
    let node1 = start("node1@127.0.0.1", None).await?;
    let node2 = start("node2@127.0.0.1", Some(&node1)).await?;
    let node3 = start("node3@127.0.0.1", Some(&node2)).await?;
    all_linked(&[&node1, &node2, &node3]).await;

    let client1 = connect("client1", &node1, &["t/+/x", "t/+/y"]).await?;
    let client2 = connect("client2", &node2, &["t/#"]).await?;
    let client3 = connect("client3", &node3, &["t/+/x", "t/a"]).await?;

    // Every client has its SUBACK, so every node has every route.
    for node in [&node1, &node2, &node3] {
        println!("The route table, as {} has it:", node.name());
        let routes = node.view().routes(&RoutesQuery::default()).routes;
        print_routes(&routes);
        let filters: Vec<&str> = routes.iter().map(|route| route.filter.as_str()).collect();
        assert_eq!(filters, ["t/#", "t/+/x", "t/+/y", "t/a"]);
    }

    println!("client1 publishes t/a on {}, which matches there:", node1.name());
    print_routes(&node1.view().matches(Topic::new("t/a")?).matches);
    client1.sender.publish("t/a", QoS::AtLeastOnce, false, "hello").await?;
    let (mut client1, mut client2, mut client3) = (client1, client2, client3);
    println!("client1 has its acknowledgement: {}", client1.next(puback).await?);
    println!("client2 gets {}", client2.next(publish).await?);
    println!("client3 gets {}", client3.next(publish).await?);

    for node in [node3, node2, node1] {
        node.stop().await;
    }
    Ok(())
}

async fn start(name: &str, join: Option<&Node>) -> Result<Node, Box<dyn Error>> {
    // Port 0 is any free one.
    let config = Config {
        node: Some(NodeName::parse(name)?),
        join: join.map(|node| node.cluster_addr().into()).into_iter().collect(),
        cluster: "127.0.0.1:0".parse()?,
        mqtt: "127.0.0.1:0".parse()?,
        http: "127.0.0.1:0".parse()?,
        ..Config::default()
    };
    Ok(Node::start(config).await?)
}

/// Waits until every node has a link to each of the others.
async fn all_linked(nodes: &[&Node]) {
    use rumormq::admin::view::LinkKind::{Direct, Own};
    let linked = |node: &&Node| {
        let members = node.view().cluster().members;
        members.len() == nodes.len() && members.iter().all(|member| matches!(member.link, Own | Direct))
    };
    while !nodes.iter().all(linked) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn print_routes(routes: &[RouteView]) {
    for route in routes {
        println!("  {:<6} -> {}", route.filter, route.nodes.join(", "));
    }
}

struct Client {
    sender: AsyncClient,
    events: EventLoop,
}

/// Connects and subscribes; returns when the subscriptions are confirmed.
async fn connect(id: &str, node: &Node, filters: &[&str]) -> Result<Client, Box<dyn Error>> {
    let address = node.mqtt_addr();
    let options = MqttOptions::new(id, address.ip().to_string(), address.port());
    let (sender, events) = AsyncClient::new(options, 10);
    let mut client = Client { sender, events };
    for filter in filters {
        client.sender.subscribe(*filter, QoS::AtLeastOnce).await?;
        client.next(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await?;
    }
    Ok(client)
}

impl Client {
    /// The next packet that `wanted` recognises.
    async fn next<T>(
        &mut self,
        wanted: impl Fn(&Packet) -> Option<T>,
    ) -> Result<T, rumqttc::ConnectionError> {
        loop {
            if let Event::Incoming(packet) = self.events.poll().await?
                && let Some(found) = wanted(&packet)
            {
                return Ok(found);
            }
        }
    }
}

fn puback(packet: &Packet) -> Option<String> {
    match packet {
        Packet::PubAck(ack) => Some(format!("packet {} is safe with both nodes", ack.pkid)),
        _ => None,
    }
}

fn publish(packet: &Packet) -> Option<String> {
    match packet {
        Packet::Publish(publish) => {
            Some(format!("{:?} on {}", String::from_utf8_lossy(&publish.payload), publish.topic))
        }
        _ => None,
    }
}
