//! The OpenAPI 3.1 document, made from the table of routes and the types that are answered.

use hc_api::{
    CheckDetail, FleetState, OverrideRequest, Overrides, Overview, Page, Problem, Rows, Transitions,
    WithdrawRequest,
};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::routes::{Endpoint, ROUTES};

/// The document as JSON.
pub(crate) fn document() -> String {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let mut operation = json!({
            "summary": route.summary,
            "parameters": parameters(route.endpoint, route.path),
            "responses": responses(route.endpoint, &mut generator),
        });
        if let Some(schema) = request(route.endpoint, &mut generator) {
            operation["requestBody"] = json!({
                "required": true, "content": { "application/json": { "schema": schema } },
            });
        }
        let method = route.method.as_str().to_lowercase();
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[method] = operation;
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hc-server admin API",
            "version": "1",
            "description": "Requests that change something (POST) are taken over the Unix socket only.",
        },
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    });
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// What the body of a request is, if it has one.
fn request(endpoint: Endpoint, generator: &mut SchemaGenerator) -> Option<Value> {
    let schema = match endpoint {
        Endpoint::Override => generator.subschema_for::<OverrideRequest>(),
        Endpoint::Withdraw => generator.subschema_for::<WithdrawRequest>(),
        Endpoint::LogLevel => {
            return Some(json!({
                "type": "object", "properties": { "level": { "type": "string" } }, "required": ["level"],
            }));
        }
        _ => return None,
    };
    Some(schema.into())
}

fn responses(endpoint: Endpoint, generator: &mut SchemaGenerator) -> Value {
    let schema = match endpoint {
        Endpoint::Overview => Some(generator.subschema_for::<Overview>()),
        Endpoint::Checks => Some(generator.subschema_for::<Page>()),
        Endpoint::Rows => Some(generator.subschema_for::<Rows>()),
        Endpoint::Check => Some(generator.subschema_for::<CheckDetail>()),
        Endpoint::Transitions => Some(generator.subschema_for::<Transitions>()),
        Endpoint::Fleet => Some(generator.subschema_for::<FleetState>()),
        Endpoint::Overrides => Some(generator.subschema_for::<Overrides>()),
        _ => None,
    };
    let kind = match endpoint {
        Endpoint::Live | Endpoint::Ready | Endpoint::Metrics => "text/plain",
        Endpoint::Events => "text/event-stream",
        _ => "application/json",
    };
    let schema = schema.map_or_else(|| json!({}), |schema| json!({ "schema": schema }));
    let problem = generator.subschema_for::<Problem>();
    json!({
        "200": { "description": "As asked.", "content": { kind: schema } },
        "default": { "description": "What is wrong.", "content": { "application/json": { "schema": problem } } },
    })
}

fn parameters(endpoint: Endpoint, path: &str) -> Vec<Value> {
    let query = |name: &str, description: &str| json!({ "name": name, "in": "query", "description": description, "schema": { "type": "string" } });
    let mut parameters = match endpoint {
        Endpoint::Checks => vec![
            query("health", "healthy, unhealthy or unknown; may be given several times"),
            query("type", "tcp, http, dns and so on; may be given several times"),
            query("name", "a name, or the beginning of one with * behind it"),
            query("label.KEY", "the value of a label"),
            query("held", "true or false"),
            query("q", "occurs in name, id, target or message"),
            query("after", "the `next` of the page before"),
            query("limit", "1 to 1000; 100 if absent"),
        ],
        Endpoint::Rows => vec![
            query("id", "these checks only; may be given up to 500 times"),
            query("after", "the `next` of the rows before"),
            query("limit", "1 to 10000; 5000 if absent"),
        ],
        Endpoint::Transitions => {
            vec![
                query("after", "the `next` of the answer before"),
                query("limit", "1 to 1000; 1000 if absent"),
            ]
        }
        Endpoint::Events => vec![query("after", "where to go on, if there is no Last-Event-ID")],
        _ => Vec::new(),
    };
    if path.contains("{check}") {
        parameters.push(json!({
            "name": "check", "in": "path", "required": true, "description": "id or name", "schema": { "type": "string" },
        }));
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_and_every_type_is_in_the_document() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        for route in ROUTES {
            let method = route.method.as_str().to_lowercase();
            assert!(document["paths"][route.path][method]["summary"].is_string(), "{}", route.path);
        }
        for name in [
            "CheckState",
            "CheckDetail",
            "Overview",
            "Page",
            "Problem",
            "Rows",
            "SinkState",
            "Transitions",
            "Transition",
            "OverrideEvent",
            "ShardState",
            "Overrides",
            "OverrideState",
            "OverrideRequest",
            "WithdrawRequest",
        ] {
            let schema = &document["components"]["schemas"][name];
            assert!(schema["properties"].is_object(), "{name}: {schema}");
        }
        let text = document.to_string();
        assert!(
            text.contains("#/components/schemas/CheckState") && !text.contains("$defs"),
            "references lead somewhere"
        );
    }
}
