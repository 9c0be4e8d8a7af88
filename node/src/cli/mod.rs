//! The command line (design, section 8): what is typed, what is printed, how it ends.
//!
//! For: `parlor [--home DIR] [--json] VERB`. `up` and `demo` run nodes ([`up`], [`demo`]); every other verb goes
//! to the node that runs in the home ([`verb`]), and its answer is printed for people ([`print`]) or as JSON.
//! Not for: what verbs do ([`crate::console`]).
//!
//! Exit codes: 0 done; 1 refused or failed, with one line on stderr; 2 wrong usage; 3 no node is running here. What cannot
//! be printed is a failure, too, but for a reader that has gone ([`output`]).

mod demo;
mod log;
mod output;
mod print;
mod up;
mod verb;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use self::output::Output;
use crate::{console::Command, home};

/// Done.
const DONE: u8 = 0;
/// Refused or failed.
const FAILED: u8 = 1;
/// No node is running here.
const NO_NODE: u8 = 3;

/// Bring the service, not the server: programs that a group runs together, peer to peer.
#[derive(Debug, Parser)]
#[command(name = "parlor", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    /// Where the node keeps everything [default: the platform's data directory]
    #[arg(long, global = true, env = "PARLOR_HOME", value_name = "DIR", help_heading = "Every verb")]
    home: Option<PathBuf>,
    /// Prints JSON: one object, or one a line
    #[arg(long, global = true, help_heading = "Every verb")]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the node
    Up(up::Up),
    /// Origin, billing peer, host and two members on this machine, from publish to the bill
    Demo(demo::Demo),
    #[command(flatten)]
    Node(Command),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => return ExitCode::from(explain(&answer)),
    };
    let _log = log::start(matches!(arguments.verb, Verb::Up(_)));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(fail(&error)),
    };
    let code = runtime.block_on(run(arguments));
    // Tasks that still wait for the network do not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    ExitCode::from(code)
}

async fn run(arguments: Arguments) -> u8 {
    let Some(home) = arguments.home.or_else(home::default_home) else {
        return fail(&"this platform has no data directory: name one with --home");
    };
    match arguments.verb {
        Verb::Up(options) => Box::pin(up::up(home, options, arguments.json)).await,
        Verb::Demo(options) => Box::pin(demo::demo(options, arguments.json)).await,
        Verb::Node(command) => verb::verb(&home, command, arguments.json).await,
    }
}

/// Help and version, or what is wrong with what was typed.
fn explain(answer: &clap::Error) -> u8 {
    if answer.use_stderr() {
        // There is nobody to be told that standard error cannot be written.
        let _ = answer.print();
        return u8::try_from(answer.exit_code()).unwrap_or(FAILED);
    }
    let mut output = Output::new();
    output.print(|_| answer.print());
    output.finish()
}

/// One line: what, why, what to do.
fn fail(error: &impl std::fmt::Display) -> u8 {
    // An error's text may hold what a peer or a file said.
    let line: String = error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // There is nobody to be told that standard error cannot be written.
    let _ = writeln!(std::io::stderr(), "error: {line}");
    FAILED
}
