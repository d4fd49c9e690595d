//! `help --json`: every command with its flags, for programs.

use clap::CommandFactory as _;
use serde_json::{Value, json};

use crate::args::Cli;

/// What is asked for help on, if a command line asks for it as JSON: `help [COMMAND..] --json`.
pub(crate) fn asked(arguments: &[String]) -> Option<Vec<String>> {
    let json = arguments.iter().any(|argument| argument == "--json");
    let words: Vec<String> =
        arguments.iter().filter(|argument| *argument != "--json").cloned().collect();
    match words.split_first() {
        Some((help, path)) if json && help == "help" => Some(path.to_vec()),
        _ => None,
    }
}

/// The commands below a path, or that one; `None` if there is none.
pub(crate) fn commands(path: &[String]) -> Option<Value> {
    let mut root = Cli::command();
    root.build();
    let mut at = &root;
    for word in path {
        at = at.get_subcommands().find(|sub| sub.get_name() == word && word != "help")?;
    }
    let mut found = Vec::new();
    walk(at, path.join(" "), &mut found);
    let everywhere: Vec<Value> =
        root.get_arguments().filter(|arg| arg.is_global_set()).map(argument).collect();
    Some(json!({ "schema": "edge-net.help/1", "commands": found, "everywhere": everywhere }))
}

fn walk(command: &clap::Command, name: String, out: &mut Vec<Value>) {
    let subs: Vec<&clap::Command> =
        command.get_subcommands().filter(|sub| sub.get_name() != "help").collect();
    if subs.is_empty() {
        let own = command.get_arguments().filter(|arg| !arg.is_global_set() && !arg.is_hide_set());
        let own: Vec<Value> = own.filter(|arg| arg.get_id() != "help").map(argument).collect();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        out.push(json!({ "name": name, "about": about, "arguments": own }));
    }
    for sub in subs {
        let name = format!("{name} {}", sub.get_name());
        walk(sub, name.trim_start().to_owned(), out);
    }
}

fn argument(arg: &clap::Arg) -> Value {
    let values = arg.get_num_args().is_none_or(|range| range.takes_values());
    let names = arg.get_value_names().filter(|_| values).and_then(|names| names.first());
    let default: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    let mut shown = json!({
        "name": arg.get_id().as_str(),
        "about": arg.get_help().map(ToString::to_string).unwrap_or_default(),
        "required": arg.is_required_set(),
    });
    if let Some(long) = arg.get_long() {
        shown["long"] = json!(format!("--{long}"));
    }
    if let Some(short) = arg.get_short() {
        shown["short"] = json!(format!("-{short}"));
    }
    if let Some(name) = names {
        shown["value"] = json!(name.as_str());
    }
    if let [one] = default.as_slice()
        && values
    {
        shown["default"] = json!(one);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn every_command_is_listed_with_its_flags() {
        let all = commands(&[]).unwrap();
        let names: Vec<&str> = all["commands"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        assert!(names.contains(&"start") && names.contains(&"ledger send"), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
        let send = commands(&words("ledger send")).unwrap();
        let send = &send["commands"][0];
        let arguments = send["arguments"].as_array().unwrap();
        let named = |name: &str| arguments.iter().find(|arg| arg["name"] == name).unwrap();
        assert_eq!((&named("to")["required"], &named("to")["long"]), (&json!(true), &Value::Null));
        assert_eq!(named("yes")["long"], "--yes");
        assert_eq!(named("yes")["value"], Value::Null, "a switch");
        let ls = commands(&words("task ls")).unwrap();
        let limit = &ls["commands"][0]["arguments"][0];
        assert_eq!((&limit["short"], &limit["default"]), (&json!("-n"), &json!("20")));
        let every = |arg: &Value| !arg["about"].as_str().unwrap().is_empty();
        assert!(all["everywhere"].as_array().unwrap().iter().all(every));
        assert_eq!(commands(&words("ledger fly")), None);
    }

    #[test]
    fn only_help_as_json_is_asked_for() {
        assert_eq!(asked(&words("help --json")), Some(vec![]));
        assert_eq!(asked(&words("--json help ledger")), Some(words("ledger")));
        assert_eq!(asked(&words("help ledger")), None);
        assert_eq!(asked(&words("status --json")), None);
    }
}
