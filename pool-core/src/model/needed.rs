//! Which files of a model a worker needs, told from their names.

use super::NotAModel;
use crate::folder::{self, INDEX, SINGLE};
use crate::path::FilePath;

/// Of the files in a model's top folder, those that a worker needs.
///
/// Weights are `*.safetensors`, and where there are none that a worker finds, one GGUF file; everything else that a
/// worker reads is small and has a fixed name.
pub fn needed_files(paths: &[FilePath]) -> Result<Vec<FilePath>, NotAModel> {
    const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
    const OPTIONAL: [&str; 4] = [
        "tokenizer_config.json",
        "generation_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    ];
    let has = |name: &str| paths.iter().any(|path| path.as_str() == name);
    if !has(SINGLE)
        && !has(INDEX)
        && let Some(gguf) = only_gguf(paths)?
    {
        return Ok(with_words(paths, gguf));
    }
    if let Some(name) = REQUIRED.into_iter().find(|name| !has(name)) {
        return Err(NotAModel::Missing(name));
    }
    if !paths.iter().any(|path| ends(path, ".safetensors")) {
        let pickle = paths
            .iter()
            .find(|path| ends(path, ".bin") || ends(path, ".pt"));
        return Err(match pickle {
            Some(path) => NotAModel::Pickle(path.to_string()),
            None => NotAModel::Missing("*.safetensors and no *.gguf"),
        });
    }
    folder::check_names(paths)?;
    // Of two forms of the weights a worker takes the one in a single file.
    let is_single = has(SINGLE);
    let needed = |path: &&FilePath| match path.as_str() {
        SINGLE => true,
        INDEX => !is_single,
        _ if ends(path, ".safetensors") => is_top(path) && !is_single,
        name => REQUIRED.contains(&name) || OPTIONAL.contains(&name),
    };
    Ok(paths.iter().filter(needed).cloned().collect())
}

/// The files that a worker needs of a model that is one named file: that file, a whole GGUF in the top folder.
pub fn needed_file(paths: &[FilePath], file: &FilePath) -> Result<Vec<FilePath>, NotAModel> {
    let not_alone = |reason| NotAModel::NotAlone {
        file: file.clone(),
        reason,
    };
    if !paths.contains(file) {
        let near = near(paths, file);
        let file = file.clone();
        return Err(NotAModel::NoFile { file, near });
    }
    if ends(file, ".safetensors") {
        return Err(not_alone(
            "its config.json and tokenizer.json belong to it; name the model without the file",
        ));
    }
    if !is_gguf(file) {
        return Err(not_alone("only a GGUF file holds all that a worker needs"));
    }
    if is_part(file) {
        return Err(NotAModel::Part(file.clone()));
    }
    if !is_top(file) {
        return Err(not_alone("it is not in the top folder"));
    }
    Ok(vec![file.clone()])
}

/// The GGUF file among the files that a worker needs, where the weights are one.
pub fn gguf_file(needed: &[FilePath]) -> Option<&FilePath> {
    needed.iter().find(|path| is_gguf(path))
}

/// The GGUF file of the top folder, where there is one. That there are more is an error.
fn only_gguf(paths: &[FilePath]) -> Result<Option<&FilePath>, NotAModel> {
    let all = paths.iter().filter(|path| is_gguf(path) && is_top(path));
    let (parts, whole): (Vec<&FilePath>, Vec<&FilePath>) = all.partition(|path| is_part(path));
    match (&parts[..], &whole[..]) {
        ([], []) => Ok(None),
        ([], [only]) => Ok(Some(only)),
        ([part, ..], []) => Err(NotAModel::Part((*part).clone())),
        _ => Err(NotAModel::Several(whole.into_iter().cloned().collect())),
    }
}

/// A GGUF file, and what a worker reads in the place of the words in it. Its configuration is its own.
fn with_words(paths: &[FilePath], gguf: &FilePath) -> Vec<FilePath> {
    const WORDS: [&str; 4] = [
        "chat_template.jinja",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    let needed = |path: &&FilePath| *path == gguf || WORDS.contains(&path.as_str());
    paths.iter().filter(needed).cloned().collect()
}

/// At most three GGUF files, those with the most similar names first.
fn near(paths: &[FilePath], file: &FilePath) -> Vec<FilePath> {
    let likeness = |path: &FilePath| {
        let [path, file] = [path, file].map(|path| path.as_str().to_lowercase());
        strsim::sorensen_dice(&path, &file)
    };
    let all = paths.iter().filter(|path| is_gguf(path) && !is_part(path));
    let mut all: Vec<&FilePath> = all.filter(|path| is_top(path)).collect();
    all.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    all.into_iter().take(3).cloned().collect()
}

fn ends(path: &FilePath, end: &str) -> bool {
    path.as_str().ends_with(end)
}

fn is_top(path: &FilePath) -> bool {
    !path.as_str().contains('/')
}

fn is_gguf(path: &FilePath) -> bool {
    ends(path, ".gguf")
}

/// Whether llama.cpp would call a part of a model so: `-00001-of-00003.gguf`.
fn is_part(path: &FilePath) -> bool {
    let name = path.as_str().strip_suffix(".gguf");
    let Some((rest, of)) = name.and_then(|name| name.rsplit_once("-of-")) else {
        return false;
    };
    let Some((_, number)) = rest.rsplit_once('-') else {
        return false;
    };
    let five_digits = |text: &str| text.len() == 5 && text.bytes().all(|it| it.is_ascii_digit());
    five_digits(number) && five_digits(of) && of != "00001"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<FilePath> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn only_what_a_worker_reads_is_needed() {
        let all = paths(&[
            "README.md",
            "config.json",
            "model.safetensors",
            "onnx/model.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
        ]);
        let needed = needed_files(&all).unwrap();
        assert_eq!(
            needed,
            paths(&["config.json", "model.safetensors", "tokenizer.json"])
        );
        // Of two forms of the weights the one that a worker opens.
        let mut both = all;
        both.extend(paths(&[INDEX, "model-00001-of-00002.safetensors"]));
        assert_eq!(needed_files(&both).unwrap(), needed);
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |names: &[&str]| needed_files(&paths(names)).unwrap_err().to_string();
        assert_eq!(
            missing(&["config.json", "model.safetensors"]),
            "there is no tokenizer.json"
        );
        assert_eq!(
            missing(&["config.json", "tokenizer.json"]),
            "there is no *.safetensors and no *.gguf"
        );
        assert!(
            missing(&["config.json", "tokenizer.json", "pytorch_model.bin"]).contains("pickles")
        );
    }

    #[test]
    fn one_gguf_file_is_a_model_with_the_words_beside_it() {
        let needed = |names: &[&str]| needed_files(&paths(names)).unwrap();
        let alone = [
            "README.md",
            "config.json",
            "m.gguf",
            "pytorch_model.bin",
            "sub/n.gguf",
        ];
        assert_eq!(needed(&alone), paths(&["m.gguf"]));
        let words = ["chat_template.jinja", "m.gguf", "tokenizer.json"];
        assert_eq!(needed(&words), paths(&words));
        assert_eq!(needed(&["m-00001-of-00001.gguf"]).len(), 1);
        let both = ["config.json", "m.gguf", SINGLE, "tokenizer.json"];
        assert_eq!(
            needed(&both),
            paths(&["config.json", SINGLE, "tokenizer.json"])
        );
        assert_eq!(gguf_file(&needed(&words)), Some(&words[1].parse().unwrap()));
        assert_eq!(gguf_file(&needed(&both)), None);
    }

    #[test]
    fn of_several_gguf_files_one_is_named() {
        let refusal = |names: &[&str]| needed_files(&paths(names)).unwrap_err().to_string();
        assert_eq!(
            refusal(&[
                "a.gguf",
                "b.gguf",
                "c-00001-of-00002.gguf",
                "c-00002-of-00002.gguf"
            ]),
            "there are several GGUF files (a.gguf, b.gguf); name one: hf:ORG/REPO::FILE, or the path of the file"
        );
        let part = refusal(&["c-00001-of-00002.gguf"]);
        assert!(
            part.starts_with("c-00001-of-00002.gguf is a part"),
            "{part}"
        );
        assert_eq!(refusal(&["sub/a.gguf"]), "there is no config.json");
    }

    #[test]
    fn a_named_file_is_a_whole_gguf_file_of_the_top_folder() {
        let all = paths(&[
            "model.safetensors",
            "pytorch_model.bin",
            "sub/x.Q4_0.gguf",
            "x-00001-of-00002.gguf",
            "x.Q2_K.gguf",
            "x.Q4_K_M.gguf",
            "x.Q5_K_M.gguf",
            "x.Q8_0.gguf",
        ]);
        let of = |file: &str| needed_file(&all, &file.parse().unwrap());
        assert_eq!(of("x.Q8_0.gguf"), Ok(paths(&["x.Q8_0.gguf"])));
        for (file, reason) in [
            ("model.safetensors", "without the file"),
            ("pytorch_model.bin", "only a GGUF"),
            ("sub/x.Q4_0.gguf", "top folder"),
            ("x-00001-of-00002.gguf", "llama-gguf-split --merge"),
            ("q5_k_m.gguf", "; there is x.Q5_K_M.gguf, x.Q4_K_M.gguf, "),
        ] {
            let error = of(file).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains(reason), "{error}");
        }
        let none = needed_file(&[], &"a.gguf".parse().unwrap()).unwrap_err();
        assert_eq!(
            none.to_string(),
            "there is no a.gguf, nor any other GGUF file"
        );
    }
}
