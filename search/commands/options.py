"""Flags and loading that the search commands share."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from toolprm_jax import model
from toolprm_jax.cache import keep_programs
from toolprm_jax.command import Parser, add_format, whole_number
from toolprm_jax.model import files
from toolprm_jax.tokens import TEMPLATES

from .. import host
from ..core import GUIDED, METHODS
from ..core import MOST_TOKENS as MOST_TOKENS

MOST_ROWS = 1 << 16  # as for `MOST_TOKENS`


def add_records(parser: Parser, required: bool = True) -> None:
    """Adds --records, --format and --limit."""
    parser.add_argument("--records", required=required, help="file of queries with their tools")
    add_format(parser)
    parser.add_argument("--limit", type=whole_number(1), help="take only the first so many records")


ANSWERING = ("num_beams", "beam_width", "temperature", "schema", "aggregate", "beta", "max_tokens")


def add_pair(parser: Parser) -> None:
    """Adds --policy, --prm, --template and --method, the embedded pair's by default."""
    parser.add_argument("--policy", default="embedded:policy", help="a model: see README")
    parser.add_argument("--prm", default="embedded:prm", help="its reward model")
    parser.add_argument("--template", choices=TEMPLATES, help="of a policy without a contract")
    parser.add_argument("--method", choices=METHODS, default="fine_grained", help="how to search")


def load_searcher(args: argparse.Namespace, **options: Any) -> host.Searcher:
    """A searcher by --policy, --prm, --method, --template and the flags of `add_devices`.

    Args:
      args: of a command with these.
      **options: fields of `SearchConfig`.

    Raises:
      DataError: there is no such model, or the two don't go together.
    """
    return host.Searcher.load(
        args.policy,
        args.prm if args.method in GUIDED else None,
        method=args.method,
        template=args.template,
        dtype=args.dtype,
        tensor=args.tensor,
        compilation_cache=args.compilation_cache,
        **options,
    )


def add_devices(parser: Parser) -> None:
    """Adds --tensor, --dtype and --compilation-cache."""
    parser.add_argument(
        "--tensor",
        type=whole_number(1),
        default=1,
        help="devices that share a model; queries are spread over the others",
    )
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        help="of weights and caches (default: float32 on a CPU, else bfloat16)",
    )
    parser.add_argument(
        "--compilation-cache",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep compiled programs, in JAX_COMPILATION_CACHE_DIR or the user's cache folder",
    )


def load_spread(
    name: str, args: argparse.Namespace, template: str | None = None
) -> files.LoadedModel:
    """Loads a model onto the devices that a search with these arguments uses.

    Args:
      name: as for `load`.
      args: of a command with `add_devices` and --batch_size.
      template: as for `load`.

    Raises:
      DataError: there is no such model, or there are fewer devices than --tensor.
    """
    if args.compilation_cache:
        keep_programs()
    mesh = host.search_mesh(args.batch_size, args.tensor)
    shardings = partial(model.param_shardings, mesh)
    return host.load_told(name, template=template, dtype=args.dtype, shardings=shardings)
