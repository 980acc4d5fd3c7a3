//! The slow subscribers of a node, as its HTTP API shows them: those that are behind now, and those that were lately.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::admin::view::{SlowSubscriberView, SlowSubscribersPage};
use crate::admin::{FirstEntries, SlowQuery};
use crate::broker::{Broker, Lag};
use crate::cluster::wall_clock_ms;

/// From when on a client is slow where neither the question nor the setting says.
const THRESHOLD: Duration = Duration::from_secs(1);

/// One page of the slow subscribers of `node`. It looks at each session for a moment.
pub(super) fn list(broker: &Broker, node: &str, query: &SlowQuery) -> SlowSubscribersPage {
    let (now, now_ms) = (Instant::now(), wall_clock_ms());
    let asked = query.threshold_ms.map(Duration::from_millis);
    let threshold = asked.or_else(|| broker.slow.threshold()).unwrap_or(THRESHOLD);
    let mut late: HashMap<_, _> = broker.slow.late(now).into_iter().collect();
    let mut first = FirstEntries::of(&query.part);
    let mut insert = |view: SlowSubscriberView| {
        if view.worst_ms >= threshold.as_millis() as u64 {
            first.insert(view.key(), view);
        }
    };
    for client in broker.clients() {
        let (lag, late) = (client.lag(now), late.remove(client.id()));
        if lag.as_ref().is_none_or(|lag| lag.waiting < threshold) && late.is_none() {
            continue;
        }
        let connected = lag.is_some();
        let Lag { waiting, topic, inflight, queued, outbox_bytes } = lag.unwrap_or_default();
        let before = |at: Instant| now_ms.saturating_sub(millis(now.saturating_duration_since(at)));
        let since_ms =
            late.as_ref().map_or(now_ms.saturating_sub(millis(waiting)), |late| before(late.since));
        let messages = late.as_ref().map_or(0, |late| late.messages);
        let worse = late.filter(|late| late.worst > waiting);
        insert(SlowSubscriberView {
            client: client.id().to_owned(),
            node: node.to_owned(),
            worst_ms: millis(worse.as_ref().map_or(waiting, |late| late.worst)),
            worst_topic: worse.map(|late| late.topic.into()).or(topic),
            waiting_ms: connected.then(|| millis(waiting)),
            since_ms,
            late: messages,
            queued: queued as u64,
            inflight: inflight as u64,
            outbox_bytes: outbox_bytes as u64,
        });
    }
    first.into()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
