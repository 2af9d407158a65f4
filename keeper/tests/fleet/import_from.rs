//! What Ollama and llama-swap are configured to serve comes into fleet.yaml.

use std::fs;
use std::path::{Path, PathBuf};

use pool_core::digest::Sha256;
use serde_json::{Value, json};

use super::{Desk, Ran};

fn gguf() -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models");
    let path = models.join("tiny-llama-gguf/tiny-llama-q8_0.gguf");
    path.canonicalize().unwrap()
}

/// A GGUF file of an architecture that no worker serves, without tensors.
fn gemma() -> Vec<u8> {
    let string = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut bytes = [&b"GGUF"[..], &3_u32.to_le_bytes(), &[0; 8]].concat();
    bytes.extend(3_u64.to_le_bytes());
    bytes.extend(string("general.architecture"));
    bytes.extend(8_u32.to_le_bytes());
    bytes.extend(string("gemma3"));
    for (key, value) in [("gemma3.context_length", 512_u32), ("gemma3.vocab_size", 9)] {
        bytes.extend(string(key));
        bytes.extend(4_u32.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

/// A folder as Ollama keeps one.
struct Ollama(PathBuf);

impl Ollama {
    fn layer(&self, kind: &str, content: &[u8]) -> Value {
        let sha256 = Sha256::of(content);
        fs::create_dir_all(self.0.join("blobs")).unwrap();
        fs::write(self.0.join(format!("blobs/sha256-{sha256}")), content).unwrap();
        json!({
            "mediaType": format!("application/vnd.ollama.image.{kind}"),
            "digest": format!("sha256:{sha256}"),
            "size": content.len(),
        })
    }

    /// Writes what stands for a model; its path below the registry.
    fn manifest(&self, name: &str, text: &str) {
        let path = self.0.join("manifests/registry.ollama.ai").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn model(&self, name: &str, layers: &[Value]) {
        let config = json!({ "model_format": "gguf", "model_family": "llama" });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": self.layer("config", config.to_string().as_bytes()),
            "layers": layers,
        });
        self.manifest(name, &manifest.to_string());
    }
}

fn fleet(desk: &Desk) -> String {
    fs::read_to_string(desk.path("fleet.yaml")).unwrap()
}

/// The models that stay out, with the reasons.
fn lost(ran: &Ran) -> Vec<(String, String)> {
    let all = ran.json();
    let left = all["import"]["left"].as_array().unwrap().iter();
    let whole = left.filter(|left| left["whole"] == true);
    let texts =
        whole.map(|left| ["model", "why"].map(|key| left[key].as_str().unwrap().to_owned()));
    texts.map(|[model, why]| (model, why)).collect()
}

#[test]
fn what_ollama_has_is_written_linked_and_served() {
    let desk = Desk::new();
    let ollama = Ollama(desk.path("ollama/models"));
    let weights = fs::read(gguf()).unwrap();
    let parameters = json!({ "num_ctx": 256, "num_gpu": 99, "stop": ["</s>"], "temperature": 0.7, "num_thread": 8 });
    ollama.model(
        "library/tiny/1b",
        &[
            ollama.layer("model", &weights),
            ollama.layer("params", parameters.to_string().as_bytes()),
            ollama.layer("template", b"{{ .System }}\n{{ .Prompt }}"),
            ollama.layer("system", b"You are Mario."),
            ollama.layer("license", b"MIT"),
            ollama.layer("adapter", b"GGUF..."),
        ],
    );
    ollama.model("me/tiny/latest", &[ollama.layer("model", &weights)]);
    ollama.model("library/gemma3/latest", &[ollama.layer("model", &gemma())]);
    ollama.manifest("library/broken/latest", "{");
    let gone = json!({
        "mediaType": "application/vnd.ollama.image.model",
        "digest": format!("sha256:{}", "0".repeat(64)),
        "size": 1,
    });
    ollama.model("library/gone/latest", &[gone]);
    ollama.model("library/mlx/latest", &[ollama.layer("tensor", b"x")]);
    fs::write(ollama.0.join("manifests/.DS_Store"), "x").unwrap();

    let args = ["import", "--from", "ollama", "ollama/models"];
    let asked = desk.rbee(&args).exits(1).says("nobody to ask");
    assert!(!desk.path("fleet.yaml").exists() && !desk.path("models").exists());
    let left = [
        "\nNot carried over:\n",
        "tiny:1b: num_gpu 99: pool ",
        "tiny:1b: num_thread 8: workers have nothing like it\n",
        "tiny:1b: stop [\"</s>\"]: clients send it with each request\n",
        "tiny:1b: temperature 0.7: clients send it with each request\n",
        "tiny:1b: template `{{ .System }} {{ .Prompt }}`: workers use the chat template of the GGUF file\n",
        "tiny:1b: system `You are Mario.`: clients send it, as the first message\n",
        "tiny:1b: license (3 B): fleet.yaml has no place for it",
        "tiny:1b: adapter (7 B): workers load no adapters",
        "tiny:1b: its name: fleet.yaml does not take it: clients ask for tiny-1b\n",
        "me/tiny: no context is configured: 512 is written",
        "gemma3: the model: its architecture is gemma3, and workers serve llama, mistral, phi3, qwen2\n",
        "broken: the model: its manifest ",
        "gone: the model: its blob ",
        "mlx: the model: it has no GGUF file\n",
        "  loading on demand: workers run until they are stopped",
    ];
    for text in left {
        assert!(asked.err.contains(text), "no {text:?} in:\n{}", asked.err);
    }

    let done = desk
        .rbee(&[&args[..], &["--yes", "--json"]].concat())
        .exits(1);
    let names: Vec<String> = lost(&done).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["broken", "gone", "mlx", "gemma3"]);
    let written = fleet(&desk);
    let pool = done.json()["pool"].as_str().unwrap().to_owned();
    for line in [
        "models:\n  me-tiny: { source: ./models/me-tiny.gguf }\n  tiny-1b: { source: ./models/tiny-1b.gguf }\n",
        &format!(
            "workers:\n  me-tiny: {{ model: me-tiny, on: [{pool}/cpu], context: 512 }}\n  \
             tiny-1b: {{ model: tiny-1b, on: [{pool}/cpu], context: 256 }}\n"
        ),
    ] {
        assert!(written.contains(line), "no {line:?} in:\n{written}");
    }
    let blob = ollama
        .0
        .join(format!("blobs/sha256-{}", Sha256::of(&weights)));
    let link = fs::read_link(desk.path("models/tiny-1b.gguf")).unwrap();
    assert_eq!(link, blob.canonicalize().unwrap());
    desk.rbee(&["validate"])
        .exits(0)
        .says("2 models, 2 workers");
    desk.rbee(&["plan"]).exits(0).says("2 to spawn");
    desk.rbee(&["apply", "--yes"]).exits(0);
    let question = "What is the capital of France?";
    let answer = desk.rbee(&["infer", "--worker", "tiny-1b", "--prompt", question]);
    assert!(answer.exits(0).out.contains("Paris"));

    // Once more there is nothing else to be taken in, and nothing changes.
    let again = desk
        .rbee(&[&args[..], &["--yes", "--json"]].concat())
        .exits(1);
    assert_eq!(again.json()["import"]["added"], json!([]));
    let (name, why) = &lost(&again)[4];
    assert_eq!(
        (name.as_str(), why.as_str()),
        ("me/tiny", "fleet.yaml has it already, as me-tiny")
    );
    assert_eq!(fleet(&desk), written);
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_link_whose_blob_is_gone_leads_to_the_next_one_after_another_import() {
    let desk = Desk::new();
    let ollama = Ollama(desk.path("ollama/models"));
    let old = fs::read(gguf()).unwrap();
    ollama.model("library/tiny/latest", &[ollama.layer("model", &old)]);
    let import = || desk.rbee(&["import", "--from", "ollama", "ollama/models", "--yes"]);
    import().exits(0);
    desk.rbee(&["plan"]).exits(0).says("1 to spawn");
    let written = fleet(&desk);

    // As `ollama pull` leaves it: the next weights, and the old ones gone.
    let next = [&old[..], &[0; 32]].concat();
    ollama.model("library/tiny/latest", &[ollama.layer("model", &next)]);
    let blob = |weights: &[u8]| {
        ollama
            .0
            .join(format!("blobs/sha256-{}", Sha256::of(weights)))
    };
    fs::remove_file(blob(&old)).unwrap();
    desk.rbee(&["plan"]).exits(1);
    import().exits(0).says("  link ");
    let at = desk.path("models/tiny.gguf");
    assert_eq!(
        at.canonicalize().unwrap(),
        blob(&next).canonicalize().unwrap()
    );
    assert_eq!(fs::read_dir(desk.path("models")).unwrap().count(), 1);
    assert_eq!(fleet(&desk), written);
    desk.rbee(&["plan"]).exits(0).says("1 to spawn");

    // What a person put there stays.
    fs::remove_file(&at).unwrap();
    std::os::unix::fs::symlink("/nowhere/mine.gguf", &at).unwrap();
    import().exits(1).says("there is another file already");
    assert_eq!(fs::read_link(&at).unwrap(), Path::new("/nowhere/mine.gguf"));
}

#[test]
fn what_llama_swap_starts_is_added_to_the_fleet() {
    let desk = Desk::new();
    desk.write("# Ours.\nversion: 1\nfleet: test\npools:\n  here: { connect: local, devices: [cpu, \"cuda:0\"] }\n  far: { connect: ssh://far, devices: [cpu] }\n");
    let mine = desk.path("swap");
    fs::create_dir(&mine).unwrap();
    fs::copy(gguf(), mine.join("mine.gguf")).unwrap();
    fs::write(mine.join("part-00001-of-00002.gguf"), "x").unwrap();
    let config = format!(
        "\
healthCheckTimeout: 500
macros:
  server: llama-server --port ${{PORT}}
models:
  tiny:
    cmd: |
      ${{server}} -m {} -ngl 0
      -c 512 -np 2 --flash-attn on
    aliases: [gpt-4o-mini]
    ttl: 60
    env: [\"HF_TOKEN=hf_secret\"]
  mine: {{ cmd: \"${{server}} -m mine.gguf -c 100000\" }}
  hub: {{ cmd: \"${{server}} -hf org/repo -hff x.Q8_0.gguf -np 4\" }}
  quant: {{ cmd: \"${{server}} -hf org/repo:Q4_K_M\" }}
  docker: {{ cmd: docker run x }}
  part: {{ cmd: \"${{server}} -m part-00001-of-00002.gguf\" }}
  absent: {{ cmd: \"${{server}} -m absent.gguf\" }}
groups: {{ a: {{ members: [tiny] }} }}
",
        gguf().display()
    );
    fs::write(mine.join("config.yaml"), &config).unwrap();
    let args = [
        "import",
        "--from",
        "llama-swap",
        "swap/config.yaml",
        "--yes",
    ];
    let done = desk.rbee(&args).exits(1);
    let source = gguf();
    let source = source.display();
    assert_eq!(
        fleet(&desk),
        format!(
            "# Ours.\nversion: 1\nfleet: test\npools:\n  here: {{ connect: local, devices: [cpu, \"cuda:0\"] }}\n  \
             far: {{ connect: ssh://far, devices: [cpu] }}\n\nmodels:\n  tiny: {{ source: {source} }}\n  \
             mine: {{ source: ./swap/mine.gguf }}\n  hub: {{ source: hf:org/repo::x.Q8_0.gguf }}\n\n\
             workers:\n  tiny: {{ model: tiny, on: [here/cpu], slots: 2, context: 256 }}\n  \
             mine: {{ model: mine, on: [here/cuda:0], context: 512 }}\n  \
             hub: {{ model: hub, on: [here/cuda:0], slots: 4 }}\n"
        )
    );
    assert!(
        done.out.contains("  model tiny as tiny/here/cpu/0\n"),
        "{}",
        done.out
    );
    for text in [
        "tiny: --flash-attn on: workers have nothing like it\n",
        "tiny: aliases gpt-4o-mini: a model has one name",
        "tiny: ttl 60: workers run until they are stopped\n",
        "tiny: the variable HF_TOKEN: workers have the environment of their pool\n",
        "mine: a context of 100000 tokens: the model has 512, which is written\n",
        "quant: the model: its model is Q4_K_M of org/repo, and only the hub knows in which file: write `source: hf:org/repo::FILE.gguf`",
        "docker: the model: its command runs `docker`",
        "part: the model: part-00001-of-00002.gguf is a part of a model in several files",
        "absent: the model: cannot read swap/absent.gguf: No such file",
        "  healthCheckTimeout: ",
        "  groups: all workers run at the same time\n",
    ] {
        assert!(done.err.contains(text), "no {text:?} in:\n{}", done.err);
    }
    let all = format!("{}{}", done.out, done.err);
    assert!(
        !all.contains("hf_secret") && !all.contains("--port"),
        "{all}"
    );
    desk.rbee(&["validate"])
        .exits(0)
        .says("2 pools, 3 models, 3 workers");

    // To another pool, and from a file without what cannot be taken over.
    let only = config.split("  mine:").next().unwrap();
    fs::write(
        mine.join("config.yaml"),
        only.replace("  tiny:\n", "  other:\n"),
    )
    .unwrap();
    let far = [&args[..], &["--pool", "far"]].concat();
    desk.rbee(&far)
        .exits(0)
        .says("model other as other/far/cpu/0");
    desk.rbee(&["validate"]).exits(0);
}

#[test]
fn what_cannot_be_read_is_an_error_that_says_what_to_do() {
    let desk = Desk::new();
    fs::create_dir(desk.path("empty")).unwrap();
    fs::write(
        desk.path("bad.yaml"),
        "models:\n  x: { cmd: 'llama-server\n",
    )
    .unwrap();
    fs::write(desk.path("none.yaml"), "models:\n  x: { ttl: 5 }\n").unwrap();
    let import =
        |program: &str, path: &str| desk.rbee(&["import", "--from", program, path, "--yes"]);
    import("ollama", "empty")
        .exits(1)
        .says("it has no `manifests`")
        .says("~/.ollama/models");
    import("ollama", "nowhere").exits(1).says("--> nowhere");
    import("llama-swap", "nowhere.yaml")
        .exits(1)
        .says("cannot read the configuration of llama-swap");
    import("llama-swap", "bad.yaml")
        .exits(1)
        .says("--> bad.yaml:2:");
    import("llama-swap", "none.yaml")
        .exits(1)
        .says("model `x` has no `cmd`")
        .says("--> none.yaml:2:3");
    import("vllm", "empty").exits(64).says("llama-swap");
    desk.rbee(&["import", "--from", "ollama", "a", "b"])
        .exits(64)
        .says("several are named");
    assert!(!desk.path("fleet.yaml").exists());

    // Sections in one line are for a person to write.
    let flow = "version: 1\nfleet: test\npools: { here: { connect: local, devices: [cpu] } }\nmodels: {}\n";
    desk.write(flow);
    let text = format!(
        "models: {{ x: {{ cmd: \"llama-server -m {}\" }} }}\n",
        gguf().display()
    );
    fs::write(desk.path("config.yaml"), text).unwrap();
    let refused = desk
        .rbee(&["import", "--from", "llama-swap", "--yes"])
        .exits(1);
    refused
        .says("To be pasted:\nmodels:\n  x: { source: ")
        .says("paste the lines");
    assert_eq!(fleet(&desk), flow);
}
