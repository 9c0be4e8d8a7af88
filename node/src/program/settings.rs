//! What `manifest.toml` says, as far as Parlor asks.
//!
//! The file is webxdc's; Parlor's own settings are in its table `[parlor]`, which other webxdc hosts skip.
//! Keys that are not known are skipped here too.
//!
//! ```toml
//! name = "Group Chat"
//!
//! [parlor]
//! version = "1.2"
//! summary = "Talk to each other."
//! copies = { min = 1, max = 8 }           # or a number; without it, any number
//! host = ["server/", "answers.txt"]       # what only the host gets: files, and folders ending in a slash
//!
//! [parlor.agent]                          # what agent.wasm and host.wasm ask for; without, the node chooses
//! memory = 67108864                       # bytes
//! event_ms = 2000                         # milliseconds that one event may take
//! messages_per_second = 100
//! store = 8388608                         # bytes, in each scope
//! output_per_second = 60
//! tick_ms = 1000                          # milliseconds; without, no ticks
//!
//! [parlor.pack]                           # for a program that is content for another one
//! for = "dungeon"                         # that one's name
//! levels = [1, 9]                         # from, to; without it, for all levels
//! ```

use std::{fs, io, path::Path};

use parlor_proto::program::{AgentWishes, CopiesRule, CopiesRuleError, Pack};
use serde::{Deserialize, de::Error as _};

use super::{EntryError, ImportError, SETTINGS};

/// The longest `manifest.toml`, bytes.
const MAX_LEN: u64 = 64 * 1024;

/// The version of a program that says none.
const NO_VERSION: &str = "1";

/// What a program says about itself.
#[derive(Debug, Deserialize)]
#[serde(from = "File")]
pub(super) struct Settings {
    pub(super) name: Option<String>,
    pub(super) version: String,
    pub(super) summary: Option<String>,
    pub(super) copies: CopiesRule,
    pub(super) host: Vec<String>,
    pub(super) agent: AgentWishes,
    pub(super) pack: Option<Pack>,
}

#[derive(Default, Deserialize)]
struct File {
    name: Option<String>,
    #[serde(default)]
    parlor: Table,
}

#[derive(Default, Deserialize)]
struct Table {
    version: Option<String>,
    summary: Option<String>,
    #[serde(default, deserialize_with = "copies")]
    copies: Option<CopiesRule>,
    #[serde(default)]
    host: Vec<String>,
    #[serde(default)]
    agent: AgentWishes,
    pack: Option<Pack>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "copies must be a number, or { min = …, max = … }")]
enum Copies {
    Exactly(u32),
    Between { min: u32, max: u32 },
}

impl Settings {
    /// Reads the file at `path`; one that is not there says nothing.
    pub(super) fn read(path: &Path) -> Result<Self, ImportError> {
        let failed = |error: EntryError| error.of(SETTINGS);
        match fs::metadata(path) {
            Ok(found) if found.len() > MAX_LEN => return Err(failed(EntryError::Length)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(File::default().into()),
            Err(error) => return Err(failed(EntryError::Read(error))),
        }
        let text = fs::read_to_string(path).map_err(|error| failed(EntryError::Read(error)))?;
        toml::from_str(&text).map_err(ImportError::Settings)
    }
}

impl From<File> for Settings {
    fn from(File { name, parlor }: File) -> Self {
        Self {
            name,
            version: parlor.version.unwrap_or_else(|| NO_VERSION.to_owned()),
            summary: parlor.summary,
            copies: parlor.copies.unwrap_or(CopiesRule::Free),
            host: parlor.host,
            agent: parlor.agent,
            pack: parlor.pack,
        }
    }
}

fn copies<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<CopiesRule>, D::Error> {
    let (min, max) = match Copies::deserialize(deserializer)? {
        Copies::Exactly(copies) => (copies, copies),
        Copies::Between { min, max } => (min, max),
    };
    CopiesRule::between(min, max).map(Some).map_err(|error: CopiesRuleError| D::Error::custom(error))
}

/// Whether a rule for the host's files means this one: its path, or a folder (ending in a slash) it is in.
pub(super) fn matches(rule: &str, path: &str) -> bool {
    if rule.ends_with('/') { path.starts_with(rule) } else { path == rule }
}
