//! A stream of JSON lines from a process that goes on.
//!
//! For: waiting for a line, past ones included, and looking at all that came. Not for: calls that end (see
//! [`crate::node::Outcome`]).

use std::{
    io::{BufRead, BufReader, Read},
    process::Child,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use serde_json::Value;

use crate::DEADLINE;

/// Lines as they come. Clones share them.
#[derive(Clone)]
pub struct Watch {
    shared: Arc<Shared>,
    /// Ends the process with the last clone.
    _process: Arc<Ending>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    news: Condvar,
}

#[derive(Default)]
struct Seen {
    lines: Vec<Value>,
    ended: bool,
}

struct Ending(Option<Child>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Errors mean that it is gone already, which is all that is wanted.
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

impl Watch {
    /// Of a pipe, whose process is somebody else's business.
    #[must_use]
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        Self::reading(pipe, None)
    }

    /// Of a process that ends when nobody watches it any more.
    #[must_use]
    pub fn of_child(mut child: Child) -> Self {
        let pipe = child.stdout.take().expect("standard output is piped");
        Self::reading(pipe, Some(child))
    }

    fn reading(pipe: impl Read + Send + 'static, child: Option<Child>) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = shared.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                writer.lock().lines.push(value);
                writer.news.notify_all();
            }
            writer.lock().ended = true;
            writer.news.notify_all();
        });
        Self { shared, _process: Arc::new(Ending(child)) }
    }

    /// Waits for a line, past ones included.
    #[track_caller]
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_until(what, |lines| lines.iter().find(|line| wanted(line)).cloned())
    }

    /// Waits until all lines so far, taken together, are what is wanted.
    #[track_caller]
    pub fn wait_until<T>(&self, what: &str, look: impl Fn(&[Value]) -> Option<T>) -> T {
        let mut seen = self.shared.lock();
        let started = std::time::Instant::now();
        loop {
            if let Some(found) = look(&seen.lines) {
                return found;
            }
            let left = DEADLINE.saturating_sub(started.elapsed());
            let why = if seen.ended { "the stream ended" } else { "time is up" };
            assert!(!seen.ended && !left.is_zero(), "no {what}, {why}; seen: {:#?}", seen.lines);
            seen = self.shared.news.wait_timeout(seen, left).expect("the reading thread does not panic").0;
        }
    }

    /// All lines so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Value> {
        self.shared.lock().lines.clone()
    }

    /// Waits until the process has closed its output.
    #[track_caller]
    pub fn wait_end(&self) {
        let mut seen = self.shared.lock();
        while !seen.ended {
            let (next, result) =
                self.shared.news.wait_timeout(seen, DEADLINE).expect("the reader does not panic");
            assert!(!result.timed_out() || next.ended, "the stream does not end; seen: {:#?}", next.lines);
            seen = next;
        }
    }

    /// Waits for an update with this payload.
    #[track_caller]
    pub fn wait_update(&self, payload: impl Into<Value>) -> Value {
        let payload = payload.into();
        self.wait_for(&format!("update {payload}"), |line| {
            line["event"] == "update" && line["payload"] == payload
        })
    }

    /// The payloads of all updates so far, in their order.
    #[must_use]
    pub fn payloads(&self) -> Vec<Value> {
        let seen = self.seen();
        seen.iter().filter(|line| line["event"] == "update").map(|line| line["payload"].clone()).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
