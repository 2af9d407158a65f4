#!/usr/bin/env python3
"""What the scripts need of GitHub or GitLab.

forge.py comment ENVIRONMENT   plans/ENVIRONMENT.md on the pull request: the comment of before is edited
forge.py store ENVIRONMENT     keeps the plan (GitLab; on GitHub, actions/upload-artifact does)
forge.py fetch ENVIRONMENT     brings the plan of the checked out commit; apply.sh says so where there is none
"""

import argparse
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen


class Api:
    """JSON over HTTPS, with a token that no redirect takes elsewhere."""

    def __init__(self, root, **headers):
        self.root, self.headers = root, headers

    def call(self, method, path, data=None, absent=False):
        """The answer; with `absent`, none where there is nothing under that path."""
        request = Request(self.root + path, data=data, method=method)
        for name, value in self.headers.items():
            request.add_unredirected_header(name.replace("_", "-"), value)
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.read()
        except HTTPError as error:
            if error.code == 404 and absent:
                return None
            sys.exit(f"error: {method} {path}: {error.code} {error.reason}: {error.read(500)!r}")
        except URLError as error:
            sys.exit(f"error: {method} {self.root + path}: {error.reason}")

    def json(self, method, path, value=None):
        data = None if value is None else json.dumps(value).encode()
        return json.loads(self.call(method, path, data) or b"null")

    def pages(self, path):
        """Everything of a list, 100 at a time."""
        page = 1
        while rows := self.json("GET", f"{path}?per_page=100&page={page}"):
            yield from rows
            page += 1


class GitHub:
    def __init__(self):
        self.repository = f"/repos/{os.environ['GITHUB_REPOSITORY']}"
        self.api = Api(
            os.environ["GITHUB_API_URL"],
            Authorization=f"Bearer {os.environ['GITHUB_TOKEN']}",
            Accept="application/vnd.github+json",
            Content_Type="application/json",
        )

    def comment(self, marker, body):
        # refs/pull/NUMBER/merge
        number = os.environ["GITHUB_REF"].split("/")[2]
        comments = f"{self.repository}/issues/{number}/comments"
        for one in self.api.pages(comments):
            if one["body"].startswith(marker) and one["user"]["login"] == "github-actions[bot]":
                path = f"{self.repository}/issues/comments/{one['id']}"
                return self.api.json("PATCH", path, {"body": body})
        return self.api.json("POST", comments, {"body": body})

    def fetch(self, environment, tree):
        artifacts = f"{self.repository}/actions/artifacts"
        found = self.api.json("GET", f"{artifacts}?name=plan-{environment}-{tree}&per_page=100")
        mine = [one for one in found["artifacts"] if not one["expired"] and of_no_fork(one["workflow_run"])]
        if not mine:
            return None
        newest = max(mine, key=lambda one: one["created_at"])
        archive = self.api.call("GET", f"{artifacts}/{newest['id']}/zip")
        return zipfile.ZipFile(io.BytesIO(archive)).read(f"{environment}-{tree}.plan")


def of_no_fork(run):
    """A fork's own workflow may call its artifacts as it likes."""
    return run["head_repository_id"] == run["repository_id"]


class GitLab:
    def __init__(self):
        self.project = f"/projects/{os.environ['CI_PROJECT_ID']}"

    def api(self, **headers):
        return Api(os.environ["CI_API_V4_URL"], **headers)

    def comment(self, marker, body):
        api = self.api(PRIVATE_TOKEN=os.environ["GITLAB_TOKEN"], Content_Type="application/json")
        me = api.json("GET", "/user")["id"]
        notes = f"{self.project}/merge_requests/{os.environ['CI_MERGE_REQUEST_IID']}/notes"
        for one in api.pages(notes):
            if one["body"].startswith(marker) and one["author"]["id"] == me:
                return api.json("PUT", f"{notes}/{one['id']}", {"body": body})
        return api.json("POST", notes, {"body": body})

    def package(self, environment, tree):
        return f"{self.project}/packages/generic/rbee-plan-{environment}/{tree}/{environment}-{tree}.plan"

    def store(self, environment, tree, plan):
        api = self.api(JOB_TOKEN=os.environ["CI_JOB_TOKEN"], Content_Type="application/octet-stream")
        api.call("PUT", self.package(environment, tree), plan)

    def fetch(self, environment, tree):
        api = self.api(JOB_TOKEN=os.environ["CI_JOB_TOKEN"])
        return api.call("GET", self.package(environment, tree), absent=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=["comment", "store", "fetch"])
    parser.add_argument("environment")
    command, environment = vars(parser.parse_args()).values()
    os.chdir(Path(__file__).resolve().parent.parent)
    forge = GitHub() if os.environ.get("GITHUB_ACTIONS") else GitLab()
    tree = subprocess.check_output(["git", "rev-parse", "HEAD^{tree}"], text=True).strip()
    plan = Path("plans", f"{environment}-{tree}.plan")
    if command == "comment":
        body = Path("plans", f"{environment}.md").read_text()
        forge.comment(body.splitlines()[0], body)
    elif command == "store":
        if plan.exists():
            forge.store(environment, tree, plan.read_bytes())
    elif content := forge.fetch(environment, tree):
        plan.parent.mkdir(exist_ok=True)
        plan.write_bytes(content)


main()
