//! What is logged while tests run.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

/// One log for all tests of the process. Peers in it tell them apart.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("parlor_node::overlay=debug,libp2p_gossipsub=warn")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    log
});

#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// To be called before what is to be logged.
    pub(super) fn start() -> Self {
        LOG.clone()
    }

    /// The lines with all of these in them.
    pub(super) fn lines(&self, parts: &[&str]) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let found = log.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        found.map(ToOwned::to_owned).collect()
    }
}
