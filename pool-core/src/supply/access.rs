//! Which hub is asked, and as whom: the settings of Python's `huggingface_hub`.

use std::path::{Path, PathBuf};

use super::{HubAccess, Secret};

impl HubAccess {
    /// As the environment and the token file say.
    pub fn from_env() -> Self {
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        access_of(|name| std::env::var(name).ok(), read)
    }
}

/// `HF_ENDPOINT`; `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else `token` in `HF_HOME`, which is a folder of the cache
/// where it is not set. `HF_HUB_DISABLE_IMPLICIT_TOKEN` leaves the files out.
fn access_of(
    env: impl Fn(&str) -> Option<String>,
    read: impl Fn(&Path) -> Option<String>,
) -> HubAccess {
    let env = |name| env(name).as_deref().and_then(word);
    let home = || {
        let cache = || {
            let own = env("XDG_CACHE_HOME").map(PathBuf::from);
            own.or_else(|| Some(Path::new(&env("HOME")?).join(".cache")))
        };
        let set = env("HF_HOME").map(PathBuf::from);
        set.or_else(|| Some(cache()?.join("huggingface")))
    };
    let from_file = || {
        let switch = env("HF_HUB_DISABLE_IMPLICIT_TOKEN").unwrap_or_default();
        if ["1", "ON", "YES", "TRUE"].contains(&switch.to_uppercase().as_str()) {
            return None;
        }
        let path = env("HF_TOKEN_PATH").map(PathBuf::from);
        let path = path.or_else(|| Some(home()?.join("token")))?;
        word(&read(&path)?)
    };
    HubAccess {
        endpoint: env("HF_ENDPOINT").map(|url| url.trim_end_matches('/').to_owned()),
        token: env("HF_TOKEN").or_else(from_file).map(Secret::new),
    }
}

/// The text without white space around it; nothing where nothing is left.
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The endpoint and the token with these variables and files.
    fn found(env: &[(&str, &str)], files: &[(&str, &str)]) -> (Option<String>, Option<String>) {
        let of = |pairs: &[(&str, &str)], key: &str| {
            let pair = pairs.iter().find(|(name, _)| *name == key);
            pair.map(|(_, value)| (*value).to_owned())
        };
        let access = access_of(
            |name| of(env, name),
            |path| of(files, path.to_str().unwrap()),
        );
        let token = access.token.map(|token| token.expose().to_owned());
        (access.endpoint, token)
    }

    type Env<'a> = [(&'a str, &'a str)];

    fn token(env: &[(&str, &str)], files: &[(&str, &str)]) -> Option<String> {
        found(env, files).1
    }

    #[test]
    fn the_token_is_that_of_the_environment_then_of_the_nearest_file() {
        let files = [
            ("/t", " of-path\n"),
            ("/hf/token", "of-home"),
            ("/me/.cache/huggingface/token", "of-cache\r\n"),
            ("/xdg/huggingface/token", "of-xdg"),
        ];
        let home = ("HOME", "/me");
        let cases: [(&Env, Option<&str>); 7] = [
            (
                &[home, ("HF_TOKEN", " of-env "), ("HF_TOKEN_PATH", "/t")],
                Some("of-env"),
            ),
            (
                &[
                    home,
                    ("HF_TOKEN", " "),
                    ("HF_TOKEN_PATH", "/t"),
                    ("HF_HOME", "/hf"),
                ],
                Some("of-path"),
            ),
            (&[home, ("HF_HOME", "/hf")], Some("of-home")),
            (&[home], Some("of-cache")),
            (&[home, ("XDG_CACHE_HOME", "/xdg")], Some("of-xdg")),
            (&[home, ("HF_TOKEN_PATH", "/nowhere")], None),
            (&[], None),
        ];
        for (env, wanted) in cases {
            assert_eq!(token(env, &files).as_deref(), wanted, "{env:?}");
        }
        assert_eq!(
            token(&[home], &[("/me/.cache/huggingface/token", " \n")]),
            None
        );
    }

    #[test]
    fn a_token_that_nobody_asked_for_can_be_left_out() {
        let files = [("/t", "of-path")];
        for (switch, wanted) in [
            ("1", None),
            ("true", None),
            ("0", Some("of-path")),
            ("", Some("of-path")),
        ] {
            let env = [
                ("HF_TOKEN_PATH", "/t"),
                ("HF_HUB_DISABLE_IMPLICIT_TOKEN", switch),
            ];
            assert_eq!(token(&env, &files).as_deref(), wanted, "{switch:?}");
            let named = [env[0], env[1], ("HF_TOKEN", "of-env")];
            assert_eq!(token(&named, &files).as_deref(), Some("of-env"));
        }
    }

    #[test]
    fn a_mirror_is_taken_without_its_last_slash() {
        let endpoint = |text: &str| found(&[("HF_ENDPOINT", text)], &[]).0;
        assert_eq!(
            endpoint("http://127.0.0.1:1/").as_deref(),
            Some("http://127.0.0.1:1")
        );
        assert_eq!(endpoint(""), None);
    }
}
