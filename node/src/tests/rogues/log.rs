//! What is logged while one test runs.

use std::{
    io,
    sync::{Arc, Mutex},
};

use super::until;

/// The log of the nodes of one test, as long as it lives: all of them run on the test's thread.
pub(super) struct Log {
    written: Written,
    _guard: tracing::subscriber::DefaultGuard,
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// To be called before the first node starts.
    pub(super) fn start() -> Self {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("parlor_node=debug")
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self { written, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Waits for a line with all of these in it.
    pub(super) async fn tells(&self, parts: &[&str]) {
        until(async || {
            let log = String::from_utf8(self.written.0.lock().unwrap().clone()).unwrap();
            log.lines().any(|line| parts.iter().all(|part| line.contains(part)))
        })
        .await;
    }
}
