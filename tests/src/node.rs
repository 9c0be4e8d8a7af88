//! One node: a `parlor up` process, and the verbs that talk to it.
//!
//! For: its life (start, stop, kill, restart) and its command line. Not for: what a session needs of several
//! nodes (see [`crate::cast`]).
//!
//! The idea: a node is restarted with the addresses it had, as a user's configured node is, so that its
//! contacts find it again. It never outlives the test: dropping ends it, and should the test itself be killed,
//! the kernel ends it (`setpriv --pdeathsig`).

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, PipeReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{DEADLINE, wait_for, wait_until, watch::Watch, world::binary};

/// A node that is about to be started.
pub struct Setup {
    name: String,
    home: PathBuf,
    netns: Option<String>,
    /// How far its clock is off, as libfaketime has it.
    clock: Option<String>,
    network: Vec<OsString>,
    extra: Vec<OsString>,
    /// What it logs, as `PARLOR_LOG` has it.
    log: Option<String>,
    /// Who reads its standard output after the first line, and its standard error.
    readers: [Reader; 2],
}

/// Who is at the other end of a node's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Takes all of it.
    There,
    /// Has closed the pipe.
    Gone,
    /// Keeps the pipe open, and reads nothing.
    Asleep,
}

impl Setup {
    /// Listens on free ports of loopback, and knows only whom it is told of.
    #[must_use]
    pub fn on_loopback(name: &str, home: PathBuf) -> Self {
        let network =
            ["--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"];
        let network = network.map(OsString::from).to_vec();
        Self { network, ..Self::by_default(name, home) }
    }

    /// Listens with the defaults, on all interfaces, and looks for others by mDNS.
    #[must_use]
    pub fn by_default(name: &str, home: PathBuf) -> Self {
        let (network, extra, readers) = (Vec::new(), Vec::new(), [Reader::There; 2]);
        Self { name: name.to_owned(), home, netns: None, clock: None, network, extra, log: None, readers }
    }

    /// Lives in a network namespace.
    #[must_use]
    pub fn within(mut self, netns: &str) -> Self {
        self.netns = Some(netns.to_owned());
        self
    }

    /// Another home than the usual one.
    #[must_use]
    pub fn home(mut self, home: &Path) -> Self {
        self.home = home.to_path_buf();
        self
    }

    /// More arguments of `up`.
    #[must_use]
    pub fn args(mut self, args: &[&dyn AsRef<OsStr>]) -> Self {
        self.extra.extend(args.iter().map(|arg| (*arg).as_ref().to_owned()));
        self
    }

    /// Logs what `PARLOR_LOG` would have it log.
    #[must_use]
    pub fn log(mut self, filter: &str) -> Self {
        self.log = Some(filter.to_owned());
        self
    }

    /// Has such readers of its standard output, after the first line of that, and of its standard error.
    #[must_use]
    pub fn readers(mut self, output: Reader, errors: Reader) -> Self {
        self.readers = [output, errors];
        self
    }

    /// Starts it and waits until it is ready.
    #[must_use]
    pub fn up(self) -> Node {
        let mut node = Node { setup: self, process: None, ready: Value::Null };
        node.start();
        node
    }

    /// Starts it, expecting that it refuses to.
    #[must_use]
    pub fn fails(&self) -> Outcome {
        let mut command = limited(Command::new("timeout"));
        command.arg(binary()).args(self.up_arguments());
        Outcome::of(&mut command)
    }

    fn up_arguments(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--home".into(), self.home.clone().into(), "--json".into()];
        args.extend(["up".into(), "--name".into(), self.name.clone().into()]);
        args.extend(self.network.iter().chain(&self.extra).cloned());
        args
    }

    fn log_file(&self) -> PathBuf {
        let mut log = self.home.clone().into_os_string();
        log.push(".log");
        log.into()
    }
}

