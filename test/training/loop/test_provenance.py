# SPDX-License-Identifier: Apache-2.0
"""A checkpoint says which code made it."""

import subprocess

from training.loop.provenance import commit


def git(folder, *arguments):
    names = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", folder, *names, *arguments], capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_code_and_changed_code_is_said(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert len(head) == 40 and commit(tmp_path) == head
    (tmp_path / "notes").write_text("not code\n")
    assert commit(tmp_path) == head
    (tmp_path / "code.py").write_text("2\n")
    assert commit(tmp_path) == f"{head}, changed"


def test_code_in_no_repository_is_of_an_unknown_commit(tmp_path, monkeypatch):
    assert commit(tmp_path) == "unknown"
    monkeypatch.setenv("PATH", "")
    assert commit(tmp_path) == "unknown"
