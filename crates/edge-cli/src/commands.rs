//! The commands, each a request to a node and a way to print the answer.

mod ask;
mod collection;
mod compression;
mod config;
pub(crate) mod help;
mod identity;
mod key;
mod ledger;
mod model;
pub(crate) mod node;
mod payment;
mod security;
mod task;

use clap::CommandFactory as _;
use edge_base::Credits;
use edge_node::config::{Config, ConfigError, Layers, Origin};
use serde_json::{Value, json};

use crate::{
    args::{Cli, Command, Global, Peer, Security},
    client::Client,
    demo,
    failure::{Exit, Failure, Outcome},
    output::Output,
};

pub(crate) use ask::shortened;
pub(crate) use collection::{ensure_collection, import_passages};

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) output: Output,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        let output = Output::new(&global);
        Context { global, output }
    }

    /// The settings, with these flags on top.
    pub(crate) fn config(&self, mut flags: Vec<(String, String)>) -> Outcome<Config> {
        if let Some(folder) = &self.global.data_dir {
            flags.push(("data-dir".to_owned(), folder.to_string_lossy().into_owned()));
        }
        let layers = Layers::of_process(self.global.config.clone(), flags);
        Config::load(&layers).map_err(|error| bad_settings(&error))
    }

    /// A client of the node that is meant.
    pub(crate) fn client(&self) -> Outcome<Client> {
        let config = self.config(Vec::new())?;
        match &self.global.api {
            Some(url) if !is_http(url) => Err(Failure::new(
                Exit::Usage,
                format!("--api {url:?} is no address of a node"),
                "it is not of the form http://HOST:PORT",
                "for example --api http://127.0.0.1:3141",
            )),
            Some(url) => Ok(Client::new(url, config.token, self.global.timeout)),
            None => Client::of_folder(&config.data_dir, config.token, self.global.timeout),
        }
    }

    /// Prints an answer: as it is with `--json`, else by this.
    pub(crate) fn show(&self, answer: &Value, people: impl FnOnce(&Output, &Value)) {
        if self.output.json {
            self.output.object(answer);
        } else {
            people(&self.output, answer);
        }
    }
}

fn is_http(url: &str) -> bool {
    url.parse::<ureq::http::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

/// Settings that cannot be used.
pub(crate) fn bad_settings(error: &ConfigError) -> Failure {
    let place = |origin: &Origin| match origin {
        Origin::File(path) => format!("in {}", path.display()),
        Origin::Environment(name) => format!("in the variable {name}"),
        Origin::Default | Origin::Flag(_) => "on the command line".to_owned(),
    };
    let next = match error {
        ConfigError::Unreadable { .. } => {
            "correct its path or permissions, or name another with --config FILE".to_owned()
        }
        ConfigError::Syntax { path, .. } => {
            format!("correct {}, or name another file with --config FILE", path.display())
        }
        ConfigError::UnknownKey { origin, .. } => {
            format!("remove it {}; docs/configuration.md has every key", place(origin))
        }
        ConfigError::Value { origin, .. } => {
            format!("correct it {}; docs/configuration.md has an example", place(origin))
        }
        _ => "docs/configuration.md says what each setting does".to_owned(),
    };
    Failure::new(Exit::Usage, "the settings cannot be used", error, next)
}

/// Runs a command.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Start(start) => node::start(context, &start),
        Command::Stop => node::stop(context),
        Command::Status => node::status(context),
        Command::Identity(identity) => identity::run(context, identity),
        Command::Collection(collection) => collection::run(context, collection),
        Command::Model(model) => model::run(context, model),
        Command::Embed(embed) => ask::embed(context, &embed),
        Command::Search(search) => ask::search(context, &search),
        Command::Match(question) => ask::match_labels(context, &question),
        Command::Compress(compress) => compression::compress(context, &compress),
        Command::Decompress(decompress) => compression::decompress(context, &decompress),
        Command::Key(key) => key::run(context, key),
        Command::Encrypt(encrypt) => compression::encrypt(context, &encrypt),
        Command::Decrypt(encrypt) => compression::decrypt(context, &encrypt),
        Command::Task(task) => task::run(context, task),
        Command::Peer(Peer::Ls) => node::peers(context),
        Command::Peer(Peer::Ban { node, lasts }) => security::ban(context, &node, lasts),
        Command::Peer(Peer::Unban { node }) => security::unban(context, &node),
        Command::Security(Security::Audit) => security::audit(context),
        Command::Ledger(ledger) => ledger::run(context, ledger),
        Command::Config(config) => config::run(context, config),
        Command::Demo(demo) => demo::run(context, &demo),
        Command::Version => {
            version(context);
            Ok(())
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "edge-net", &mut script);
            let script = String::from_utf8_lossy(&script);
            let answer = json!({
                "schema": "edge-net.completions/1", "shell": shell.to_string(), "script": script,
            });
            context.show(&answer, |output, _| output.line(script.trim_end()));
            Ok(())
        }
    }
}

fn version(context: &Context) {
    use edge_embed::Model as _;
    let model = edge_embed::StaticModel::builtin();
    let answer = json!({
        "schema": "edge-net.version/1",
        "version": env!("CARGO_PKG_VERSION"),
        "canon": edge_tasks::CANON,
        "simd": edge_kernels::active().name(),
        "model": { "name": model.name(), "id": model.id().to_hex(), "dim": model.dim() },
    });
    context.show(&answer, |output, answer| {
        output.line(format!("edge-net {}", env!("CARGO_PKG_VERSION")));
        output.line(format!(
            "arithmetic {}, kernels {}",
            text(answer, "canon"),
            text(answer, "simd")
        ));
        let model = &answer["model"];
        output.line(format!("model {} ({})", text(model, "name"), short(&text(model, "id"))));
    });
}

/// An amount of rUv that was typed; `next` is an example of how.
pub(crate) fn amount(typed: &str, next: &str) -> Outcome<Credits> {
    typed.parse().map_err(|error| {
        Failure::new(Exit::Usage, format!("{typed:?} is no amount"), error, next.to_owned())
    })
}

/// A field as text for people; `?` where it is missing.
pub(crate) fn text(value: &Value, field: &str) -> String {
    plain(&value[field])
}

/// A value as text for people.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "?".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        // Amounts are small: 0.000002, never 2e-6.
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
        }
        other => other.to_string(),
    }
}

/// `1 result`, `2 results`.
pub(crate) fn counted(count: impl TryInto<u64>, what: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The beginning of a long id.
pub(crate) fn short(id: &str) -> String {
    let hex = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if hex { id[..8].to_owned() } else { id.to_owned() }
}

/// A node's id as people see it.
pub(crate) fn node_name(value: &Value) -> String {
    match value.as_str() {
        Some(id) if id.len() == 64 => format!("π:{}", &id[..8]),
        _ => plain(value),
    }
}

/// The elements of a list, none where there is no list.
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_without_exponents() {
        assert_eq!(plain(&json!(0.000002)), "0.000002");
        assert_eq!((plain(&json!(12.5)), plain(&json!(7))), ("12.5".into(), "7".into()));
        assert_eq!(
            (counted(0u64, "result"), counted(1u64, "result")),
            ("0 results".into(), "1 result".into())
        );
    }
}
