# SPDX-License-Identifier: Apache-2.0
"""Configurations: the shipped ones load, and what is wrong in one is named."""

import argparse
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from training.config import load_config, reseeded
from training.settings import add_config_arguments, config_words

CONFIGS = sorted((Path(__file__).parents[2] / "training" / "configs").glob("*.yaml"))
README = CONFIGS[0].parents[1] / "README.md"
LIFT = CONFIGS[0].parent / "synthetic_lift.yaml"
SYNTHETIC = next(file for file in CONFIGS if file.name == "synthetic.yaml")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_shipped_configuration_loads_and_writes_into_a_folder_of_its_own_name(file):
    name = file.stem.removeprefix("synthetic_") if file == LIFT else file.stem
    assert Path(load_config(file).out).name == name.replace("synthetic", "compact")


def test_another_seed_is_the_same_run_beside_the_first_one():
    config = load_config(SYNTHETIC)
    other = reseeded(config, 7)
    assert (other.seed, Path(other.out).name) == (7, Path(config.out).name + "_seed7")
    assert replace(other, seed=config.seed, out=config.out) == config == reseeded(config, None)


def test_there_are_at_most_ten_configurations():
    assert len([*CONFIGS[0].parent.rglob("*.yaml")]) <= 10


COMMANDS = re.findall(r"(?m)-m training\.train (--config [^`\n#\\]+)(` \|$)?", README.read_text())


def loaded(words):
    """The configuration that the words of a command name."""
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    given, _ = parser.parse_known_args(shlex.split(words))
    return load_config(README.parents[1] / given.config, given.set)


@pytest.mark.parametrize(("words", "end"), COMMANDS)
def test_every_command_of_the_page_has_a_configuration_that_loads(words, end):
    assert loaded(words).out


def test_no_two_lines_of_the_tables_write_into_one_place():
    outs = [loaded(words).out for words, end in COMMANDS if end]
    assert len(outs) > 20
    assert len(set(outs)) == len(outs)


def test_the_comparison_sees_as_many_pairs_of_the_same_worlds_as_the_paper_s_recipe():
    ours = load_config(LIFT, ["first.steps=1200", "second.steps=1100"])
    paper = load_config(CONFIGS[0].parent / "synthetic_paper.yaml")
    assert ours.data.simulated.drives == paper.data.simulated.drives
    worlds = sum(map(len, ours.data.simulated.drives.values()))
    seen = sum(stage.steps * stage.crops * stage.per_crop for stage in (ours.first, ours.second))
    assert seen == worlds * ours.data.simulated.frames * paper.translation.epochs


def test_what_extends_another_configuration_differs_in_what_it_says_alone():
    told, sought = (
        load_config(SYNTHETIC.with_name(f"vigor_same{end}.yaml")) for end in ("", "_180")
    )
    assert (sought.translation, sought.vgg16) == (told.translation, told.vgg16)
    assert sought.data.vigor.root == told.data.vigor.root
    assert (told.data.vigor.rotation_deg, sought.data.vigor.rotation_deg) == (0.0, 180.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 1", "sead: 1", "unknown key sead"),
        ("    rate:", "    rhate:", "unknown key data.simulated.rhate"),
        ("model: {}", "model: {gsd: -1}", "model: ModelConfig.gsd must be positive, got -1"),
        ("model: {}", "model: 3", "model must be a mapping, got 3"),
        ("model: {}", "model: {preset: lift}", "lift is trained by the recipe lift"),
        ("out: ", "init_from: ", "missing key out"),
        ("steps: 300", "steps: 0", "rotation: PairsStage.steps is out of range: 0"),
        ("steps: 300", "steps: many", "rotation.steps must be a whole number, got 'many'"),
        ("rate: 0.002", "rate: 2e-3", "must be a number, got '2e-3' .YAML reads 1e-4 as text"),
        ("steps: 300", "epochs: 1\n  steps: 300", "needs steps or epochs, not both"),
        ("[901]", "[1]", "drive 1 of easy is both trained on and held out"),
        ("  simulated:", "  kitti:", "unknown key data.kitti.folder"),
        ("recipe: paper", "recipe: other", "recipe must be one of paper, lift, got 'other'"),
        ("recipe: paper", "recipe: lift", "unknown key rotation"),
        ("out: out/training/compact", "out: a.safetensors", "out is a folder"),
        ("precision: bf16", "precision: int8", "PaperConfig.precision is out of range: 'int8'"),
    ],
)
def test_a_key_that_is_wrong_is_named_with_the_file(tmp_path, old, new, message):
    text = SYNTHETIC.read_text()
    assert old in text
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=f"broken.yaml: .*{message}"):
        load_config(broken)


