//! The API described for programs: OpenAPI 3.1 (spec.openapis.org/oas/v3.1.1), at /openapi.json.
//!
//! Schemas are derived from the types that are sent ([`schemas`]), paths come from the table that
//! requests are found in ([`super::operations`]). Start at [`document`].

pub(crate) mod schemas;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::{
    limits::SEQ_MAX,
    operations::{self, Gives, Operation, Parameter, Takes},
};

/// A name that an agent can have (RFC 1123 label).
const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

/// The whole document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for operation in operations::all() {
        let path = paths
            .entry(operation.path)
            .or_insert_with(|| path_item(operation));
        path[operation.method.as_str().to_ascii_lowercase()] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "osmoda",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The node daemon's API on its Unix socket",
            "description": "HTTP/1.1 with JSON on RUNTIME_DIR/osmoda.sock. Callers are known by \
                SO_PEERCRED: members of the socket's group look; root, the daemon's own user and \
                the Node's operators act; a process of an agent never acts.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "http://localhost", "description": "through the Unix socket"}],
        "paths": paths,
        "components": {"schemas": schemas::all(), "responses": refusals()},
    })
}

fn path_item(operation: &Operation) -> Value {
    if !operation.is_of_agent() {
        return json!({});
    }
    let whose = match operation.path.starts_with("/v1/alerts/") {
        true => "Which receiver.",
        false => "Which agent.",
    };
    json!({"parameters": [{
        "name": "name", "in": "path", "required": true,
        "description": whose,
        "schema": {"type": "string", "pattern": NAME_PATTERN},
    }]})
}

fn described(operation: &Operation) -> Value {
    let mut object = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses(operation),
    });
    let query: Vec<_> = operation.query.iter().map(parameter).collect();
    if !query.is_empty() {
        object["parameters"] = query.into();
    }
    if !operation.body.is_empty() {
        let required = !matches!(
            operation.body,
            "Nothing" | "PauseRequest" | "RollbackRequest"
        );
        object["requestBody"] = json!({"required": required, "content": media(operation.body)});
    }
    if operation.acts() {
        object["description"] = json!(
            "For root, the daemon's own user and operators. The command is on record in the \
            ledger, a refused one too."
        );
    }
    object
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.takes {
        Takes::Agent => json!({"type": "string", "pattern": NAME_PATTERN}),
        Takes::Flag => json!({"type": "string", "enum": ["1", "0", "true", "false", ""]}),
        Takes::UpTo(most) => json!({"type": "integer", "minimum": 0, "maximum": most}),
        Takes::Seq => seq(),
        Takes::SeqOrTime => json!({"anyOf": [
            seq(),
            {"type": "string", "format": "date-time"},
        ]}),
    };
    json!({
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.help,
        "schema": schema,
    })
}

fn seq() -> Value {
    json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": SEQ_MAX})
}

fn media(schema: &str) -> Value {
    json!({"application/json": {"schema": reference(schema)}})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn responses(operation: &Operation) -> Value {
    let content = match operation.gives {
        Gives::Json(schema) => media(schema),
        Gives::JsonOrEvents(schema, event) => {
            let mut content = media(schema);
            let help = format!("Server-sent events; the data of each is a {event} as JSON.");
            content["text/event-stream"] = json!({
                "schema": {"type": "string", "description": help},
            });
            content
        }
        Gives::Metrics => json!({
            "application/openmetrics-text": {"schema": {"type": "string"}},
            "text/plain": {"schema": {"type": "string"}},
        }),
        Gives::Document => json!({"application/json": {"schema": {"type": "object"}}}),
    };
    let mut responses = json!({
        "200": {"description": operation.summary, "content": content},
    });
    for status in refused_with(operation) {
        let named = json!({"$ref": format!("#/components/responses/{status}")});
        responses[status.to_string()] = named;
    }
    responses
}

/// The statuses that an operation may be refused with, as far as its own work goes; any may be
/// refused for what a connection does wrong.
fn refused_with(operation: &Operation) -> Vec<u16> {
    let mut statuses = vec![400, 403, 405, 408, 431, 500, 503];
    let finds = matches!(
        operation.id,
        "logs"
            | "ledgerCheckpoint"
            | "signCheckpoint"
            | "ledgerKey"
            | "rotateKey"
            | "ledgerProof"
            | "prune"
            | "redact"
    );
    if operation.is_of_agent() || finds {
        statuses.push(404);
    }
    if matches!(operation.id, "rollback" | "rollbackSystem" | "verifySystem") {
        statuses.push(409);
    }
    if !operation.body.is_empty() {
        statuses.push(413);
    }
    statuses
}

/// Every refusal has the same form.
fn refusals() -> Value {
    let reasons = [
        (400, "The request makes no sense."),
        (403, "The caller may not do this."),
        (404, "There is no such thing."),
        (405, "The path does not know this method."),
        (408, "The request did not arrive in time."),
        (409, "It cannot be done as things are."),
        (413, "The body is beyond its bound."),
        (431, "The head is beyond its bound."),
        (500, "The daemon itself failed."),
        (503, "Not now; trying again later can help."),
    ];
    let mut responses = Map::new();
    for (status, reason) in reasons {
        let mut response = json!({"description": reason, "content": media("ErrorObject")});
        if status == 405 {
            response["headers"] = json!({"Allow": {
                "description": "The methods that are known there.",
                "schema": {"type": "string"},
            }});
        }
        responses.insert(status.to_string(), response);
    }
    responses.into()
}
