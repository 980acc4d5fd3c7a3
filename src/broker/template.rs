//! Topics with placeholders, as operators write them: `devices/%c/$1`.

use regex_lite::Captures;

/// A topic or filter with places for the client's identifier (`%c`), its user name (`%u`), and groups of a regular
/// expression (`$1` to `$9`). Everything else stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    ClientId,
    UserName,
    Group(usize),
}

/// Who a template is filled in for.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The client identifier.
    pub client_id: &'a str,
    /// The user name, if the client gave one.
    pub user_name: Option<&'a str>,
}

impl Template {
    /// Reads a template whose regular expression has this many groups.
    ///
    /// # Errors
    /// It names a group that there is not, and which.
    pub fn parse(text: &str, groups: usize) -> Result<Template, usize> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            let part = match (char, chars.peek()) {
                ('%', Some('c')) => Part::ClientId,
                ('%', Some('u')) => Part::UserName,
                ('$', Some(digit)) if digit.is_ascii_digit() => {
                    Part::Group(digit.to_digit(10).unwrap_or(0) as usize)
                }
                _ => {
                    plain.push(char);
                    continue;
                }
            };
            chars.next();
            if let Part::Group(group) = part
                && !(1..=groups).contains(&group)
            {
                return Err(group);
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(part);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template { parts })
    }

    /// Fills the places in. None where the client has no such name, or one that would be more than a level of its own:
    /// a client called `#` must not get at what is everybody's, and one called `$SYS` not at what is the broker's.
    pub fn fill(&self, names: Names<'_>, captures: Option<&Captures<'_>>) -> Option<String> {
        let level = |name: &str| !name.is_empty() && !name.contains(['/', '+', '#', '\0']);
        let mut filled = String::new();
        for part in &self.parts {
            filled.push_str(match part {
                Part::Text(text) => text,
                Part::ClientId => Some(names.client_id).filter(|name| level(name))?,
                Part::UserName => names.user_name.filter(|name| level(name))?,
                Part::Group(group) => captures?.get(*group).map_or("", |found| found.as_str()),
            });
        }
        let begins_with_name = matches!(self.parts.first(), Some(Part::ClientId | Part::UserName));
        Some(filled).filter(|filled| !(begins_with_name && filled.starts_with('$')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names { client_id: "c1", user_name: Some("u1") };

    #[test]
    fn places_are_filled_in_and_the_rest_stands_for_itself() {
        for (text, filled) in [
            ("a/b", "a/b"),
            ("a/%c/%u", "a/c1/u1"),
            ("%c%c", "c1c1"),
            ("$SYS/%x/100%", "$SYS/%x/100%"),
            ("$", "$"),
            ("", ""),
        ] {
            assert_eq!(
                Template::parse(text, 0).unwrap().fill(NAMES, None).as_deref(),
                Some(filled),
                "{text}"
            );
        }
        let pattern = regex_lite::Regex::new("^a/(.*)/b(x)?$").unwrap();
        let captures = pattern.captures("a/1/2/b").unwrap();
        assert_eq!(
            Template::parse("$1-$2-%c", 2).unwrap().fill(NAMES, Some(&captures)).as_deref(),
            Some("1/2--c1")
        );
    }

    #[test]
    fn groups_that_there_are_not_are_refused() {
        assert_eq!(Template::parse("$1", 0), Err(1));
        assert_eq!(Template::parse("$0", 3), Err(0));
        assert_eq!(Template::parse("a/$2", 1), Err(2));
    }

    #[test]
    fn names_that_are_no_level_fill_nothing_in() {
        let template = Template::parse("a/%c/%u", 0).unwrap();
        for (client_id, user_name) in [
            ("#", Some("u")),
            ("+", Some("u")),
            ("a/b", Some("u")),
            ("c", Some("#")),
            ("c", Some("")),
            ("c", None),
        ] {
            assert_eq!(
                template.fill(Names { client_id, user_name }, None),
                None,
                "{client_id} {user_name:?}"
            );
        }
        let names = Names { client_id: "$SYS", user_name: None };
        assert_eq!(Template::parse("%c/#", 0).unwrap().fill(names, None), None);
        assert_eq!(Template::parse("a/%c", 0).unwrap().fill(names, None).as_deref(), Some("a/$SYS"));
    }
}
