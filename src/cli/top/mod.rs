//! `rumormq top`: the cluster on a terminal, as it is now and every second.
//!
//! [`model`] is what has been heard and what is looked at; `view` draws it; here are the clock, the keys and the questions. One
//! node is asked, and asks the others.

mod model;
mod view;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::client::{Target, parse};
use super::failure::Failure;
use super::run::Stop;
use crate::admin::view::StatsView;
use model::{Key, Model};

/// Arguments of `rumormq top`.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    #[command(flatten)]
    target: Target,
}

/// Between two looks at the keyboard.
const KEYS_EVERY: Duration = Duration::from_millis(100);
/// Fewest and most seconds between two questions.
const INTERVALS: std::ops::RangeInclusive<f64> = 0.1..=3600.0;

type Answer = Result<StatsView, Failure>;

impl Top {
    pub(super) fn execute(self) -> Result<(), Failure> {
        if !INTERVALS.contains(&self.interval) {
            let (least, most) = (INTERVALS.start(), INTERVALS.end());
            return Err(Failure::Usage(format!("--interval is from {least} to {most} seconds")));
        }
        if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
            return Err(Failure::Usage(
                "top is for a terminal; programs ask rumormq status --json, or /api/v1/stats?scope=cluster"
                    .to_owned(),
            ));
        }
        let model = Model::new(self.target.base());
        let answers = ask(self.target, Duration::from_secs_f64(self.interval));
        let end = signals()?;
        let terminal =
            ratatui::try_init().map_err(|error| Failure::System("cannot use the terminal", error))?;
        let result = run(terminal, model, &answers, &end);
        ratatui::restore();
        result.map_err(|error| Failure::System("cannot use the terminal", error))
    }
}

/// Asks again and again, on a thread of its own, for an answer may take its time; until nobody wants to know any more.
fn ask(target: Target, interval: Duration) -> Receiver<Answer> {
    let (answers, coming) = mpsc::sync_channel(1);
    thread::spawn(move || {
        loop {
            let begun = Instant::now();
            let answer = target.ask("/api/v1/stats", &[("scope", "cluster")]).and_then(|body| parse(&body));
            if answers.send(answer).is_err() {
                return;
            }
            thread::sleep(interval.saturating_sub(begun.elapsed()));
        }
    });
    coming
}

/// Something comes when SIGTERM or SIGINT does: the terminal is to be given back first.
fn signals() -> Result<Receiver<()>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::System("cannot wait for signals", error))?;
    let mut stop = runtime.block_on(async { Stop::new(false) })?;
    let (came, end) = mpsc::channel();
    thread::spawn(move || {
        runtime.block_on(stop.wait());
        let _ = came.send(());
    });
    Ok(end)
}

/// Until a key or a signal ends it.
fn run(
    mut terminal: DefaultTerminal,
    mut model: Model,
    answers: &Receiver<Answer>,
    end: &Receiver<()>,
) -> io::Result<()> {
    while end.try_recv().is_err() {
        let now = Instant::now();
        for answer in answers.try_iter() {
            match answer {
                Ok(stats) => model.handle_stats(stats),
                Err(failure) => model.handle_failure(failure.to_string(), now),
            }
        }
        terminal.draw(|frame| view::draw(frame, &mut model, now))?;
        if event::poll(KEYS_EVERY)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            let key = match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('c' | 'd') if control => return Ok(()),
                KeyCode::Char(digit @ '1'..='4') => Key::Pane(digit as usize - '1' as usize),
                KeyCode::Tab => Key::Next,
                KeyCode::BackTab => Key::Previous,
                KeyCode::Up | KeyCode::Char('k') => Key::Up(1),
                KeyCode::Down | KeyCode::Char('j') => Key::Down(1),
                KeyCode::PageUp => Key::Up(10),
                KeyCode::PageDown => Key::Down(10),
                KeyCode::Left => Key::Left,
                KeyCode::Right => Key::Right,
                _ => continue,
            };
            model.handle_key(key);
        }
    }
    Ok(())
}