/// What a call of the binary came to.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; 124 when it took too long.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Outcome {
    /// Runs a command to its end.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        Self::from(command.stdin(Stdio::null()).output().expect("the binary can be started"))
    }

    /// Runs a command that reads what is typed to its end.
    #[must_use]
    pub fn of_typed(command: &mut Command, typed: &str) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the binary can be started");
        let mut stdin = child.stdin.take().expect("standard input is piped");
        stdin.write_all(typed.as_bytes()).expect("it reads");
        drop(stdin);
        Self::from(child.wait_with_output().expect("it can be waited for"))
    }

    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("errors are UTF-8"),
        }
    }

    /// Standard output as JSON, an object a line.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
        self.stdout.lines().map(parse).collect()
    }

    /// Asserts that this is a refusal as the contract has it: exit code 1, nothing on standard output, one
    /// line on standard error. Returns that line.
    #[track_caller]
    pub fn refusal(self) -> String {
        self.failure(1)
    }

    /// The same with another exit code.
    #[track_caller]
    pub fn failure(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout, "", "a failure prints nothing on standard output");
        let line = self.stderr.trim_end();
        assert!(line.starts_with("error: "), "{self:?}");
        assert!(line.lines().count() == 1 && line.len() > "error: ".len(), "one line is wanted: {line:?}");
        assert!(!line.contains("panicked"), "{line}");
        line.to_owned()
    }
}

/// A running (or killed) node.
pub struct Node {
    setup: Setup,
    process: Option<Process>,
    ready: Value,
}

struct Process {
    child: Child,
    /// Its standard output, kept so that the node finds it closed only if it is to.
    _events: Watch,
    /// The other ends of pipes that nobody reads.
    _unread: [Option<PipeReader>; 2],
}

