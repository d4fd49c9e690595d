//! Filters over the JSON payload of records.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::IndexError;

/// The most conditions of a filter.
pub const CONDITIONS_MAX: usize = 64;
/// The most values of one [`Test::AnyOf`].
pub const VALUES_MAX: usize = 1024;
/// The most scalars of one payload that filters can see, in the order of their keys.
pub const FIELDS_MAX: usize = 256;

/// A value in a payload or in a filter. Integers and numbers compare by value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// True or false.
    Bool(bool),
}

/// What is asked of the values under a key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Test {
    /// One of them is this.
    Equals(Value),
    /// One of them is one of these.
    AnyOf(Vec<Value>),
    /// One of them is a number within all bounds given.
    Range {
        /// Greater than.
        gt: Option<f64>,
        /// Greater than or equal to.
        gte: Option<f64>,
        /// Less than.
        lt: Option<f64>,
        /// Less than or equal to.
        lte: Option<f64>,
    },
}

/// A test of the values under one key. Keys of nested objects are joined by dots (`author.name`); the
/// elements of an array are values of its key. A record without the key fails.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Condition {
    /// The key.
    pub key: String,
    /// The test.
    pub test: Test,
}

/// Which records a search may return: all of `must`, none of `must_not`, and one of `should` unless that
/// is empty. Flat on purpose: hostile nesting has nowhere to go.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// All of these.
    pub must: Vec<Condition>,
    /// At least one of these, unless there are none.
    pub should: Vec<Condition>,
    /// None of these.
    pub must_not: Vec<Condition>,
}

impl Filter {
    /// Records whose `key` is `value`.
    pub fn equals(key: impl Into<String>, value: Value) -> Self {
        Filter::single(key, Test::Equals(value))
    }

    /// Records whose `key` is one of `values`.
    pub fn any_of(key: impl Into<String>, values: Vec<Value>) -> Self {
        Filter::single(key, Test::AnyOf(values))
    }

    /// Records whose `key` is a number from `from` to `to`, both included.
    pub fn between(key: impl Into<String>, from: f64, to: f64) -> Self {
        let test = Test::Range { gt: None, gte: Some(from), lt: None, lte: Some(to) };
        Filter::single(key, test)
    }

    fn single(key: impl Into<String>, test: Test) -> Self {
        Filter { must: vec![Condition { key: key.into(), test }], ..Filter::default() }
    }

    /// That the filter is within its limits.
    ///
    /// # Errors
    /// [`IndexError::Filter`] says which limit it breaks.
    pub fn validate(&self) -> Result<(), IndexError> {
        let refuse = |reason| Err(IndexError::Filter { reason });
        if self.must.len() + self.should.len() + self.must_not.len() > CONDITIONS_MAX {
            return refuse("more than 64 conditions");
        }
        let nan = |value: &Value| matches!(value, Value::Number(n) if n.is_nan());
        for condition in self.must.iter().chain(&self.should).chain(&self.must_not) {
            match &condition.test {
                Test::AnyOf(values) if values.len() > VALUES_MAX => {
                    return refuse("more than 1024 values in one condition");
                }
                Test::AnyOf(values) if values.iter().any(nan) => return refuse("a value is NaN"),
                Test::Equals(value) if nan(value) => return refuse("a value is NaN"),
                Test::Range { gt, gte, lt, lte } => {
                    let bounds = [gt, gte, lt, lte];
                    if bounds.iter().all(|bound| bound.is_none()) {
                        return refuse("a range without a bound");
                    }
                    if bounds.iter().any(|bound| bound.is_some_and(f64::is_nan)) {
                        return refuse("a bound is NaN");
                    }
                }
                Test::AnyOf(_) | Test::Equals(_) => {}
            }
        }
        Ok(())
    }

    /// Whether a record with this payload passes. A payload that is not a JSON object has no keys.
    pub fn matches(&self, payload: &[u8]) -> bool {
        self.passes(&Fields::parse(payload))
    }

    pub(crate) fn passes(&self, fields: &Fields) -> bool {
        self.must.iter().all(|c| c.holds(fields))
            && !self.must_not.iter().any(|c| c.holds(fields))
            && (self.should.is_empty() || self.should.iter().any(|c| c.holds(fields)))
    }
}