@pytest.mark.parametrize(
    ("base", "model", "message"),
    [
        ("synthetic", "{ground_height: 100}", "ground_height must be divisible by 32.* take 96"),
        ("synthetic", "{ground_width: 500}", "ground_width must be divisible by 32.* take 512"),
        ("synthetic", "{crop_m: 100.0}", "crop_m 100 at gsd 0.25, in pixels must be .*400"),
        ("kitti_weak", "{ground_height: 250}", "ground_height must be divisible by 8"),
        ("kitti_weak", "{crop_m: 104.4, gsd: 0.2}", "crop_m 104.4 at gsd 0.2.* got 522"),
        ("kitti_weak", "{crop_m: 104.0, gsd: 0.2}", "130 cells of 0.8 m.* crop_m of 102.4"),
    ],
)
def test_a_size_that_no_extractor_takes_is_refused_when_the_configuration_is_read(
    tmp_path, base, model, message
):
    text = (CONFIGS[0].parent / f"{base}.yaml").read_text().replace("model:", "before:", 1)
    kept = [line for line in text.splitlines() if not line.startswith("before:")]
    preset = "preset: paper-kitti, " if base == "kitti_weak" else ""
    (tmp_path / "run.yaml").write_text("\n".join([*kept, f"model: {{{preset}{model[1:]}"]))
    with pytest.raises(ValueError, match=f"run.yaml: .*{message}"):
        load_config(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    "file",
    [f for f in CONFIGS if not f.stem.startswith("synthetic") and "lift" not in f.stem],
    ids=lambda file: file.stem,
)
def test_the_paper_s_configurations_of_real_data_take_the_precision_of_the_machine(file):
    assert load_config(file).precision == "auto"


VIGOR_ALIGNED = CONFIGS[0].parent / "vigor_same.yaml"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("data: {vigor: {rotation_deg: 180}}", "heading is unknown, but the network looks for it"),
        (
            "data: {vigor: {rotation_deg: 90}}\nmodel: {yaw_range_deg: 45}",
            "within yaw_range_deg 45",
        ),
        ("data: {vigor: {rotation_deg: 180, heading: no}}", "heading must be text, got False"),
        ("data: {vigor: {heading: guessed}}", "VigorConfig.heading is out of range: 'guessed'"),
        ("rotation: {steps: 1, batch: 2, learning_rate: 0.1}", "no rotation to train with a model"),
    ],
)
def test_a_heading_that_nobody_tells_and_the_network_does_not_seek_is_refused(
    tmp_path, changes, message
):
    (tmp_path / "vigor_same.yaml").write_text(VIGOR_ALIGNED.read_text())
    (tmp_path / "run.yaml").write_text(f"extends: vigor_same.yaml\n{changes}\n")
    with pytest.raises(ValueError, match=f"run.yaml: .*{message}"):
        load_config(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    "changes",
    [
        "data: {vigor: {rotation_deg: 180, heading: known}}",
        "data: {vigor: {rotation_deg: 180, heading: unknown}}\nmodel: {yaw_range_deg: 180}\n"
        "rotation: {steps: 1, batch: 2, learning_rate: 0.1}",
    ],
)
def test_a_rolled_panorama_s_heading_is_told_or_sought(tmp_path, changes):
    (tmp_path / "vigor_same.yaml").write_text(VIGOR_ALIGNED.read_text())
    (tmp_path / "run.yaml").write_text(f"extends: vigor_same.yaml\n{changes}\n")
    assert load_config(tmp_path / "run.yaml").data.vigor.rotation_deg == 180


def test_data_come_from_exactly_one_source(tmp_path):
    file = tmp_path / "none.yaml"
    file.write_text("out: a\ndata: {share: 0.5}\n")
    with pytest.raises(ValueError, match="none.yaml: data: needs exactly one of simulated, kitti"):
        load_config(file)


def test_a_setting_says_what_the_file_would_say(tmp_path):
    texts = ["translation.loss.weak=0", "translation.loss.supervised=1", "vgg16=", "out=out/a=b"]
    texts += ["rotation={steps: 3, epochs: null}", "data.kitti.split=x.txt", "model.share=false"]
    given = load_config(SYNTHETIC.with_name("kitti_weak.yaml"), texts)
    file = tmp_path / "run.yaml"
    file.write_text(
        "extends: kitti_weak.yaml\nout: out/a=b\nvgg16: ''\ndata: {kitti: {split: x.txt}}\n"
        "model: {share: false}\nrotation: {steps: 3, epochs: null}\n"
        "translation: {loss: {weak: 0, supervised: 1}}\n"
    )
    (tmp_path / "kitti_weak.yaml").write_text(SYNTHETIC.with_name("kitti_weak.yaml").read_text())
    assert given == load_config(file)


