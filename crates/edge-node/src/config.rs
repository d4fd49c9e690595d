//! Settings in four layers: flags, `EDGE_NET_*` variables, a TOML file, and the commented defaults
//! compiled in. A later layer replaces a value whole; every value remembers where it came from.
//!
//! An unknown key is an error that names the nearest known one, in every layer. A combination that
//! could never run (a worker with no CPU share, an open interface without a token) is refused here,
//! before anything starts.

mod value;

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use edge_base::Credits;
use edge_swarm::{accept::Assumption, tuner::Policy};

use crate::files::read_bounded;

pub use value::{Bytes, Percent};

/// The defaults, with a comment on every key. Also what `config show` prints for people.
pub const DEFAULTS: &str = include_str!("default.toml");
/// What the name of a variable starts with.
pub const VARIABLE_PREFIX: &str = "EDGE_NET_";

/// The largest share of known texts in a batch, in thousandths.
const CANARIES_PER_MILLE_MAX: u16 = 500;
/// Variables with our prefix that are not settings of a node: they are read by the kernels, the
/// command line and the tests.
const OTHER_VARIABLES: [&str; 8] =
    ["SIMD", "API", "CONFIG", "PASSWORD", "TIMEOUT", "COLOR", "JSON", "QUIET"];
const THREADS_MAX: usize = 1_024;
const MEMORY_MIN: u64 = 64 << 20;
/// How many ports after the default one are tried.
const PORTS_TRIED: u16 = 100;

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Compiled in.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// The command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => f.write_str(name),
            Origin::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// Why settings cannot be used: the fault of whoever wrote them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file that was named is not there or cannot be read.
    #[error("cannot read the settings in {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Not TOML.
    #[error("the settings in {path} are not TOML: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// A key nobody knows.
    #[error("unknown setting `{key}` ({origin}){}", did_you_mean(*nearest))]
    UnknownKey {
        /// As written.
        key: String,
        /// Where.
        origin: Origin,
        /// The known key that looks like it, if one does.
        nearest: Option<&'static str>,
    },
    /// A value that its key does not take.
    #[error("setting `{key}` ({origin}): {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// Where.
        origin: Origin,
        /// What is wrong with it.
        reason: String,
    },
    /// Values that are fine one by one and can never run together.
    #[error("these settings can never run: {reason}; {next}")]
    NeverRuns {
        /// Why not.
        reason: String,
        /// What to change.
        next: String,
    },
}

/// The port of the HTTP interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// This one; 0 is any free one. Taken by somebody else: an error.
    Exactly(u16),
    /// The first free one of these.
    FirstFree {
        /// Tried first.
        from: u16,
        /// Tried last.
        to: u16,
    },
}

/// What a node runs with. See `default.toml` for the meaning of each key.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything of this node lives.
    pub data_dir: PathBuf,
    /// Port of the HTTP interface.
    pub port: Port,
    /// Address of the HTTP interface.
    pub bind: IpAddr,
    /// What HTTP callers must show, if anything.
    pub token: Option<String>,
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Multiaddresses of peers.
    pub bootstrap: Vec<String>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Name of a pool founded here.
    pub namespace: String,
    /// CPU share in use.
    pub cpu: Percent,
    /// CPU share while nobody uses the machine.
    pub cpu_idle: Percent,
    /// How long without input counts as nobody.
    pub idle: Duration,
    /// Memory for caches and queues.
    pub memory: Bytes,
    /// Worker threads, already resolved: at least 1.
    pub workers: usize,
    /// Whether tasks of others are executed.
    pub works: bool,
    /// The largest unpaid amount for one requester.
    pub exposure: Credits,
    /// What is assumed about workers of other owners.
    pub trust: Assumption,
    /// What tunes audits and budgets.
    pub tuner: Policy,
    /// Share of known texts in each batch.
    pub canaries: Percent,
    /// Log filter.
    pub log: String,
    /// Log file, or standard error.
    pub log_file: Option<PathBuf>,
    origins: BTreeMap<&'static str, (String, Origin)>,
}

/// Every key, in the order of `default.toml`.
pub const KEYS: [&str; 20] = [
    "data_dir",
    "port",
    "bind",
    "token",
    "listen",
    "bootstrap",
    "mdns",
    "namespace",
    "cpu",
    "cpu_idle",
    "idle",
    "memory",
    "workers",
    "works",
    "exposure",
    "trust",
    "tuner",
    "canaries",
    "log",
    "log_file",
];

