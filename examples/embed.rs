//! A node inside another program: the configuration is plain data, and what the HTTP API tells is at hand as values.
//!
//! Run it with `cargo run --example embed`.

use std::error::Error;
use std::sync::Arc;

use rumormq::admin::{NodeView, Readiness};
use rumormq::config::Config;
use rumormq::node::Node;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config {
        // Port 0 is any free one; `..` leaves the rest as the command has it, loopback only.
        mqtt: "127.0.0.1:0".parse()?,
        cluster: "127.0.0.1:0".parse()?,
        http: "127.0.0.1:0".parse()?,
        ..Config::default()
    };
    config.limits.max_packet_size = 64 << 10;
    Arc::make_mut(&mut config.limits.session).max_queued_messages = 100;

    let node = Node::start(config).await?;
    println!(
        "{} takes MQTT clients on {} and nodes on {}",
        node.name(),
        node.mqtt_addr(),
        node.cluster_addr()
    );
    println!("HTTP API and metrics: http://{}", node.http_addr());

    let view: Arc<dyn NodeView> = node.view();
    assert_eq!(view.readiness(), Readiness::Ready);
    for member in view.cluster().members {
        println!("member {} is {:?}, with {} routes", member.name, member.state, member.routes);
    }
    let connections =
        view.metrics().lines().find(|line| line.starts_with("rumormq_connections ")).map(str::to_owned);
    println!("a metric: {}", connections.unwrap_or_default());

    node.stop().await;
    Ok(())
}
