//! Messages as JSON schemas: what proto JSON makes of each type.

use std::collections::BTreeSet;

use prost_types::{FieldDescriptorProto, field_descriptor_proto::Type};
use serde_json::{Map, Value, json};

use super::contract::{Contract, local};

/// Schemas that were referred to, and those that these refer to.
pub(super) struct Schemas<'a> {
    contract: &'a Contract,
    wanted: BTreeSet<String>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(contract: &'a Contract) -> Self {
        Self { contract, wanted: BTreeSet::new() }
    }

    /// Refers to a message or enum by its name in the contract.
    pub(super) fn refer(&mut self, name: &str) -> Value {
        self.wanted.insert(name.to_owned());
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// Refers to a message where a description stands beside it.
    pub(super) fn refer_in_list(&mut self, name: &str) -> Value {
        json!({ "allOf": [self.refer(name)] })
    }

    /// What a field holds, lists included.
    pub(super) fn field(&mut self, field: &FieldDescriptorProto, is_repeated: bool) -> Value {
        let entry =
            self.contract.messages.get(local(field.type_name())).filter(|message| message.is_map_entry);
        if let Some(entry) = entry {
            let value = entry.fields.iter().find(|field| field.descriptor.name() == "value");
            let values = value.map(|value| self.single(&value.descriptor));
            return json!({ "type": "object", "additionalProperties": values.unwrap_or(Value::Bool(true)) });
        }
        let single = self.single(field);
        if is_repeated { json!({ "type": "array", "items": single }) } else { single }
    }

    fn single(&mut self, field: &FieldDescriptorProto) -> Value {
        match field.r#type() {
            Type::Message | Type::Group | Type::Enum => match field.type_name() {
                ".google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
                ".google.protobuf.Duration" => json!({ "type": "string", "example": "1.5s" }),
                name => self.refer(local(name)),
            },
            Type::Bool => json!({ "type": "boolean" }),
            Type::String => json!({ "type": "string" }),
            Type::Bytes => json!({ "type": "string", "format": "byte" }),
            Type::Double | Type::Float => json!({ "type": "number" }),
            Type::Int64 | Type::Sint64 | Type::Sfixed64 => json!({ "type": "string", "format": "int64" }),
            Type::Uint64 | Type::Fixed64 => json!({ "type": "string", "format": "uint64" }),
            Type::Uint32 | Type::Fixed32 => json!({ "type": "integer", "format": "int64", "minimum": 0 }),
            Type::Int32 | Type::Sint32 | Type::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
        }
    }

    /// Everything that was referred to, by name.
    pub(super) fn all(mut self) -> Map<String, Value> {
        let mut done = Map::new();
        while let Some(name) = self.wanted.pop_first() {
            if !done.contains_key(&name) {
                let schema = self.schema(&name);
                done.insert(name, schema);
            }
        }
        done
    }

    fn schema(&mut self, name: &str) -> Value {
        let contract = self.contract;
        if let Some(one) = contract.enums.get(name) {
            return described(json!({ "type": "string", "enum": one.names }), &one.about);
        }
        let Some(message) = contract.messages.get(name) else { return json!({ "type": "object" }) };
        let mut properties = Map::new();
        for field in &message.fields {
            let schema = self.field(&field.descriptor, field.is_repeated());
            properties.insert(field.name().to_owned(), beside(schema, &field.about));
        }
        described(json!({ "type": "object", "properties": properties }), &message.about)
    }
}

/// With a description, where there is one.
pub(super) fn described(mut schema: Value, about: &str) -> Value {
    if let (Value::Object(fields), false) = (&mut schema, about.is_empty()) {
        fields.insert("description".to_owned(), about.into());
    }
    schema
}

/// Nothing may stand beside a `$ref`, so that one goes into a list of one.
fn beside(schema: Value, about: &str) -> Value {
    if about.is_empty() || schema.get("$ref").is_none() {
        return described(schema, about);
    }
    described(json!({ "allOf": [schema] }), about)
}
