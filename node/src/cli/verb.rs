//! Every verb but `up` and `demo`: to the running node, and its answer to the terminal.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{NO_NODE, fail, output::Output, print};
use crate::console::{
    CardCommand, Command, ProofCommand, TicketCommand,
    client::{self, ClientError},
};

/// What is read of standard input for a link, bytes: far more than one has.
const MAX_LINK: u64 = 64 << 10;

pub(super) async fn verb(home: &Path, command: Command, json: bool) -> u8 {
    let command = match from_stdin(from_here(command)) {
        Ok(command) => command,
        Err(error) => return fail(&format!("the link cannot be read from standard input: {error}")),
    };
    let mut output = Output::new();
    match converse(home, &command, json, &mut output).await {
        Ok(()) => output.finish(),
        Err(error @ ClientError::NotRunning(_)) => {
            fail(&error);
            NO_NODE
        }
        Err(error) => fail(&error),
    }
}

async fn converse(
    home: &Path,
    command: &Command,
    json: bool,
    output: &mut Output,
) -> Result<(), ClientError> {
    let mut answer = client::send(home, command).await?;
    let bar = progress_bar(json);
    let mut last: Option<Value> = None;
    while let Some(line) = answer.next().await? {
        // For people only: with `--json` the answer is one object.
        if line["event"] == "progress" {
            bar.set_length(line["total"].as_u64().unwrap_or(0));
            bar.set_position(line["done"].as_u64().unwrap_or(0));
            continue;
        }
        let goes_on = match json {
            true => output.line(&line.to_string()),
            false => output.print(|out| print::line(out, command, &line)),
        };
        if !goes_on {
            return Ok(());
        }
        last = Some(line);
    }
    bar.finish_and_clear();
    if last.is_none() && !matches!(command, Command::Watch(_) | Command::Events) {
        return Err(ClientError::Gone("no answer".into()));
    }
    Ok(())
}

fn progress_bar(json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:32} {binary_bytes:>10} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
    ProgressBar::new(0)
        .with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// `join -`: the link comes over standard input, since other users of the computer can read what was typed.
fn from_stdin(mut command: Command) -> io::Result<Command> {
    if let Command::Join(join) = &mut command
        && join.session == "-"
    {
        let mut text = String::new();
        io::stdin().lock().take(MAX_LINK).read_line(&mut text)?;
        if text.trim().is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        join.session = text.trim().to_owned();
    }
    Ok(command)
}

/// Files are named from where the user is, not from where the node was started.
fn from_here(mut command: Command) -> Command {
    let here = |path: &mut PathBuf| {
        if let Ok(absolute) = std::path::absolute(&*path) {
            *path = absolute;
        }
    };
    match &mut command {
        Command::Publish(publish) => here(&mut publish.path),
        Command::Card(CardCommand::Write { file, .. } | CardCommand::Read { file }) => here(file),
        Command::Proof(ProofCommand::Export { file, .. } | ProofCommand::Check { file }) => here(file),
        Command::Ticket(TicketCommand::Show { cose: Some(file), .. }) => here(file),
        _ => {}
    }
    command
}
