use super::*;

#[test]
fn names() {
    for name in ["a", "/", "a/b", "//", "$SYS/x", " ", "a b", "\u{FEFF}", "ä/ö", &"x".repeat(65_535)] {
        assert_eq!(Topic::new(name).map(Topic::as_str), Ok(name));
    }
    let refused = [
        ("", TopicError::Empty),
        ("+", TopicError::Wildcard),
        ("a/#", TopicError::Wildcard),
        ("a+b", TopicError::Wildcard),
        ("a\0b", TopicError::Null),
        (&"x".repeat(65_536), TopicError::TooLong),
    ];
    for (name, error) in refused {
        assert_eq!(Topic::new(name), Err(error), "{name:.20}");
    }
    assert!(Topic::new("$SYS").unwrap().is_system());
    assert!(!Topic::new("a/$SYS").unwrap().is_system());
    assert_eq!(Topic::new("/a//b").unwrap().levels().collect::<Vec<_>>(), ["", "a", "", "b"]);
}

/// A wildcard anywhere in a name of any length is found: the check is vectorised, so its seams matter.
#[test]
fn names_are_searched_to_the_last_byte() {
    for len in 1..70 {
        for at in 0..len {
            let mut name = vec![b'x'; len];
            name[at] = b'#';
            assert_eq!(Topic::new(std::str::from_utf8(&name).unwrap()), Err(TopicError::Wildcard));
        }
    }
}

#[test]
fn filters() {
    for filter in ["a", "/", "#", "+", "a/#", "+/+", "/+", "+/", "+/a/#", "/#", "$SYS/#", "$share", "a//b"] {
        assert_eq!(TopicFilter::parse(filter).unwrap().as_str(), filter);
    }
    let refused = [
        ("", FilterError::Empty),
        ("a\0", FilterError::Null),
        ("a#", FilterError::WildcardInLevel),
        ("a/b#", FilterError::WildcardInLevel),
        ("a+/b", FilterError::WildcardInLevel),
        ("++", FilterError::WildcardInLevel),
        ("##", FilterError::WildcardInLevel),
        ("#/", FilterError::MultiLevelNotLast),
        ("#/a", FilterError::MultiLevelNotLast),
        ("a/#/b", FilterError::MultiLevelNotLast),
        (&"x".repeat(65_536), FilterError::TooLong),
    ];
    for (filter, error) in refused {
        assert_eq!(TopicFilter::parse(filter), Err(error), "{filter:.20}");
    }
}

#[test]
fn filter_levels() {
    use Level::*;
    let filter = TopicFilter::parse("a//+/b/#").unwrap();
    assert_eq!(
        filter.levels().collect::<Vec<_>>(),
        [Literal("a"), Literal(""), SingleLevel, Literal("b"), MultiLevel]
    );
    let prefix = |text| TopicFilter::parse(text).unwrap().literal_prefix().collect::<Vec<_>>().join("|");
    assert_eq!(prefix("a//+/b/#"), "a|");
    assert_eq!(prefix("a/b"), "a|b");
    assert_eq!(prefix("#"), "");
    assert!(filter.has_wildcards());
    assert!(!TopicFilter::parse("a/b").unwrap().has_wildcards());
}

#[test]
fn matching() {
    let table = [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "a/b", false),
        ("a/b", "a", false),
        ("a", "A", false),
        ("/a", "a", false),
        ("+", "a", true),
        ("+", "/a", false),
        ("+/+", "/a", true),
        ("/+", "/a", true),
        ("+", "a/b", false),
        ("a/+", "a", false),
        ("a/+", "a/", true),
        ("a/+", "a/b", true),
        ("a/+", "a/b/c", false),
        ("a/+/c", "a/b/c", true),
        ("a/+/c", "a//c", true),
        ("#", "a", true),
        ("#", "/", true),
        ("#", "a/b/c", true),
        ("a/#", "a", true),
        ("a/#", "a/", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("+/#", "a", true),
        ("a/+/#", "a", false),
        ("a/+/#", "a/b", true),
        ("#", "$SYS/a", false),
        ("+/a", "$SYS/a", false),
        ("+", "$SYS", false),
        ("$SYS/#", "$SYS/a", true),
        ("$SYS/+", "$SYS/a", true),
        ("a/#", "a/$SYS", true),
        ("a/+", "a/$SYS", true),
    ];
    for (filter, topic, matches) in table {
        let (parsed, name) = (TopicFilter::parse(filter).unwrap(), Topic::new(topic).unwrap());
        assert_eq!(parsed.matches(name), matches, "{filter} {topic}");
    }
}

