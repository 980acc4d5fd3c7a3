//! Topics below `$SYS` with their values at one moment.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::counts::Counts;
use super::load::Loads;
use crate::broker::Broker;

/// Topics with their values.
pub struct Values {
    of_node: Vec<(String, String)>,
    of_cluster: Vec<(String, String)>,
}

impl Values {
    /// Mosquitto's topics, for subscribers of this node.
    pub fn of_node(&self) -> impl Iterator<Item = (&str, &str)> {
        self.of_node.iter().map(|(topic, value)| (topic.as_str(), value.as_str()))
    }

    /// EMQX's topics, for everybody.
    pub fn of_cluster(&self) -> impl Iterator<Item = (&str, &str)> {
        self.of_cluster.iter().map(|(topic, value)| (topic.as_str(), value.as_str()))
    }
}

impl Broker {
    /// All values. Looks at every session.
    pub(super) fn values(&self, counts: &Counts, maximum: usize, loads: &Loads, uptime: Duration) -> Values {
        let census = self.census();
        let disconnected = counts.clients.saturating_sub(counts.connected);
        let stored = census.retained_messages + census.queued + census.inflight;
        let version = env!("CARGO_PKG_VERSION");
        let mut of_node: Vec<(String, String)> = [
            ("version", format!("rumormq version {version}")),
            ("uptime", format!("{} seconds", uptime.as_secs())),
            ("clients/total", counts.clients.to_string()),
            ("clients/maximum", maximum.to_string()),
            ("clients/connected", counts.connected.to_string()),
            ("clients/active", counts.connected.to_string()),
            ("clients/disconnected", disconnected.to_string()),
            ("clients/inactive", disconnected.to_string()),
            ("clients/expired", counts.expired.to_string()),
            ("messages/received", counts.packets_received.to_string()),
            ("messages/sent", counts.publishes_sent.to_string()),
            ("messages/stored", stored.to_string()),
            ("messages/inflight", census.inflight.to_string()),
            ("store/messages/count", stored.to_string()),
            ("store/messages/bytes", census.retained_bytes.to_string()),
            ("publish/messages/received", counts.publishes_received.to_string()),
            ("publish/messages/sent", counts.publishes_sent.to_string()),
            ("publish/messages/dropped", counts.publishes_dropped.to_string()),
            ("bytes/received", counts.bytes_received.to_string()),
            ("bytes/sent", counts.bytes_sent.to_string()),
            ("subscriptions/count", census.subscriptions.to_string()),
            ("retained messages/count", census.retained_messages.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (format!("$SYS/broker/{name}"), value))
        .collect();
        let loads =
            loads.averages().map(|(name, load)| (format!("$SYS/broker/load/{name}"), format!("{load:.2}")));
        of_node.extend(loads);

        let node = self.node_name();
        let mut of_cluster: Vec<(String, String)> = [
            ("version", version.to_owned()),
            ("uptime", uptime.as_millis().to_string()),
            ("datetime", utc(SystemTime::now())),
            ("sysdescr", "RumorMQ".to_owned()),
            ("stats/connections/count", counts.connected.to_string()),
            ("stats/live_connections/count", counts.connected.to_string()),
            ("stats/sessions/count", counts.clients.to_string()),
            ("stats/sessions/max", maximum.to_string()),
            ("stats/subscriptions/count", census.subscriptions.to_string()),
            ("stats/topics/count", self.router.filter_count().to_string()),
            ("stats/retained/count", census.retained_messages.to_string()),
            ("stats/delayed/count", census.delayed.to_string()),
            ("metrics/bytes/received", counts.bytes_received.to_string()),
            ("metrics/bytes/sent", counts.bytes_sent.to_string()),
            ("metrics/packets/received", counts.packets_received.to_string()),
            ("metrics/messages/received", counts.publishes_received.to_string()),
            ("metrics/messages/sent", counts.publishes_sent.to_string()),
            ("metrics/messages/dropped", counts.publishes_dropped.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (format!("$SYS/brokers/{node}/{name}"), value))
        .collect();
        of_cluster.push(("$SYS/brokers".to_owned(), self.live_nodes().join(",")));
        Values { of_node, of_cluster }
    }
}

/// A moment as RFC 3339 writes it, in UTC and whole seconds.
fn utc(time: SystemTime) -> String {
    let secs = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, of_day) = (secs / 86_400, secs % 86_400);
    // Years of 365.2425 days that begin in March, so that the leap day is the last of one, counted from the year 0.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (1_704_067_200, "2024-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(secs)), text);
        }
    }
}
