//! What a history says in numbers.

use std::collections::HashMap;
use std::time::Duration;

use crate::history::{Event, History, MessageId, Moment, Node, Published, micros};

/// The value that this share of the others does not exceed; zero of nothing.
pub fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

/// A message that came, from the sight of one who got it.
pub struct Passage {
    pub from: Node,
    pub to: Node,
    pub sent: Moment,
    pub took: Duration,
}

/// All deliveries of messages of QoS 1 and 2 that were sent in `[from, until)`, retained ones aside.
pub fn passages(history: &History, from: Moment, until: Moment) -> Vec<Passage> {
    let published: HashMap<MessageId, &Published> =
        publishes(history).map(|publish| (publish.id, publish)).collect();
    let deliveries = history.events.iter().filter_map(|event| match event {
        Event::Delivered(delivered) if !delivered.retained => Some(delivered),
        _ => None,
    });
    let passages = deliveries.filter_map(|delivered| {
        let publish = published.get(&delivered.id?)?;
        let sent = publish.sent.first()?;
        let took = Duration::from_micros(delivered.at.saturating_sub(sent.at));
        let fits = publish.qos > 0 && (from..until).contains(&sent.at);
        fits.then_some(Passage { from: sent.node, to: delivered.node, sent: sent.at, took })
    });
    passages.collect()
}

/// QoS 1 and 2 publishes acknowledged by these nodes in a time, a second.
pub fn acknowledged_rate(history: &History, nodes: &[Node], from: Moment, time: Duration) -> f64 {
    let until = from + micros(time);
    let acknowledged = publishes(history)
        .filter_map(|publish| publish.acked)
        .filter(|acked| nodes.contains(&acked.node) && (from..until).contains(&acked.at));
    acknowledged.count() as f64 / time.as_secs_f64()
}

fn publishes(history: &History) -> impl Iterator<Item = &Published> {
    history.events.iter().filter_map(|event| match event {
        Event::Published(published) => Some(published),
        _ => None,
    })
}
