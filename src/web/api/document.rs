//! The OpenAPI document, made of the declarations of the routes.

use actix_web::{HttpRequest, HttpResponse};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::super::Operations;
use super::super::routes::{Answer, CHANGES, Change, RELOAD, ROUTES, Route, SchemaOf};
use super::control::Done;
use super::reload::{NotReloaded, ReloadBody, Reloaded};
use super::{Question, Refusal};

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
    let changes: Vec<_> = (CHANGES.iter())
        .map(|change| (change.path.to_owned(), posted(change, &refusal, &mut generator)))
        .collect();
    let reload = (RELOAD.to_owned(), reloaded(&refusal, &mut generator));
    let paths: Map<String, Value> = paths.into_iter().chain(changes).chain([reload]).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "gopherworks operations",
            "description": "The state of a running topology, and what operators may change in it.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of `[operations]`: required for changes and \
                        bodies of books, and on a public address for everything but health.",
                },
            },
        },
        "security": [{}, { "token": [] }],
    })
}

fn posted(change: &Change, refusal: &Schema, generator: &mut SchemaGenerator) -> Value {
    let question = in_query(Some(SchemaGenerator::subschema_for::<Question>), generator);
    let parameters: Vec<Value> = in_path(change.path).chain(question).collect();
    let (body, done) = ((change.body)(generator), generator.subschema_for::<Done>());
    let refused = json!({ "application/json": { "schema": refusal } });
    json!({
        "post": {
            "summary": change.summary,
            "parameters": parameters,
            "security": [{ "token": [] }],
            "requestBody": { "content": { "application/json": { "schema": body } } },
            "responses": {
                "200": {
                    "description": "OK",
                    "content": { "application/json": { "schema": done } },
                },
                "default": { "description": "Refused", "content": refused },
            },
        },
    })
}

fn reloaded(refusal: &Schema, generator: &mut SchemaGenerator) -> Value {
    let json = |schema: Schema| json!({ "application/json": { "schema": schema } });
    let parameters = in_query(Some(SchemaGenerator::subschema_for::<Question>), generator);
    let body = json(generator.subschema_for::<ReloadBody>());
    let done = json(generator.subschema_for::<Reloaded>());
    let not = json(generator.subschema_for::<NotReloaded>());
    let refused = json(refusal.clone());
    json!({
        "post": {
            "summary": "Reads the file of the run again and goes on with it, or says what would \
                change; a failure leaves everything as it was",
            "parameters": parameters,
            "security": [{ "token": [] }],
            "requestBody": { "content": body },
            "responses": {
                "200": { "description": "OK", "content": done },
                "409": { "description": "It needs a restart, or has to wait", "content": not },
                "422": { "description": "The file has mistakes", "content": not },
                "500": { "description": "A step failed", "content": not },
                "default": { "description": "Refused", "content": refused },
            },
        },
    })
}

fn in_path(path: &str) -> impl Iterator<Item = Value> {
    path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" },
        }))
    })
}

fn operation(route: &Route, refusal: &Schema, generator: &mut SchemaGenerator) -> Value {
    let parameters: Vec<Value> =
        in_path(route.path).chain(in_query(route.query, generator)).collect();
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
fn in_query(query: Option<SchemaOf>, generator: &mut SchemaGenerator) -> Vec<Value> {
    let Some(query) = query else {
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
