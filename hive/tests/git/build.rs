//! A build, from cargo to `bin/current`.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::Site;

#[test]
fn a_build_is_installed_as_apply_would_and_remembered() {
    let site = Site::new();
    let before = site.current().unwrap();
    let revision = site.checkout.git(&["rev-parse", "HEAD"]);
    let output = site.git(&["build", "--features", "metal"]);
    let progress = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{progress}");
    let dir = site.checkout.dir();
    let building = format!("building {} in {}\n", &revision[..12], dir.display());
    assert!(progress.starts_with(&building), "{progress}");
    assert!(
        progress.contains("Compiling llm-worker-rbee v0.0.0"),
        "{progress}"
    );

    let current = site.current().unwrap();
    assert_ne!(current, before);
    assert!(before.exists(), "what runs from there goes on");
    let build = current.file_name().unwrap().to_str().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!(
            "installed rbee {}, built from {}, features metal\n",
            &build[..12],
            &revision[..12]
        )
    );
    // The rule of the script that `rbee apply` installs with.
    let check = |arguments: &[&str]| {
        let mut sum = Command::new("sha256sum");
        let output = sum.args(arguments).current_dir(&current).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(check(&["SHA256SUMS"]).starts_with(build));
    assert_eq!(check(&["-c", "SHA256SUMS"]).matches(": OK").count(), 3);
    let says = |name: &str| {
        let output = Command::new(site.pool.home.join("bin/current").join(name)).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(
        says("llm-worker-rbee"),
        "llm-worker-rbee of a test with metal\n"
    );
    assert_eq!(says("orchestratord"), "orchestratord of a test\n");

    // From now on it is the pool's checkout.
    let status = site.command(&["git", "status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["dir"], json!(dir));
    assert_eq!(status["installed"], json!(build));
    assert_eq!(status["built"]["build"], json!(build));
    assert_eq!(status["built"]["features"], json!(["metal"]));
    assert_eq!(status["built"]["dirty"], json!(false));
    let text = site.ok(&["status"]);
    let installed = format!(
        "installed   {}, built from {}, features metal\n",
        &build[..12],
        &revision[..12]
    );
    assert!(text.contains(&installed), "{text}");

    site.checkout.write("hive/src/main.rs", "fn main() {}\n");
    let again = site.command(&["git", "build"]).output().unwrap();
    let again = String::from_utf8(again.stdout).unwrap();
    assert!(
        again.ends_with(&format!("built from {} with changes\n", &revision[..12])),
        "{again}"
    );
    assert_eq!(says("llm-worker-rbee"), "llm-worker-rbee of a test\n");
    assert_eq!(says("rbee-hive"), "");
}

#[test]
fn cargo_is_taken_where_its_settings_put_what_it_builds() {
    let site = Site::new();
    let elsewhere = site.user.join("built here");
    site.checkout.write(
        ".cargo/config.toml",
        &format!("[build]\ntarget-dir = '{}'\n", elsewhere.display()),
    );
    site.ok(&["build"]);
    assert!(elsewhere.join("release/rbee-hive").exists());
    assert!(!site.checkout.dir().join("target").exists());
    assert!(site.current().unwrap().join("SHA256SUMS").exists());
}

#[test]
fn a_build_that_fails_changes_nothing() {
    let site = Site::new();
    let before = site.current();
    let error = site.fails(&["build", "--features", "metal,metla"]);
    assert!(
        error.contains("has no cargo feature `metla`\nhelp: it has: metal\n"),
        "{error}"
    );
    assert!(
        !site.checkout.dir().join("target").exists(),
        "nothing was built"
    );

    site.checkout
        .write("worker/src/main.rs", "fn main() { 1 + \"a\"; }\n");
    let error = site.fails(&["build"]);
    assert!(
        error.contains("error[E0277]"),
        "cargo's own words come too: {error}"
    );
    let dir = site.checkout.dir();
    let what = format!(
        "error: cargo build in {} failed: exit status: 101\n",
        dir.display()
    );
    assert!(error.contains(&what), "{error}");
    assert!(
        error.ends_with("help: cargo says why above; the pool keeps the build that it has\n"),
        "{error}"
    );

    site.checkout.write(
        "worker/src/main.rs",
        "fn main() { eprintln!(\"no metal\"); std::process::exit(3) }\n",
    );
    let error = site.fails(&["build"]);
    assert!(
        error.contains("llm-worker-rbee does not start: exit status: 3: no metal\n"),
        "{error}"
    );

    site.checkout
        .git(&["rm", "-r", "--quiet", "--force", "orchestrator"]);
    site.checkout.write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"hive\", \"worker\"]\n",
    );
    let lock = fs::read_to_string(dir.join("Cargo.lock")).unwrap();
    let without = lock.replace(
        "\n[[package]]\nname = \"orchestratord\"\nversion = \"0.0.0\"\n",
        "",
    );
    site.checkout.write("Cargo.lock", &without);
    let error = site.fails(&["build"]);
    assert!(
        error.contains("no bin target named `orchestratord`"),
        "{error}"
    );
    assert_eq!(site.current(), before);
    assert!(!site.pool.home.join("checkout.json").exists());
}

#[test]
fn a_machine_without_cargo_says_where_it_was_looked_for() {
    let site = Site::new();
    fs::remove_dir_all(site.user.join(".cargo")).unwrap();
    let programs = site.user.join("programs");
    fs::create_dir(&programs).unwrap();
    let git = ["/usr/bin/git", "/usr/local/bin/git"]
        .into_iter()
        .find(|it| fs::exists(it).unwrap());
    std::os::unix::fs::symlink(git.unwrap(), programs.join("git")).unwrap();
    let dir = site.checkout.dir();
    let mut command = site.command(&["git", "build", "--dir"]);
    let output = command.arg(&dir).env("PATH", &programs).output().unwrap();
    let error = super::failed(output);
    let looked = format!(
        "{}:{}",
        programs.display(),
        site.user.join(".cargo/bin").display()
    );
    assert!(
        error.starts_with(&format!("error: there is no cargo: looked in {looked}:")),
        "{error}"
    );
    assert!(error.contains("help: install Rust on the pool"), "{error}");
}
