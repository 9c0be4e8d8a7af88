//! What is printed: every verb's standard output.
//!
//! For: [`Output`], through which all of it goes, and which knows in the end whether it arrived. Not for: errors, which go
//! to standard error ([`super::fail`]), nor logs.
//!
//! The idea: whoever redirects a bill into a file on a full disk must not be told that it is there. So the first failure
//! is kept, and the verb fails with it, in one line. A reader that has gone (`parlor watch … | head -1`) has what it
//! wanted: that is no failure.

use std::io::{self, ErrorKind, Write};

use super::{DONE, fail};

/// Standard output. Each line is written when it is whole.
#[derive(Debug)]
pub(super) struct Output<W = io::Stdout> {
    out: W,
    failed: Option<io::Error>,
}

impl Output {
    /// That of this process.
    pub(super) fn new() -> Self {
        Self::to(io::stdout())
    }
}

impl<W: Write> Output<W> {
    fn to(out: W) -> Self {
        Self { out, failed: None }
    }

    /// Prints a line, now. Whether there is a use in printing more.
    pub(super) fn line(&mut self, line: &str) -> bool {
        self.print(|out| writeln!(out, "{line}"))
    }

    /// Prints something, now. Whether there is a use in printing more: a verb that goes on all the same, because it has
    /// more to do than to print, may find that there is room again.
    pub(super) fn print(&mut self, print: impl FnOnce(&mut W) -> io::Result<()>) -> bool {
        let printed = print(&mut self.out).and_then(|()| self.out.flush());
        if let Err(error) = printed {
            self.failed.get_or_insert(error);
        }
        self.failed.is_none()
    }

    /// Why not all of it arrived; `None` if it did, or if its reader had enough.
    fn failure(self) -> Option<io::Error> {
        self.failed.filter(|error| error.kind() != ErrorKind::BrokenPipe)
    }

    /// The exit code of a verb that has succeeded but for what was printed.
    pub(super) fn finish(self) -> u8 {
        match self.failure() {
            None => DONE,
            Some(error) => fail(&format!("the output cannot be written: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Takes so many lines, and fails in this way then.
    struct Full(usize, ErrorKind);

    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0 = self.0.checked_sub(1).ok_or(self.1)?;
            Ok(())
        }
    }

    #[test]
    fn the_first_failure_is_kept_and_a_reader_that_has_gone_is_none() {
        let mut output = Output::to(Full(1, ErrorKind::StorageFull));
        assert!(output.line("one"));
        assert!(!output.line("two"));
        assert!(!output.print(|_| Err(ErrorKind::BrokenPipe.into())));
        assert_eq!(output.failure().unwrap().kind(), ErrorKind::StorageFull);

        let mut output = Output::to(Full(0, ErrorKind::BrokenPipe));
        assert!(!output.line("one"));
        assert!(output.failure().is_none());
        assert!(Output::to(Full(0, ErrorKind::BrokenPipe)).failure().is_none());
    }
}
