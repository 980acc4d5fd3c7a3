//! The table of paths: each row both answers its path and describes it.

use std::collections::BTreeMap;

use axum::handler::Handler;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, delete, get, post};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::api::Shared;
use super::view::ErrorView;

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// What an answer consists of.
#[derive(Clone, Copy)]
enum Content {
    Json(SchemaOf),
    /// Text of this media type.
    Text(&'static str),
}

/// One method of one path.
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    method: &'static str,
    /// Who asks has to be allowed to.
    pub(super) changes: bool,
    pub(super) handler: MethodRouter<Shared>,
    name: &'static str,
    summary: &'static str,
    /// The name of what stands in the path, and what it is.
    in_path: Option<(&'static str, &'static str)>,
    query: Option<SchemaOf>,
    body: Option<SchemaOf>,
    answers: Vec<(StatusCode, &'static str, Content)>,
}

impl Endpoint {
    /// Answers a question. `name` is what programs call it.
    pub(super) fn get<T: 'static>(
        path: &'static str,
        name: &'static str,
        summary: &'static str,
        handler: impl Handler<T, Shared>,
    ) -> Endpoint {
        Endpoint::new("get", path, name, summary, get(handler))
    }

    /// Changes something.
    pub(super) fn post<T: 'static>(
        path: &'static str,
        name: &'static str,
        summary: &'static str,
        handler: impl Handler<T, Shared>,
    ) -> Endpoint {
        Endpoint { changes: true, ..Endpoint::new("post", path, name, summary, post(handler)) }
    }

    /// Removes something.
    pub(super) fn delete<T: 'static>(
        path: &'static str,
        name: &'static str,
        summary: &'static str,
        handler: impl Handler<T, Shared>,
    ) -> Endpoint {
        Endpoint { changes: true, ..Endpoint::new("delete", path, name, summary, delete(handler)) }
    }

    fn new(
        method: &'static str,
        path: &'static str,
        name: &'static str,
        summary: &'static str,
        handler: MethodRouter<Shared>,
    ) -> Endpoint {
        let (in_path, query, body, answers) = (None, None, None, Vec::new());
        Endpoint { path, method, changes: false, handler, name, summary, in_path, query, body, answers }
    }

    /// What stands in the path.
    pub(super) fn in_path(self, name: &'static str, what: &'static str) -> Endpoint {
        Endpoint { in_path: Some((name, what)), ..self }
    }

    /// The parameters of the query are the fields of `T`.
    pub(super) fn query<T: JsonSchema>(self) -> Endpoint {
        Endpoint { query: Some(schema_of::<T>), ..self }
    }

    /// The body is a `T`.
    pub(super) fn body<T: JsonSchema>(self) -> Endpoint {
        Endpoint { body: Some(schema_of::<T>), ..self }
    }

    /// An answer.
    pub(super) fn answers<T: JsonSchema>(mut self, status: StatusCode, what: &'static str) -> Endpoint {
        self.answers.push((status, what, Content::Json(schema_of::<T>)));
        self
    }

    /// An answer that is text of this media type.
    pub(super) fn answers_text(mut self, media_type: &'static str, what: &'static str) -> Endpoint {
        self.answers.push((StatusCode::OK, what, Content::Text(media_type)));
        self
    }

    /// An answer that is an error.
    pub(super) fn refuses(self, status: StatusCode, why: &'static str) -> Endpoint {
        self.answers::<ErrorView>(status, why)
    }

    fn describe(&self, given: &mut SchemaGenerator, answered: &mut SchemaGenerator) -> Value {
        let mut parameters: Vec<Value> = Vec::new();
        if let Some((name, what)) = self.in_path {
            let schema = json!({"type": "string"});
            parameters.push(
                json!({"name": name, "in": "path", "required": true, "description": what, "schema": schema}),
            );
        }
        if let Some(query) = self.query {
            parameters.extend(query_parameters(&query(&mut inlined())));
        }
        let mut responses: Map<String, Value> = Map::new();
        for (status, what, content) in &self.answers {
            let content = match content {
                Content::Json(schema) => json!({"application/json": {"schema": schema(answered)}}),
                Content::Text(media_type) => json!({*media_type: {"schema": {"type": "string"}}}),
            };
            responses.insert(status.as_u16().to_string(), json!({"description": what, "content": content}));
        }
        let mut refusals = vec![
            (StatusCode::BAD_REQUEST, "The request does not say what it has to."),
            (StatusCode::UNAUTHORIZED, "It needs a token, or has a wrong one."),
            (StatusCode::FORBIDDEN, "It is not one that this caller may make."),
        ];
        if self.body.is_some() {
            refusals.push((StatusCode::REQUEST_TIMEOUT, "Its body did not come in time."));
            refusals.push((StatusCode::PAYLOAD_TOO_LARGE, "Its body is larger than it may be."));
        }
        if self.changes {
            refusals.push((StatusCode::UNSUPPORTED_MEDIA_TYPE, "It does not say that it speaks JSON."));
        }
        for (status, what) in refusals {
            let schema = answered.subschema_for::<ErrorView>();
            responses.entry(status.as_u16().to_string()).or_insert_with(
                || json!({"description": what, "content": {"application/json": {"schema": schema}}}),
            );
        }
        let mut operation = json!({
            "operationId": self.name,
            "summary": self.summary,
            "parameters": parameters,
            "responses": responses,
        });
        if let Some(body) = self.body {
            let schema = body(given);
            operation["requestBody"] =
                json!({"required": true, "content": {"application/json": {"schema": schema}}});
        }
        // Without a configured token loopback will do; reading needs one only where a token for that is configured.
        operation["security"] = json!([{}, {"token": []}]);
        operation
    }
}

/// A generator that writes types out where they are used.
fn inlined() -> SchemaGenerator {
    SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator()
}

/// Each field of the type is a parameter.
fn query_parameters(schema: &Schema) -> Vec<Value> {
    let fields = schema.get("properties").and_then(Value::as_object);
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|it| it == name));
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        drop_null(&mut schema);
        json!({
            "name": name, "in": "query", "required": is_required(name), "description": description, "schema": schema
        })
    };
    fields.into_iter().flatten().map(parameter).collect()
}

/// A parameter is there or not, but never null.
fn drop_null(schema: &mut Value) {
    if let Some(types) = schema.get_mut("type")
        && let Some(list) = types.as_array()
    {
        let others: Vec<Value> = list.iter().filter(|it| *it != "null").cloned().collect();
        if let [only] = &others[..] {
            *types = only.clone();
        }
    }
    if let Some(one) = schema.get("anyOf").and_then(Value::as_array) {
        let others: Vec<Value> = one.iter().filter(|it| it["type"] != "null").cloned().collect();
        if let [only] = &others[..] {
            *schema = only.clone();
        }
    }
}

/// The OpenAPI 3.1 document of these.
pub(super) fn document(endpoints: &[Endpoint]) -> Value {
    let settings = || {
        SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into())
    };
    let mut given = settings().into_generator();
    let mut answered = settings().for_serialize().into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for endpoint in endpoints {
        let operation = endpoint.describe(&mut given, &mut answered);
        paths.entry(endpoint.path).or_default().insert(endpoint.method.to_owned(), operation);
    }
    let mut schemas = answered.take_definitions(true);
    schemas.extend(given.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "RumorMQ",
            "summary": "What a node of a RumorMQ cluster knows and does.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}
