//! The folder in which Ollama keeps its models.
//!
//! `manifests/HOST/NAMESPACE/MODEL/TAG` lists the layers of a model by media type, `blobs/sha256-HEX` holds them. See
//! `manifest` in <https://github.com/ollama/ollama>.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use pool_core::digest::Sha256;
use pool_core::units;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Found, Place, Reading, Weights};
use crate::failure::Failure;

/// The newer place comes first: what stands in both is taken from there.
const MANIFESTS: [&str; 2] = ["manifests-v2", "manifests"];
const LAYER: &str = "application/vnd.ollama.image.";
/// Tokens of a request where nothing says.
const CONTEXT: u32 = 4096;
/// Bytes of the longest text that is read.
const LONGEST_TEXT: u64 = 1 << 20;

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
    /// The forms of one model.
    #[serde(default)]
    manifests: Vec<Form>,
}

#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    format: String,
    digest: Option<String>,
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
}

/// The given one, `$OLLAMA_MODELS`, or that of this user.
pub fn folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let of_user = || Some(Path::new(&set("HOME")?).join(".ollama/models"));
    let folder = given.map(Path::to_owned);
    folder
        .or_else(|| set("OLLAMA_MODELS").map(PathBuf::from))
        .or_else(of_user)
        .ok_or_else(|| {
            Failure::new("where Ollama keeps its models is not known: HOME is not set")
                .help("name the folder: `rbee import --from ollama FOLDER`")
        })
}

pub fn read(folder: &Path) -> Result<Reading, Failure> {
    let mut models: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut is_there = false;
    for root in MANIFESTS {
        let root = folder.join(root);
        if root.is_dir() {
            is_there = true;
            find(&root, &mut Vec::new(), &mut models)?;
        }
    }
    if !is_there {
        let what = "this is no folder of Ollama's models: it has no `manifests`";
        return Err(Failure::new(what)
            .at(folder.display().to_string())
            .help("name the folder with `manifests` and `blobs` in it, such as ~/.ollama/models"));
    }
    let mut reading = Reading::default();
    for (name, path) in models {
        let read = model(folder, &name, &path, &mut reading);
        reading.add(&name, read);
    }
    if !reading.found.is_empty() {
        let why = "workers run until they are stopped: take out those that you do not need always";
        reading.leave(None, "loading on demand", why);
    }
    Ok(reading)
}

/// The manifests by the names of their models, four folders deep.
fn find(
    folder: &Path,
    above: &mut Vec<String>,
    models: &mut BTreeMap<String, PathBuf>,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot read a folder of Ollama: {error}"))
            .at(folder.display().to_string())
    };
    for entry in folder.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        // What the system or an interrupted write left there.
        if name.starts_with('.') {
            continue;
        }
        above.push(name);
        match &above[..] {
            [host, namespace, model, tag] if !path.is_dir() => {
                let name = called(host, namespace, model, tag);
                models.entry(name).or_insert(path);
            }
            parts if parts.len() < 4 && path.is_dir() => find(&path, above, models)?,
            _ => {}
        }
        above.pop();
    }
    Ok(())
}

/// As Ollama's own lists call it: without what is usual.
fn called(host: &str, namespace: &str, model: &str, tag: &str) -> String {
    let tag = match tag {
        "latest" => String::new(),
        tag => format!(":{tag}"),
    };
    match (host, namespace) {
        ("registry.ollama.ai", "library") => format!("{model}{tag}"),
        ("registry.ollama.ai", namespace) => format!("{namespace}/{model}{tag}"),
        (host, namespace) => format!("{host}/{namespace}/{model}{tag}"),
    }
}

fn model(folder: &Path, name: &str, path: &Path, reading: &mut Reading) -> Result<Found, String> {
    let layers = layers(folder, path)?;
    let mut found = Found {
        name: name.to_owned(),
        weights: Weights::File(weights(folder, &layers)?),
        slots: None,
        context: None,
        usual_context: Some(CONTEXT),
        place: None,
    };
    for layer in &layers {
        let kind = layer.media_type.strip_prefix(LAYER);
        let why = match kind.unwrap_or(&layer.media_type) {
            "model" => continue,
            "params" => {
                parameters(&text(folder, layer)?, &mut found, reading)?;
                continue;
            }
            "template" => "workers use the chat template of the GGUF file",
            "system" => "clients send it, as the first message",
            "messages" => "clients send them, before their own",
            "license" => "fleet.yaml has no place for it: it holds all the same",
            "adapter" => "workers load no adapters: the model is served without it",
            "projector" => "workers read texts, no images",
            _ => "workers do not know such a layer",
        };
        let what = match kind {
            Some(kind @ ("template" | "system")) => {
                format!("{kind} {}", quoted(&text(folder, layer)?))
            }
            kind => {
                let kind = kind.unwrap_or(&layer.media_type);
                format!("{kind} ({})", units::bytes(layer.size))
            }
        };
        reading.leave(Some(name), what, why);
    }
    Ok(found)
}