impl Condition {
    fn holds(&self, fields: &Fields) -> bool {
        fields.under(&self.key).iter().any(|(_, value)| match &self.test {
            Test::Equals(wanted) => value.compare(wanted) == Some(Ordering::Equal),
            Test::AnyOf(all) => all.iter().any(|w| value.compare(w) == Some(Ordering::Equal)),
            Test::Range { gt, gte, lt, lte } => {
                let bound = |bound: &Option<f64>, allowed: &[Ordering]| {
                    bound.is_none_or(|b| {
                        value.compare(&Value::Number(b)).is_some_and(|o| allowed.contains(&o))
                    })
                };
                value.is_number()
                    && bound(gt, &[Ordering::Greater])
                    && bound(gte, &[Ordering::Greater, Ordering::Equal])
                    && bound(lt, &[Ordering::Less])
                    && bound(lte, &[Ordering::Less, Ordering::Equal])
            }
        })
    }
}

impl Value {
    fn is_number(&self) -> bool {
        matches!(self, Value::Integer(_) | Value::Number(_))
    }

    /// The order of two values of one type; `None` across types and for NaN.
    fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Integer(a), Value::Integer(b)) => Some(a.cmp(b)),
            (Value::Number(a), Value::Number(b)) => a.partial_cmp(b),
            (Value::Integer(a), Value::Number(b)) => compare_mixed(*a, *b),
            (Value::Number(a), Value::Integer(b)) => {
                compare_mixed(*b, *a).map(std::cmp::Ordering::reverse)
            }
            _ => None,
        }
    }
}

/// The exact order of an integer and a float: `i64 as f64` alone would round.
fn compare_mixed(a: i64, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b >= 9_223_372_036_854_775_808.0 {
        return Some(Ordering::Less);
    }
    if b < -9_223_372_036_854_775_808.0 {
        return Some(Ordering::Greater);
    }
    let whole = b.floor();
    Some(a.cmp(&(whole as i64)).then(if b > whole { Ordering::Less } else { Ordering::Equal }))
}

/// The scalars of a payload, sorted by key: parsed once when a record arrives.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Fields(Vec<(String, Value)>);

impl Fields {
    pub(crate) fn parse(payload: &[u8]) -> Self {
        let mut fields = Vec::new();
        if let Ok(json @ serde_json::Value::Object(_)) = serde_json::from_slice(payload) {
            collect(&mut fields, "", json);
        }
        // Stable, so that the elements of an array stay in their order.
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields.truncate(FIELDS_MAX);
        fields.shrink_to_fit();
        Fields(fields)
    }

    fn under(&self, key: &str) -> &[(String, Value)] {
        let from = self.0.partition_point(|field| field.0.as_str() < key);
        let count = self.0[from..].partition_point(|field| field.0 == key);
        &self.0[from..from + count]
    }
}

