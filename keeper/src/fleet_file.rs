//! The fleet file: found and read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pool_core::build;
use pool_core::check::{LARGEST, check};
use pool_core::digest::Sha256;
use pool_core::name::ModelId;
use pool_core::orchestrator::ConfigFile;
use pool_core::source::Source;
use pool_core::units;
use reconciler::desired::Content;
use reconciler::fleet::{Fleet, Orchestrator};
use reconciler::lock::Lock;
use reconciler::problem::Problem;

use crate::failure::Failure;

/// Name of the file that is looked for.
pub const NAME: &str = "fleet.yaml";

/// A fleet.yaml without mistakes.
#[derive(Debug)]
pub struct FleetFile {
    pub path: PathBuf,
    pub text: String,
    pub fleet: Fleet,
}

/// The content of each model, or why it is not known.
pub type Contents = BTreeMap<ModelId, Result<Content, String>>;

impl FleetFile {
    /// Reads the named file, or the nearest fleet.yaml from the working folder upwards.
    pub fn load(named: Option<&Path>) -> Result<Self, Failure> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => find()?.ok_or_else(nowhere)?,
        };
        let bytes = std::fs::read(&path).map_err(|error| {
            Failure::new(format!("cannot read the fleet file: {error}"))
                .at(path.display().to_string())
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            Failure::new(format!(
                "the fleet file is not UTF-8 text, from byte {valid} on"
            ))
            .at(path.display().to_string())
            .help("save it as UTF-8")
        })?;
        Self::of(path, text)
    }

    /// Reads the text of a file.
    pub fn of(path: PathBuf, text: String) -> Result<Self, Failure> {
        match reconciler::fleet::parse(&text) {
            Ok(fleet) => Ok(Self { path, text, fleet }),
            Err(problems) => Err(Failure::Problems {
                file: path,
                text,
                problems,
            }),
        }
    }

    /// Refuses where somebody saved the file since it was read.
    pub fn check_unchanged(&self) -> Result<(), Failure> {
        match std::fs::read(&self.path) {
            Ok(text) if text == self.text.as_bytes() => Ok(()),
            _ => Err(Failure::new("the fleet file changed meanwhile")
                .at(self.path.display().to_string())
                .help("nothing was moved; run it again")),
        }
    }

    /// The folder that a source names.
    pub fn folder(&self, source: &str) -> PathBuf {
        let path = self.path.parent().unwrap_or(Path::new("")).join(source);
        // Without a `./` in the middle.
        path.components().collect()
    }

    /// Reads and hashes the model folders, and takes models of the hub from the lock. A folder that is no model is a
    /// mistake of the file.
    pub fn contents(&self, lock: &Lock) -> Result<Contents, Failure> {
        let mut problems = Vec::new();
        let mut contents = Contents::new();
        for (id, model) in &self.fleet.models {
            let content = match &model.source.value {
                Source::Folder(folder) => match pool_core::folder::read(&self.folder(folder)) {
                    Ok(manifest) => Ok(Content::new(None, manifest)),
                    Err(why) => {
                        let hint =
                            "a model's folder holds config.json, tokenizer.json and *.safetensors";
                        let message = format!("model `{id}`: {why}");
                        problems.push(Problem::new(model.source.span, message).with_hint(hint));
                        continue;
                    }
                },
                source @ Source::Hub { .. } => match lock.get(id, source) {
                    Some(locked) => Ok(locked.content()),
                    None => Err("it is not locked: `rbee lock` looks it up".into()),
                },
            };
            contents.insert(id.clone(), content);
        }
        if problems.is_empty() {
            Ok(contents)
        } else {
            Err(self.wrong(problems))
        }
    }

    /// The digests of the files that the orchestrator is given. One that cannot be read, or that no orchestrator could use, is a
    /// mistake of the file.
    pub fn configs(&self) -> Result<BTreeMap<ConfigFile, Sha256>, Failure> {
        let (mut configs, mut problems) = (BTreeMap::new(), Vec::new());
        let declared = self.fleet.orchestrator.iter();
        for (file, path) in declared.flat_map(Orchestrator::files) {
            let found = self.folder(&path.value);
            let problem = |why: String| {
                let message = format!("`{file}` of `orchestrator`: {why}");
                Problem::new(path.span, message)
            };
            match config(&found) {
                Ok(text) => match usable(file, &text) {
                    Ok(()) => {
                        configs.insert(file, Sha256::of(text));
                    }
                    Err(wrong) => {
                        let hint = format!("mend {}", found.display());
                        let wrong = wrong.lines().map(|line| problem(line.to_owned()));
                        problems.extend(wrong.map(|problem| problem.with_hint(&hint)));
                    }
                },
                Err(why) if found.exists() => problems.push(problem(why)),
                Err(why) => {
                    let hint = "the path is relative to the fleet file";
                    problems.push(problem(why).with_hint(hint));
                }
            }
        }
        if problems.is_empty() {
            Ok(configs)
        } else {
            Err(self.wrong(problems))
        }
    }

    /// The models of the hub with their sources.
    pub fn hub_models(&self) -> impl Iterator<Item = (&ModelId, &Source)> {
        let models = self.fleet.models.iter();
        let sources = models.map(|(id, model)| (id, &model.source.value));
        sources.filter(|(_, source)| matches!(source, Source::Hub { .. }))
    }

    /// The failure that says these mistakes of this file.
    pub fn wrong(&self, problems: Vec<Problem>) -> Failure {
        Failure::Problems {
            file: self.path.clone(),
            text: self.text.clone(),
            problems,
        }
    }
}

/// The text of a file that the orchestrator is given.
pub fn config(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let found = path.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(format!("{} is no regular file", path.display()));
    }
    if found.len() > LARGEST {
        let most = units::bytes(LARGEST);
        return Err(format!("{} is larger than {most}", path.display()));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// Whether an orchestrator could use a file, as the one beside this program says. Where there is none, the pool's says so when it
/// is given the file.
fn usable(file: ConfigFile, text: &str) -> Result<(), String> {
    let exe = std::env::current_exe().and_then(|exe| exe.canonicalize());
    let program = exe.map(|exe| exe.with_file_name(build::ORCHESTRATOR));
    match program.as_deref() {
        Ok(program) if program.is_file() => {
            let failed = |error| format!("cannot run {}: {error}", program.display());
            check(program, file, text).map_err(failed)?
        }
        _ => Ok(()),
    }
}

/// The nearest fleet.yaml from the working folder upwards.
pub fn find() -> Result<Option<PathBuf>, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(format!("the working folder is gone: {error}")))?;
    for folder in here.ancestors() {
        let path = folder.join(NAME);
        if path.is_file() {
            // Shown as the operator would name it.
            return Ok(Some(if folder == here { NAME.into() } else { path }));
        }
    }
    Ok(None)
}

fn nowhere() -> Failure {
    let failure = Failure::new(format!("there is no {NAME} here or in a folder above"))
        .help("`rbee init` writes one; `-f FILE` names another");
    match std::env::current_dir() {
        Ok(here) => failure.at(here.display().to_string()),
        Err(_) => failure,
    }
}
