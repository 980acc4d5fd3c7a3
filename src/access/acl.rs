//! Who may publish and subscribe to what: the rules of an ACL file, in the form that Mosquitto reads.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use super::pattern::{Pattern, Subject, has_names};
use crate::topic::{FilterError, Topic, TopicFilter};

/// The rules. What no rule allows is denied, and a rule that denies beats all that allow, wherever they stand.
///
/// One rule a line, `topic [read|write|readwrite|deny] FILTER`; it is about the clients that the line `user NAME` or
/// `client ID` before it names, or without such a line about those that have no user name. `pattern [...] FILTER` is about all
/// clients, and in it `%c` stands for the client identifier and `%u` for the user name. Without a word of access both are
/// allowed. Blank lines and lines that begin with `#` are passed over.
#[derive(Default, PartialEq)]
pub struct Acl {
    everyone: Vec<Rule>,
    anonymous: Vec<Rule>,
    users: HashMap<Box<str>, Vec<Rule>>,
    clients: HashMap<Box<str>, Vec<Rule>>,
}

#[derive(PartialEq)]
struct Rule {
    access: Access,
    pattern: Pattern,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    ReadWrite,
    Deny,
}

/// What is wrong with an ACL file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct AclError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The line begins with no word that is known.
    #[error("{0:?} is none of user, client, topic and pattern, which a line begins with")]
    Word(String),
    /// The line ends too soon.
    #[error("{0} wants a name behind it")]
    NoName(&'static str),
    /// The line ends too soon.
    #[error("a rule is `{0} [read|write|readwrite|deny] FILTER`")]
    NoFilter(&'static str),
    /// The filter is none.
    #[error("{filter:?}: {error}")]
    Filter {
        /// As it is written.
        filter: String,
        /// What is wrong with it.
        error: FilterError,
    },
    /// Names stand where they mean nothing.
    #[error("{0:?}: %c and %u stand for names in pattern lines only")]
    Names(String),
}

/// About whom the lines that follow are.
enum Head {
    Anonymous,
    User(Box<str>),
    Client(Box<str>),
}

impl Acl {
    /// Reads what an ACL file contains.
    pub fn parse(content: &str) -> Result<Acl, AclError> {
        let mut acl = Acl::default();
        let mut head = Head::Anonymous;
        for (index, line) in content.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                acl.add(line, &mut head).map_err(|fault| AclError { line: index + 1, fault })?;
            }
        }
        Ok(acl)
    }

    /// Whether this client may publish to the topic.
    pub fn may_publish(&self, subject: Subject<'_>, topic: Topic<'_>) -> bool {
        let mut allowed = false;
        for (access, pattern) in self.rules(subject) {
            match access {
                Access::Deny if pattern.matches(topic) => return false,
                Access::Write | Access::ReadWrite => allowed = allowed || pattern.matches(topic),
                Access::Read | Access::Deny => {}
            }
        }
        allowed
    }

    /// Whether this client may have the subscription: one rule allows all topics of its filter, and none denies any of
    /// them. So what is delivered need not be looked at.
    pub fn may_subscribe(&self, subject: Subject<'_>, filter: &TopicFilter) -> bool {
        let mut allowed = false;
        for (access, pattern) in self.rules(subject) {
            match access {
                Access::Deny if pattern.overlaps(filter) => return false,
                Access::Read | Access::ReadWrite => allowed = allowed || pattern.covers(filter),
                Access::Write | Access::Deny => {}
            }
        }
        allowed
    }

    /// The rules about a client, with its names in their filters.
    fn rules<'a>(&'a self, subject: Subject<'a>) -> impl Iterator<Item = (Access, Cow<'a, TopicFilter>)> {
        let of_user = match subject.username {
            Some(name) => self.users.get(name),
            None => Some(&self.anonymous),
        };
        let of_client = self.clients.get(subject.client_id);
        let rules = [Some(&self.everyone), of_user, of_client].into_iter().flatten().flatten();
        rules.filter_map(move |rule| Some((rule.access, rule.pattern.filter(subject)?)))
    }

    fn add(&mut self, line: &str, head: &mut Head) -> Result<(), Fault> {
        let (word, rest) = split_word(line);
        match word {
            "user" if rest.is_empty() => Err(Fault::NoName("user")),
            "user" => {
                *head = Head::User(rest.into());
                Ok(())
            }
            "client" if rest.is_empty() => Err(Fault::NoName("client")),
            "client" => {
                *head = Head::Client(rest.into());
                Ok(())
            }
            "topic" => {
                let (access, filter) = access(rest).ok_or(Fault::NoFilter("topic"))?;
                if has_names(filter) {
                    return Err(Fault::Names(filter.to_owned()));
                }
                let rules = match head {
                    Head::Anonymous => &mut self.anonymous,
                    Head::User(name) => self.users.entry(name.clone()).or_default(),
                    Head::Client(id) => self.clients.entry(id.clone()).or_default(),
                };
                rules.push(Rule { access, pattern: Pattern::literal(filter).map_err(no_filter(filter))? });
                Ok(())
            }
            "pattern" => {
                let (access, filter) = access(rest).ok_or(Fault::NoFilter("pattern"))?;
                let pattern = Pattern::parse(filter).map_err(no_filter(filter))?;
                self.everyone.push(Rule { access, pattern });
                Ok(())
            }
            other => Err(Fault::Word(other.to_owned())),
        }
    }
}

