//! Compiles the `.proto` files with protox, so that no system protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files = vec!["proto/kinline/v1/wire.proto"];
    if std::env::var_os("CARGO_FEATURE_CLIENT").is_some() {
        files.push("proto/kinline/v1/device.proto");
    }
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, ["proto"])?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    config.enable_type_names();
    // Stand in contents, which are compared; prost derives it for flat messages only.
    for message in ["SignedStatement", "LogEntry"] {
        config.type_attribute(format!(".kinline.v1.{message}"), "#[derive(Eq)]");
    }
    config.compile_fds(descriptors)?;
    Ok(())
}