/// Which file is read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FileLayer {
    /// The platform's, if it is there.
    #[default]
    Platform,
    /// This one; it must be there.
    Exactly(PathBuf),
    /// None.
    Nothing,
}

/// What the settings are made of, most general first.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The file.
    pub file: FileLayer,
    /// Variables, names with prefix. Those without it are ignored.
    pub environment: Vec<(String, String)>,
    /// Flags as (key, text), `cpu` or `log-file`.
    pub flags: Vec<(String, String)>,
}

impl Layers {
    /// The process's environment, with these flags and this file.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
            .collect();
        let file = file.map_or(FileLayer::Platform, FileLayer::Exactly);
        Layers { file, environment, flags }
    }
}

/// One value with where it came from, for `config show --origin`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// The value as TOML.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

type Raw = BTreeMap<&'static str, (toml::Value, Origin)>;

impl Config {
    /// Reads all layers and checks the result.
    ///
    /// # Errors
    /// Every [`ConfigError`].
    ///
    /// ```
    /// use edge_node::config::{Config, FileLayer, Layers, Origin};
    ///
    /// let flags = vec![("cpu".to_owned(), "50%".to_owned())];
    /// let layers = Layers { file: FileLayer::Nothing, environment: Vec::new(), flags };
    /// let config = Config::load(&layers)?;
    /// assert_eq!(config.cpu.per_mille(), 500);
    /// let cpu = config.origins().find(|s| s.key == "cpu").unwrap();
    /// assert_eq!(cpu.origin, Origin::Flag("cpu".to_owned()));
    /// # Ok::<(), edge_node::config::ConfigError>(())
    /// ```
    pub fn load(layers: &Layers) -> Result<Config, ConfigError> {
        let defaults = DEFAULTS
            .parse::<toml::Table>()
            .expect("invariant: the compiled-in defaults are TOML, a test reads them");
        let mut raw = Raw::new();
        merge(&mut raw, defaults, &Origin::Default)?;
        let file = match &layers.file {
            FileLayer::Nothing => None,
            FileLayer::Exactly(path) => Some(path.clone()),
            FileLayer::Platform => Config::platform_file().filter(|path| path.exists()),
        };
        if let Some(path) = file {
            merge(&mut raw, read(&path)?, &Origin::File(path))?;
        }
        for (name, text) in &layers.environment {
            let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            if OTHER_VARIABLES.contains(&rest) {
                continue;
            }
            let origin = Origin::Environment(name.clone());
            put(&mut raw, &rest.to_lowercase(), toml::Value::String(text.clone()), origin)?;
        }
        for (name, text) in &layers.flags {
            let origin = Origin::Flag(name.clone());
            put(&mut raw, &name.replace('-', "_"), toml::Value::String(text.clone()), origin)?;
        }
        Config::of(&raw)
    }

    /// The file that is read when none is named, where the platform has a place for it.
    pub fn platform_file() -> Option<PathBuf> {
        let dirs = directories::ProjectDirs::from("", "", "edge-net")?;
        Some(dirs.config_dir().join("config.toml"))
    }

