//! Where log lines go.

use std::{fs::OpenOptions, sync::Mutex};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{Config, ConfigError, Origin};

/// Sends log lines to the configured place. Call it once a process; a second call changes nothing.
///
/// # Errors
/// [`ConfigError::Value`] for a filter that does not parse or a file that cannot be opened.
pub fn start(config: &Config) -> Result<(), ConfigError> {
    let wrong = |key: &'static str, reason: String| {
        let origin = config.origins().find(|s| s.key == key).map_or(Origin::Default, |s| s.origin);
        ConfigError::Value { key, origin, reason }
    };
    let filter: EnvFilter =
        config.log.parse().map_err(|error| wrong("log", format!("{:?}: {error}", config.log)))?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match &config.log_file {
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|error| wrong("log_file", format!("{}: {error}", path.display())))?;
            let layer = fmt::layer().with_ansi(false).with_writer(Mutex::new(file));
            registry.with(layer).try_init()
        }
        None => {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let layer = fmt::layer().with_ansi(terminal).with_writer(std::io::stderr);
            registry.with(layer).try_init()
        }
    };
    // Somebody else's subscriber stays: a test's, or that of a program around us.
    let _ = started;
    Ok(())
}
