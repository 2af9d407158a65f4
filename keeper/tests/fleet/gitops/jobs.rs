//! What runs a team's jobs: the steps as the shipped workflow and pipeline say them, each job in a clone of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::team::{Team, git, yaml};
use crate::fleet::Ran;

type Env = BTreeMap<String, String>;

fn env<const N: usize>(of: [(&str, &str); N]) -> Env {
    of.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

impl Team {
    /// One line after the other until one fails, on a machine with no rbee and nobody's home.
    fn shell(&self, script: &str, folder: &Path, env: &Env) -> Ran {
        let mut bash = Command::new("bash");
        bash.args(["-e", "-o", "pipefail", "-c", script]);
        bash.current_dir(folder).env_clear();
        bash.env("PATH", std::env::var_os("PATH").unwrap());
        bash.env("HOME", self.desk.path("nobody"));
        bash.envs(self.of_the_hub()).envs(env);
        bash.output().unwrap().into()
    }

    /// The job of a workflow for one environment: of main, or of the pull request of a branch.
    #[track_caller]
    pub fn github(&self, workflow: &str, environment: &str, branch: Option<&str>) -> Ran {
        let file = self.desk.path("mine/.github/workflows");
        let job = &yaml(&file.join(format!("{workflow}.yml")))["jobs"][workflow];
        let matrix = job["strategy"]["matrix"]["environment"].as_array().unwrap();
        assert!(matrix.contains(&environment.into()), "{matrix:?}");
        let folder = self.clone();
        if let Some(branch) = branch {
            // As refs/pull/NUMBER/merge is.
            let branch = format!("origin/{branch}");
            git(&folder, &["merge", "-q", "--no-ff", "-m", "merge", &branch]);
        }
        let (outputs, summary) = (
            folder.with_extension("output"),
            folder.with_extension("summary"),
        );
        let reference = branch.map_or("refs/heads/main", |_| "refs/pull/3/merge");
        let its = env([
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_API_URL", &self.url),
            ("GITHUB_REPOSITORY", "us/fleet"),
            ("GITHUB_REF", reference),
            ("GITHUB_OUTPUT", outputs.to_str().unwrap()),
            ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap()),
        ]);
        let mut all = Ran {
            code: 0,
            out: String::new(),
            err: String::new(),
        };
        for step in job["steps"].as_array().unwrap() {
            let tree = fs::read_to_string(&outputs).unwrap_or_default();
            let tree = tree.trim().trim_start_matches("tree=");
            let fill = |text: &Value| self.fill(text.as_str().unwrap(), environment, tree);
            let condition = step["if"].as_str().unwrap_or_default();
            let goes_on = all.code == 0 || condition.contains("!cancelled()");
            let has_tree = !tree.is_empty() || !condition.contains("outputs.tree != ''");
            let is_for_it = branch.is_some() || !condition.contains("== 'pull_request'");
            if !(goes_on && has_tree && is_for_it) {
                continue;
            }
            match step["uses"]
                .as_str()
                .and_then(|uses| uses.split('@').next())
            {
                // The clone is there; nothing is cached yet.
                Some("actions/checkout" | "actions/cache") => {}
                Some("actions/upload-artifact") => {
                    assert_eq!(step["with"]["path"], "plans/*.plan");
                    self.upload(&fill(&step["with"]["name"]), &folder.join("plans"), false);
                }
                Some(action) => panic!("{action} is unknown here"),
                None => {
                    let of = [&job["env"], &step["env"]].into_iter();
                    let of = of.filter_map(Value::as_object).flatten();
                    let mut its = its.clone();
                    its.extend(of.map(|(name, text)| (name.clone(), fill(text))));
                    let ran = self.shell(step["run"].as_str().unwrap(), &folder, &its);
                    all.out += &ran.out;
                    all.err += &ran.err;
                    all.code = if all.code == 0 { ran.code } else { all.code };
                }
            }
        }
        all
    }

    /// A text of a workflow, with the values of its expressions.
    fn fill(&self, text: &str, environment: &str, tree: &str) -> String {
        let Some((before, rest)) = text.split_once("${{ ") else {
            return text.to_owned();
        };
        let (expression, after) = rest.split_once(" }}").unwrap();
        let value = match expression {
            "matrix.environment" => environment.to_owned(),
            "steps.plan.outputs.tree" => tree.to_owned(),
            "github.token" => "hub-token".to_owned(),
            "secrets.RBEE_SSH_KEY" => {
                let key = fs::read_to_string(self.desk.lab.path("id")).unwrap();
                key.trim_end().to_owned()
            }
            // As one that nobody set.
            "secrets.HF_TOKEN" => String::new(),
            other => panic!("{other} is unknown here"),
        };
        format!("{before}{value}{}", self.fill(after, environment, tree))
    }

    /// Keeps the plans of a folder as an artifact, of this repository or of a fork.
    pub fn upload(&self, name: &str, plans: &Path, fork: bool) {
        for entry in fs::read_dir(plans).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "plan") {
                let file = path.file_name().unwrap().to_str().unwrap();
                let to = format!("/artifacts/{name}/{file}?fork={}", u8::from(fork));
                let data = format!("@{}", path.display());
                self.forge(&["-X", "PUT", "--data-binary", &data], &to);
            }
        }
    }

    /// The job of the pipeline for one environment: of main, or of the merge request of a branch.
    #[track_caller]
    pub fn gitlab(&self, name: &str, environment: &str, branch: Option<&str>) -> Ran {
        let file = yaml(&self.desk.path("mine/.gitlab-ci.yml"));
        let job = &file[name];
        let script = match &job["script"] {
            Value::Null => &file[job["extends"].as_str().unwrap()]["script"],
            script => script,
        };
        let lines = [&file["default"]["before_script"], script].into_iter();
        let lines = lines.flat_map(|lines| lines.as_array().unwrap());
        let lines: Vec<&str> = lines.map(|line| line.as_str().unwrap()).collect();
        let key = self.desk.lab.path("id");
        let mut its = env([
            ("CI_API_V4_URL", &self.url),
            ("CI_PROJECT_ID", "7"),
            ("CI_JOB_TOKEN", "job-token"),
            ("GITLAB_TOKEN", "lab-token"),
            ("RBEE_SSH_KEY_FILE", key.to_str().unwrap()),
            ("ENVIRONMENT", environment),
        ]);
        let folder = self.clone();
        if let Some(branch) = branch {
            its.extend(env([("CI_MERGE_REQUEST_IID", "3")]));
            let branch = format!("origin/{branch}");
            git(&folder, &["checkout", "-q", "--detach", &branch]);
        }
        self.shell(&lines.join("\n"), &folder, &its)
    }
}
