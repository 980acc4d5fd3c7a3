//! Whether a value is what a JSON Schema says: as much of that as the API's description uses. For tests.

use serde_json::Value;

/// What is wrong with `value`, found at `place`. References lead into `document`. A keyword that is not known here is a fault of
/// its own, so that nothing goes unchecked.
pub(crate) fn fault(document: &Value, schema: &Value, value: &Value, place: &str) -> Option<String> {
    let Some(schema) = schema.as_object() else {
        return (schema == &Value::Bool(false)).then(|| place.to_owned());
    };
    let nested = |schema: &Value, value: &Value, step: &str| {
        fault(document, schema, value, &format!("{place}/{step}"))
    };
    let says = |what: String| Some(format!("{place}: {value} {what}"));
    for (keyword, rule) in schema {
        let found = match keyword.as_str() {
            "description" | "format" | "default" | "title" => None,
            "$ref" => {
                let path = rule.as_str().and_then(|path| path.strip_prefix('#')).expect("a local reference");
                let target = document.pointer(path).unwrap_or_else(|| panic!("{path} is not there"));
                fault(document, target, value, place)
            }
            "type" => {
                let is = |name: &Value| match name.as_str() {
                    Some("null") => value.is_null(),
                    Some("boolean") => value.is_boolean(),
                    Some("integer") => value.is_u64() || value.is_i64(),
                    Some("number") => value.is_number(),
                    Some("string") => value.is_string(),
                    Some("array") => value.is_array(),
                    Some("object") => value.is_object(),
                    other => panic!("type {other:?}"),
                };
                let fits = rule.as_array().map_or_else(|| is(rule), |types| types.iter().any(is));
                if fits { None } else { says(format!("is no {rule}")) }
            }
            "const" => {
                if value == rule {
                    None
                } else {
                    says(format!("is not {rule}"))
                }
            }
            "enum" => {
                let among = rule.as_array().is_some_and(|values| values.contains(value));
                if among { None } else { says(format!("is not among {rule}")) }
            }
            "minimum" => {
                if value.as_f64() >= rule.as_f64() || !value.is_number() {
                    None
                } else {
                    says("is too low".into())
                }
            }
            "maximum" => {
                if value.as_f64() <= rule.as_f64() || !value.is_number() {
                    None
                } else {
                    says("is too high".into())
                }
            }
            "required" => {
                let mut names = rule.as_array().expect("a list").iter().filter_map(Value::as_str);
                let missing = names.find(|name| value.get(name).is_none());
                missing.and_then(|name| says(format!("lacks {name}")))
            }
            "properties" => {
                let fields = rule.as_object().expect("fields").iter();
                fields.filter_map(|(name, rule)| nested(rule, value.get(name)?, name)).next()
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let fields = value.as_object().into_iter().flatten();
                let others = fields.filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
                others.filter_map(|(name, field)| nested(rule, field, name)).next()
            }
            "items" => {
                value.as_array().into_iter().flatten().filter_map(|item| nested(rule, item, "[]")).next()
            }
            "prefixItems" => {
                let pairs = rule.as_array().into_iter().flatten().zip(value.as_array().into_iter().flatten());
                pairs.filter_map(|(rule, item)| nested(rule, item, "[]")).next()
            }
            "minItems" | "maxItems" => {
                let length = value.as_array().map(|items| items.len() as u64);
                let fits = length.zip(rule.as_u64()).is_none_or(|(length, bound)| match keyword.as_str() {
                    "minItems" => length >= bound,
                    _ => length <= bound,
                });
                if fits { None } else { says(format!("has not {keyword} {rule}")) }
            }
            "anyOf" | "oneOf" => {
                let faults =
                    rule.as_array().into_iter().flatten().map(|rule| fault(document, rule, value, place));
                let fitting = faults.filter(Option::is_none).count();
                let fits = if keyword == "oneOf" { fitting == 1 } else { fitting > 0 };
                if fits { None } else { says(format!("fits {fitting} of {rule}")) }
            }
            other => panic!("{place}: the check knows no {other}"),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}
