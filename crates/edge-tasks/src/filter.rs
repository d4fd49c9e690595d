//! Filters as clients write them.

use edge_index::{Condition, Filter, Test, Value};
use serde::Deserialize;

use crate::TaskError;

/// The most bytes of a filter.
pub const FILTER_BYTES_MAX: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonFilter {
    must: Option<OneOrMore>,
    should: Option<OneOrMore>,
    must_not: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a condition is {\"key\": .., \"match\": {\"value\" or \"any\": ..}} or \
{\"key\": .., \"range\": {\"gt\", \"gte\", \"lt\" or \"lte\": number}}"
)]
enum OneOrMore {
    More(Vec<JsonCondition>),
    One(JsonCondition),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonCondition {
    key: String,
    #[serde(rename = "match")]
    matching: Option<JsonMatch>,
    range: Option<JsonRange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonMatch {
    value: Option<Scalar>,
    any: Option<Vec<Scalar>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRange {
    gt: Option<f64>,
    gte: Option<f64>,
    lt: Option<f64>,
    lte: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a value is a string, a number, true or false")]
enum Scalar {
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

/// Reads a filter in the form of Qdrant's REST interface:
/// `{"must": [{"key": "lang", "match": {"value": "rust"}}], "must_not": [{"key": "line", "range": {"lt": 9}}]}`.
/// `must`, `should` and `must_not` hold one condition or several; a condition is a `match` with `value` or
/// `any`, or a `range` with `gt`, `gte`, `lt`, `lte`. Anything else is refused, not ignored.
///
/// # Errors
/// [`TaskError::Filter`] says what is not understood, [`TaskError::Index`] which limit is broken.
pub fn filter_from_json(json: &[u8]) -> Result<Filter, TaskError> {
    if json.len() > FILTER_BYTES_MAX {
        let (what, bytes, limit) = ("filter", json.len(), FILTER_BYTES_MAX);
        return Err(TaskError::TooLarge { what, bytes, limit });
    }
    let json: JsonFilter =
        serde_json::from_slice(json).map_err(|error| TaskError::Filter(error.to_string()))?;
    let filter = Filter {
        must: conditions(json.must)?,
        should: conditions(json.should)?,
        must_not: conditions(json.must_not)?,
    };
    filter.validate()?;
    Ok(filter)
}

fn conditions(json: Option<OneOrMore>) -> Result<Vec<Condition>, TaskError> {
    match json {
        None => Ok(Vec::new()),
        Some(OneOrMore::One(one)) => Ok(vec![condition(one)?]),
        Some(OneOrMore::More(more)) => more.into_iter().map(condition).collect(),
    }
}

fn condition(json: JsonCondition) -> Result<Condition, TaskError> {
    let test = match (json.matching, json.range) {
        (Some(JsonMatch { value: Some(value), any: None }), None) => Test::Equals(value.into()),
        (Some(JsonMatch { value: None, any: Some(any) }), None) => {
            Test::AnyOf(any.into_iter().map(Value::from).collect())
        }
        (None, Some(JsonRange { gt, gte, lt, lte })) => Test::Range { gt, gte, lt, lte },
        _ => {
            let key = &json.key;
            let wanted = "one of match.value, match.any and range";
            return Err(TaskError::Filter(format!("condition on {key:?}: {wanted} is needed")));
        }
    };
    Ok(Condition { key: json.key, test })
}

impl From<Scalar> for Value {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Bool(value) => Value::Bool(value),
            Scalar::Integer(value) => Value::Integer(value),
            Scalar::Number(value) => Value::Number(value),
            Scalar::Text(value) => Value::Text(value),
        }
    }
}
