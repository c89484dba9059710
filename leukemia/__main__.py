"""``python -m leukemia``: the verbs, one line each; ``python -m leukemia train ...`` runs one."""

import sys
from importlib import import_module
from importlib.util import find_spec

import yaml

from leukemia import __version__
from leukemia.settings.options import CONF, VERBS


def main() -> None:
    """List the verbs, or run the one that is named."""
    verb, *rest = sys.argv[1:] or ["--help"]
    if verb in VERBS:
        sys.argv[:] = [f"leukemia.{verb}", *rest]
        import_module(module_of(verb)).main()
    elif verb == "--version":
        print(f"leukemia {__version__}")
    elif verb in ("-h", "--help", "help"):
        print("Experiments on blood-smear images. Research software, no diagnosis.\n")
        for name in VERBS:
            print(f"  python -m leukemia.{name:<9} {_said(name)}")
        print("\nEach takes settings as key=value, and --help.")
    else:
        print(
            f"leukemia: Expected one of {', '.join(VERBS)}, but got '{verb}': "
            f"python -m leukemia lists them.",
            file=sys.stderr,
        )
        sys.exit(2)


def module_of(verb: str) -> str:
    """Return the module that runs a verb: of those with a room of their own it is ``__main__``."""
    found = find_spec(f"leukemia.{verb}")
    inside = found is not None and found.submodule_search_locations is not None
    return f"leukemia.{verb}.__main__" if inside else f"leukemia.{verb}"


def _said(verb: str) -> str:
    settings = yaml.safe_load((CONF / f"{verb}.yaml").read_text(encoding="utf-8"))
    return str(settings["hydra"]["help"]["template"]).partition("\n")[0].split(". ")[0]


if __name__ == "__main__":
    main()
