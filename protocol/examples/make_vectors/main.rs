//! Writes the golden vectors to `vectors/*.json`, for whoever writes another client, and for
//! the test that notices when our bytes change.

use std::path::PathBuf;

mod vectors;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors");
    std::fs::create_dir_all(&folder)?;
    for (name, file) in vectors::all() {
        let path = folder.join(format!("{name}.json"));
        std::fs::write(&path, format!("{file:#}\n"))?;
        println!("{}", path.display());
    }
    Ok(())
}
