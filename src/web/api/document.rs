//! The OpenAPI document, made of the declarations of the routes.

use actix_web::{HttpRequest, HttpResponse};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::super::Operations;
use super::super::routes::{Answer, ROUTES, Route};
use super::Refusal;

pub(crate) fn document(_: &Operations, _: &HttpRequest) -> Answer {
    Ok(HttpResponse::Ok().json(openapi()))
}

/// The API for operators as an OpenAPI document, version 3.1. Paths are relative to where the
/// routes are mounted.
#[must_use]
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let refusal = generator.subschema_for::<Refusal>();
    let paths: Map<String, Value> = (ROUTES.iter())
        .map(|route| (route.path.to_owned(), operation(route, &refusal, &mut generator)))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "gopherworks operations",
            "description": "The state of a running topology, read-only.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of `[operations]`: required for bodies of books, \
                        and on a public address for everything but health.",
                },
            },
        },
        "security": [{}, { "token": [] }],
    })
}

fn operation(route: &Route, refusal: &Schema, generator: &mut SchemaGenerator) -> Value {
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" },
        }))
    });
    let parameters: Vec<Value> = in_path.chain(in_query(route, generator)).collect();
    let schema = route.answer.map_or(json!({}), |answer| json!(answer(generator)));
    let refused = json!({ "application/json": { "schema": refusal } });
    json!({
        "get": {
            "summary": route.summary,
            "parameters": parameters,
            "responses": {
                "200": { "description": "OK", "content": { route.media: { "schema": schema } } },
                "default": { "description": "Refused", "content": refused },
            },
        },
    })
}

/// The properties of the query's type, as parameters.
fn in_query(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let Some(query) = route.query else {
        return Vec::new();
    };
    let reference = json!(query(generator));
    let name = reference["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    let Some(known) = name.and_then(|name| generator.definitions_mut().remove(name)) else {
        return Vec::new();
    };
    let properties = known["properties"].as_object().cloned().unwrap_or_default();
    let parameters = properties.into_iter().map(|(name, schema)| {
        let description = schema["description"].clone();
        json!({ "name": name, "in": "query", "description": description, "schema": schema })
    });
    parameters.collect()
}
