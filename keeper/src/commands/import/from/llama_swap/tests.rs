use std::fmt::Write as _;
use std::path::PathBuf;

use pool_core::device::Device;

use super::super::{Place, Weights};
use super::*;

fn read(text: &str) -> Result<Reading, Vec<Problem>> {
    reading(&root(text)?, Path::new("/etc/swap"))
}

fn one(command: &str) -> Found {
    let reading = read(&format!("models: {{ x: {{ cmd: '{command}' }} }}")).unwrap();
    assert!(
        !reading.left.iter().any(|left| left.whole),
        "{:?}",
        reading.left
    );
    reading.found.into_iter().next().unwrap()
}

/// Why the one model is not taken over.
fn refusal(command: &str) -> String {
    let reading = read(&format!("models: {{ x: {{ cmd: '{command}' }} }}")).unwrap();
    assert_eq!(reading.found.len(), 0);
    assert!(reading.left[0].whole);
    reading.left[0].why.clone()
}

fn path(found: &Found) -> &PathBuf {
    match &found.weights {
        Weights::File(path) => path,
        Weights::Hub(source) => panic!("{source}"),
    }
}

#[test]
fn a_command_of_llama_server_is_read_with_macros_comments_and_quotes() {
    let text = r#"
macros:
  dir: /models
  server: |
    # the build of May
    /opt/llama-server-b1 --port ${PORT}
  args: "--ctx-size ${ctx} -np 4"
  ctx: 4096
models:
  "Org/My Model:8b":
    macros: { ctx: 8192 }
    cmd: |
      ${server}
      # its file
      -m "${dir}/My ${MODEL_ID}.gguf" \
      ${args} --temp -1 --jinja
      --api-key hunter2 -ot 'a b'
    ttl: 60
    aliases: [a, b]
    env: ["HF_TOKEN=secret"]
    metadata: { a: 1 }
groups: {}
apiKeys: [sk-secret]
"#;
    // A macro holds those that stand before it, as llama-swap has it.
    let unordered = read(text).unwrap();
    assert_eq!(unordered.found.len(), 0);
    let text = text
        .replace("  ctx: 4096\n", "")
        .replace("  dir:", "  ctx: 4096\n  dir:");
    let reading = read(&text).unwrap();
    let found = &reading.found[0];
    assert_eq!(found.name, "Org/My Model:8b");
    assert_eq!(path(found), Path::new("/models/My Org/My Model:8b.gguf"));
    assert_eq!((found.slots, found.context), (Some(4), Some(2048)));
    let left = reading
        .left
        .iter()
        .map(|left| (left.model.is_some(), left.what.as_str()));
    let left: Vec<_> = left.collect();
    assert_eq!(
        left,
        [
            (true, "--temp -1"),
            (true, "--api-key"),
            (true, "-ot a b"),
            (true, "ttl 60"),
            (true, "aliases a, b"),
            (true, "the variable HF_TOKEN"),
            (true, "metadata"),
            (false, "groups"),
            (false, "apiKeys"),
        ]
    );
}

#[test]
fn macros_that_grow_without_end_are_refused() {
    let mut text = "macros:\n  m0: /models/a.gguf\n".to_owned();
    for (before, n) in (1..40).enumerate() {
        writeln!(text, "  m{n}: \"${{m{before}}}${{m{before}}}\"").unwrap();
    }
    text += "models: { x: { cmd: 'llama-server -m ${m39}' } }\n";
    let reading = read(&text).unwrap();
    assert_eq!(reading.found.len(), 0);
    assert_eq!(
        reading.left[0].why,
        "its command is longer than 1048576 bytes with its macros in place"
    );
}

#[test]
fn anchors_and_merge_keys_hold() {
    let text = "base: &base { cmd: llama-server -m /a.gguf -c 512 }\nmodels:\n  x: { <<: *base, ttl: 5 }\n";
    let reading = read(text).unwrap();
    assert_eq!(path(&reading.found[0]), Path::new("/a.gguf"));
    assert_eq!(reading.found[0].context, Some(512));
}

