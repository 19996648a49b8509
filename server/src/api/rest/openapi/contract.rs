//! The contract as the compiled schema has it, with the comments of the .proto files.

use std::collections::{BTreeMap, HashMap};

use chaos_kitty::{FILE_DESCRIPTOR_SET, Problem};
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto, field_descriptor_proto::Label,
};

const PACKAGE: &str = "chaoskitty.v1";

/// All calls and messages of the package, by their names without it.
#[derive(Debug, Default)]
pub(super) struct Contract {
    pub(super) calls: BTreeMap<String, Call>,
    pub(super) messages: BTreeMap<String, Message>,
    pub(super) enums: BTreeMap<String, Enum>,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) about: String,
    pub(super) request: String,
    pub(super) answer: String,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) about: String,
    pub(super) fields: Vec<Field>,
    /// What the compiler makes of a map's field.
    pub(super) is_map_entry: bool,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) about: String,
    pub(super) descriptor: FieldDescriptorProto,
}

#[derive(Debug)]
pub(super) struct Enum {
    pub(super) about: String,
    pub(super) names: Vec<String>,
}

impl Field {
    /// Its name in JSON.
    pub(super) fn name(&self) -> &str {
        self.descriptor.json_name()
    }

    pub(super) fn is_repeated(&self) -> bool {
        self.descriptor.label() == Label::Repeated
    }
}

impl Contract {
    /// Reads the compiled schema.
    pub(super) fn read() -> Result<Self, Problem> {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).map_err(Problem::internal)?;
        let mut contract = Self::default();
        for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
            let comments = Comments::of(file);
            numbered(&file.message_type)
                .for_each(|(n, message)| contract.message("", message, &comments, &[4, n]));
            numbered(&file.enum_type).for_each(|(n, one)| contract.enumeration("", one, &comments, &[5, n]));
            numbered(&file.service).for_each(|(n, service)| contract.service(service, &comments, &[6, n]));
        }
        Ok(contract)
    }

    fn message(&mut self, parent: &str, message: &DescriptorProto, comments: &Comments, path: &[i32]) {
        let name = format!("{parent}{}", message.name());
        let inside = format!("{name}.");
        let at = |kind, number| [path, &[kind, number]].concat();
        numbered(&message.nested_type)
            .for_each(|(n, nested)| self.message(&inside, nested, comments, &at(3, n)));
        numbered(&message.enum_type)
            .for_each(|(n, nested)| self.enumeration(&inside, nested, comments, &at(4, n)));
        let field = |(n, descriptor): (i32, &FieldDescriptorProto)| Field {
            about: comments.get(&at(2, n)),
            descriptor: descriptor.clone(),
        };
        let message = Message {
            about: comments.get(path),
            fields: numbered(&message.field).map(field).collect(),
            is_map_entry: message.options.as_ref().is_some_and(|options| options.map_entry()),
        };
        self.messages.insert(name, message);
    }

    fn enumeration(&mut self, parent: &str, one: &EnumDescriptorProto, comments: &Comments, path: &[i32]) {
        let value = |(n, value): (i32, &prost_types::EnumValueDescriptorProto)| {
            let about = comments.get(&[path, &[2, n]].concat());
            (!about.is_empty()).then(|| format!("- `{}`: {about}", value.name()))
        };
        let values: Vec<_> = numbered(&one.value).filter_map(value).collect();
        let about = [comments.get(path), values.join("\n")].join("\n\n").trim().to_owned();
        let names = one.value.iter().map(|value| value.name().to_owned()).collect();
        self.enums.insert(format!("{parent}{}", one.name()), Enum { about, names });
    }

    fn service(&mut self, service: &ServiceDescriptorProto, comments: &Comments, path: &[i32]) {
        for (n, method) in numbered(&service.method) {
            let call = Call {
                about: comments.get(&[path, &[2, n]].concat()),
                request: local(method.input_type()).to_owned(),
                answer: local(method.output_type()).to_owned(),
            };
            self.calls.insert(method.name().to_owned(), call);
        }
    }
}

fn numbered<T>(all: &[T]) -> impl Iterator<Item = (i32, &T)> {
    (0..).zip(all)
}

/// A type's name without the package; another package's as it is.
pub(super) fn local(type_name: &str) -> &str {
    let name = type_name.trim_start_matches('.');
    name.strip_prefix(PACKAGE).and_then(|name| name.strip_prefix('.')).unwrap_or(name)
}

/// The comments of a file, by the path of what they are about.
struct Comments<'a>(HashMap<&'a [i32], &'a str>);

impl<'a> Comments<'a> {
    fn of(file: &'a FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        Self(locations.map(|location| (location.path.as_slice(), location.leading_comments())).collect())
    }

    fn get(&self, path: &[i32]) -> String {
        let lines = self.0.get(path).copied().unwrap_or_default().lines();
        lines.map(str::trim).collect::<Vec<_>>().join("\n").trim().to_owned()
    }
}
