"""Where inputs are kept: what to begin with, and what once failed."""

from pathlib import Path

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def folder_of(name):
    """Return the folder of a target's inputs, made when there is none."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def corpus_of(name):
    """List a target's inputs: its seeds, then the files kept, by name."""
    kept = sorted(path for path in folder_of(name).iterdir() if path.is_file())
    return [*TARGETS[name].seeds, *(path.read_bytes() for path in kept)]
