"""toolprm-export: a model as a Hugging Face directory that transformers and vLLM score with."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...command import Parser, command
from ...records import check_folder_place

DTYPES = ("bfloat16", "float16", "float32")


def _export(args: argparse.Namespace) -> int:
    # JAX takes seconds to import, and --help needs none of it.
    from .hub import export_model
    from .loading import load, origin_of

    check_folder_place(args.out)  # before the model is read
    origin = origin_of(args.checkpoint, args.base_model, args.license)
    export_model(args.out, load(args.checkpoint), args.dtype, origin)
    print(args.out)
    return 0


def _parser() -> Parser:
    parser = Parser("toolprm-export", "Writes a model as a Hugging Face directory.")
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="a training run's checkpoint, or any other model (an adapter is merged)",
    )
    parser.add_argument("--out", type=Path, required=True, help="a new or empty directory")
    known = "(default: known of smollm2 and adapters on it, else left out)"
    parser.add_argument("--base-model", default="", help=f"id on the hub, for the card {known}")
    parser.add_argument("--license", default="", help=f"as the hub names it, for the card {known}")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default=DTYPES[0],
        help="of the stored weights (default: %(default)s)",
    )
    return parser


main = command(_parser, _export)


if __name__ == "__main__":
    raise SystemExit(main())
