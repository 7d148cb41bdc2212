# SPDX-License-Identifier: Apache-2.0
"""The pages say what the code does: README, links, commands, parameters, rejections."""

import importlib
import importlib.util
import re
import shlex
import sys

import pytest

from g2s_localizer.estimator.estimate import Rejection

CODE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_RUN = "# not run here"


def pages(repository):
    found = [*repository.glob("*.md"), *repository.glob("docs/**/*.md")]
    card = repository / "g2s_localizer" / "model" / "checkpoints" / "README.md"
    return sorted([*found, repository / "training" / "README.md", card])


def commands(text):
    """Yield the words of each command in the code blocks of a page that are not marked."""
    for kind, block in CODE.findall(text):
        if kind in ("", "bash") and NOT_RUN not in block:
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith(("g2s-", "python -m ", "torchrun ")):
                    yield shlex.split(line.partition(" && ")[0], comments=True)


def module_of(words, repository):
    """The module whose main is the command, and its arguments."""
    if words[0].startswith("g2s-"):
        scripts = dict(
            re.findall(r'"(g2s-[\w-]+) = ([\w.]+):main"', (repository / "setup.py").read_text())
        )
        return scripts[words[0]], words[1:]
    at = words.index("-m")
    return words[at + 1], words[at + 2 :]


def test_the_readme_has_at_most_a_thousand_words(repository):
    assert len((repository / "README.md").read_text().split()) <= 1000


def test_the_first_screen_says_what_was_not_measured(repository):
    first = (repository / "README.md").read_text()[:1500].lower()
    assert "synthetic" in first and "not measured" in first


def test_every_link_of_the_pages_leads_to_a_file_and_heading(repository):
    broken = []
    for page in pages(repository):
        text = CODE.sub("", page.read_text())
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if "://" not in target and not (file.exists() and anchor in {"", *anchors(file)}):
                broken.append(f"{page.name}: {target}")
    assert not broken


def anchors(file):
    headings = (
        re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if file.suffix == ".md" else []
    )
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_every_option_of_a_command_in_the_pages_is_known_to_its_help(
    repository, capsys, monkeypatch
):
    unknown, helps = [], {}
    for page in pages(repository):
        for words in commands(page.read_text()):
            module, arguments = module_of(words, repository)
            sub = arguments[:1] if words[0] == "g2s-tiles" else []
            key = (module, *sub)
            if key not in helps:
                helps[key] = help_of(module, sub, capsys, monkeypatch)
            options = [one.partition("=")[0] for one in arguments if re.match(r"--?[a-z]", one)]
            unknown += [f"{page.name}: {key} {one}" for one in options if one not in helps[key]]
    assert not unknown


def help_of(module, sub, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [module, *sub, "--help"])
    main = importlib.import_module(module).main
    try:
        ended = main()
    except SystemExit as one:
        ended = one.code
    assert ended == 0
    return capsys.readouterr().out


def test_files_of_the_repository_that_commands_name_exist(repository):
    named = re.compile(r"\b(?:config|training/configs|launch)/[\w/]+\.(?:yaml|py)\b")
    missing = {
        f"{page.name}: {file}"
        for page in pages(repository)
        if page.name not in ("CHANGELOG.md", "field_reports.md")
        for file in named.findall(page.read_text())
        if not (repository / file).is_file()
    }
    assert not missing


def test_the_page_of_the_node_has_the_table_of_parameters(repository):
    made = importlib.util.spec_from_file_location("parameters", repository / "docs/parameters.py")
    parameters = importlib.util.module_from_spec(made)
    made.loader.exec_module(parameters)
    page = (repository / "docs" / "node.md").read_text()
    assert parameters.with_table(page) == page, "run python docs/parameters.py"


def test_the_page_of_the_node_names_every_field_of_registration(repository):
    message = (repository / "msg" / "Registration.msg").read_text()
    fields = re.findall(r"^[\w/]+(?:\[\d*\])? (\w+)$", message, re.MULTILINE)
    page = (repository / "docs" / "node.md").read_text()
    assert len(fields) > 20 and not [one for one in fields if f"`{one}`" not in page]


@pytest.mark.parametrize("rejection", Rejection)
def test_every_rejection_is_explained_with_its_sentence(repository, rejection):
    page = (repository / "docs" / "troubleshooting.md").read_text()
    section = page.partition(f"\n### {rejection.name}\n")[2].partition("\n#")[0]
    assert f"*{rejection.value}*" in section and "heck" in section


def test_the_rejections_are_explained_in_the_order_of_the_message(repository):
    page = (repository / "docs" / "troubleshooting.md").read_text()
    names = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert names == [one.name for one in Rejection]


LAUNCH = re.compile(r"^ros2 launch g2s_localizer (\S+)((?:.*\\\n)*.*)$", re.MULTILINE)


def test_launch_files_and_arguments_of_the_pages_exist(repository):
    launch = {file.name: file.read_text() for file in (repository / "launch").glob("*.py")}
    launch["replay.launch.py"] += launch["localize.launch.py"]  # which it includes
    named = {
        (page.name, file, argument)
        for page in pages(repository)
        for file, rest in LAUNCH.findall(page.read_text())
        for argument in re.findall(r"(\w+):=", rest)
    }
    assert len(named) > 10
    assert not [one for one in named if f'"{one[2]}"' not in launch.get(one[1], "")]


def test_every_test_that_the_page_of_field_reports_names_is_there(repository):
    written = {
        name
        for file in (repository / "test").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), flags=re.MULTILINE)
    }
    page = (repository / "docs" / "field_reports.md").read_text()
    named = set(re.findall(r"::(test_\w+)", page))
    assert len(named) > 200 and not named - written
