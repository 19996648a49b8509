//! Compiles `proto/` without protoc: message types, the gRPC service, their JSON mapping, and the
//! descriptor set that reflection serves.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const ROOT: &str = "proto";
const SCHEMA: &str = "chaoskitty/v1/chaos.proto";
/// Where maps are in order, so that equal messages have equal bytes: everywhere.
const SORTED: &str = ".";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}/chaoskitty");
    let descriptors = protox::compile([SCHEMA], [ROOT])?;
    let bytes = descriptors.encode_to_vec();
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("chaoskitty.fds"), &bytes)?;

    tonic_prost_build::configure()
        .build_transport(false) // the stream's client is dialled by `client`, over any transport
        .codec_path("crate::codec::SmallCodec")
        .compile_well_known_types(true)
        .extern_path(".google.protobuf.Timestamp", "crate::Timestamp")
        .extern_path(".google.protobuf", "::pbjson_types")
        .bytes(".chaoskitty.v1.ScriptContent.content")
        .btree_map(SORTED)
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new()
        .register_descriptors(&bytes)?
        .btree_map([SORTED])
        .emit_fields() // empty fields are printed: scripts need not guess
        .build(&[".chaoskitty"])?;
    Ok(())
}