/// The layers of a model; where it has several forms, those of the one that is no safetensors.
fn layers(folder: &Path, path: &Path) -> Result<Vec<Layer>, String> {
    let manifest = manifest(path)?;
    if manifest.manifests.is_empty() {
        return Ok(manifest.layers);
    }
    let mut forms = manifest.manifests.into_iter();
    let form = forms.find(|form| form.format != "safetensors");
    let form = form.ok_or("it has no GGUF file, only safetensors in Ollama's own layout")?;
    match &form.digest {
        Some(digest) if form.layers.is_empty() => {
            Ok(self::manifest(&blob(folder, digest)?)?.layers)
        }
        _ => Ok(form.layers),
    }
}

fn manifest(path: &Path) -> Result<Manifest, String> {
    let text = read_text(path)?;
    serde_json::from_str(&text)
        .map_err(|error| format!("its manifest {} is damaged: {error}", path.display()))
}

/// The GGUF file.
fn weights(folder: &Path, layers: &[Layer]) -> Result<PathBuf, String> {
    let is_weights = |layer: &&Layer| layer.media_type.strip_prefix(LAYER) == Some("model");
    let mut weights = layers.iter().filter(is_weights);
    match (weights.next(), weights.next()) {
        (Some(only), None) => blob(folder, &only.digest),
        (Some(_), Some(_)) => Err("its weights are several files, and a worker reads one".into()),
        (None, _) => Err("it has no GGUF file".into()),
    }
}

/// Where a layer lies.
fn blob(folder: &Path, digest: &str) -> Result<PathBuf, String> {
    let lower = digest.to_ascii_lowercase();
    let hex = lower.strip_prefix("sha256:");
    let hex = hex.or_else(|| lower.strip_prefix("sha256-"));
    let sha256: Option<Sha256> = hex.and_then(|hex| hex.parse().ok());
    let sha256 =
        sha256.ok_or_else(|| format!("its manifest names {digest:?}, which is no sha256"))?;
    let path = folder.join(format!("blobs/sha256-{sha256}"));
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("its blob {} is missing", path.display()))
    }
}

fn text(folder: &Path, layer: &Layer) -> Result<String, String> {
    read_text(&blob(folder, &layer.digest)?)
}

fn read_text(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = pool_core::folder::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(LONGEST_TEXT + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > LONGEST_TEXT {
        return Err(failed(ErrorKind::FileTooLarge.into()));
    }
    Ok(text)
}

/// What the model's own file sets: `PARAMETER` of a Modelfile.
fn parameters(text: &str, found: &mut Found, reading: &mut Reading) -> Result<(), String> {
    let parameters: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| format!("its parameters are damaged: {error}"))?;
    for (key, value) in parameters {
        let number = value.as_i64();
        let what = format!("{key} {value}");
        let why = match (key.as_str(), number) {
            ("num_ctx", Some(tokens)) if u32::try_from(tokens).is_ok_and(|tokens| tokens > 0) => {
                found.context = u32::try_from(tokens).ok();
                continue;
            }
            ("num_gpu", Some(layers)) => {
                let place = match layers {
                    0 => Some(Place::Cpu),
                    1.. => Some(Place::AnyGpu),
                    _ => None,
                };
                found.place = place.map(|place| (place, what));
                continue;
            }
            ("num_predict", _) => "clients send it with each request, as max_tokens",
            ("repeat_penalty", _) => "clients send it with each request, as repetition_penalty",
            ("temperature" | "top_k" | "top_p" | "min_p" | "seed" | "stop", _) => {
                "clients send it with each request"
            }
            _ => "workers have nothing like it",
        };
        reading.leave(Some(&found.name), what, why);
    }
    Ok(())
}

/// The beginning of a text on one line.
fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}…`", &line[..end]),
        None => format!("`{line}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_as_ollama_lists_it() {
        for (parts, name) in [
            (
                ["registry.ollama.ai", "library", "llama3.2", "latest"],
                "llama3.2",
            ),
            (
                ["registry.ollama.ai", "library", "llama3.2", "1b"],
                "llama3.2:1b",
            ),
            (["registry.ollama.ai", "me", "mine", "latest"], "me/mine"),
            (
                ["hf.co", "org", "X-GGUF", "Q4_K_M"],
                "hf.co/org/X-GGUF:Q4_K_M",
            ),
        ] {
            let [host, namespace, model, tag] = parts;
            assert_eq!(called(host, namespace, model, tag), name);
        }
    }

    #[test]
    fn a_text_that_has_no_end_is_not_read() {
        let error = read_text(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error, "cannot read /dev/zero: it is not a regular file");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        let longest = "x".repeat(1 << 20);
        std::fs::write(&path, &longest).unwrap();
        assert_eq!(read_text(&path).unwrap(), longest);
        std::fs::write(&path, longest + "x").unwrap();
        assert!(read_text(&path).unwrap_err().contains("file too large"));
    }

    #[test]
    fn a_long_text_is_shown_as_its_beginning() {
        assert_eq!(quoted("You are\n  Mario.\n"), "`You are Mario.`");
        assert_eq!(quoted(&"ü".repeat(99)), format!("`{}…`", "ü".repeat(60)));
    }
}
