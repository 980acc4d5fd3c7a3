//! Which topics are published to most: each node counts for some seconds from the question on, and then tells.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::api::View;
use super::clients::ask;
use super::page::MAX_LIMIT;
use super::parameters::TopTopicsParameters;
use super::question::{Question, Replies, Reply};
use super::refusal::Refusal;
use super::view::{Missing, RankingView, TopTopicView, TopTopicsView};
use crate::observation::top_topics::{Counted, Ranking};

/// Time of a count where the request does not say, and the longest there is, in seconds.
const SECONDS: u64 = 5;
const SECONDS_MAX: u64 = 60;
/// Topics where the request does not say.
const TOPICS: usize = 20;
/// Bytes of a ranking that travels between nodes, at most.
const RANKING_MAX: usize = 400 << 10;

/// What a node has counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CountedReply {
    pub(super) seconds: f64,
    pub(super) by_messages: RankingView,
    pub(super) by_bytes: RankingView,
}

impl From<Counted> for CountedReply {
    fn from(counted: Counted) -> CountedReply {
        CountedReply {
            seconds: counted.time.as_secs_f64(),
            by_messages: portable(counted.messages),
            by_bytes: portable(counted.bytes),
        }
    }
}

/// A ranking that fits an answer: what is left out of it is unlisted.
fn portable(ranking: Ranking) -> RankingView {
    let Ranking { topics, total, mut unlisted_max } = ranking;
    let (mut shown, mut bytes) = (Vec::new(), 0);
    for topic in topics {
        // As JSON, a character may take six times its place.
        bytes += 6 * topic.text.len() + 64;
        if bytes > RANKING_MAX {
            unlisted_max = unlisted_max.max(topic.weight);
            break;
        }
        shown.push(TopTopicView { topic: topic.text.into(), count: topic.weight, error: topic.error });
    }
    RankingView { topics: shown, total, unlisted_max }
}

/// The ranking of several nodes together. What one does not list it may have as much of as it says: so, as on each, no count is
/// too low, and each says by how much it may be too high.
fn join(rankings: Vec<RankingView>, limit: usize) -> RankingView {
    let (mut total, mut unlisted) = (0_u64, 0_u64);
    let mut topics: HashMap<String, TopTopicView> = HashMap::new();
    for ranking in rankings {
        // First as if this node did not list any of them, then what it does list.
        for topic in topics.values_mut() {
            topic.count += ranking.unlisted_max;
            topic.error += ranking.unlisted_max;
        }
        for TopTopicView { topic, count, error } in ranking.topics {
            let known = topics.get_mut(&topic);
            match known {
                Some(known) => {
                    known.count = known.count - ranking.unlisted_max + count;
                    known.error = known.error - ranking.unlisted_max + error;
                }
                None => {
                    let view = TopTopicView {
                        topic: topic.clone(),
                        count: count + unlisted,
                        error: error + unlisted,
                    };
                    topics.insert(topic, view);
                }
            }
        }
        total += ranking.total;
        unlisted += ranking.unlisted_max;
    }
    let mut topics: Vec<TopTopicView> = topics.into_values().collect();
    topics.sort_unstable_by(|a, b| (b.count, &a.topic).cmp(&(a.count, &b.topic)));
    let left_out = topics.get(limit).map_or(0, |topic| topic.count);
    topics.truncate(limit);
    RankingView { topics, total, unlisted_max: unlisted.max(left_out) }
}

impl Replies {
    fn into_top_topics(self, limit: usize) -> TopTopicsView {
        let (mut seconds, mut by_messages, mut by_bytes) = (0.0_f64, Vec::new(), Vec::new());
        let mut missing = self.missing;
        for (node, reply) in self.replies {
            match reply {
                Reply::TopTopics(Some(counted)) => {
                    seconds = seconds.max(counted.seconds);
                    by_messages.push(counted.by_messages);
                    by_bytes.push(counted.by_bytes);
                }
                _ => missing.push(Missing { node, reason: "it has not counted".to_owned() }),
            }
        }
        missing.sort();
        TopTopicsView {
            seconds,
            by_messages: join(by_messages, limit),
            by_bytes: join(by_bytes, limit),
            missing,
        }
    }
}

pub(super) async fn top_topics(
    State(shared): View,
    given: TopTopicsParameters,
) -> Result<Json<TopTopicsView>, Refusal> {
    let seconds = given.seconds.unwrap_or(SECONDS);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(Refusal::bad_request(format!("seconds is from 1 to {SECONDS_MAX}")));
    }
    let limit = given.limit.unwrap_or(TOPICS);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Refusal::bad_request(format!("limit is from 1 to {MAX_LIMIT}")));
    }
    let count = format!("{:016x}", getrandom::u64().unwrap_or_default());
    let begin = Question::CountTopics { count: count.clone(), seconds };
    let begun = ask(&shared.view, given.scope, begin).await;
    if let Some((_, Reply::Counting(Some(why)))) = begun.replies.first() {
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, why.clone()));
    }
    sleep(Duration::from_secs(seconds)).await;
    let counted = ask(&shared.view, given.scope, Question::TopTopics { count }).await;
    Ok(Json(counted.into_top_topics(limit)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observation::heavy_hitters::HeavyHitters;

    proptest! {
        /// Several nodes count, each in little memory: what they say together is true of the whole.
        #[test]
        fn rankings_of_several_nodes_keep_what_each_promises(
            streams in prop::collection::vec(prop::collection::vec(0_u32..30, 0..200), 1..4),
            capacity in 1_usize..20,
            limit in 1_usize..20,
        ) {
            let mut exact: HashMap<String, u64> = HashMap::new();
            let rankings = streams.iter().map(|stream| {
                let mut heavy = HeavyHitters::new(capacity);
                for number in stream {
                    let text = (number * number / 30).to_string();
                    heavy.add(&text, 1);
                    *exact.entry(text).or_default() += 1;
                }
                let (total, unlisted_max) = (heavy.total(), heavy.unlisted_max());
                portable(Ranking { topics: heavy.into_hitters(), total, unlisted_max })
            });
            let joined = join(rankings.collect(), limit);
            prop_assert_eq!(joined.total, exact.values().sum::<u64>());
            prop_assert!(joined.topics.len() <= limit);
            for TopTopicView { topic, count, error } in &joined.topics {
                prop_assert!(*count >= exact[topic] && count - error <= exact[topic], "{} {} {}", topic, count, error);
            }
            for (topic, count) in exact {
                let listed = joined.topics.iter().any(|it| it.topic == topic);
                prop_assert!(listed || count <= joined.unlisted_max, "{} {}", topic, count);
            }
        }
    }
}