#[test]
fn the_weights_are_a_file_or_a_file_of_the_hub() {
    assert_eq!(
        path(&one("llama-server -m a.gguf")),
        Path::new("/etc/swap/a.gguf")
    );
    let hub = |command: &str| match one(command).weights {
        Weights::Hub(source) => source.to_string(),
        Weights::File(path) => panic!("{}", path.display()),
    };
    assert_eq!(
        hub("llama-server -hf o/r:Q8_0 -hff x.gguf"),
        "hf:o/r::x.gguf"
    );
    let url = "https://huggingface.co/o/r/resolve/main/x.gguf?download=true";
    assert_eq!(
        hub(&format!("llama-server -mu {url}")),
        "hf:o/r@main::x.gguf"
    );
    for (command, why) in [
        (
            "llama-server -hf o/r:Q4_K_M",
            "its model is Q4_K_M of o/r, and only the hub knows",
        ),
        (
            "llama-server -mu https://x.org/a.gguf",
            "no file of the hub",
        ),
        ("llama-server --port 1", "neither -m nor -hf"),
        ("docker run x", "its command runs `docker`"),
        (
            "llama-server -m ${gone}/a.gguf",
            "`${gone}`, which is no macro",
        ),
        (
            "llama-server -m ${env.RBEE_NOT_SET}",
            "RBEE_NOT_SET, which is not set",
        ),
        ("llama-server -m \"a.gguf", "a quote that does not end"),
        ("llama-server -m a.gguf -c lots", "its -c is `lots`"),
        ("llama-server -m a.gguf -np 4096", "a worker has 1 to 1024"),
        (
            "llama-server -m a.gguf -dev Vulkan0",
            "it computes on Vulkan0",
        ),
    ] {
        let refusal = refusal(command);
        assert!(refusal.contains(why), "{command}: {refusal}");
    }
}

#[test]
fn slots_share_the_context_unless_it_is_unified() {
    let sizes = |flags: &str| {
        let found = one(&format!("llama-server -m a.gguf {flags}"));
        (found.slots, found.context)
    };
    assert_eq!(sizes("-c 8192"), (None, Some(8192)));
    assert_eq!(sizes("-c 8192 --parallel 3"), (Some(3), Some(2730)));
    assert_eq!(sizes("-c 8192 -np 3 -kvu"), (Some(3), Some(8192)));
    assert_eq!(sizes("-c 0 -np -1"), (None, None));
}

#[test]
fn a_device_is_named_as_llama_server_does() {
    let place = |flags: &str| {
        one(&format!("llama-server -m a.gguf {flags}"))
            .place
            .map(|(place, _)| place)
    };
    assert_eq!(place(""), None);
    assert_eq!(place("-ngl 0"), Some(Place::Cpu));
    assert_eq!(place("-ngl 99"), Some(Place::AnyGpu));
    assert_eq!(place("-ngl auto"), None);
    assert_eq!(
        place("-ngl all -dev CUDA1,CUDA2"),
        Some(Place::Device(Device::Cuda(1)))
    );
    assert_eq!(
        place("--device MTL0"),
        Some(Place::Device(Device::Metal(0)))
    );
    assert_eq!(place("--device none -ngl 99"), Some(Place::Cpu));
    assert_eq!(place("-dev CUDA0 -ngl 0"), Some(Place::Cpu));
}

#[test]
fn a_file_that_is_none_of_llama_swap_is_refused_with_its_place() {
    for (text, line, message) in [
        ("", 1, "the file is empty"),
        ("a: 1", 1, "there is no `models`"),
        ("models:\n  x: { cmd: }\n", 2, "model `x` has no `cmd`"),
        ("models:\n  x: text\n", 2, "a model is a mapping"),
        ("models: [x]\n", 1, "`models` is a mapping"),
        ("models:\n  x: { cmd: 'a\n", 2, ""),
    ] {
        let problems = read(text).unwrap_err();
        assert!(
            problems[0].message.contains(message),
            "{text}: {problems:?}"
        );
        assert_eq!(problems[0].line, line, "{text}");
    }
}