fn no_filter(filter: &str) -> impl FnOnce(FilterError) -> Fault + '_ {
    move |error| Fault::Filter { filter: filter.to_owned(), error }
}

/// A filter with the access to it, if the line has one. Filters may contain spaces.
fn access(rest: &str) -> Option<(Access, &str)> {
    let (word, filter) = split_word(rest);
    let (access, filter) = match word {
        "read" => (Access::Read, filter),
        "write" => (Access::Write, filter),
        "readwrite" => (Access::ReadWrite, filter),
        "deny" => (Access::Deny, filter),
        _ => (Access::ReadWrite, rest),
    };
    (!filter.is_empty()).then_some((access, filter))
}

fn split_word(line: &str) -> (&str, &str) {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (word, rest.trim_start())
}

impl fmt::Debug for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acl({} users, {} clients)", self.users.len(), self.clients.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
# who has no name
topic read news/#
topic deny news/internal/#

user alice
topic readwrite home/alice/#
topic home/shared room/#
topic deny home/alice/secret

user bob
topic read #
topic deny private/#

client gauge-1
topic write gauges/1

# all
pattern write devices/%c/up
pattern read devices/%c/down/#
pattern users/%u/#
";

    fn may(username: Option<&str>, client_id: &str, what: &str, text: &str) -> bool {
        let acl = Acl::parse(FILE).expect("rules");
        let subject = Subject { username, client_id };
        match what {
            "publish" => acl.may_publish(subject, Topic::new(text).expect("a topic")),
            _ => acl.may_subscribe(subject, &TopicFilter::parse(text).expect("a filter")),
        }
    }

    #[test]
    fn rules_decide_by_user_client_and_topic() {
        let (alice, bob) = (Some("alice"), Some("bob"));
        for (user, client, what, text, expected) in [
            (None, "c", "subscribe", "news/today", true),
            (None, "c", "subscribe", "news/internal/x", false),
            (None, "c", "subscribe", "news/#", false),
            (None, "c", "subscribe", "news/+", false),
            (None, "c", "subscribe", "news/+/+", false),
            (None, "c", "subscribe", "news/local/+", true),
            (None, "c", "publish", "news/today", false),
            (alice, "c", "subscribe", "news/today", false),
            (alice, "c", "publish", "home/alice/x", true),
            (alice, "c", "publish", "home/alice/secret", false),
            (alice, "c", "subscribe", "home/alice/x/+", true),
            (alice, "c", "subscribe", "home/alice/+", false),
            (alice, "c", "subscribe", "home/+/x", false),
            (alice, "c", "publish", "home/shared room/x", true),
            (bob, "c", "subscribe", "home/#", true),
            (bob, "c", "subscribe", "#", false),
            (bob, "c", "subscribe", "$SYS/#", false),
            (bob, "c", "publish", "home/x", false),
            (bob, "gauge-1", "publish", "gauges/1", true),
            (bob, "gauge-2", "publish", "gauges/1", false),
            (None, "c", "publish", "devices/c/up", true),
            (None, "c", "publish", "devices/d/up", false),
            (bob, "c", "subscribe", "devices/c/down/#", true),
            (alice, "c", "subscribe", "devices/+/down/x", false),
            (alice, "c", "publish", "users/alice/x", true),
            (alice, "c", "publish", "users/bob/x", false),
            (None, "c", "publish", "users//x", false),
        ] {
            assert_eq!(may(user, client, what, text), expected, "{user:?} {client} {what} {text}");
        }
    }

    #[test]
    fn no_rule_allows_nothing() {
        let acl = Acl::parse("# nothing\n").expect("rules");
        let subject = Subject { username: Some("alice"), client_id: "c" };
        assert!(!acl.may_publish(subject, Topic::new("a").expect("a topic")));
        assert!(!acl.may_subscribe(subject, &TopicFilter::parse("a").expect("a filter")));
    }

    #[test]
    fn faults_are_told_with_their_line() {
        for (content, expected) in [
            (
                "users bob",
                "line 1: \"users\" is none of user, client, topic and pattern, which a line begins with",
            ),
            ("\nuser", "line 2: user wants a name behind it"),
            ("client  ", "line 1: client wants a name behind it"),
            ("topic read", "line 1: a rule is `topic [read|write|readwrite|deny] FILTER`"),
            ("pattern", "line 1: a rule is `pattern [read|write|readwrite|deny] FILTER`"),
            ("#\n#\ntopic read a#", "line 3: \"a#\": a wildcard fills its level of the topic filter"),
            ("topic read #/a", "line 1: \"#/a\": # is the last level of a topic filter"),
            ("topic write a/%c", "line 1: \"a/%c\": %c and %u stand for names in pattern lines only"),
        ] {
            assert_eq!(Acl::parse(content).expect_err(content).to_string(), expected);
        }
    }
}
