//! Decides from a history what was owed and whether it came. Pure: the same history has the same verdict.
//!
//! The rule: a QoS 1 or 2 publish that was acknowledged on N is owed to a subscriber on M if N is M; or if SUBACK came before
//! the publish was sent, was not one that says that a node may have missed it, and nothing separated N and M then; or if N
//! had shown the route before. QoS 1 at least once, QoS 2 exactly once. Exempt is what a node held that died, and what was on
//! its way when its session moved while nodes could not reach each other: that may be lost, or come twice. It is counted by
//! reason, and a scenario says whether there may be any.
//!
//! [`trouble`] knows the faults, [`sessions`] who wanted what and where, [`knowledge`] which node knew of it. One module a
//! rule: [`owed`], [`origin`], [`order`], [`connections`].

pub mod agreement;
mod connections;
#[cfg(test)]
mod controls;
mod filter;
mod knowledge;
mod order;
mod origin;
mod owed;
mod sessions;
mod trouble;
mod verdict;

use std::collections::HashMap;

use crate::history::{ClientNumber, Delivered, Event, History, MessageId, Published};
use sessions::Sessions;
use trouble::Troubles;
pub use verdict::Verdict;

/// What a scenario promises beyond what is owed always.
#[derive(Clone, Copy, Debug, Default)]
pub struct Promises {
    /// No client loses its connection but by its own will, also while nodes cannot reach each other. Connections to a node
    /// that is killed or stopped are not meant.
    pub no_disconnects: bool,
    /// Nothing is exempt, for no node died; but for sessions that move to another node while nodes are apart.
    pub no_exemptions: bool,
}

/// A history with what is looked up again and again.
struct Records<'a> {
    history: &'a History,
    troubles: &'a Troubles,
    sessions: Sessions,
    published: HashMap<MessageId, &'a Published>,
    /// In the order in which each client got them, without what came because it was retained.
    delivered: HashMap<(ClientNumber, MessageId), Vec<&'a Delivered>>,
}

/// Compares what was owed with what came.
pub fn check(history: &History, promises: &Promises) -> Verdict {
    let troubles = Troubles::of(history);
    let records = Records::of(history, &troubles);
    let mut verdict = Verdict::default();
    records.count(&mut verdict);
    owed::check(&records, &mut verdict);
    origin::check(&records, &mut verdict);
    order::check(&records, &mut verdict);
    connections::check(&records, promises, &mut verdict);
    let exempt = verdict.exempted(&[owed::MOVED, owed::MOVED_TWICE, owed::LEFT_BEHIND]);
    if promises.no_exemptions && exempt > 0 {
        verdict.violation("nothing is exempt", || format!("{exempt} deliveries are"));
    }
    verdict
}

impl<'a> Records<'a> {
    fn of(history: &'a History, troubles: &'a Troubles) -> Records<'a> {
        let mut records = Records {
            history,
            troubles,
            sessions: Sessions::of(history, troubles),
            published: HashMap::new(),
            delivered: HashMap::new(),
        };
        for event in &history.events {
            match event {
                Event::Published(published) => {
                    records.published.insert(published.id, published);
                }
                Event::Delivered(delivered) if !delivered.retained => {
                    if let Some(id) = delivered.id {
                        records.delivered.entry((delivered.client, id)).or_default().push(delivered);
                    }
                }
                _ => {}
            }
        }
        records
    }

    /// Fills in what is only counted.
    fn count(&self, verdict: &mut Verdict) {
        for event in &self.history.events {
            match event {
                Event::Published(published) => {
                    let qos = usize::from(published.qos);
                    verdict.published[qos] += 1;
                    if let Some(acked) = published.acked {
                        verdict.acked[qos] += 1;
                        let sent = published.sent.last().map_or(acked.at, |sent| sent.at);
                        verdict.took("publish to acknowledgement", acked.at.saturating_sub(sent));
                    }
                }
                Event::Delivered(delivered) => {
                    verdict.delivered[usize::from(delivered.qos)] += 1;
                    verdict.retained += u64::from(delivered.retained);
                }
                Event::Subscribed(subscribed) => {
                    if let Some(at) = subscribed.at {
                        verdict.took("subscribe to SUBACK", at - subscribed.asked_at);
                    }
                }
                Event::Known(known) => {
                    verdict.took("subscribe to known on all nodes", known.at - known.asked_at);
                }
                Event::Connected(connected) => {
                    verdict.took("connect to CONNACK", connected.at - connected.asked_at);
                }
                _ => {}
            }
        }
        for ((_, id), copies) in &self.delivered {
            let sent = self.published.get(id).and_then(|published| published.sent.first());
            if let Some(sent) = sent {
                verdict.took("publish to delivery", copies[0].at.saturating_sub(sent.at));
            }
        }
    }

    /// `t/1 of CLIENT, number 7, QoS 1, sent to n1 at 1.234567 s`.
    fn describe(&self, published: &Published) -> String {
        let sent = published
            .sent
            .iter()
            .map(|sent| format!(" sent to {} at {}", self.history.nodes[sent.node], seconds(sent.at)));
        let acked = published.acked.map(|acked| {
            format!(", acknowledged by {} at {}", self.history.nodes[acked.node], seconds(acked.at))
        });
        format!(
            "{} of {}, number {}, QoS {},{}{}",
            published.topic,
            self.history.clients[published.id.publisher],
            published.id.counter,
            published.qos,
            sent.collect::<String>(),
            acked.unwrap_or_default()
        )
    }
}

fn seconds(at: crate::history::Moment) -> String {
    format!("{:.3} s", at as f64 / 1e6)
}
