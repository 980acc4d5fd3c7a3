//! What a node asks all others on behalf of its operator, and their answers.
//!
//! Questions go by whichever way there is, over a link or through a third node, and are not repeated: whoever has not
//! answered in time is said not to have. What they are about is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::{MemberState, NodeName, ReplicaId};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout_at;

use super::forward::wire;
use super::link::kind;
use super::{Cluster, Peer};

/// Longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer, in bytes. A link has better things to carry.
const ANSWER_MAX: usize = 1 << 20;
/// Questions of others that this node answers at a time; more are turned away.
const ANSWERING_MAX: usize = 8;
/// Questions of this node that are open at a time; more wait for their turn.
const ASKING_MAX: usize = 8;

/// Answers the questions of other nodes. It may take a while: it is called where that holds up nobody.
pub trait Answerer: Send + Sync + 'static {
    /// The answer to a question of another node, in at most `max` bytes; a longer one is not sent.
    fn answer(&self, question: &[u8], max: usize) -> Vec<u8>;
}

/// What one node has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Which node.
    pub node: NodeName,
    /// Its answer.
    pub result: Result<Vec<u8>, Unanswered>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It is not alive, as far as is known here.
    #[error("it is dead, or cannot be heard from here")]
    Dead,
    /// It lives, and nothing can be said to it.
    #[error("there is no way to it, neither a link nor a node that relays")]
    NoWay,
    /// It was asked.
    #[error("it has not answered within {} s", PATIENCE.as_secs())]
    Late,
    /// It has too many questions to answer, has just started, or its answer is too long.
    #[error("it cannot answer now")]
    Busy,
}

/// A question as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    id: u64,
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    id: u64,
    /// None where the node cannot answer now.
    body: Option<serde_bytes::ByteBuf>,
}

/// The questions under way, in both directions.
pub(super) struct Questions {
    answerer: OnceLock<Weak<dyn Answerer>>,
    next: AtomicU64,
    asking: Semaphore,
    answering: Arc<Semaphore>,
    /// Guards who is still to answer what. No other lock is taken under it.
    rounds: Mutex<BTreeMap<u64, Round>>,
}

/// One question to all.
struct Round {
    awaited: BTreeSet<ReplicaId>,
    /// Each of the awaited answers at most once.
    answers: mpsc::UnboundedSender<(ReplicaId, Option<Vec<u8>>)>,
}

impl Default for Questions {
    fn default() -> Self {
        Questions {
            answerer: OnceLock::new(),
            next: AtomicU64::new(0),
            asking: Semaphore::new(ASKING_MAX),
            answering: Arc::new(Semaphore::new(ANSWERING_MAX)),
            rounds: Mutex::default(),
        }
    }
}

/// An open round; dropped, nobody is waited for any more.
struct Open<'a> {
    questions: &'a Questions,
    id: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.questions.rounds.lock().remove(&self.id);
    }
}

impl Cluster {
    /// From now on the questions of other nodes are answered by this.
    pub fn answer_by(&self, answerer: Weak<dyn Answerer>) {
        // A second one is the caller's mistake and changes nothing.
        let _ = self.questions.answerer.set(answerer);
    }

    /// Asks every other member, and waits for their answers as long as it has patience. Sorted by name; those that have left or
    /// stopped are passed over.
    pub async fn ask_members(&self, question: &[u8]) -> Vec<Answered> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut results: BTreeMap<NodeName, Result<Vec<u8>, Unanswered>> = BTreeMap::new();
        let mut asked: BTreeMap<ReplicaId, Arc<Peer>> = BTreeMap::new();
        for (name, replica) in self.askable() {
            let peer = self.peers.find(&name);
            match (replica, peer) {
                (None, _) => drop(results.insert(name, Err(Unanswered::Dead))),
                (Some(replica), Some(peer)) if peer.has_way_to(&replica) => {
                    asked.insert(replica, peer);
                }
                (Some(_), _) => drop(results.insert(name, Err(Unanswered::NoWay))),
            }
        }
        let turn = timeout_at(deadline, self.questions.asking.acquire()).await;
        if let Ok(Ok(_turn)) = turn {
            let (answers, mut coming) = mpsc::unbounded_channel();
            let id = self.questions.next.fetch_add(1, Ordering::Relaxed);
            let awaited = asked.keys().cloned().collect();
            self.questions.rounds.lock().insert(id, Round { awaited, answers });
            let _open = Open { questions: &self.questions, id };
            let question = Question { id, body: question.to_vec() };
            for (replica, peer) in &asked {
                peer.send(replica, |out| wire::append_skippable(out, kind::QUESTION, &question));
            }
            while !asked.is_empty() {
                let Ok(Some((replica, answer))) = timeout_at(deadline, coming.recv()).await else { break };
                asked.remove(&replica);
                results.insert(replica.name, answer.ok_or(Unanswered::Busy));
            }
        }
        results.extend(asked.into_keys().map(|replica| (replica.name, Err(Unanswered::Late))));
        results.into_iter().map(|(node, result)| Answered { node, result }).collect()
    }

    /// The other members by name, each with its newest live incarnation; none where it should be there and is not.
    fn askable(&self) -> BTreeMap<NodeName, Option<ReplicaId>> {
        let snapshot = self.snapshot(Instant::now());
        let mut members: BTreeMap<NodeName, Option<ReplicaId>> = BTreeMap::new();
        for member in snapshot.members.iter().filter(|member| member.replica.name != snapshot.me.name) {
            let name = member.replica.name.clone();
            match member.state {
                Some(MemberState::Alive | MemberState::Suspect) => {
                    members.insert(name, Some(member.replica.clone()));
                }
                Some(MemberState::Stopped | MemberState::Left) => {}
                Some(MemberState::Dead) | None => drop(members.entry(name).or_insert(None)),
            }
        }
        members
    }

    /// Another node asks something.
    pub(super) fn handle_question(self: &Arc<Self>, peer: &Arc<Peer>, from: &ReplicaId, question: Question) {
        let answer = |peer: &Peer, from: &ReplicaId, id: u64, body: Option<Vec<u8>>| {
            let body = body.filter(|body| body.len() <= ANSWER_MAX).map(Into::into);
            peer.send(from, |out| wire::append_skippable(out, kind::ANSWER, &Answer { id, body }));
        };
        let answerer = self.questions.answerer.get().and_then(Weak::upgrade);
        let turn = self.questions.answering.clone().try_acquire_owned();
        let (Some(answerer), Ok(turn)) = (answerer, turn) else {
            return answer(peer, from, question.id, None);
        };
        let (peer, from) = (peer.clone(), from.clone());
        tokio::task::spawn_blocking(move || {
            answer(&peer, &from, question.id, Some(answerer.answer(&question.body, ANSWER_MAX)));
            drop(turn);
        });
    }

    /// Another node has answered. What was not asked, or is answered twice, is passed over.
    pub(super) fn handle_answer(&self, from: &ReplicaId, answer: Answer) {
        if let Some(round) = self.questions.rounds.lock().get_mut(&answer.id)
            && round.awaited.remove(from)
        {
            let body =
                answer.body.map(serde_bytes::ByteBuf::into_vec).filter(|body| body.len() <= ANSWER_MAX);
            // Whoever has asked may have gone.
            let _ = round.answers.send((from.clone(), body));
        }
    }
}