def test_a_setting_may_begin_a_part_that_the_file_leaves_out_and_the_last_one_holds():
    texts = ["first.steps=7", "first.crops=2", "first.per_crop=2", "first.crop_m=96.0"]
    texts += ["first.learning_rate=0.1", "seed=3", "seed=4"]
    config = load_config(LIFT.with_name("bags_lift.yaml"), texts)
    assert (config.first.steps, config.first.crops, config.seed) == (7, 2, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sead=1", "unknown key sead"),
        ("data.simulated.rhate=1", "unknown key data.simulated.rhate"),
        ("translation.loss.weak=-1", "LossConfig.weak is out of range: -1"),
        ("rotation.steps=many", "rotation.steps must be a whole number, got 'many'"),
        ("rotation.learning_rate=1e-4", "YAML reads 1e-4 as text: write 1.0e-4"),
        ("rotation.epochs=1", "needs steps or epochs, not both"),
        ("model.gsd=-1", "model: ModelConfig.gsd must be positive, got -1"),
        ("seed.high=1", "seed is 1, which has no keys"),
        ("rotation=", "rotation must be a mapping, got ''"),
        ("extends=kitti_weak.yaml", "unknown key extends"),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_the_file(text, message):
    with pytest.raises(ValueError, match=f"synthetic.yaml with {text}: .*{message}"):
        load_config(SYNTHETIC, [text])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels=guessed", "labels must be one of uniform, gaussian, exact, got 'guessed'"),
        ("independent=0.0", "LiftConfig.independent is out of range: 0.0"),
        (
            "data={simulated: null, vigor: {root: VIGOR, area: same}}",
            "single panoramas, and no odometry",
        ),
        ("device=cuda:1", "LiftConfig.device is out of range: 'cuda:1'"),
        ("fuse_every=0", "LiftConfig.fuse_every is out of range: 0"),
        ("surprise=1", "unknown key surprise"),
        ("second.crop_m=50.0", "crop_m must lie between 56.0"),
        ("second.crop_m=66.0", "is 176 pixels a side, not divisible by 32"),
        ("second.crops=0", "second: CropsStage.crops is out of range: 0"),
        ("first={steps: 0}", "first: CropsStage.steps is out of range: 0"),
        ("model.preset=compact", "the recipe lift trains the preset lift, not compact"),
    ],
)
def test_what_our_recipe_cannot_do_is_refused_by_name(text, message):
    with pytest.raises(ValueError, match=message):
        load_config(LIFT, [text])


@pytest.mark.parametrize("recipe", [SYNTHETIC, LIFT], ids=["paper", "lift"])
def test_a_run_without_a_stage_is_refused(recipe):
    names = ("first", "second") if recipe == LIFT else ("rotation", "translation")
    with pytest.raises(ValueError, match=f"needs at least one stage: {' or '.join(names)}"):
        load_config(recipe, [f"{name}=null" for name in names])


@pytest.mark.parametrize("text", ["seed", "=1", "model..gsd=1", ".seed=1", "seed.=1", "out=[1", ""])
def test_a_setting_that_is_no_key_and_value_is_refused(text):
    with pytest.raises(ValueError, match="--set"):
        load_config(SYNTHETIC, [text])


def test_an_alias_bomb_in_a_setting_is_refused():
    parts = ["&a0 [x, x, x, x, x, x, x, x, x, x]"]
    parts += [f"&a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(ValueError, match="--set out=.* unfolds to more than"):
        load_config(SYNTHETIC, [f"out=[{', '.join(parts)}]"])


def test_the_words_of_a_command_are_those_that_it_was_given():
    words = [
        "--config",
        "a b.yaml",
        "--set",
        "rotation={epochs: 3}",
        "--set",
        "out=x",
        "--seed",
        "2",
    ]
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    assert shlex.split(config_words(parser.parse_args(words))) == words


def test_configurations_that_extend_each_other_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: ../" + tmp_path.name + "/a.yaml\n")
    with pytest.raises(ValueError, match="b.yaml: extends itself .a.yaml -> b.yaml"):
        load_config(tmp_path / "a.yaml")


def test_an_alias_bomb_in_a_configuration_is_refused_by_the_file_that_holds_it(tmp_path):
    parts = ["&a0 [x, x, x, x, x, x, x, x, x, x]"]
    parts += [f"&a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    (tmp_path / "bomb.yaml").write_text(f"out: [{', '.join(parts)}]\n")
    (tmp_path / "p.yaml").write_text("extends: bomb.yaml\n")
    with pytest.raises(ValueError, match="bomb.yaml .* unfolds to more than"):
        load_config(tmp_path / "p.yaml")


def test_a_configuration_that_extends_itself_is_refused(tmp_path):
    file = tmp_path / "circle.yaml"
    file.write_text("extends: circle.yaml\n")
    with pytest.raises(ValueError, match="circle.yaml: extends itself"):
        load_config(file)