/// Recursion ends at serde_json's own limit of nesting (128).
fn collect(fields: &mut Vec<(String, Value)>, key: &str, json: serde_json::Value) {
    let value = match json {
        serde_json::Value::Null => return,
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::String(s) => Value::Text(s),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(number)) => Value::Number(number),
            (None, None) => return,
        },
        serde_json::Value::Array(items) => {
            return items.into_iter().for_each(|item| collect(fields, key, item));
        }
        serde_json::Value::Object(map) => {
            for (name, item) in map {
                let inner = if key.is_empty() { name } else { format!("{key}.{name}") };
                collect(fields, &inner, item);
            }
            return;
        }
    };
    fields.push((key.to_owned(), value));
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &[u8] = br#"{"lang":"rust","line":120,"score":0.5,"tags":["net","async"],
        "file":{"path":"src/lib.rs","public":true},"none":null,"big":9007199254740993}"#;

    fn text(s: &str) -> Value {
        Value::Text(s.into())
    }

    #[test]
    fn conditions_see_scalars_arrays_and_nested_keys() {
        let cases: [(Filter, bool); 18] = [
            (Filter::equals("lang", text("rust")), true),
            (Filter::equals("lang", text("Rust")), false),
            (Filter::equals("line", Value::Integer(120)), true),
            (Filter::equals("line", Value::Number(120.0)), true),
            (Filter::equals("line", text("120")), false),
            (Filter::equals("tags", text("async")), true),
            (Filter::equals("tags", text("sync")), false),
            (Filter::equals("file.path", text("src/lib.rs")), true),
            (Filter::equals("file.public", Value::Bool(true)), true),
            (Filter::equals("file", text("src/lib.rs")), false),
            (Filter::equals("none", Value::Bool(false)), false),
            (Filter::any_of("lang", vec![text("c"), text("rust")]), true),
            (Filter::any_of("lang", vec![]), false),
            (Filter::between("line", 120.0, 120.0), true),
            (Filter::between("score", 0.51, 1.0), false),
            (Filter::between("lang", 0.0, 1e9), false),
            (Filter::equals("big", Value::Number(9007199254740992.0)), false),
            (Filter::default(), true),
        ];
        for (filter, expected) in cases {
            assert_eq!(filter.matches(PAYLOAD), expected, "{filter:?}");
            let [condition] = filter.must.as_slice() else { continue };
            let not = Filter { must_not: vec![condition.clone()], ..Filter::default() };
            assert_eq!(not.matches(PAYLOAD), !expected, "not {filter:?}");
        }
        let open = Test::Range { gt: Some(119.5), gte: None, lt: Some(121.0), lte: None };
        let filter = Filter {
            should: vec![
                Condition { key: "lang".into(), test: Test::Equals(text("c")) },
                Condition { key: "line".into(), test: open },
            ],
            ..Filter::default()
        };
        assert!(filter.matches(PAYLOAD));
        assert!(!filter.matches(br#"{"line":121}"#));
    }

    #[test]
    fn what_is_not_an_object_has_no_keys() {
        let any = Filter::equals("", text("x"));
        for payload in [&b""[..], b"x", b"\"x\"", b"[\"x\"]", b"{", b"\xff\xfe"] {
            assert!(!any.matches(payload));
            assert!(Filter::default().matches(payload));
        }
        let deep = [b"{\"a\":".repeat(10_000), b"1".to_vec(), b"}".repeat(10_000)].concat();
        assert!(!any.matches(&deep));
    }

    #[test]
    fn the_number_of_fields_is_bounded_by_key_order() {
        let json: serde_json::Map<String, serde_json::Value> =
            (0..1000).map(|n| (format!("k{n:04}"), n.into())).collect();
        let payload = serde_json::to_vec(&json).unwrap();
        assert!(Filter::equals("k0255", Value::Integer(255)).matches(&payload));
        assert!(!Filter::equals("k0256", Value::Integer(256)).matches(&payload));
    }

    #[test]
    fn mixed_numbers_compare_exactly() {
        use Ordering::{Equal, Greater, Less};
        let cases = [
            (1, 1.5, Less),
            (2, 1.5, Greater),
            (-2, -1.5, Less),
            (-1, -1.5, Greater),
            (i64::MAX, 9.3e18, Less),
            (i64::MIN, -9.3e18, Greater),
            (i64::MAX, 9_223_372_036_854_775_808.0, Less),
            (i64::MIN, -9_223_372_036_854_775_808.0, Equal),
            (9007199254740993, 9007199254740992.0, Greater),
        ];
        for (a, b, expected) in cases {
            assert_eq!(compare_mixed(a, b), Some(expected), "{a} {b}");
        }
        assert_eq!(compare_mixed(0, f64::NAN), None);
    }

    #[test]
    fn limits_are_named() {
        let many = Filter::any_of("k", vec![Value::Bool(true); VALUES_MAX + 1]);
        let nan = Filter::equals("k", Value::Number(f64::NAN));
        let unbounded = Test::Range { gt: None, gte: None, lt: None, lte: None };
        let unbounded = Filter::single("k", unbounded);
        let one = Filter::equals("k", Value::Bool(true)).must.remove(0);
        let wide = Filter { should: vec![one; CONDITIONS_MAX + 1], ..Filter::default() };
        for filter in [many, nan, unbounded, wide, Filter::between("k", f64::NAN, 1.0)] {
            assert!(matches!(filter.validate(), Err(IndexError::Filter { .. })));
        }
        assert_eq!(Filter::between("k", 0.0, 1.0).validate(), Ok(()));
    }
}
