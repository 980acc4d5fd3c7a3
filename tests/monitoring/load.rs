//! Clients on every node that publish, subscribe, and come to new subscriptions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rumormq::codec::packet::Packet;

use crate::processes::Process;
use crate::support::client::{Client, Q0, Q1, ack, connect, options, publish};

/// What the clients are to do.
#[derive(Default)]
pub struct Load {
    /// Subscriptions come and go.
    pub churn: AtomicBool,
    over: AtomicBool,
}

/// Between two messages of a publisher.
const PACE: Duration = Duration::from_millis(20);

impl Load {
    /// Puts load on the nodes while `action` runs.
    pub fn during<R>(&self, nodes: &[Process], action: impl FnOnce() -> R) -> R {
        let client = |node: &Process, name: &str| {
            let id = format!("{name} {}", node.name());
            let address = node.mqtt_addr();
            node.beside(|| Client::connect(address, connect(&id)))
        };
        std::thread::scope(|scope| {
            for node in nodes {
                let mut subscriber = client(node, "subscriber");
                subscriber.subscribes(&[("load/#", options(Q1))], "0x01");
                let (publisher, churner) = (client(node, "publisher"), client(node, "churner"));
                scope.spawn(move || acknowledge_all(subscriber, &format!("load/over/{}", node.name())));
                scope.spawn(move || self.publish(publisher, node.name()));
                scope.spawn(move || self.come_and_go(churner, node.name()));
            }
            let _over = Over(&self.over);
            action()
        })
    }

    fn publish(&self, mut client: Client, name: &str) {
        let topic = format!("load/{name}");
        let mut id = 0;
        while !self.over.load(Ordering::Relaxed) {
            id = id % 1000 + 1;
            client.sends(Packet::Publish(publish(id, Q0, &topic, "at most once")));
            client.publishes(publish(id, Q1, &topic, "at least once"));
            std::thread::sleep(PACE);
        }
        client.publishes(publish(1, Q1, &format!("load/over/{name}"), ""));
    }

    fn come_and_go(&self, mut client: Client, name: &str) {
        let filter = format!("churn/{name}/+");
        while !self.over.load(Ordering::Relaxed) {
            if self.churn.load(Ordering::Relaxed) {
                client.subscribes(&[(&filter, options(Q1))], "0x01");
                client.unsubscribes(&filter, "0x00");
            }
            std::thread::sleep(5 * PACE);
        }
    }
}

/// The load ends however the test does.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn acknowledge_all(mut client: Client, last: &str) {
    while let Some(frame) = client.frame() {
        let Packet::Publish(publish) = frame.packet() else { continue };
        let is_last = publish.topic.is_some_and(|topic| topic.as_str() == last);
        if let Some(id) = publish.packet_id {
            client.sends(Packet::PubAck(ack(id.get())));
        }
        if is_last {
            return;
        }
    }
}