impl Node {
    /// Starts the process and waits for its first line.
    fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name());
        let [output, errors] = self.setup.readers;
        let (mut read, write) = io::pipe().expect("a pipe");
        let mut command = launcher(self.setup.netns.as_deref(), self.setup.clock.as_deref());
        command.arg(binary()).args(self.setup.up_arguments()).stdin(Stdio::null()).stdout(write);
        if let Some(log) = &self.setup.log {
            command.env("PARLOR_LOG", log);
        }
        let unread = self.connect_errors(&mut command, errors);
        let child = command.spawn().expect("it can be started");
        // It holds this end of the pipes, so that they end with the process.
        drop(command);

        let (events, asleep) = match output {
            Reader::There => (Watch::of(read), None),
            Reader::Gone | Reader::Asleep => {
                let first = first_line(&mut read);
                (Watch::of(io::Cursor::new(first)), (output == Reader::Asleep).then_some(read))
            }
        };
        self.process = Some(Process { child, _events: events.clone(), _unread: [asleep, unread] });
        self.ready = events.wait_for("the node to be ready", |line| line["event"] == "ready");
        if !self.setup.network.is_empty() {
            self.keep_addresses();
        }
    }

    /// Gives it a standard error with such a reader; returns the end of it that nobody reads.
    fn connect_errors(&self, command: &mut Command, reader: Reader) -> Option<PipeReader> {
        if reader == Reader::There {
            let log = File::options().create(true).append(true).open(self.setup.log_file());
            command.stderr(log.expect("a log file"));
            return None;
        }
        let (read, write) = io::pipe().expect("a pipe");
        command.stderr(write);
        (reader == Reader::Asleep).then_some(read)
    }

    /// From now on, listen where it listens now.
    fn keep_addresses(&mut self) {
        let suffix = format!("/p2p/{}", self.peer());
        let listen = texts(&self.ready["listen"]);
        assert!(!listen.is_empty(), "listens nowhere: {}", self.ready);
        self.setup.network = vec!["--no-mdns".into()];
        for address in listen {
            let bare = address.strip_suffix(&suffix).unwrap_or(&address).to_owned();
            self.setup.network.extend(["--listen".into(), bare.into()]);
        }
    }

    /// Its nickname.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.setup.name
    }

    /// Its PeerId.
    #[must_use]
    pub fn peer(&self) -> &str {
        self.ready["peer"].as_str().expect("the ready line has the peer")
    }

    /// Its home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.setup.home
    }

    /// The first line it printed.
    #[must_use]
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// An address by which others on this machine reach it, ending in its PeerId.
    #[must_use]
    pub fn address(&self) -> String {
        self.address_with("/tcp/")
    }

    /// The same, one with this in it if there is one.
    #[must_use]
    pub fn address_with(&self, part: &str) -> String {
        let listen = texts(&self.ready["listen"]);
        let address =
            listen.iter().find(|a| a.contains(part)).or(listen.first()).expect("it listens somewhere");
        let suffix = format!("/p2p/{}", self.peer());
        if address.ends_with(&suffix) { address.clone() } else { format!("{address}{suffix}") }
    }

    /// Calls a verb with `--json`.
    #[must_use]
    pub fn call(&self, verb: &[&str]) -> Outcome {
        self.invoke(&["--json"], verb)
    }

    /// Calls a verb as a person does.
    #[must_use]
    pub fn plain(&self, verb: &[&str]) -> Outcome {
        self.invoke(&[], verb)
    }

    fn invoke(&self, flags: &[&str], verb: &[&str]) -> Outcome {
        let mut command = limited(Command::new("timeout"));
        command.arg(binary()).arg("--home").arg(&self.setup.home).args(flags).args(verb);
        Outcome::of(&mut command)
    }

    /// Calls a verb that succeeds; returns all lines it printed.
    #[track_caller]
    pub fn lines(&self, verb: &[&str]) -> Vec<Value> {
        let outcome = self.call(verb);
        assert_eq!(outcome.code, 0, "{}: parlor {}: {}", self.name(), verb.join(" "), outcome.stderr);
        outcome.lines()
    }

    /// Calls a verb that succeeds; returns the object it printed, of a stream the last.
    #[track_caller]
    pub fn run(&self, verb: &[&str]) -> Value {
        self.lines(verb).pop().unwrap_or_else(|| panic!("parlor {} printed nothing", verb.join(" ")))
    }

    /// Calls a verb that is refused; returns the one line that says why.
    #[track_caller]
    pub fn refuses(&self, verb: &[&str]) -> String {
        self.call(verb).refusal()
    }

    /// Calls a verb that succeeds and reads what is typed.
    #[track_caller]
    pub fn run_typed(&self, verb: &[&str], typed: &str) -> Value {
        let outcome = self.call_typed(verb, typed);
        assert_eq!(outcome.code, 0, "{}: parlor {}: {}", self.name(), verb.join(" "), outcome.stderr);
        outcome.lines().pop().expect("an answer")
    }

    /// The same for one that is refused; returns the one line that says why.
    #[track_caller]
    pub fn refuses_typed(&self, verb: &[&str], typed: &str) -> String {
        self.call_typed(verb, typed).refusal()
    }

    fn call_typed(&self, verb: &[&str], typed: &str) -> Outcome {
        let mut command = limited(Command::new("timeout"));
        command.arg(binary()).arg("--home").arg(&self.setup.home).arg("--json").args(verb);
        Outcome::of_typed(&mut command, typed)
    }

    /// Follows a session's events.
    #[must_use]
    pub fn watch(&self, session: &str) -> Watch {
        self.stream(&["watch", session])
    }

    /// Starts a verb that goes on printing lines.
    #[must_use]
    pub fn stream(&self, verb: &[&str]) -> Watch {
        self.streaming(&["--json"], verb)
    }

    /// The same for people: lines that are no JSON.
    #[must_use]
    pub fn stream_plain(&self, verb: &[&str]) -> Watch {
        self.streaming(&[], verb)
    }

    fn streaming(&self, flags: &[&str], verb: &[&str]) -> Watch {
        let child = launcher(None, None)
            .arg(binary())
            .arg("--home")
            .arg(&self.setup.home)
            .args(flags)
            .args(verb)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("parlor can be started");
        Watch::of_child(child)
    }

    /// `session SESSION`.
    #[track_caller]
    pub fn session(&self, session: &str) -> Value {
        self.run(&["session", session])
    }

    /// Waits until `session SESSION` is as wanted; returns it.
    #[track_caller]
    pub fn wait_session(&self, session: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{what}, a session of {}", self.name());
        wait_until(&what, || {
            let outcome = self.call(&["session", session]);
            let now = outcome.lines().pop().ok_or(outcome.stderr)?;
            if wanted(&now) { Ok(now) } else { Err(format!("{now:#}")) }
        })
    }

    /// Waits until a session of this node is in `state`.
    #[track_caller]
    pub fn wait_state(&self, session: &str, state: &str) -> Value {
        self.wait_session(session, state, |now| now["state"] == state)
    }

    /// Waits until an invitation to the session has arrived; returns it.
    #[track_caller]
    pub fn wait_invitation(&self, session: &str) -> Value {
        wait_for("an invitation", || {
            let inbox = self.run(&["inbox"]);
            items(&inbox, "invitations").iter().find(|one| one["session"] == session).cloned()
        })
    }

    /// Adds somebody to the contacts, under its nickname.
    pub fn knows(&self, other: &Self) {
        self.run(&["contact", "add", other.name(), &other.address()]);
    }

    /// Whether its process is there.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Ends it the rude way: no chance to write anything down.
    pub fn kill9(&mut self) {
        let mut process = self.process.take().expect("a running node");
        process.child.kill().expect("it can be killed");
        process.child.wait().expect("it can be waited for");
    }

    /// Ends it the polite way, and checks that it ends well.
    pub fn stop(&mut self) {
        self.end_by(Signal::TERM);
    }

    /// Its terminal is closed; checks that it ends well.
    pub fn hang_up(&mut self) {
        self.end_by(Signal::HUP);
    }

    fn end_by(&mut self, signal: Signal) {
        let mut process = self.process.take().expect("a running node");
        kill_process(Pid::from_child(&process.child), signal).expect("it can be told to end");
        let name = self.setup.name.clone();
        let status =
            wait_for(&format!("{name} to end"), || process.child.try_wait().expect("it can be waited for"));
        assert!(status.success(), "{name} ended badly: {status}");
    }

    /// Starts it again, in the same home and at the same addresses.
    pub fn restart(&mut self) {
        if self.is_up() {
            self.kill9();
        }
        self.start();
    }

    /// Starts it again with a clock that is off by so much: `+400d`, `-2d`, `+0`.
    pub fn restart_with_clock(&mut self, offset: &str) {
        self.setup.clock = Some(offset.to_owned());
        self.restart();
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.setup.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Errors mean that it is gone already, which is all that is wanted.
            let _gone = process.child.kill();
            let _gone = process.child.wait();
        }
        let log = self.log();
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("--- the last lines of {} ({})", self.name(), self.ready["peer"]);
            tail.iter().rev().for_each(|line| eprintln!("    {line}"));
        } else {
            assert!(!log.contains("panicked at"), "{} panicked:\n{log}", self.name());
        }
    }
}

