//! A hive is started for each run of `rbee`, a hundred at once where pools are containers of one machine. Linked to a fixed
//! address, it needs no relocations, which were a third of its start: see `docs/decisions/0007-a-hive-starts-at-once.md`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}"));
    if target("OS").as_deref() == Ok("linux") && target("ENV").as_deref() == Ok("gnu") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
