//! What has happened lately, for whoever comes to look: changes of members, links and sessions, in words.
//!
//! The last [`KEPT`] are kept. Their numbers have no gaps, so who asks for what came after one that he has seen finds out
//! whether he missed some. Sessions that move are summed up, so that a thousand of them are not all that is left to see.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use rumormq_gossip::NodeName;
use tokio::sync::watch;

use super::wall_clock_ms;

/// Occurrences that are remembered.
pub const KEPT: usize = 256;
/// Kinds of moves, with their peers, that are summed up at a time; those of more peers are not told apart.
const MOVES_KEPT: usize = 64;
/// Characters of a client identifier that are shown.
const CLIENT_SHOWN: usize = 64;

/// What something that happened was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// This node: it starts, is ready, stops.
    Node,
    /// A member lives, is missed, is gone.
    Member,
    /// The way to a member.
    Link,
    /// This node has all that it knows of, or not.
    Convergence,
    /// It has fetched what it had missed.
    Repair,
    /// A session has followed its client.
    Session,
    /// Something that must not happen.
    Alarm,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// Its place among all; later ones have higher numbers, those of later starts of the node included.
    pub number: u64,
    /// When, by this node's clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it was about.
    pub subject: Subject,
    /// The other node that has to do with it.
    pub node: Option<NodeName>,
    /// What happened, in words.
    pub text: String,
}

/// Something that happened just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What it is about.
    pub subject: Subject,
    /// The other node that has to do with it.
    pub node: Option<NodeName>,
    /// What happened, in words.
    pub text: String,
}

/// How a session moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Move {
    /// It came here.
    Arrived,
    /// The rest of it came here, later than its client.
    Merged,
    /// It, or the rest of it, did not come.
    Failed,
    /// It went away.
    Departed,
}

/// How far the list goes; what its watchers wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newest {
    /// The number of the newest entry.
    Number(u64),
    /// There will be no more: the node stops.
    End,
}

/// The list.
#[derive(Debug)]
pub struct Events {
    /// Guards what is remembered. No other lock is taken under it.
    list: Mutex<List>,
    newest: watch::Sender<Newest>,
}

#[derive(Debug)]
struct List {
    occurrences: VecDeque<Occurrence>,
    /// The number of the next one.
    next: u64,
    /// Moves that are not listed yet: the first client, and how many there were.
    moves: BTreeMap<(Move, NodeName), (String, u64)>,
}

impl Default for Events {
    fn default() -> Self {
        Events::starting_at(wall_clock_ms())
    }
}

impl Events {
    /// An empty list of a node that starts then. Nothing happens every millisecond, so that a later start goes on with
    /// higher numbers.
    fn starting_at(started_ms: u64) -> Events {
        let (occurrences, moves) = (VecDeque::new(), BTreeMap::new());
        let newest = watch::Sender::new(Newest::Number(started_ms));
        Events { list: Mutex::new(List { occurrences, next: started_ms + 1, moves }), newest }
    }

    /// Something has happened.
    pub fn note(&self, news: News) {
        self.note_all([news]);
    }

    /// These have happened, in this order.
    pub fn note_all(&self, news: impl IntoIterator<Item = News>) {
        let mut list = self.list.lock();
        let before = list.next;
        news.into_iter().for_each(|news| list.push(news, wall_clock_ms()));
        let newest = list.next - 1;
        drop(list);
        if newest >= before {
            // After the end there are no others.
            self.newest.send_if_modified(|last| {
                let goes_on = matches!(last, Newest::Number(number) if *number < newest);
                if goes_on {
                    *last = Newest::Number(newest);
                }
                goes_on
            });
        }
    }

    /// A session has moved between this node and another one, or not. [`Events::sum_up`] lists it.
    pub fn note_move(&self, how: Move, client: &str, node: &NodeName) {
        let moves = &mut self.list.lock().moves;
        let key = (how, node.clone());
        if let Some((_, count)) = moves.get_mut(&key) {
            *count += 1;
        } else if moves.len() < MOVES_KEPT {
            moves.insert(key, (client.chars().take(CLIENT_SHOWN).collect(), 1));
        } else if let Some((_, (_, count))) = moves.iter_mut().find(|((other, _), _)| *other == how) {
            *count += 1;
        }
    }

