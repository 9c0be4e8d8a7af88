//! What is logged while one test runs.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::PATIENCE;

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
        self.tells_after(parts, async || ()).await;
    }

    /// The same, while `again` happens again and again: of what happens often in a short time not all is told.
    pub(super) async fn tells_after(&self, parts: &[&str], mut again: impl AsyncFnMut()) {
        let told = async {
            loop {
                again().await;
                if self.count(parts) > 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("no trace of {parts:?}"));
    }

    /// How many lines have all of these in them.
    pub(super) fn count(&self, parts: &[&str]) -> usize {
        self.text().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    fn text(&self) -> String {
        String::from_utf8(self.written.0.lock().unwrap().clone()).unwrap()
    }
}

/// Whoever looks into a test that fails finds it there.
impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.text());
        }
    }
}
