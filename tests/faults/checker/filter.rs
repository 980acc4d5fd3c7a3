//! Topic filters, matched as the specification tells it (4.7), level by level: slow, plain, and not the broker's code.

/// The filter of a subscription, and the group's name where it is shared.
pub fn parts(subscription: &str) -> (Option<&str>, &str) {
    let shared = subscription.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    match shared {
        Some((name, filter)) => (Some(name), filter),
        None => (None, subscription),
    }
}

/// Whether a subscription, shared or not, wants this topic.
pub fn matches(subscription: &str, topic: &str) -> bool {
    let (_, filter) = parts(subscription);
    let hidden = topic.starts_with('$') && !filter.starts_with('$');
    let (filter, topic): (Vec<&str>, Vec<&str>) = (filter.split('/').collect(), topic.split('/').collect());
    !hidden && matches_levels(&filter, &topic)
}

fn matches_levels(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        ([level, filter @ ..], [name, topic @ ..]) => {
            (*level == "+" || level == name) && matches_levels(filter, topic)
        }
        _ => false,
    }
}

#[test]
fn filters_match_as_the_specification_says() {
    let cases = [
        ("a/b", "a/b", true),
        ("a/b", "a/b/c", false),
        ("a/+", "a/b", true),
        ("a/+", "a/b/c", false),
        ("a/+", "a", false),
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("#", "a/b", true),
        ("#", "$SYS/b", false),
        ("+/b", "$SYS/b", false),
        ("$SYS/#", "$SYS/b", true),
        ("$share/g/a/+", "a/b", true),
        ("$share/g/a/+", "b/b", false),
    ];
    for (filter, topic, expected) in cases {
        assert_eq!(matches(filter, topic), expected, "{filter} and {topic}");
    }
}