    /// Lists the moves since the last time.
    pub fn sum_up(&self) {
        let moves = std::mem::take(&mut self.list.lock().moves);
        if moves.is_empty() {
            return;
        }
        self.note_all(moves.into_iter().map(|((how, node), (client, count))| {
            let text = match count {
                1 => format!("session {client:?} {}", how.words()),
                _ => format!("session {client:?} and {} others {}", count - 1, how.words()),
            };
            News { subject: Subject::Session, node: Some(node), text }
        }));
    }

    /// What came after that number, oldest first. A number that there is not yet stands for none.
    pub fn after(&self, number: u64) -> Vec<Occurrence> {
        let list = self.list.lock();
        let number = if number < list.next { number } else { 0 };
        let first = list.occurrences.partition_point(|it| it.number <= number);
        list.occurrences.range(first..).cloned().collect()
    }

    /// Tells how far the list goes, whenever that has changed.
    pub fn watch(&self) -> watch::Receiver<Newest> {
        self.newest.subscribe()
    }

    /// The node stops.
    pub fn end(&self) {
        self.newest.send_replace(Newest::End);
    }
}

impl List {
    fn push(&mut self, news: News, at_ms: u64) {
        if self.occurrences.len() == KEPT {
            self.occurrences.pop_front();
        }
        let News { subject, node, text } = news;
        self.occurrences.push_back(Occurrence { number: self.next, at_ms, subject, node, text });
        self.next += 1;
    }
}

impl Move {
    fn words(self) -> &'static str {
        match self {
            Move::Arrived => "came from there",
            Move::Merged => "got the rest of what was kept there",
            Move::Failed => "did not come from there",
            Move::Departed => "went there",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(text: &str) -> News {
        News { subject: Subject::Node, node: None, text: text.to_owned() }
    }

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    fn texts(events: &Events, after: u64) -> Vec<String> {
        events.after(after).into_iter().map(|it| it.text).collect()
    }

    #[test]
    fn the_last_ones_are_kept_and_have_their_numbers() {
        let events = Events::starting_at(1000);
        for at in 0..KEPT as u64 + 10 {
            events.note(news(&at.to_string()));
        }
        let all = events.after(0);
        assert_eq!((all.len(), all[0].number, all[0].text.as_str()), (KEPT, 1011, "10"));
        assert!(all.windows(2).all(|two| two[1].number == two[0].number + 1));
        let last = all.last().unwrap().number;
        assert_eq!(texts(&events, last - 2), ["264", "265"]);
        assert_eq!(events.after(last), []);
        assert_eq!(events.after(last + 1).len(), KEPT, "the number of another node, or of its future");
    }

    #[test]
    fn watchers_are_told_of_the_newest_and_of_the_end() {
        let events = Events::starting_at(1000);
        let mut watch = events.watch();
        assert_eq!(*watch.borrow_and_update(), Newest::Number(1000));
        events.note_all([]);
        events.sum_up();
        assert!(!watch.has_changed().unwrap());
        events.note_all([news("a"), news("b")]);
        assert_eq!(*watch.borrow_and_update(), Newest::Number(1002));
        events.end();
        events.note(news("too late"));
        assert_eq!(*watch.borrow_and_update(), Newest::End);
    }

    #[test]
    fn many_moves_are_one_line() {
        let events = Events::starting_at(1000);
        let (a, b) = (node("a@h"), node("b@h"));
        for client in ["c1", "c2", "c3"] {
            events.note_move(Move::Arrived, client, &a);
        }
        events.note_move(Move::Departed, "\n", &b);
        assert_eq!(events.after(0), []);
        events.sum_up();
        assert_eq!(
            texts(&events, 0),
            [r#"session "c1" and 2 others came from there"#, r#"session "\n" went there"#]
        );
        events.sum_up();
        assert_eq!(events.after(0).len(), 2);
    }

    #[test]
    fn moves_between_many_nodes_are_bounded() {
        let events = Events::starting_at(1000);
        for at in 0..1000 {
            events.note_move(Move::Arrived, &"x".repeat(1000), &node(&format!("n{at:04}@h")));
        }
        events.sum_up();
        let texts = texts(&events, 0);
        assert_eq!(texts.len(), MOVES_KEPT);
        assert!(texts.iter().all(|text| text.len() < 200));
    }
}
