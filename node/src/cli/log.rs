//! The log of this process, on standard error.
//!
//! For: that a line which cannot be written is lost, and nothing else happens: whoever reads standard error may have
//! gone, its disk may be full, or it may have stopped reading. Not for: what is logged.
//!
//! The idea: lines are handed to a thread that writes them. While it waits for a slow reader, tasks go on, and what does
//! not fit into its queue is lost.

use std::io::{self, IsTerminal as _, Write};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for a slow reader, at most; further ones are lost.
const QUEUE: usize = 4_096;

/// Starts the log: warnings, or what `PARLOR_LOG` asks for (`info`, `parlor_node=debug`, …). Dropping what is returned
/// writes what still waits.
pub(super) fn start(is_node: bool) -> WorkerGuard {
    let default = if is_node { "warn,libp2p=error,libp2p_mdns=off,quinn=error" } else { "error" };
    let filter = EnvFilter::try_from_env("PARLOR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let queue = NonBlockingBuilder::default().buffered_lines_limit(QUEUE).lossy(true);
    let (lines, guard) = queue.finish(Lossy(io::stderr()));

    // Colours are for terminals, not for files. What the log itself has to say of a failure would go to standard error,
    // in a way that panics if that fails as well.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines).log_internal_errors(false);
    log.with_ansi(io::stderr().is_terminal()).with_target(false).init();
    guard
}

/// Loses what cannot be written.
struct Lossy<W>(W);

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            // Nothing taken at all would be an error for whoever writes on.
            Ok(0) | Err(_) => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // What was to be flushed is lost, too.
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Takes so many bytes, then fails.
    struct Failing(usize, Vec<u8>);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.0);
            if len == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0 -= len;
            self.1.extend(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_no_error() {
        let mut lossy = Lossy(Failing(8, Vec::new()));
        lossy.write_all(b"one line\n").unwrap();
        lossy.write_all(b"another\n").unwrap();
        lossy.flush().unwrap();
        assert_eq!(lossy.0.1, b"one line");
    }
}
