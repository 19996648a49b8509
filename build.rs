//! Compiles `proto/` without protoc: message types, the gRPC service, their JSON mapping, the descriptor set that
//! reflection serves, and the compact schema by which `bounds` walks undecoded messages.

use std::{collections::BTreeMap, env, error::Error, fmt::Write as _, fs, path::PathBuf};

use prost::Message;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

const ROOT: &str = "proto";
const SCHEMA: &str = "chaoskitty/v1/chaos.proto";
const PACKAGE: &str = "chaoskitty.v1";
/// Where maps are in order, so that equal messages have equal bytes: everywhere.
const SORTED: &str = ".";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}/chaoskitty");
    let descriptors = protox::compile([SCHEMA], [ROOT])?;
    let bytes = descriptors.encode_to_vec();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("chaoskitty.fds"), &bytes)?;
    fs::write(out.join("chaoskitty.schema.rs"), schema(&descriptors)?)?;

    let mut prost = prost_build::Config::new();
    prost.enable_type_names();
    tonic_prost_build::configure()
        .build_transport(false) // the stream's client is dialled by `client`, over any transport
        .codec_path("crate::codec::SmallCodec")
        .compile_well_known_types(true)
        .extern_path(".google.protobuf.Timestamp", "crate::Timestamp")
        .extern_path(".google.protobuf", "::pbjson_types")
        .bytes(".chaoskitty.v1.ScriptContent.content")
        .btree_map(SORTED)
        .compile_fds_with_config(descriptors, prost)?;
    pbjson_build::Builder::new()
        .register_descriptors(&bytes)?
        .btree_map([SORTED])
        .emit_fields() // empty fields are printed: scripts need not guess
        .build(&[".chaoskitty"])?;
    Ok(())
}

/// The messages of the package as `bounds::schema::Message`s, ordered by name.
fn schema(set: &FileDescriptorSet) -> Result<String, Box<dyn Error>> {
    let mut messages = BTreeMap::new();
    let mut requests = Vec::new();
    for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
        for message in &file.message_type {
            collect(PACKAGE, "crate::v1", message, &mut messages);
        }
        let methods = file.service.iter().flat_map(|service| &service.method);
        let unary = methods.filter(|method| !method.client_streaming());
        requests.extend(unary.map(|method| method.input_type().trim_start_matches('.').to_owned()));
    }
    let place = |name: &str| messages.keys().position(|known| known == name.trim_start_matches('.'));
    let mut text = String::from("pub(super) static MESSAGES: &[Message] = &[\n");
    for (name, (rust, message)) in &messages {
        let is_request = requests.contains(name);
        let size = match rust {
            Some(rust) => format!("::std::mem::size_of::<{rust}>()"),
            None => "MAP_ENTRY".to_owned(),
        };
        writeln!(text, "Message {{ name: {name:?}, size: {size}, is_request: {is_request}, fields: &[")?;
        let mut fields: Vec<_> = message.field.iter().collect();
        fields.sort_by_key(|field| field.number());
        for field in fields {
            let (number, name, many) = (field.number(), field.name(), field.label() == Label::Repeated);
            let kind = kind(field, place)?;
            writeln!(
                text,
                "Field {{ number: {number}, name: {name:?}, many: {many}, kind: Kind::{kind} }},"
            )?;
        }
        text.push_str("] },\n");
    }
    text.push_str("];\n");
    Ok(text)
}

/// A message and those inside of it, with their Rust types; entries of maps have none.
fn collect<'a>(
    parent: &str,
    module: &str,
    message: &'a DescriptorProto,
    found: &mut BTreeMap<String, (Option<String>, &'a DescriptorProto)>,
) {
    let name = format!("{parent}.{}", message.name());
    let inside = format!("{module}::{}", snake(message.name()));
    for nested in &message.nested_type {
        collect(&name, &inside, nested, found);
    }
    let is_map_entry = message.options.as_ref().is_some_and(|options| options.map_entry());
    found.insert(name, ((!is_map_entry).then(|| format!("{module}::{}", message.name())), message));
}

fn kind(
    field: &FieldDescriptorProto,
    place: impl Fn(&str) -> Option<usize>,
) -> Result<String, Box<dyn Error>> {
    Ok(match field.r#type() {
        Type::String | Type::Bytes => "Text".to_owned(),
        Type::Message | Type::Group => match field.type_name() {
            ".google.protobuf.Duration" => "Span".to_owned(),
            ".google.protobuf.Timestamp" => "Moment".to_owned(),
            name => format!("Message({})", place(name).ok_or_else(|| format!("no message {name}"))?),
        },
        Type::Double | Type::Fixed64 | Type::Sfixed64 => "Fixed(8)".to_owned(),
        Type::Float | Type::Fixed32 | Type::Sfixed32 => "Fixed(4)".to_owned(),
        _ => "Varint".to_owned(),
    })
}

/// As prost names the module of what is inside of a message.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
