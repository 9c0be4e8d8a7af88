//! What an agent says to its author: lines in the node's log at level DEBUG.
//!
//! For: [`Diary`], which takes them from `system.log`, standard output and standard error alike. Not for: what the user
//! gets to see (see `imports`).
//!
//! The idea: the log is the node's. Lines are cut and cleaned, and what is said faster than the agent may write to the
//! terminal is left out. Nobody is stopped for it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use super::{
    MAX_LINE,
    pace::{Pace, Verdict},
    text::shown,
};

/// One agent's.
#[derive(Debug)]
pub(super) struct Diary(Pace);

impl Diary {
    /// For so many lines a second.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self(Pace::new(per_second, now))
    }

    /// Writes a line down, or leaves it out.
    pub(super) fn line(&mut self, text: &str) {
        if self.0.spend(Instant::now()) == Verdict::Passes {
            let text = shown(text, MAX_LINE);
            tracing::debug!(text, "an agent says");
        }
    }
}

/// Standard output or standard error.
#[derive(Debug, Clone)]
pub(super) struct Stream(pub(super) Arc<Mutex<Diary>>);

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Lines { diary: Arc::clone(&self.0), begun: Vec::new() })
    }
}

/// Cuts what is written into lines.
struct Lines {
    diary: Arc<Mutex<Diary>>,
    /// A line that has not ended; at most [`MAX_LINE`] bytes.
    begun: Vec<u8>,
}

impl Lines {
    fn end(&mut self) {
        let line = std::mem::take(&mut self.begun);
        if !line.is_empty() {
            self.diary.lock().unwrap_or_else(PoisonError::into_inner).line(&String::from_utf8_lossy(&line));
        }
    }
}

impl AsyncWrite for Lines {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        for byte in buf {
            if *byte != b'\n' {
                self.begun.push(*byte);
            }
            if *byte == b'\n' || self.begun.len() >= MAX_LINE {
                self.end();
            }
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.end();
    }
}
