//! Lists the files of `web/` and `sdk/js/` that the binary serves, so that they can be embedded.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Endings of files that a browser loads.
const SERVED: &[&str] = &["html", "css", "js", "svg", "png", "ico", "json", "webmanifest"];
/// Files and folders that are for developers only.
const LEFT_OUT: &[&str] = &["test", "node_modules", "package.json", "package-lock.json", "tsconfig.json"];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut table = String::from("&[\n");
    for (folder, prefix) in [("web", "/"), ("sdk/js", "/sdk/")] {
        println!("cargo:rerun-if-changed={folder}");
        let mut files = Vec::new();
        walk(&root.join(folder), &mut files);
        files.sort();
        for file in files {
            let name = file
                .strip_prefix(root.join(folder))
                .expect("under the folder")
                .to_string_lossy()
                .replace('\\', "/");
            writeln!(table, "    (\"{prefix}{name}\", include_bytes!({file:?})),")
                .expect("a string takes it");
        }
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("assets.rs");
    fs::write(out, table).expect("OUT_DIR can be written");
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if LEFT_OUT.contains(&&*name) || name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|ending| SERVED.iter().any(|served| ending == *served)) {
            files.push(path);
        }
    }
}