/// What comes before the first end of a line.
fn first_line(from: &mut impl Read) -> Vec<u8> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while byte != *b"\n" && from.read(&mut byte).expect("a readable pipe") > 0 {
        line.extend(byte);
    }
    line
}

/// The start of a command that does not outlive this thread, in a network namespace and at a time of its own
/// if it has them. All of these helpers become the program they are given, so that the child's pid is its pid.
pub(crate) fn launcher(netns: Option<&str>, clock: Option<&str>) -> Command {
    let mut words: Vec<String> = Vec::new();
    if let Some(netns) = netns {
        words.extend(["ip", "netns", "exec", netns].map(str::to_owned));
    }
    words.extend(["setpriv", "--pdeathsig", "KILL", "env"].map(str::to_owned));
    if let Some(clock) = clock {
        // The wrapper `faketime` would stay between this process and the node. The loader knows `$LIB`.
        words.push("LD_PRELOAD=/usr/$LIB/faketime/libfaketimeMT.so.1".to_owned());
        words.extend([format!("FAKETIME={clock}"), "DONT_FAKE_MONOTONIC=1".to_owned()]);
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    clean(command)
}

/// `timeout` with the harness's deadline.
fn limited(mut command: Command) -> Command {
    command.args(["--kill-after=5", &DEADLINE.as_secs().to_string()]);
    clean(command)
}

/// Nothing of the developer's own surroundings reaches a node under test: no home, no desktop.
fn clean(mut command: Command) -> Command {
    for variable in ["PARLOR_HOME", "DISPLAY", "WAYLAND_DISPLAY", "BROWSER"] {
        command.env_remove(variable);
    }
    command
}

/// The items of a list object: `items(&value, "programs")`.
#[track_caller]
#[must_use]
pub fn items<'a>(value: &'a Value, plural: &str) -> &'a [Value] {
    value[plural].as_array().unwrap_or_else(|| panic!("a list of {plural} is wanted: {value}"))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
