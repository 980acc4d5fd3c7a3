//! When every publish that was on its way has been entered wherever it goes.
//!
//! A publish looks up its routes and then enters the forward buffers of other nodes, all within one turn of a task, which
//! no `await` interrupts. Each thread counts its turns where only it writes. So once every turn that was running at some
//! moment is over, whatever has not been entered was matched with the routes of that moment, or later ones.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use parking_lot::Mutex;

/// One thread's turns. On a cache line of its own, for the thread writes it at every turn.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Thread {
    /// Turns that run, one within another.
    depth: AtomicU32,
    /// Outermost turns that are over.
    over: AtomicU64,
}

/// All threads that ever had a turn; those that ended leave their place to others.
static THREADS: Mutex<Vec<&'static Thread>> = Mutex::new(Vec::new());
static FREE: Mutex<Vec<&'static Thread>> = Mutex::new(Vec::new());

struct Place(&'static Thread);

impl Drop for Place {
    fn drop(&mut self) {
        FREE.lock().push(self.0);
    }
}

thread_local! {
    static PLACE: Place = {
        let free = FREE.lock().pop();
        Place(free.unwrap_or_else(|| {
            let thread: &'static Thread = Box::leak(Box::default());
            THREADS.lock().push(thread);
            thread
        }))
    };
}

/// A turn that runs. It must not be held across an `await`.
#[derive(Debug)]
pub struct Turn(&'static Thread);

impl Turn {
    /// Begins a turn on this thread.
    pub fn begin() -> Turn {
        let thread = PLACE.with(|place| place.0);
        thread.depth.fetch_add(1, Ordering::SeqCst);
        // What is looked up from here on is not older than what `running` finds.
        fence(Ordering::SeqCst);
        Turn(thread)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Counted before it ends: who sees the depth go to zero need not look at the count.
        if self.0.depth.load(Ordering::Relaxed) == 1 {
            self.0.over.fetch_add(1, Ordering::Release);
        }
        self.0.depth.fetch_sub(1, Ordering::Release);
    }
}

/// Waits until every turn is over that runs now. What was changed before the call is seen by all publishes that are
/// matched after it.
pub async fn all_over() {
    let mut running = running();
    while !running.is_empty() {
        tokio::time::sleep(Duration::from_micros(200)).await;
        running.retain(|(thread, over)| {
            thread.depth.load(Ordering::Acquire) > 0 && thread.over.load(Ordering::Acquire) == *over
        });
    }
}

fn running() -> Vec<(&'static Thread, u64)> {
    fence(Ordering::SeqCst);
    let threads = THREADS.lock();
    let running = threads.iter().filter_map(|thread| {
        let over = thread.over.load(Ordering::Acquire);
        (thread.depth.load(Ordering::SeqCst) > 0).then_some((*thread, over))
    });
    running.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_turn_of_another_thread_is_waited_for_however_many_follow() {
        let (begun, is_begun) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let outer = Turn::begin();
            drop(Turn::begin());
            begun.send(()).expect("awaited");
            ended.recv().expect("told to end");
            drop(outer);
            let _next = Turn::begin();
            begun.send(()).expect("awaited");
            ended.recv().expect("told to end");
        });
        is_begun.recv().expect("it begins");
        let over = tokio::spawn(all_over());
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(!over.is_finished());
        end.send(()).expect("it listens");
        is_begun.recv().expect("the next turn begins");
        over.await.expect("the first is over");
        end.send(()).expect("it listens");
        thread.join().expect("no panic");
    }
}
