//! `rumormq topics`: what is published to most.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::ask::print;
use super::client::{Client, Scope, parse};
use super::failure::Failure;
use super::lists::name_missing;
use super::table::{Table, terminal_width};
use crate::admin::view::{RankingView, TopTopicsView};
use crate::config::duration;

/// Arguments of `rumormq topics`.
#[derive(Debug, Args)]
pub(super) struct Topics {
    /// Count for so long from now on: 1s to 60s
    #[arg(long = "for", value_name = "DURATION", default_value = "5s", value_parser = some_seconds)]
    time: Duration,
    /// What is counted
    #[arg(long, value_enum, default_value = "messages")]
    by: By,
    /// How many topics to show
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Where
    #[arg(long, value_enum, default_value = "cluster")]
    scope: Scope,
    #[command(flatten)]
    client: Client,
}

/// What makes a topic great.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// The number of its publishes
    Messages,
    /// Their bytes
    Bytes,
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    let time = duration(text).filter(|time| (1..=60).contains(&time.as_secs()) && time.subsec_nanos() == 0);
    time.ok_or_else(|| "write whole seconds, from 1s to 60s".to_owned())
}

impl Topics {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let (seconds, limit) = (self.time.as_secs().to_string(), self.limit.to_string());
        let parameters = [("seconds", &*seconds), ("limit", &*limit), ("scope", self.scope.name())];
        let body = self.client.target.ask_after(self.time, "/api/v1/top-topics", &parameters)?;
        if self.client.json {
            return print(&body);
        }
        let view: TopTopicsView = parse(&body)?;
        let ranking = if self.by == By::Messages { &view.by_messages } else { &view.by_bytes };
        print(&table(ranking, view.seconds, self.by).within(terminal_width()).to_string())?;
        name_missing(&view.missing);
        Ok(())
    }
}

fn table(ranking: &RankingView, seconds: f64, by: By) -> Table {
    let heading = if by == By::Messages { "MESSAGES" } else { "BYTES" };
    let mut table = Table::new(&["TOPIC", heading, "A SECOND", "SHARE", "TOO MANY BY"]);
    for topic in &ranking.topics {
        let share = 100.0 * topic.count as f64 / ranking.total.max(1) as f64;
        let error = if topic.error == 0 { "-".to_owned() } else { format!("{} at most", topic.error) };
        table.push(vec![
            topic.topic.clone(),
            topic.count.to_string(),
            format!("{:.1}", topic.count as f64 / seconds.max(0.001)),
            format!("{share:.1} %"),
            error,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::view::TopTopicView;

    #[test]
    fn topics_are_shown_with_their_rate_and_share() {
        let topic = |topic: &str, count, error| TopTopicView { topic: topic.to_owned(), count, error };
        let ranking =
            RankingView { topics: vec![topic("a/b", 60, 0), topic("c", 20, 5)], total: 80, unlisted_max: 5 };
        assert_eq!(
            table(&ranking, 10.0, By::Messages).to_string(),
            "TOPIC  MESSAGES  A SECOND  SHARE   TOO MANY BY\n\
             a/b    60        6.0       75.0 %  -\n\
             c      20        2.0       25.0 %  5 at most\n"
        );
        assert!(table(&RankingView::default(), 0.0, By::Bytes).to_string().starts_with("TOPIC  BYTES"));
    }
}
