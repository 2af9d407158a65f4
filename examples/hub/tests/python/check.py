"""What `huggingface_hub` reads from a hub. The environment names the hub and two commits of acme/tiny."""

import hashlib
import os
import pathlib
import unittest

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

FIRST, SECOND, SHA256 = (os.environ[name] for name in ("FIRST", "SECOND", "SHA256"))
FILES = ["config.json", "empty.txt", "model.safetensors", "notes/deep/er.md", "notes/read me.md"]
FOLDERS = ["notes", "notes/deep"]


class Hub(unittest.TestCase):
    def setUp(self):
        self.api = HfApi(token=False)

    def test_a_snapshot_has_all_files(self):
        folder = pathlib.Path(snapshot_download("acme/tiny", token=False))
        self.assertEqual(folder.name, SECOND)
        found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        self.assertEqual(found, FILES)
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        self.assertEqual(digest, SHA256)
        self.assertEqual((folder / "model.safetensors").resolve().name, SHA256)
        self.assertEqual((folder / "config.json").read_text(), '{"next": true}')
        self.assertEqual((folder / "notes/read me.md").read_text(), "read me")

    def test_info_names_commit_and_files(self):
        info = self.api.model_info("acme/tiny", files_metadata=True)
        self.assertEqual((info.id, info.author, info.sha), ("acme/tiny", "acme", SECOND))
        self.assertEqual((info.private, info.gated), (False, False))
        self.assertEqual([file.rfilename for file in info.siblings], FILES)
        weights = info.siblings[2]
        self.assertEqual(weights.lfs.sha256, SHA256)
        self.assertEqual(weights.size, weights.lfs.size)
        self.assertEqual(self.api.model_info("acme/tiny", revision=FIRST).sha, FIRST)
        self.assertEqual(self.api.model_info("acme/gated").gated, "manual")

    def test_a_tree_is_listed_over_its_pages(self):
        for expand in (False, True):
            tree = list(self.api.list_repo_tree("acme/tiny", recursive=True, expand=expand))
            self.assertEqual([entry.path for entry in tree], FOLDERS + FILES)
        weights = tree[4]
        self.assertEqual((weights.lfs.sha256, weights.lfs.pointer_size), (SHA256, 132))
        self.assertEqual(weights.last_commit["oid"], SECOND)
        self.assertTrue(weights.security["safe"])
        notes = self.api.list_repo_tree("acme/tiny", "notes", revision=FIRST)
        self.assertEqual([entry.path for entry in notes], ["notes/deep", "notes/read me.md"])

    def test_a_file_is_had_by_its_revision(self):
        for revision, content in ((FIRST, "{}"), (SECOND, '{"next": true}'), ("main", '{"next": true}')):
            path = hf_hub_download("acme/tiny", "config.json", revision=revision, token=False)
            self.assertEqual(pathlib.Path(path).read_text(), content)

    def test_a_cut_download_is_taken_up(self):
        path = hf_hub_download("acme/large", "large.bin", token=False)
        digest = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
        self.assertEqual(pathlib.Path(path).resolve().name, digest)

    def test_a_gated_repository_wants_its_token(self):
        for token in (False, "stranger"):
            with self.assertRaises(GatedRepoError):
                hf_hub_download("acme/gated", "config.json", token=token)
            with self.assertRaises(GatedRepoError):
                snapshot_download("acme/gated", token=token)
        path = hf_hub_download("acme/gated", "config.json", token="friend")
        self.assertEqual(pathlib.Path(path).read_text(), "{}")

    def test_a_token_that_nobody_has_is_refused(self):
        with self.assertRaises(HfHubHTTPError) as raised:
            self.api.model_info("acme/tiny", token="guess")
        self.assertIn("Invalid credentials in Authorization header", str(raised.exception))
        self.assertNotIsInstance(raised.exception, RepositoryNotFoundError)

    def test_what_is_missing_is_told_apart(self):
        for repo in ("acme/none", "acme/private"):
            for token in (False, "stranger"):
                with self.assertRaises(RepositoryNotFoundError) as raised:
                    self.api.model_info(repo, token=token)
                self.assertNotIsInstance(raised.exception, GatedRepoError)
        self.assertTrue(self.api.model_info("acme/private", token="friend").private)
        with self.assertRaises(RevisionNotFoundError):
            self.api.model_info("acme/tiny", revision="v9")
        with self.assertRaises(RevisionNotFoundError):
            hf_hub_download("acme/tiny", "config.json", revision="v9", token=False)
        with self.assertRaises(EntryNotFoundError):
            hf_hub_download("acme/tiny", "nothing", token=False)
        with self.assertRaises(EntryNotFoundError):
            list(self.api.list_repo_tree("acme/tiny", "nothing"))


unittest.main()
