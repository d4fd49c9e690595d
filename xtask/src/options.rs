//! Command-line options of the subcommands, parsed without a dependency.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The caller typed something that no subcommand understands; the exit code is 2.
#[derive(Debug)]
pub(crate) struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// What a subcommand was called with.
#[derive(Debug, Default)]
pub(crate) struct Options {
    switches: Vec<String>,
    values: BTreeMap<String, String>,
    /// Arguments that are not options, in order.
    pub(crate) positional: Vec<String>,
    /// Everything after a lone `--`.
    pub(crate) rest: Vec<String>,
}

impl Options {
    /// Splits `arguments` into the named switches and valued options. `None` means that the
    /// caller asked for help, which was printed.
    pub(crate) fn parse(
        arguments: &[String],
        help: &str,
        switches: &[&str],
        valued: &[&str],
    ) -> Result<Option<Self>, UsageError> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                options.rest = arguments.cloned().collect();
                break;
            }
            if argument == "--help" || argument == "-h" {
                print!("{help}");
                return Ok(None);
            }
            if !argument.starts_with("--") {
                options.positional.push(argument.clone());
                continue;
            }
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            if switches.contains(&name) && inline.is_none() {
                options.switches.push(name.to_owned());
            } else if valued.contains(&name) {
                let value = inline.or_else(|| arguments.next().cloned());
                let value = value.ok_or_else(|| UsageError(format!("`{name}` needs a value")))?;
                options.values.insert(name.to_owned(), value);
            } else {
                return Err(UsageError(format!("no option `{argument}`; see --help")));
            }
        }
        Ok(Some(options))
    }

    /// Whether the switch was given.
    pub(crate) fn has(&self, switch: &str) -> bool {
        self.switches.iter().any(|given| given == switch)
    }

    /// The text given for an option.
    pub(crate) fn text(&self, option: &str) -> Option<&str> {
        self.values.get(option).map(String::as_str)
    }

    /// The value given for an option, or `default`.
    pub(crate) fn value<T: FromStr>(&self, option: &str, default: T) -> Result<T, UsageError> {
        match self.values.get(option) {
            None => Ok(default),
            Some(text) => {
                text.parse().map_err(|_| UsageError(format!("`{option}` does not take `{text}`")))
            }
        }
    }

    /// The comma-separated list given for an option; each must be one of `known`.
    pub(crate) fn list(&self, option: &str, known: &[&str]) -> Result<Vec<String>, UsageError> {
        let Some(text) = self.values.get(option) else { return Ok(Vec::new()) };
        let names: Vec<String> = text.split(',').map(str::to_owned).collect();
        match names.iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => {
                Err(UsageError(format!("no stage `{name}`; there are {}", known.join(", "))))
            }
            None => Ok(names),
        }
    }

    /// Refuses positional arguments.
    pub(crate) fn no_positional(&self) -> Result<(), UsageError> {
        match self.positional.first() {
            Some(argument) => Err(UsageError(format!("unexpected argument `{argument}`"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Option<Options>, UsageError> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        Options::parse(&arguments, "", &["--json"], &["--runs", "--only"])
    }

    #[test]
    fn splits_switches_values_positional_and_rest() {
        let options =
            parse(&["frame", "--json", "--runs=5", "--only", "a,b", "--", "-x"]).unwrap().unwrap();
        assert!(options.has("--json"));
        assert_eq!(options.value("--runs", 1_u64).unwrap(), 5);
        assert_eq!(options.list("--only", &["a", "b", "c"]).unwrap(), ["a", "b"]);
        assert_eq!(options.positional, ["frame"]);
        assert_eq!(options.rest, ["-x"]);
    }

    #[test]
    fn names_what_it_does_not_understand() {
        for (arguments, expected) in [
            (&["--jsn"][..], "no option `--jsn`; see --help"),
            (&["--json=1"][..], "no option `--json=1`; see --help"),
            (&["--runs"][..], "`--runs` needs a value"),
        ] {
            assert_eq!(parse(arguments).unwrap_err().to_string(), expected);
        }
        let options = parse(&["--runs", "many", "--only", "z"]).unwrap().unwrap();
        assert_eq!(
            options.value("--runs", 1_u64).unwrap_err().to_string(),
            "`--runs` does not take `many`"
        );
        assert_eq!(
            options.list("--only", &["a", "b"]).unwrap_err().to_string(),
            "no stage `z`; there are a, b"
        );
    }
}
