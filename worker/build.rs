//! Where the libraries of CUDA are that become part of the worker, and which version they are of: `cargo xtask build --cuda` says
//! both.

const VERSION: &str = "RBEE_CUDA_VERSION";
const LIBRARIES: &str = "RBEE_CUDA_LIBRARIES";

fn main() {
    for variable in [VERSION, LIBRARIES] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let version = std::env::var(VERSION).unwrap_or_else(|_| "13.0".to_owned());
    let (major, minor) = version.split_once('.').unwrap_or((&version, "0"));
    println!("cargo::rustc-env=RBEE_CUDA_MAJOR={major}");
    println!("cargo::rustc-env=RBEE_CUDA_MINOR={minor}");
    if let Ok(folder) = std::env::var(LIBRARIES) {
        println!("cargo::rustc-link-search=native={folder}");
    }
}
