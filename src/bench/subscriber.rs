//! A client that subscribes.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::connection::{ClientError, Connection};
use super::plan::Plan;
use super::publisher::{Flow, answer};
use super::stamp::Clock;
use super::tally::Tally;
use crate::codec;
use crate::codec::packet::{Packet, ProtocolVersion, QoS};

/// A subscriber that is connected and subscribed.
pub struct Subscriber {
    connection: Connection,
    version: ProtocolVersion,
    /// The lock is for one read's worth of messages.
    tally: Arc<Mutex<Tally>>,
    /// Of all publishers, by number.
    flows: Arc<Vec<Arc<Flow>>>,
    clock: Clock,
}

impl Subscriber {
    /// Counts what comes over this connection.
    pub fn new(
        plan: &Plan,
        connection: Connection,
        tally: Arc<Mutex<Tally>>,
        flows: Arc<Vec<Arc<Flow>>>,
        clock: Clock,
    ) -> Subscriber {
        Subscriber { connection, version: plan.version, tally, flows, clock }
    }

    /// Takes what comes until the end is told.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn run(mut self, mut end: watch::Receiver<bool>) -> Result<(), ClientError> {
        loop {
            tokio::select! {
                read = self.connection.progress() => if read? {
                    self.handle_messages()?;
                },
                _ = end.changed() => break,
            }
        }
        self.connection.close().await;
        Ok(())
    }

    fn handle_messages(&mut self) -> Result<(), ClientError> {
        let now = self.clock.unix_nanos(Instant::now());
        let mut tally = self.tally.lock();
        let flows = &self.flows;
        // Messages of one publisher mostly come together.
        let (mut publisher, mut delivered) = (None, 0);
        let credit = |publisher: Option<u32>, delivered| {
            if let Some(flow) = publisher.and_then(|publisher| flows.get(publisher as usize)) {
                flow.deliver(delivered);
            }
        };
        let version = self.version;
        let handled = self.connection.handle_input(|packet, output| {
            let answer = match packet {
                Packet::Publish(publish) => {
                    if let Some(from) = tally.note(publish.payload, now) {
                        if publisher != Some(from) {
                            credit(publisher, std::mem::take(&mut delivered));
                            publisher = Some(from);
                        }
                        delivered += 1;
                    }
                    match (publish.qos, publish.packet_id) {
                        (QoS::AtLeastOnce, Some(packet_id)) => Packet::PubAck(answer(packet_id)),
                        (QoS::ExactlyOnce, Some(packet_id)) => Packet::PubRec(answer(packet_id)),
                        _ => return Ok(()),
                    }
                }
                Packet::PubRel(ack) => Packet::PubComp(answer(ack.packet_id)),
                _ => return Err(ClientError::Protocol("this is not for a subscriber")),
            };
            Ok(codec::encode(&answer, version, u32::MAX, output)?)
        });
        credit(publisher, delivered);
        handled
    }
}
