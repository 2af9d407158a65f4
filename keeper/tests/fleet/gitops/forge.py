"""What GitHub and GitLab answer to ci/forge.py: comments, artifacts, packages. Prints its address; ends with its stdin.

Besides, for the test: `POST /seed` adds comments of others, `PUT /artifacts/NAME?fork=0|1` takes the file of an artifact as
actions/upload-artifact would, `GET /comments` gives all comments. Lists have two rows a page, whatever is asked for.
"""

import io
import json
import re
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

comments, artifacts, packages = [], [], {}
HUB, LAB = "/repos/us/fleet", "/projects/7"


def comment(body, login, number):
    comments.append({"id": len(comments) + 1, "body": body, "user": {"login": login}, "author": {"id": number}})
    return comments[-1]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, code, value=None, **headers):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for name, text in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        shown = {
            "hub": self.headers.get("Authorization") == "Bearer hub-token",
            "lab": self.headers.get("PRIVATE-TOKEN") == "lab-token",
            "job": self.headers.get("JOB-TOKEN") == "job-token",
            "": True,
        }
        for method, pattern, token, act in ROUTES:
            found = re.fullmatch(pattern, url.path)
            if found and method == self.command:
                if not shown[token]:
                    return self.answer(401, {"message": "Unauthorized"})
                return act(self, query, body, *found.groups())
        return self.answer(404, {"message": f"no {self.command} {url.path}"})

    do_GET = do_POST = do_PUT = do_PATCH = handle_any

    def page(self, query, _body):
        first = (int(query["page"]) - 1) * 2
        self.answer(200, comments[first : first + 2])

    def say_hub(self, _query, body):
        self.answer(201, comment(json.loads(body)["body"], "github-actions[bot]", 0))

    def say_lab(self, _query, body):
        self.answer(201, comment(json.loads(body)["body"], "rbee", 5))

    def edit(self, _query, body, number):
        comments[int(number) - 1]["body"] = json.loads(body)["body"]
        self.answer(200, comments[int(number) - 1])

    def list_artifacts(self, query, _body):
        self.answer(200, {"artifacts": [one for one in artifacts if one["name"] == query["name"]]})

    def archive(self, _query, _body, number):
        self.answer(302, Location=f"/blobs/{number}")

    def blob(self, _query, _body, number):
        # So does the storage behind GitHub.
        if self.headers.get("Authorization"):
            return self.answer(400, {"message": "two ways to log in"})
        return self.answer(200, artifacts[int(number)]["content"].encode("latin-1"))

    def upload(self, query, body, name, file):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as files:
            files.writestr(file, body)
        number = len(artifacts)
        run = {"repository_id": 1, "head_repository_id": 1 + int(query["fork"])}
        made = f"2026-01-01T00:00:{number:02}Z"
        artifacts.insert(number, {"id": number, "name": name, "expired": False, "created_at": made})
        artifacts[number] |= {"workflow_run": run, "content": archive.getvalue().decode("latin-1")}
        self.answer(201, {})

    def store(self, _query, body, *key):
        packages[key] = body
        self.answer(201, {})

    def load(self, _query, _body, *key):
        self.answer(*((200, packages[key]) if key in packages else (404, {"message": "404 Not found"})))

    def seed(self, _query, body):
        for text in json.loads(body):
            comment(text, "somebody", 9)
        self.answer(201, {})


PACKAGE = f"{LAB}/packages/generic/([\\w.-]+)/([\\w.-]+)/([\\w.-]+)"
ROUTES = [
    ("GET", f"{HUB}/issues/3/comments", "hub", Handler.page),
    ("POST", f"{HUB}/issues/3/comments", "hub", Handler.say_hub),
    ("PATCH", f"{HUB}/issues/comments/(\\d+)", "hub", Handler.edit),
    ("GET", f"{HUB}/actions/artifacts", "hub", Handler.list_artifacts),
    ("GET", f"{HUB}/actions/artifacts/(\\d+)/zip", "hub", Handler.archive),
    ("GET", "/blobs/(\\d+)", "", Handler.blob),
    ("GET", "/user", "lab", lambda self, *_: self.answer(200, {"id": 5})),
    ("GET", f"{LAB}/merge_requests/3/notes", "lab", Handler.page),
    ("POST", f"{LAB}/merge_requests/3/notes", "lab", Handler.say_lab),
    ("PUT", f"{LAB}/merge_requests/3/notes/(\\d+)", "lab", Handler.edit),
    ("PUT", PACKAGE, "job", Handler.store),
    ("GET", PACKAGE, "job", Handler.load),
    ("PUT", "/artifacts/([\\w-]+)/([\\w.-]+)", "", Handler.upload),
    ("POST", "/seed", "", Handler.seed),
    ("GET", "/comments", "", lambda self, *_: self.answer(200, comments)),
]
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_port}", flush=True)
sys.stdin.read()
