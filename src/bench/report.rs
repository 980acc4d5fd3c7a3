//! What came of a run.

use std::time::Duration;

use serde::Serialize;

use super::histogram::Histogram;
use super::plan::{Plan, Shape};
use super::tally::Sums;
use crate::codec::packet::QoS;

/// Times in microseconds; `None` where there was nothing to measure.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Times {
    /// Half are shorter.
    pub p50: Option<u64>,
    /// 99 of 100 are shorter.
    pub p99: Option<u64>,
    /// 999 of 1000 are shorter.
    pub p999: Option<u64>,
    /// The longest.
    pub max: Option<u64>,
}

impl From<&Histogram> for Times {
    fn from(histogram: &Histogram) -> Times {
        let micros = |time: Option<Duration>| Some(time?.as_micros() as u64);
        Times {
            p50: micros(histogram.percentile(0.5)),
            p99: micros(histogram.percentile(0.99)),
            p999: micros(histogram.percentile(0.999)),
            max: micros(histogram.max()),
        }
    }
}

/// The result of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// From the first publish to the last thing that came.
    pub seconds: f64,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that could not be opened.
    pub connections_failed: u64,
    /// Connections that ended before their time.
    pub connections_lost: u64,
    /// Connections a second, while they were opened.
    pub connections_per_second: f64,
    /// From the connection's first packet to CONNACK.
    pub connect_us: Times,
    /// Messages sent.
    pub published: u64,
    /// The same a second.
    pub published_per_second: f64,
    /// Messages acknowledged, at QoS 1 and 2.
    pub acknowledged: u64,
    /// Messages refused, at QoS 1 and 2.
    pub refused: u64,
    /// From PUBLISH to PUBACK or PUBCOMP.
    pub acknowledged_us: Times,
    /// Deliveries that are owed for the messages sent.
    pub expected: u64,
    /// Different messages received.
    pub received: u64,
    /// The same a second.
    pub received_per_second: f64,
    /// Bytes of payload received a second.
    pub bytes_per_second: f64,
    /// From being sent, or the time it should have been, to being received.
    pub latency_us: Times,
    /// Deliveries that did not come.
    pub lost: u64,
    /// Of these, those of messages that were not acknowledged: nobody promised them.
    pub lost_unacknowledged: u64,
    /// Messages that came once more.
    pub duplicates: u64,
    /// Messages that came after a later one of the same publisher.
    pub out_of_order: u64,
    /// Messages of somebody else.
    pub unexpected: u64,
    /// What the broker has promised and not kept, in words.
    pub broken: Vec<String>,
}

/// What was counted, before anything is made of it.
#[derive(Debug, Default)]
pub struct Counts {
    /// While connections were opened.
    pub connecting: Duration,
    /// How many were.
    pub connections: u64,
    /// Why others were not.
    pub failed: Vec<String>,
    /// Why connections ended.
    pub lost: Vec<String>,
    /// How long that took.
    pub connect: Histogram,
    /// How long was published.
    pub publishing: Duration,
    /// From the beginning to the last message that came.
    pub receiving: Duration,
    /// Messages.
    pub sent: u64,
    /// Messages.
    pub acknowledged: u64,
    /// Messages.
    pub refused: u64,
    /// Until they were acknowledged.
    pub acknowledgement: Histogram,
    /// What came.
    pub sums: Sums,
    /// Until they came.
    pub latency: Histogram,
}

impl Report {
    /// Makes sense of what was counted.
    pub fn new(plan: &Plan, counts: &Counts) -> Report {
        let receivers = plan.receivers() as u64;
        let sums = &counts.sums;
        let a_second = |count: u64, time: Duration| count as f64 / time.as_secs_f64().max(1e-9);
        let acknowledges = plan.qos != QoS::AtMostOnce && plan.shape != Shape::Subscribe;
        // Nobody owes what was refused, though it may have come.
        let expected = (counts.sent - counts.refused.min(counts.sent)) * receivers;
        let lost = match plan.shape {
            Shape::Subscribe => sums.missing,
            _ => expected.saturating_sub(sums.received),
        };
        let in_doubt = match acknowledges {
            true => counts.sent.saturating_sub(counts.acknowledged + counts.refused) * receivers,
            false => 0,
        };
        let mut report = Report {
            seconds: counts.publishing.max(counts.receiving).as_secs_f64(),
            connections: counts.connections,
            connections_failed: counts.failed.len() as u64,
            connections_lost: counts.lost.len() as u64,
            connections_per_second: a_second(counts.connections, counts.connecting),
            connect_us: Times::from(&counts.connect),
            published: counts.sent,
            published_per_second: a_second(counts.sent, counts.publishing),
            acknowledged: counts.acknowledged,
            refused: counts.refused,
            acknowledged_us: Times::from(&counts.acknowledgement),
            expected,
            received: sums.received,
            received_per_second: a_second(sums.received, counts.receiving),
            bytes_per_second: a_second(sums.bytes, counts.receiving),
            latency_us: Times::from(&counts.latency),
            lost,
            lost_unacknowledged: lost.min(in_doubt),
            duplicates: sums.duplicates,
            out_of_order: sums.out_of_order,
            unexpected: sums.unexpected,
            broken: Vec::new(),
        };
        report.broken = report.find_broken(plan, counts);
        report
    }

    fn find_broken(&self, plan: &Plan, counts: &Counts) -> Vec<String> {
        let mut broken = Vec::new();
        let mut find = |count: u64, what: &str| {
            if count > 0 {
                broken.push(format!("{count} {what}"));
            }
        };
        if plan.qos != QoS::AtMostOnce {
            find(self.lost - self.lost_unacknowledged, "messages were acknowledged and did not come");
        }
        if plan.qos == QoS::ExactlyOnce {
            find(self.duplicates, "messages of QoS 2 came more than once");
        }
        find(self.out_of_order, "messages came after a later one of the same publisher");
        if plan.shape != Shape::Subscribe {
            find(self.unexpected, "messages came to the wrong subscriber, or were nobody's");
        }
        for (what, reasons) in [("could not be opened", &counts.failed), ("ended early", &counts.lost)] {
            let mut reasons: Vec<&String> = reasons.iter().collect();
            reasons.sort_unstable();
            for same in reasons.chunk_by(|one, other| one == other) {
                find(same.len() as u64, &format!("connections {what}: {}", same[0]));
            }
        }
        broken
    }
}
