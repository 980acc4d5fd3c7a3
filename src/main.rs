//! The `rumormq` command.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq::broker::{Broker, Limits};
use rumormq::net::Listener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let broker = Arc::new(Broker::new(Limits::default()));
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1883".to_owned());
    let listener = Listener::bind(address.parse().map_err(std::io::Error::other)?)?;
    println!("ready mqtt={}", listener.local_addr()?);
    tokio::spawn(listener.run(broker.clone()));
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        broker.handle_tick(Instant::now());
    }
}