#[test]
fn covering() {
    let table = [
        ("a", "a", true),
        ("a", "b", false),
        ("a/#", "a", true),
        ("a/#", "a/+/c", true),
        ("a/#", "a/#", true),
        ("a/+", "a/#", false),
        ("a/+", "a/+", true),
        ("a/+", "a/b", true),
        ("a/b", "a/+", false),
        ("a/+", "a", false),
        ("a", "a/b", false),
        ("#", "a/#", true),
        ("#", "$SYS/#", false),
        ("+/a", "$SYS/a", false),
        ("$SYS/#", "$SYS/+/a", true),
    ];
    for (filter, other, covers) in table {
        let (filter, other) = (TopicFilter::parse(filter).unwrap(), TopicFilter::parse(other).unwrap());
        assert_eq!(filter.covers(&other), covers, "{filter} {other}");
    }
}

#[test]
fn shares() {
    for text in
        ["a/+", "$share", "$shared/a/b", "$share/g/a", "$share/g//", "$share/g/+/#", "$share/g/$SYS/#"]
    {
        assert_eq!(SubscriptionFilter::parse(text).unwrap().to_string(), text);
    }
    let shared = SubscriptionFilter::parse("$share/g/a/#").unwrap();
    assert_eq!(shared.share.as_ref().map(ShareName::as_str), Some("g"));
    assert_eq!(shared.filter.as_str(), "a/#");
    let refused = [
        ("$share/", FilterError::ShareIncomplete),
        ("$share/g", FilterError::ShareIncomplete),
        ("$share/g/", FilterError::ShareIncomplete),
        ("$share//a", FilterError::ShareName),
        ("$share/+/a", FilterError::ShareName),
        ("$share/#/a", FilterError::ShareName),
        ("$share/g+/a", FilterError::ShareName),
        ("$share/g/a#", FilterError::WildcardInLevel),
        ("$share/g/#/a", FilterError::MultiLevelNotLast),
        ("", FilterError::Empty),
        (&format!("$share/g/{}", "x".repeat(65_530)), FilterError::TooLong),
    ];
    for (text, error) in refused {
        assert_eq!(SubscriptionFilter::parse(text), Err(error), "{text:.30}");
    }
}

#[test]
fn serialized_filters_are_checked_when_read() {
    let filter = SubscriptionFilter::parse("$share/g/a/+").unwrap();
    let bytes = postcard::to_stdvec(&filter).unwrap();
    assert_eq!(bytes, postcard::to_stdvec("$share/g/a/+").unwrap());
    assert_eq!(postcard::from_bytes::<SubscriptionFilter>(&bytes), Ok(filter));

    let bytes = postcard::to_stdvec("a/b").unwrap();
    assert_eq!(postcard::from_bytes(&bytes), Ok(TopicFilter::parse("a/b").unwrap()));
    let bytes = postcard::to_stdvec("a#").unwrap();
    assert!(postcard::from_bytes::<TopicFilter>(&bytes).is_err());
    assert!(postcard::from_bytes::<SubscriptionFilter>(&bytes).is_err());
    assert!(postcard::from_bytes::<ShareName>(&bytes).is_err());
}

/// All sequences of one to `longest` of these levels.
fn paths(levels: &[&str], longest: usize) -> Vec<String> {
    let mut all: Vec<String> = levels.iter().map(ToString::to_string).collect();
    let mut last = all.clone();
    for _ in 1..longest {
        let longer = |path: &String| levels.iter().map(|level| format!("{path}/{level}")).collect::<Vec<_>>();
        last = last.iter().flat_map(longer).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// `x` stands for all levels that no filter names.
#[test]
fn cover_and_overlap_are_what_trying_all_topics_says() {
    let topics = paths(&["a", "$s", "x"], 4);
    let topics: Vec<Topic<'_>> = topics.iter().map(|text| Topic::new(text).unwrap()).collect();
    let filters: Vec<TopicFilter> =
        paths(&["a", "$s", "+", "#"], 3).iter().filter_map(|text| TopicFilter::parse(text).ok()).collect();
    let (mut covered, mut overlapping) = (0, 0);
    for one in &filters {
        for other in &filters {
            let all = topics.iter().all(|&topic| one.matches(topic) || !other.matches(topic));
            let any = topics.iter().any(|&topic| one.matches(topic) && other.matches(topic));
            assert_eq!(one.covers(other), all, "{one} {other}");
            assert_eq!(one.overlaps(other), any, "{one} {other}");
            covered += usize::from(all);
            overlapping += usize::from(any);
        }
    }
    assert!(covered > 100 && overlapping > covered, "{covered} {overlapping}");
}