    /// Every value with where it came from, in the order of `default.toml`.
    pub fn origins(&self) -> impl Iterator<Item = Setting> + '_ {
        KEYS.iter().filter_map(|key| {
            let (value, origin) = self.origins.get(key)?;
            let secret = *key == "token" && self.token.is_some();
            let value = if secret { "\"...\"".to_owned() } else { value.clone() };
            Some(Setting { key, value, origin: origin.clone() })
        })
    }

    /// The known key most like a word, if it differs in a third of it or less.
    pub fn nearest_key(word: &str) -> Option<&'static str> {
        let near = |key: &&str| distance(word, key) <= word.len().max(key.len()).div_ceil(3);
        KEYS.into_iter().min_by_key(|key| distance(word, key)).filter(near)
    }

    fn of(raw: &Raw) -> Result<Config, ConfigError> {
        let reader = value::Reader(raw);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let number: u16 = reader.integer("port")?;
        let port = match reader.origin("port") {
            Origin::Default => {
                Port::FirstFree { from: number, to: number.saturating_add(PORTS_TRIED) }
            }
            Origin::File(_) | Origin::Environment(_) | Origin::Flag(_) => Port::Exactly(number),
        };
        let data_dir = match reader.text("data_dir")?.as_str() {
            "" => platform_data_dir()?,
            path => PathBuf::from(path),
        };
        let workers = match reader.integer::<usize>("workers")? {
            0 => cores,
            n => n,
        };
        let config = Config {
            data_dir,
            port,
            bind: reader.parsed("bind")?,
            token: Some(reader.text("token")?).filter(|token| !token.is_empty()),
            listen: reader.list("listen")?,
            bootstrap: reader.list("bootstrap")?,
            mdns: reader.flag("mdns")?,
            namespace: reader.text("namespace")?,
            cpu: reader.percent("cpu")?,
            cpu_idle: reader.percent("cpu_idle")?,
            idle: reader.duration("idle")?,
            memory: reader.bytes("memory")?,
            workers,
            works: reader.flag("works")?,
            exposure: reader.parsed("exposure")?,
            trust: reader.parsed("trust")?,
            tuner: reader.parsed("tuner")?,
            canaries: reader.percent("canaries")?,
            log: reader.text("log")?,
            log_file: Some(reader.text("log_file")?).filter(|s| !s.is_empty()).map(PathBuf::from),
            origins: raw
                .iter()
                .map(|(key, (value, origin))| (*key, (value.to_string(), origin.clone())))
                .collect(),
        };
        config.check()?;
        Ok(config)
    }

    /// Whether this can ever run.
    fn check(&self) -> Result<(), ConfigError> {
        let never = |reason: String, next: &str| {
            Err(ConfigError::NeverRuns { reason, next: next.to_owned() })
        };
        if self.cpu.is_zero() && self.cpu_idle.is_zero() {
            return never(
                "`cpu` and `cpu_idle` are 0, so not even own tasks would run".into(),
                "set one above 0, or `works = false` to execute nothing for others",
            );
        }
        if self.canaries.per_mille() > CANARIES_PER_MILLE_MAX {
            return never(
                "`canaries` above 50 % would leave a batch more known texts than others".into(),
                "set `canaries = \"0%\"`, or up to 50 %",
            );
        }
        if self.workers > THREADS_MAX {
            return never(
                format!("{} workers are over the limit of {THREADS_MAX}", self.workers),
                "set `workers = 0` for one thread a core",
            );
        }
        if self.memory.0 < MEMORY_MIN {
            return never(
                format!("`memory` of {} bytes is below 64 MiB", self.memory.0),
                "set `memory = \"64MiB\"` or more",
            );
        }
        if !self.bind.is_loopback() && self.token.is_none() {
            return never(
                format!("`bind = \"{}\"` lets other machines in and there is no token", self.bind),
                "set `token`, or bind 127.0.0.1",
            );
        }
        if self.listen.is_empty() && self.bootstrap.is_empty() && !self.mdns && self.works {
            return never(
                "without `listen`, `bootstrap` and `mdns` no peer can ever be met".into(),
                "set `listen`, or `works = false` for a node that stays alone",
            );
        }
        if self.namespace.len() > edge_ledger::POOL_NAME_BYTES_MAX {
            return never(
                format!("`namespace` is longer than {} bytes", edge_ledger::POOL_NAME_BYTES_MAX),
                "choose a shorter one",
            );
        }
        Ok(())
    }
}

fn platform_data_dir() -> Result<PathBuf, ConfigError> {
    let dirs = directories::ProjectDirs::from("", "", "edge-net");
    dirs.map(|dirs| dirs.data_local_dir().to_owned()).ok_or_else(|| ConfigError::Value {
        key: "data_dir",
        origin: Origin::Default,
        reason: "this account has no home folder: name a folder with --data-dir".into(),
    })
}

/// A configuration is never longer.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn read(path: &Path) -> Result<toml::Table, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let bytes =
        read_bounded(path, FILE_BYTES_MAX).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))?;
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: error.to_string().trim_end().replace('\n', " "),
    })
}

fn merge(raw: &mut Raw, table: toml::Table, origin: &Origin) -> Result<(), ConfigError> {
    table.into_iter().try_for_each(|(key, value)| put(raw, &key, value, origin.clone()))
}

fn put(raw: &mut Raw, key: &str, value: toml::Value, origin: Origin) -> Result<(), ConfigError> {
    match KEYS.into_iter().find(|known| *known == key) {
        Some(known) => {
            raw.insert(known, (value, origin));
            Ok(())
        }
        None => {
            let nearest = Config::nearest_key(key);
            Err(ConfigError::UnknownKey { key: key.to_owned(), origin, nearest })
        }
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!(": did you mean `{key}`"))
}

/// Levenshtein distance (1966), two rows.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
