//! Values: what a key takes, from TOML and from text alike.

use std::{fmt, str::FromStr, time::Duration};

use super::{ConfigError, Origin, Raw};

/// A share from 0 to 100 %, in thousandths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Percent(u16);

impl Percent {
    /// Everything: no limit.
    pub const ALL: Percent = Percent(1_000);

    /// Of thousandths; `None` above 1,000.
    pub fn from_per_mille(per_mille: u16) -> Option<Self> {
        (per_mille <= 1_000).then_some(Percent(per_mille))
    }

    /// In thousandths, 0 to 1,000.
    pub fn per_mille(self) -> u16 {
        self.0
    }

    /// Nothing.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// As a fraction of one.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().trim_end_matches('%').trim_end();
        let value: f64 = number.parse().map_err(|_| format!("{text:?} is not a percentage"))?;
        if !(0.0..=100.0).contains(&value) {
            return Err(format!("{text} is not between 0% and 100%"));
        }
        Ok(Percent((value * 10.0).round() as u16))
    }
}

/// An amount of memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err(format!("{text:?} has no unit of MiB, GiB, MB or GB")),
        };
        let number: u64 = number.parse().map_err(|_| format!("{text:?} is not a size"))?;
        number.checked_mul(factor).map(Bytes).ok_or_else(|| format!("{text:?} is too large"))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is not a duration"))?;
    let seconds = match unit.trim() {
        "" | "s" => Some(number),
        "m" | "min" => number.checked_mul(60),
        "h" => number.checked_mul(3_600),
        "d" => number.checked_mul(86_400),
        _ => return Err(format!("{text:?} has no unit of s, m, h or d")),
    };
    seconds.map(Duration::from_secs).ok_or_else(|| format!("{text:?} is too long"))
}

/// Reads typed values out of the merged layers.
pub(super) struct Reader<'a>(pub(super) &'a Raw);

impl Reader<'_> {
    pub(super) fn origin(&self, key: &'static str) -> &Origin {
        &self.entry(key).1
    }

    pub(super) fn text(&self, key: &'static str) -> Result<String, ConfigError> {
        match &self.entry(key).0 {
            toml::Value::String(text) => Ok(text.clone()),
            other => Err(self.wrong(key, format!("{other} is not text"))),
        }
    }

    pub(super) fn flag(&self, key: &'static str) -> Result<bool, ConfigError> {
        match &self.entry(key).0 {
            toml::Value::Boolean(flag) => Ok(*flag),
            toml::Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err(self.wrong(key, format!("{text:?} is not true or false"))),
            },
            other => Err(self.wrong(key, format!("{other} is not true or false"))),
        }
    }

    pub(super) fn integer<T: FromStr>(&self, key: &'static str) -> Result<T, ConfigError> {
        let text = self.scalar(key)?;
        text.trim().parse().map_err(|_| {
            self.wrong(key, format!("{text:?} is not a whole number in the range of this key"))
        })
    }

    pub(super) fn parsed<T>(&self, key: &'static str) -> Result<T, ConfigError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let text = self.scalar(key)?;
        text.trim().parse().map_err(|error| self.wrong(key, format!("{text:?}: {error}")))
    }

    pub(super) fn percent(&self, key: &'static str) -> Result<Percent, ConfigError> {
        self.scalar(key)?.parse().map_err(|reason| self.wrong(key, reason))
    }

    pub(super) fn bytes(&self, key: &'static str) -> Result<Bytes, ConfigError> {
        self.scalar(key)?.parse().map_err(|reason| self.wrong(key, reason))
    }

    pub(super) fn duration(&self, key: &'static str) -> Result<Duration, ConfigError> {
        duration(&self.scalar(key)?).map_err(|reason| self.wrong(key, reason))
    }

    /// An array of TOML, or text with commas between the items.
    pub(super) fn list(&self, key: &'static str) -> Result<Vec<String>, ConfigError> {
        match &self.entry(key).0 {
            toml::Value::String(text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(items.map(str::to_owned).collect())
            }
            toml::Value::Array(items) => items
                .iter()
                .map(|item| match item {
                    toml::Value::String(text) => Ok(text.clone()),
                    other => Err(self.wrong(key, format!("{other} is not text"))),
                })
                .collect(),
            other => Err(self.wrong(key, format!("{other} is not a list"))),
        }
    }

    /// A number or text, as text.
    fn scalar(&self, key: &'static str) -> Result<String, ConfigError> {
        match &self.entry(key).0 {
            toml::Value::String(text) => Ok(text.clone()),
            toml::Value::Integer(number) => Ok(number.to_string()),
            toml::Value::Float(number) => Ok(number.to_string()),
            other => Err(self.wrong(key, format!("{other} is not a number or text"))),
        }
    }

    fn wrong(&self, key: &'static str, reason: String) -> ConfigError {
        ConfigError::Value { key, origin: self.origin(key).clone(), reason }
    }

    fn entry(&self, key: &'static str) -> &(toml::Value, Origin) {
        self.0.get(key).expect("invariant: the defaults have every key, a test compares them")
    }
}
