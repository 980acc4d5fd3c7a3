//! `rumormq slow`: clients that do not keep up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use super::ask::print;
use super::client::{Client, Scope, unparse};
use super::failure::Failure;
use super::lists::name_missing;
use super::table::{Table, terminal_width};
use crate::admin::view::{SlowSubscriberView, SlowSubscribersPage};
use crate::config::duration;

/// Arguments of `rumormq slow`.
#[derive(Debug, Args)]
pub(super) struct Slow {
    /// Only clients that take so long, such as 200ms; by default slow_subscriber_threshold of each node, or 1s
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    threshold: Option<Duration>,
    /// Whose clients
    #[arg(long, value_enum, default_value = "cluster")]
    scope: Scope,
    #[command(flatten)]
    client: Client,
}

fn some_time(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "write a time, such as 200ms or 5s".to_owned())
}

impl Slow {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let threshold = self.threshold.map(|threshold| threshold.as_millis().to_string());
        let parameters = [("threshold_ms", threshold.as_deref()), ("scope", Some(self.scope.name()))];
        let page: SlowSubscribersPage = self.client.all("/api/v1/slow-subscribers", &parameters)?;
        if self.client.json {
            return print(&unparse(&page)?);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        print(&table(&page.slow_subscribers, now).within(terminal_width()).to_string())?;
        name_missing(&page.missing);
        Ok(())
    }
}

fn table(all: &[SlowSubscriberView], now: Duration) -> Table {
    let mut table =
        Table::new(&["CLIENT", "NODE", "WORST", "WAITING", "SINCE", "QUEUED", "INFLIGHT", "UNSENT", "TOPIC"]);
    for it in all {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let since = now.saturating_sub(Duration::from_millis(it.since_ms));
        table.push(vec![
            it.client.clone(),
            it.node.clone(),
            shown(it.worst_ms),
            or_dash(it.waiting_ms.map(shown)),
            format!("{} ago", shown(since.as_millis() as u64)),
            it.queued.to_string(),
            it.inflight.to_string(),
            format!("{} B", it.outbox_bytes),
            or_dash(it.worst_topic.clone()),
        ]);
    }
    table
}

/// A time, in the unit that fits it.
fn shown(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_is_seen_at_once() {
        let slow = SlowSubscriberView {
            client: "c".to_owned(),
            node: "node1@h".to_owned(),
            worst_ms: 65_432,
            worst_topic: Some("t/a".to_owned()),
            waiting_ms: Some(7),
            since_ms: 1000,
            late: 3,
            queued: 12,
            inflight: 1,
            outbox_bytes: 9,
        };
        let away = SlowSubscriberView { client: "d".to_owned(), node: "n".to_owned(), ..Default::default() };
        assert_eq!(
            table(&[slow, away], Duration::from_secs(7201 + 3600)).to_string(),
            "CLIENT  NODE     WORST   WAITING  SINCE    QUEUED  INFLIGHT  UNSENT  TOPIC\n\
             c       node1@h  65.4 s  7 ms     3 h ago  12      1         9 B     t/a\n\
             d       n        0 ms    -        3 h ago  0       0         0 B     -\n"
        );
    }
}
