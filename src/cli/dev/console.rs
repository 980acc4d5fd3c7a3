//! What the user of a development cluster types.

use std::io::{self, BufRead, IsTerminal};

use tokio::sync::mpsc;

/// What can be typed, for those who ask.
pub(super) const HELP: &str =
    "cut N cuts node N off from all others, cut N M those two from each other; heal mends all";

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// A node, by its index, loses its cables to all others.
    CutOff(u16),
    /// Two nodes lose the cable between them.
    Cut(u16, u16),
    /// All cables are mended.
    Heal,
}

impl Order {
    /// Reads a line; `nodes` is how many there are. None if nothing is typed.
    pub(super) fn parse(line: &str, nodes: u16) -> Option<Result<Order, String>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let index = |word: &str| match word.trim_start_matches("node").parse::<u16>() {
            Ok(number) if (1..=nodes).contains(&number) => Ok(number - 1),
            _ => Err(format!("there is no node {word}: they are 1 to {nodes}")),
        };
        match words[..] {
            [] => None,
            ["cut", node] => Some(index(node).map(Order::CutOff)),
            ["cut", one, other] if one == other => Some(Err("a node has no cable to itself".to_owned())),
            ["cut", one, other] => {
                Some(index(one).and_then(|one| index(other).map(|other| Order::Cut(one, other))))
            }
            ["heal"] => Some(Ok(Order::Heal)),
            _ => Some(Err(HELP.to_owned())),
        }
    }
}

/// Lines of standard input. A job in the background does not ask for them: its terminal would stop it.
pub(super) fn lines() -> Option<mpsc::Receiver<String>> {
    let stdin = io::stdin();
    if stdin.is_terminal() && rustix::termios::tcgetpgrp(&stdin).ok() != Some(rustix::process::getpgrp()) {
        return None;
    }
    let (sender, lines) = mpsc::channel(1);
    // A thread of its own, for reading standard input blocks and must not hold up the runtime's end.
    std::thread::spawn(move || {
        for line in stdin.lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_and_mistakes_are_told() {
        assert_eq!(Order::parse("cut 3", 3), Some(Ok(Order::CutOff(2))));
        assert_eq!(Order::parse(" cut  node1 2 ", 3), Some(Ok(Order::Cut(0, 1))));
        assert_eq!(Order::parse("heal", 3), Some(Ok(Order::Heal)));
        assert_eq!(Order::parse("  ", 3), None);
        for (line, words) in [
            ("cut 4", "1 to 3"),
            ("cut 0", "1 to 3"),
            ("cut x", "1 to 3"),
            ("cut 1 1", "itself"),
            ("cut", "heal mends all"),
            ("help", "heal mends all"),
        ] {
            let Some(Err(said)) = Order::parse(line, 3) else { panic!("{line} is no order") };
            assert!(said.contains(words), "{line}: {said}");
        }
    }
}
